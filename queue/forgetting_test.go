package queue

import (
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// behind is an output that has done nine of twenty records, and one more, while the log has it at the fourth, and another
// output that has done all. The first one has ended.
func behind(t *testing.T) *bench {
	b := newBench(t, nil)
	b.ctx = t.Context()
	gone, stays := b.q.Reader("gone", Oldest), b.q.Reader("stays", Oldest)
	b.fill(20, 8000)
	b.take(stays, 20)
	b.checkpoint(stays)
	time.Sleep(5 * time.Second)
	b.take(gone, 3)
	b.checkpoint(gone)
	b.take(gone, 6)
	gone.Done(nil, checkpoint.Range{First: 11, Last: 11})
	b.checkpoint(gone)
	gone.Close()
	return b
}

// TestForgottenLosesNothingTwice loses power at each operation after an output is forgotten: whether it has never been,
// or comes back, the ledger says of nothing that it is missing but of what the output gave up, and of that once.
func TestForgottenLosesNothingTwice(t *testing.T) {
	back := false
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		for n, over := 0, false; !over; n++ {
			synctest.Test(t, func(t *testing.T) {
				b := behind(t)
				before := b.fsys.Ops()
				b.fsys.CrashAt(before + n + 1)
				forgotten := b.q.Forget("gone") == nil
				time.Sleep(5 * time.Second)
				over = b.fsys.Ops() <= before+n
				crashed := b.fsys.Crash(mode, uint64(n))
				_ = b.q.Close() // the power is gone
				b.q, b.fsys, b.opt.FS = nil, crashed, crashed
				b.open()
				if o, there := b.output("gone"); there && forgotten {
					back = true
					if o.Floor != 10 {
						t.Errorf("mode %v, crash %d operations later: back at %d", mode, n, o.Floor)
					}
				} else if there && over {
					t.Errorf("mode %v: back, although nothing is left to do", mode)
				}
				b.reopen() // its end is where an output is said to miss what was in its hands
				b.drain(b.q.Reader("gone", Oldest))
				for _, loss := range b.ledger() {
					if loss.Cause != recovery.CauseForgotten {
						t.Errorf("mode %v, crash %d operations later: %+v", mode, n, loss)
					}
				}
				if got := b.ranges(recovery.CauseForgotten, "gone"); forgotten && got != "10-10 12-20" {
					t.Errorf("mode %v, crash %d operations later: given up are %s", mode, n, got)
				}
				b.close()
			})
			if t.Failed() {
				return
			}
		}
	}
	if !back {
		t.Error("no power loss came between the forgetting and the log")
	}
}

// TestForgottenComesBackAtOnce: an output that comes back before the log has forgotten it has never been seen, also after a
// power loss.
func TestForgottenComesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := behind(t)
		synctest.Wait() // what can be deleted is
		oldest := b.q.Status().First
		if err := b.q.Forget("gone"); err != nil {
			t.Fatal(err)
		}
		r := b.q.Reader("gone", Oldest)
		if r.floor != oldest || oldest >= 10 || r.Stream() == 0 {
			t.Errorf("back at %d in stream %d, the oldest record is %d", r.floor, r.Stream(), oldest)
		}
		b.take(r, 2)
		b.checkpoint(r)
		crashed := b.fsys.Crash(faultfs.Drop, 1)
		b.close()
		b.fsys, b.opt.FS = crashed, crashed
		b.open()
		if o, there := b.output("gone"); !there || o.Floor != oldest+2 {
			t.Errorf("after a power loss %v, %+v", there, o)
		}
	})
}
