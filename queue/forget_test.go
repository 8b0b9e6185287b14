package queue

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// day is an output that has done all of ten records, and one that has done three of them and is gone.
func day(t *testing.T, change func(*Options)) *bench {
	b := newBench(t, func(o *Options) {
		o.ForgetAfter = 24 * time.Hour
		if change != nil {
			change(o)
		}
	})
	b.ctx = t.Context()
	stays, gone := b.q.Reader("stays", Oldest), b.q.Reader("gone", Oldest)
	b.fill(10, 8000)
	b.take(stays, 10)
	b.take(gone, 3)
	gone.Close()
	return b
}

func (b *bench) output(name string) (OutputStatus, bool) {
	for _, o := range b.q.Status().Outputs {
		if o.Name == name {
			return o, true
		}
	}
	return OutputStatus{}, false
}

// TestForgetAfter: an output that nobody reads for is forgotten after its time, and its records go.
func TestForgetAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := day(t, nil)
		b.fill(40, 8000)
		b.take(b.q.Reader("stays", Oldest), 40)
		time.Sleep(23 * time.Hour)
		o, there := b.output("gone")
		if !there || o.ForgottenIn > time.Hour || o.ForgottenIn < 59*time.Minute || o.BacklogRecords != 47 {
			t.Fatalf("after 23 hours: %+v", o)
		}
		held := b.q.Status().Segments
		ops := b.fsys.Ops()
		time.Sleep(59 * time.Minute)
		if n := b.fsys.Ops() - ops; n > 0 {
			t.Errorf("%d operations in an hour in which nothing happened", n)
		}
		time.Sleep(2 * time.Minute)
		if o, there := b.output("gone"); there {
			t.Fatalf("after 24 hours: %+v", o)
		}
		s := b.q.Status()
		if s.Forgotten != 1 || s.ForgottenRecords != 47 || s.Segments >= held {
			t.Errorf("%d outputs with %d records forgotten, %d segments of %d left", s.Forgotten, s.ForgottenRecords, s.Segments, held)
		}
		if got, stays := b.ranges(recovery.CauseForgotten, "gone"), b.ranges(recovery.CauseForgotten, "stays"); got != "4-50" || stays != "" || s.LedgerRecords != 0 {
			t.Errorf("the ledger has %s and %q, and counts %d records as lost", got, stays, s.LedgerRecords)
		}
		killed := b.opt
		killed.FS = b.fsys.Crash(faultfs.Drop, 1)
		killed.OpenStore = options(killed.FS, checkpoint.NewMemory()).OpenStore // the log alone
		b.close()
		for what, opt := range map[string]Options{"kill": killed, "stop": b.opt} {
			q, err := Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			if n := len(q.Status().Outputs); n != 1 {
				t.Errorf("%d outputs after a %s", n, what)
			}
			if r := q.Reader("gone", Newest); r.floor != 51 {
				t.Errorf("comes back at %d after a %s, want it never seen", r.floor, what)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestForgetAcrossRestarts: the time adds up over stops and kills, only while the queue runs, and begins anew when the
// output was back.
func TestForgetAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := day(t, nil)
		hours := func(n time.Duration) {
			t.Helper()
			time.Sleep(n*time.Hour + time.Second)
			b.append("something happens")
			time.Sleep(time.Minute)
		}
		left := func(want time.Duration) {
			t.Helper()
			o, there := b.output("gone")
			if !there || (o.ForgottenIn-want).Abs() > 10*time.Minute {
				t.Fatalf("forgotten in %v, want %v", o.ForgottenIn, want)
			}
		}
		hours(10)
		b.close()
		time.Sleep(100 * time.Hour) // nothing runs
		b.open()
		b.q.Reader("stays", Oldest)
		left(14 * time.Hour)
		hours(10)
		b.q.SetSource("in/a", []byte("1")) // written anyway, so the time is too
		time.Sleep(10 * time.Second)
		killed := b.fsys.Crash(faultfs.Drop, 1)
		b.close()
		b.fsys, b.opt.FS = killed, killed
		b.open()
		b.q.Reader("stays", Oldest)
		left(4 * time.Hour)
		b.q.Reader("gone", Oldest).Close()
		left(24 * time.Hour)
		b.reopen()
		b.q.Reader("stays", Oldest)
		left(24 * time.Hour)
	})
}

// TestForgetIsWrittenDown: no output is forgotten before the ledger tells of what it has not done, and what the ledger
// has from a process that was killed in between is not written again.
func TestForgetIsWrittenDown(t *testing.T) {
	b := newBench(t, nil)
	gone := b.q.Reader("gone", Oldest)
	b.q.Reader("stays", Oldest)
	b.fill(5, 100)
	gone.Done(nil, checkpoint.Range{First: 2, Last: 3})
	gone.Close()
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if strings.Contains(op.Name, "losses") {
			return syscall.EIO
		}
		return nil
	})
	if err := b.q.Forget("gone"); err == nil || !strings.Contains(err.Error(), "ledger") {
		t.Errorf("without a ledger: %v", err)
	}
	if _, there := b.output("gone"); !there {
		t.Error("forgotten, and nothing tells of it")
	}
	b.fsys.FailMatching(nil)
	b.q.noteGivenUp(recovery.CauseForgotten, "gone", b.q.undone(gone)) // and a kill behind that
	if err := b.q.Forget("gone"); err != nil {
		t.Error(err)
	}
	if got := b.ranges(recovery.CauseForgotten, "gone"); got != "1-1 4-5" {
		t.Errorf("the ledger has %s", got)
	}
	if n := b.q.Status().LedgerRecords; n != 0 {
		t.Errorf("%d records count as lost to all", n)
	}
}

// TestForgetWaitsForOutputs: an output whose time was up at the stop is not forgotten before it can attach.
func TestForgetWaitsForOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := day(t, nil)
		time.Sleep(23*time.Hour + 59*time.Minute)
		b.opt.ForgetAfter = time.Hour
		b.reopen()
		time.Sleep(30 * time.Second)
		if o, there := b.output("gone"); !there || o.ForgottenIn > time.Minute {
			t.Fatalf("right after the start: %v %+v", there, o)
		}
		r := b.q.Reader("gone", Oldest)
		time.Sleep(time.Hour)
		if got, lost := b.take(r, 7); len(got) != 7 || lost != 0 {
			t.Errorf("%d records, %d lost", len(got), lost)
		}
	})
}

// TestForgetNever: without ForgetAfter an output is held for ever.
func TestForgetNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := day(t, func(o *Options) { o.ForgetAfter = 0 })
		time.Sleep(1000 * time.Hour)
		if o, there := b.output("gone"); !there || o.ForgottenIn != 0 {
			t.Errorf("%v %+v", there, o)
		}
	})
}

// TestForgetAtOnce: Forget does not wait, and leaves outputs alone that are in use.
func TestForgetAtOnce(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("a", Oldest)
	b.q.Reader("b", Oldest)
	b.append("one")
	if err := b.q.Forget("a"); !errors.Is(err, ErrAttached) {
		t.Errorf("in use: %v", err)
	}
	if err := b.q.Forget("unknown"); err != nil {
		t.Errorf("unknown: %v", err)
	}
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := b.q.Forget("a"); err != nil {
		t.Fatal(err)
	}
	if _, there := b.output("a"); there {
		t.Error("still known")
	}
	waitFor(t, "the log", func() bool {
		survey, err := recovery.TakeSurvey(b.fsys, "/data")
		return err == nil && len(survey.Outputs) == 1
	})
	waitFor(t, "the store", func() bool {
		stored, err := b.store.Reopen().Load()
		return err == nil && len(stored) == 1
	})
}

// TestForgetAfterPowerLoss loses power at each operation of Forget and what follows: the output is as it was, or has
// never been, and the other one stays.
func TestForgetAfterPowerLoss(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		for n, over := 0, false; !over; n++ {
			b := newBench(t, nil)
			gone, stays := b.q.Reader("gone", Oldest), b.q.Reader("stays", Oldest)
			b.fill(20, 8000)
			b.take(gone, 3)
			b.take(stays, 7)
			for _, r := range []*Reader{gone, stays} {
				if err := r.Checkpoint(b.ctx); err != nil {
					t.Fatal(err)
				}
			}
			gone.Close()
			before := b.fsys.Ops()
			b.fsys.CrashAt(before + n + 1)
			forgotten := b.q.Forget("gone") == nil
			b.q.positionsDue.Store(true)
			b.q.work.poke()
			waitFor(t, "the crash, or the log", func() bool {
				survey, err := recovery.TakeSurvey(b.fsys, "/data")
				over = err == nil && len(survey.Outputs) == 1
				return over || b.fsys.Ops() > before+n
			})
			crashed := b.fsys.Crash(mode, uint64(n))
			_ = b.q.Close()
			b.q, b.fsys, b.opt.FS = nil, crashed, crashed
			b.open()
			o, there := b.output("gone")
			if there && (o.Floor > 4 || o.Floor < 1) || !there && !forgotten { // an older position of it may be in the log
				t.Fatalf("mode %v, crash %d operations later: there %v, %+v", mode, n, there, o)
			}
			if o, _ := b.output("stays"); o.Floor != 8 {
				t.Fatalf("mode %v, crash %d operations later: the other is at %d", mode, n, o.Floor)
			}
			b.close()
		}
	}
}
