package queue

import (
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestHealWithoutSeal: a segment that a disk without room, or one that fails, did not let be sealed loses nothing to damage that
// its parity gives back: that is still in memory. Beyond that what is lost is lost.
func TestHealWithoutSeal(t *testing.T) {
	for _, refusal := range []error{syscall.ENOSPC, syscall.EIO} {
		for _, test := range []struct {
			damage int // bytes
			lost   bool
		}{{1, false}, {60, false}, {64 << 10, true}} {
			t.Run(fmt.Sprint(refusal, " ", test.damage), func(t *testing.T) {
				b := newBench(t, func(o *Options) { o.SegmentSize, o.Codec = 256<<10, segment.None })
				b.q.Reader("holds", Oldest)
				on := b.refuse(refusal, faultfs.Truncate)
				var all []string
				for n := 0; b.segments() == 1; n++ {
					p := fmt.Sprintf("%06d %s", n, noise(uint64(n), 5000))
					b.append(p)
					all = append(all, p)
				}
				for n := range 2 * ringSlots {
					p := fmt.Sprintf("%06d %s", len(all), noise(uint64(n), 100))
					b.append(p)
					all = append(all, p)
				}
				waitFor(t, "a seal that fails", func() bool { return b.q.sealing.Load().tail.Load() != nil })
				b.overwrite([]byte(strings.Repeat("x", test.damage)), 20000)
				got, lost := b.take(b.q.Reader("one", Oldest), len(all)-map[bool]int{false: 0, true: 15}[test.lost])
				if !test.lost {
					equal(t, "healed in memory", got, all)
				}
				if s := b.q.Status(); (lost > 0) != test.lost || !test.lost && (s.HealErrors == 0 || len(b.ledger()) > 0) {
					t.Errorf("%d lost, status %+v", lost, s)
				}
				on.Store(false)
			})
		}
	}
}

// TestTailIsWhatIsSealed: the tail in memory is, byte for byte, what a seal writes.
func TestTailIsWhatIsSealed(t *testing.T) {
	b := newBench(t, nil)
	w, err := segment.Create(b.fsys, "/data", segment.Header{Salt: 7, First: 1, Size: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	tail := w.Tail(3)
	if _, err := w.Seal(3); err != nil {
		t.Fatal(err)
	}
	sealed, memory := make([]byte, tail.Size()+1), make([]byte, tail.Size()+1)
	n, err := w.File().ReadAt(sealed, 0)
	m, merr := tail.Behind(w.File()).ReadAt(memory, 0)
	if int64(n) != tail.Size() || m != n || err != io.EOF || merr != io.EOF || string(sealed) != string(memory) {
		t.Errorf("%d bytes, %v; %d from memory, %v", n, err, m, merr)
	}
	for _, at := range []int64{0, 4000, 4096, 5000, tail.Size() - 10, tail.Size(), tail.Size() + 5} {
		x, y := make([]byte, 300), make([]byte, 300)
		n, err := w.File().ReadAt(x, at)
		m, merr := tail.Behind(w.File()).ReadAt(y, at)
		if n != m || err != merr || string(x[:n]) != string(y[:m]) {
			t.Errorf("at %d: %d bytes, %v; %d from memory, %v", at, n, err, m, merr)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
