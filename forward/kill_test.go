package forward

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/queue/vfs/faultfs"
)

// keyed is a destination that drops batches whose ID it has seen, and whose answers get lost.
type keyed struct {
	mu   sync.Mutex // guards everything below
	rng  *rand.Rand
	seen map[string]bool
	got  map[string]int
}

func (k *keyed) Concurrent() {}

func (k *keyed) draw(n int) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.rng.IntN(n)
}

func (k *keyed) Send(ctx context.Context, b *output.Batch) error {
	pause(ctx, time.Duration(k.draw(300))*time.Millisecond)
	k.mu.Lock()
	defer k.mu.Unlock()
	fate := k.rng.IntN(10)
	if fate < 3 || ctx.Err() != nil {
		return errors.New("not now")
	}
	if !k.seen[b.ID] {
		k.seen[b.ID] = true
		for line := range strings.Lines(string(slices.Concat(b.AppendLines(nil, 0, b.Len())...))) {
			k.got[strings.TrimSuffix(line, "\n")]++
		}
	}
	switch fate {
	case 3, 4:
		return errors.New("the answer is lost")
	case 5:
		panic("after it was sent")
	}
	return nil
}

// TestKillsAreRepeats: over kills and reloads, whatever the destination has had before comes again in the same batch under
// the same ID, however many requests were under way; who drops repeats has each record once.
func TestKillsAreRepeats(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) { kills(t, seed) })
	}
}

func kills(t *testing.T, seed uint64) {
	there := &keyed{rng: rand.New(rand.NewPCG(seed, 3)), seen: map[string]bool{}, got: map[string]int{}}
	var sent []string
	fs, store := faultfs.New(), checkpoint.NewMemory()
	for life := range 6 {
		r, in := newRig(t), newTap()
		r.fs, r.stores["/data/checkpoints.db"] = fs, store
		r.reloadable()
		r.addInput("in", in.build)
		r.outputs["out"] = func(output.Env) (output.Output, error) { return there, nil }
		section := func() []config.Section {
			inFlight := []int{1, 2, 9, 40}[there.draw(4)]
			return []config.Section{r.section("out", fmt.Sprintf("in_flight = %d\nrate_limit = '4KiB'\nmatch = 'not (payload endsWith \"3\")'", inFlight))}
		}
		r.cfg.Outputs = section()
		r.start()
		for range 10 {
			records := numbered(len(sent), 1+there.draw(100))
			in.send(t, records...)
			sent = append(sent, records...)
			time.Sleep(time.Duration(there.draw(700)) * time.Millisecond)
			if there.draw(5) == 0 {
				r.reload(func(c *config.Config) { c.Outputs = section() })
			}
		}
		if life == 5 {
			for range 3 { // it is slow
				time.Sleep(time.Minute)
			}
			eventually(t, "all is done", func() bool { return r.output("out").BacklogRecords == 0 })
			r.mustStop()
			break
		}
		synctest.Wait() // what there is at this moment is what a kill leaves
		fs = r.fs.Crash(faultfs.Keep, seed)
		saved, err := r.stores["/data/checkpoints.db"].Reopen().Load()
		if err != nil {
			t.Fatal(err)
		}
		store = checkpoint.NewMemory()
		if err := store.Save(saved); err != nil {
			t.Fatal(err)
		}
		there.mu.Lock()
		after := &keyed{rng: there.rng, seen: maps.Clone(there.seen), got: maps.Clone(there.got)}
		there.mu.Unlock()
		r.stop()
		there = after
	}
	for i, record := range sent {
		want := 1
		if strings.HasSuffix(record, "3") {
			want = 0
		}
		if n := there.got[record]; n != want {
			t.Errorf("seed %d: %s (sequence %d) arrived %d times, want %d", seed, record, i+1, n, want)
		}
	}
}
