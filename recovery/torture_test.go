package recovery

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// hurt does one random thing to a random segment, and says what.
func hurt(t testing.TB, fsys *faultfs.FS, rng *rand.Rand) string {
	t.Helper()
	found, _, err := list(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return "nothing left"
	}
	l := found[rng.IntN(len(found))]
	at := rng.Int64N(l.size + 1)
	length := 1 + rng.Int64N(1<<rng.IntN(14))
	what := rng.IntN(8)
	if what == 0 {
		if err := fsys.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		return "removed " + l.name.String()
	}
	if what == 1 { // the bytes of one segment under the name of another
		from := found[rng.IntN(len(found))]
		data, err := vfs.ReadFile(fsys, from.path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		edit(t, fsys, l.path, func([]byte) []byte { return data })
		return fmt.Sprintf("%s has the bytes of %s", l.name, from.name)
	}
	edit(t, fsys, l.path, func(data []byte) []byte {
		end := min(at+length, int64(len(data)))
		switch what {
		case 2:
			return data[:at]
		case 3:
			return append(data, make([]byte, length)...)
		case 4:
			for i := at; i < end; i++ {
				data[i] = byte(rng.Uint32())
			}
		case 5:
			copy(data[at:end], data[rng.Int64N(int64(len(data))+1):])
		case 6:
			if at < end {
				data[at] ^= 1 << rng.IntN(8)
			}
		default:
			clear(data[at:end])
		}
		return data
	})
	return fmt.Sprintf("%s: damage %d at %d, %d bytes", l.name, what, at, length)
}

// TestTorture hurts a directory at random. A start and a check must work, records are never altered, what is missing is
// known to be, no sequence comes again, and a second start finds nothing that the first one left.
func TestTorture(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	for range 4 {
		b.open()
		b.full(b.at("a", 1))
		b.durable(1, 20, 3, 20)
		b.seal()
	}
	b.killed(10, 10, 10)
	b.killed(10, 10)
	given := b.next - 1
	floors := map[string]uint64{"a": b.next}
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fsys := b.fs.Crash(faultfs.Keep, 0)
		var done []string
		for range 1 + rng.IntN(4) {
			done = append(done, hurt(t, fsys, rng))
		}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d, %q: %s", seed, done, fmt.Sprintf(format, args...))
		}
		before := check(t, fsys)
		state := mustStart(t, fsys, floors)
		if state.Next <= given {
			fail("next is %d, %d was given", state.Next, given)
		}
		yes, no := ledgered(t, fsys)
		after := check(t, fsys)
		seen := surviving(t, fsys)
		if t.Failed() {
			fail("see above")
		}
		var records uint64
		for _, r := range seen {
			records += r.Last - r.First + 1
		}
		if records != after.Records {
			fail("walk shows %d records, check counts %d\n%v\n%+v", records, after.Records, seen, after)
		}
		accounted := append(checkpoint.Ranges(nil), seen...)
		for _, set := range []checkpoint.Ranges{yes, no} {
			for _, r := range set {
				accounted = accounted.Add(r.First, r.Last)
			}
		}
		heals := false
		for _, d := range after.Damage {
			accounted = accounted.Add(d.FirstLost, d.LastLost)
			heals = heals || d.Action == wouldHeal
		}
		if left := accounted.Without(max(after.FirstSequence, 1), given); len(left) > 0 && !heals && after.FirstSequence > 0 {
			fail("nobody knows of %v\nsurvive %v, ledger %v %v\nbefore %+v\nafter %+v\nsegments %+v", left, seen, yes, no, before, after, state.Segments)
		}
		again := mustStart(t, fsys, floors)
		yes2, no2 := ledgered(t, fsys)
		if yes2.String() != yes.String() || no2.String() != no.String() || again.Next != state.Next || surviving(t, fsys).String() != seen.String() {
			fail("the second start: next %d, ledger %v %v\nfirst: next %d, ledger %v %v", again.Next, yes2, no2, state.Next, yes, no)
		}
		if n := len(again.Report.Damage); n > 0 {
			fail("the second start finds %+v", again.Report.Damage)
		}
	}
}
