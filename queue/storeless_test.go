package queue

import (
	"testing"

	"logmule/checkpoint"
	"logmule/queue/vfs/faultfs"
)

// TestWithoutStore: a queue that has deleted what is delivered, and whose checkpoint database was lost, is in good order: after a kill
// by what is noted beside it, after a clean stop by the log alone.
func TestWithoutStore(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		b := newBench(t, nil)
		all, some := b.q.Reader("all", Oldest), b.q.Reader("some", Oldest)
		b.fill(60, 5000)
		b.take(all, 60)
		b.take(some, 40)
		b.checkpoint(all)
		b.checkpoint(some)
		waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.old()[0].First > 1 })
		all.Close()
		some.Close()
		if stopped {
			b.close()
			if err := b.fsys.Remove("/data/checkpoints.recent"); err != nil {
				t.Fatal(err)
			}
		}
		left := *b
		left.fsys, left.store, left.q = b.fsys.Crash(faultfs.Keep, 0), checkpoint.NewMemory(), nil
		left.opt = options(left.fsys, left.store)
		left.clean(left.fsys)
		left.open()
		if came, lost := left.drain(left.q.Reader("some", Oldest)); came != 20 || lost > 0 || len(left.ledger()) > 0 {
			t.Errorf("stopped %v: %d records came, %d are lost, the ledger has %+v", stopped, came, lost, left.ledger())
		}
		left.close()
	}
}
