package queue

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// removeOldest deletes segments that hold records, the oldest first, and returns the last sequence before the first of the rest.
func (b *bench) removeOldest(n int) (lost uint64) {
	b.Helper()
	names := b.old()
	for _, name := range names[:n] {
		if err := b.fsys.Remove(segPath(name)); err != nil {
			b.Fatal(err)
		}
	}
	if n == len(names) {
		return 60
	}
	return names[n].First - 1
}

// TestOldestGoneThatNobodyRead: where no output has a position, what is not there before the oldest record is lost. fsck, the start and
// the repair say so, and once.
func TestOldestGoneThatNobodyRead(t *testing.T) {
	for _, gone := range []int{1, 3, -1} {
		t.Run(fmt.Sprint(gone), func(t *testing.T) {
			b := newBench(t, nil)
			b.fill(60, 8000)
			b.close()
			if gone < 0 {
				gone = len(b.old())
			}
			lost := b.removeOldest(gone)
			report, err := b.fsckOf(b.fsys)
			if err != nil || report.LostRecords != lost || report.Clean {
				t.Errorf("fsck: clean %v, %d lost, want %d, %v", report.Clean, report.LostRecords, lost, err)
			}
			repaired, err := recovery.Repair(b.ctx, b.fsys.Crash(faultfs.Keep, 1), "/data", recovery.RepairOptions{
				CheckOptions: recovery.CheckOptions{Store: b.store.Reopen()},
				MakeStore:    func(string, map[string]checkpoint.Position) error { return nil },
			})
			if err != nil || repaired.LostRecords != lost || !repaired.Clean {
				t.Errorf("repair: clean %v, %d lost, want %d, %v", repaired.Clean, repaired.LostRecords, lost, err)
			}
			for range 2 {
				b.open()
				if got := b.inLedger(""); got != lost {
					t.Errorf("the ledger tells of %d records, want %d", got, lost)
				}
				b.close()
			}
			if report, err := b.fsckOf(b.fsys); err != nil || !report.Clean {
				t.Errorf("fsck after a start: %+v, %v", report.Damage, err)
			}
		})
	}
}

// TestForgottenAfterTrimmingLostNothing: what outputs had done, which are forgotten since, is not missed, whenever the power fails.
func TestForgottenAfterTrimmingLostNothing(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		for n, over := 0, false; !over; n++ {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.ctx = t.Context()
				r := b.q.Reader("gone", Oldest)
				b.fill(40, 8000)
				b.take(r, 40)
				b.checkpoint(r)
				r.Close()
				waitFor(t, "what is delivered is deleted", func() bool { return b.q.Status().First > 1 })
				before := b.fsys.Ops()
				b.fsys.CrashAt(before + n + 1)
				_ = b.q.Forget("gone")
				time.Sleep(5 * time.Second)
				over = b.fsys.Ops() <= before+n
				crashed := b.fsys.Crash(mode, uint64(n))
				_ = b.q.Close() // the power is gone
				b.q, b.fsys, b.opt.FS = nil, crashed, crashed
				b.open()
				b.close()
				b.open()
				b.close()
				report, err := recovery.Check(context.Background(), b.fsys, "/data", recovery.CheckOptions{Store: b.store.Reopen()})
				if got := b.inLedger(""); got > 0 || err != nil || !report.Clean {
					t.Errorf("mode %v, crash %d operations later: %d lost, %+v, %v", mode, n, got, report.Damage, err)
				}
			})
			if t.Failed() {
				return
			}
		}
	}
}

// TestDroppedThatNobodyReadIsToldOnce: without any output drop_oldest is all that deletes, and tells of it itself.
func TestDroppedThatNobodyReadIsToldOnce(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize, o.MaxSize, o.WhenFull = 64<<10, 1<<20, DropOldest })
	b.fill(300, 8000)
	dropped := b.q.Status().DroppedOldest
	for _, kill := range []bool{false, true} {
		if report, err := b.fsckOf(b.fsys); err != nil || !report.Clean || dropped == 0 {
			t.Errorf("fsck (kill %v): %d dropped, %+v, %v", kill, dropped, report.Damage, err)
		}
		if kill {
			killed := b.fsys.Crash(faultfs.Keep, 1)
			_ = b.q.Close()
			b.q, b.fsys, b.opt.FS = nil, killed, killed
		} else {
			b.close()
		}
		b.open()
		if got := b.inLedger(""); got != dropped {
			t.Errorf("the ledger tells of %d records, %d were dropped", got, dropped)
		}
	}
}

// TestFsckBesideTheQueueSeesTheOldestGone: a running queue has noted what it has deleted itself; anything else that is not there is lost.
func TestFsckBesideTheQueueSeesTheOldestGone(t *testing.T) {
	for _, name := range []string{"read by nobody", "read", "delivered by one", "trimmed", "dropped in somebody's hands"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(o *Options) {
				if name == "dropped in somebody's hands" {
					o.SegmentSize, o.MaxSize, o.WhenFull = 64<<10, 1<<20, DropOldest
				} else {
					o.KeepSize = 1 << 30
				}
				if name == "trimmed" {
					o.KeepSize = 0
				}
			})
			const records = 60
			b.fill(records, 8000)
			var first uint64
			switch name {
			case "read":
				b.take(b.q.Reader("out", Oldest), 10)
			case "delivered by one":
				b.q.Reader("slow", Oldest)
				b.take(b.q.Reader("out", Oldest), records)
			case "trimmed":
				r := b.q.Reader("out", Oldest)
				b.take(r, 20)
				b.checkpoint(r)
				waitFor(t, "the trim", func() bool { first = b.q.Status().First; return first > 15 })
			case "dropped in somebody's hands":
				r := b.q.Reader("out", Oldest)
				var f segment.Frame
				for range records {
					if ok, _, err := r.TryNext(b.ctx, &f); !ok || err != nil {
						t.Fatal(err)
					}
				}
				r.Plan(1)
				for first <= 1 {
					b.fill(5, 8000)
					first = b.q.Status().First
				}
			}
			if report, err := b.fsckOf(b.fsys); err != nil || !report.Running || !report.Clean {
				t.Fatalf("fsck beside it: running %v, %+v, %v", report.Running, report.Damage, err)
			}
			first = max(b.q.Status().First, 1)
			lost := b.removeOldest(4) + 1 - first
			if name == "read" {
				lost -= 10
			}
			report, err := b.fsckOf(b.fsys)
			if err != nil || report.LostRecords != lost {
				t.Errorf("fsck after somebody has deleted segments: %d lost, want %d, %v", report.LostRecords, lost, err)
			}
			b.close()
		})
	}
}
