package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// harmed is a stopped queue of which one output has done everything and another one little, with a real checkpoint database.
func harmed(t *testing.T) *bench {
	b := newBench(t, nil)
	slow, fast := b.q.Reader("slow", Oldest), b.q.Reader("fast", Oldest)
	b.fill(90, 4000)
	b.take(slow, 20)
	b.checkpoint(slow)
	b.take(fast, 90)
	b.checkpoint(fast)
	b.close()
	path := filepath.Join(t.TempDir(), "db")
	positions, err := b.store.Reopen().Load()
	if err == nil {
		err = checkpoint.Make(path, positions)
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(b.fsys, "/data/checkpoints.db", data); err != nil {
		t.Fatal(err)
	}
	return b
}

// harm does one random thing to the segments and says what.
func (b *bench) harm(rng *rand.Rand) string {
	b.Helper()
	names := b.old()
	if len(names) == 0 {
		return "nothing left"
	}
	n := names[rng.IntN(len(names))]
	at := func(data []byte) int { return rng.IntN(len(data) + 1) }
	data := b.content(n)
	switch what := rng.IntN(10); what {
	case 0, 1:
		if err := b.fsys.Remove(segPath(n)); err != nil {
			b.Fatal(err)
		}
		return "removed " + n.String()
	case 2:
		data = data[:at(data)]
		b.put(n, data)
		return fmt.Sprintf("cut %s to %d", n, len(data))
	case 3:
		b.put(n, nil)
		return "emptied " + n.String()
	case 4:
		other := names[rng.IntN(len(names))]
		b.put(n, b.content(other))
		b.put(other, data)
		return fmt.Sprintf("swapped %s and %s", n, other)
	case 5:
		stray := segment.Name{First: 1 + rng.Uint64N(100), Salt: 7}
		b.put(stray, []byte(strings.Repeat("noise", rng.IntN(5000))))
		return "stray " + stray.String()
	case 6:
		copied := segment.Name{First: 1 + rng.Uint64N(100), Salt: 8}
		b.put(copied, data)
		return fmt.Sprintf("%s again as %s", n, copied)
	case 7:
		b.put(n, []byte(strings.Repeat("noise", len(data)/5)))
		return "overwrote " + n.String()
	default:
		from := at(data)
		to := min(from+1+rng.IntN(1<<rng.IntN(16)), len(data))
		for i := from; i < to; i++ {
			data[i] = byte(rng.Uint32()) * byte(what-8)
		}
		b.put(n, data)
		return fmt.Sprintf("%s: %d bytes at %d", n, to-from, from)
	}
}

// harmPositions may take the checkpoint database away, and what is noted beside it, so that the log alone has the positions.
func (b *bench) harmPositions(rng *rand.Rand) string {
	b.Helper()
	what := []string{"", "/data/checkpoints.db", "/data/checkpoints.recent"}[:1+rng.IntN(3)]
	for _, path := range what[1:] {
		if err := b.fsys.Remove(path); err != nil {
			b.Fatal(err)
		}
		b.store = checkpoint.NewMemory()
		b.opt = options(b.fsys, b.store)
	}
	return fmt.Sprintf("removed %q", what[1:])
}

func (b *bench) there(path string) bool {
	_, err := b.fsys.Stat(path)
	return err == nil
}

// sequences are those that can be read without a queue.
func (b *bench) sequences() (seen checkpoint.Ranges) {
	b.Helper()
	err := recovery.Walk(context.Background(), b.fsys, "/data", recovery.WalkOptions{}, func(f *segment.Frame) error {
		seen = seen.Add(f.First, f.Last())
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return seen
}

// TestFsckAndStartAgree harms a queue at random. What fsck calls lost is what the following start and the readers write into the
// ledger, as far as an output waits for it; what can be read before comes to that output; and after it fsck is clean.
func TestFsckAndStartAgree(t *testing.T) {
	template := harmed(t)
	seeds := uint64(400)
	if testing.Short() {
		seeds = 60
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 5))
		b := template.again(t)
		var done []string
		for range 1 + rng.IntN(3) {
			done = append(done, b.harm(rng))
		}
		done = append(done, b.harmPositions(rng))
		noted := b.there("/data/checkpoints.recent")
		report, err := recovery.Check(b.ctx, b.fsys, "/data", recovery.CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		readable := b.sequences()
		var said, before, booked, came checkpoint.Ranges
		for _, d := range report.Damage {
			said = said.Add(d.FirstLost, d.LastLost)
			if len(readable) > 0 && d.LastLost < readable[0].First && d.Cause == "missing segment" {
				before = before.Add(d.FirstLost, d.LastLost)
			}
		}
		b.open()
		r := b.q.Reader("slow", Oldest)
		floor := r.floor
		var f segment.Frame
		for {
			ok, _, err := r.TryNext(b.ctx, &f)
			if err != nil {
				t.Fatalf("seed %d, %q: %v", seed, done, err)
			}
			if !ok {
				break
			}
			came = came.Add(f.First, f.Last())
			r.Done(nil, rangeOf(&f))
		}
		b.checkpoint(r)
		b.drain(b.q.Reader("fast", Oldest))
		for _, l := range b.ledger() {
			if l.Acknowledged != recovery.NotAcknowledged && l.Cause != recovery.CauseEpoch {
				booked = booked.Add(l.First, l.Last)
			}
		}
		b.close()
		from := func(all checkpoint.Ranges) string { return checkpoint.Ranges(all.Within(floor, 1<<62)).String() }
		if from(said) != from(booked) || from(readable) != from(came) {
			t.Fatalf("seed %d, %q: from %d on\nfsck says %s, the ledger %s\nreadable %s, delivered %s\n%+v\n%v\n%+v",
				seed, done, floor, from(said), from(booked), from(readable), from(came), report.Damage, report.Notes, b.ledger())
		}
		for _, part := range before {
			if len(booked.Without(part.First, part.Last)) > 0 {
				t.Fatalf("seed %d, %q: fsck said that %s are lost before all others, the ledger has %s", seed, done, before, booked)
			}
		}
		for _, part := range booked {
			if len(said.Without(part.First, part.Last)) > 0 {
				t.Fatalf("seed %d, %q: the ledger has %s, fsck said %s", seed, done, booked, said)
			}
		}
		if !noted {
			continue // nothing but the newest segment knew where the log ended
		}
		if given := uint64(90); came.Last() < given && slices.Max([]uint64{said.Last(), came.Last(), floor - 1}) < given {
			t.Fatalf("seed %d, %q: nobody tells of what comes after %d", seed, done, max(said.Last(), came.Last()))
		}
	}
}

// again is a copy of a stopped queue.
func (b *bench) again(t *testing.T) *bench {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c := *b
	c.T, c.ctx = t, ctx
	c.fsys = b.fsys.Crash(faultfs.Keep, 0)
	c.store = checkpoint.NewMemory()
	positions, err := b.store.Reopen().Load()
	if err == nil {
		err = c.store.Save(positions)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.opt = options(c.fsys, c.store)
	return &c
}
