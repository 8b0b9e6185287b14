package queue

import (
	"testing"

	"logmule/checkpoint"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// holding is a queue that drops the oldest, and an output that has one record of the first segment, the third, in its
// hands and has done all others that came, when that segment and many more are gone.
func holding(t *testing.T) (*bench, *Reader) {
	b := newBench(t, func(o *Options) { o.SegmentSize, o.MaxSize, o.WhenFull = 64<<10, 1<<20, DropOldest })
	r := b.q.Reader("out", Oldest)
	for range 60 {
		b.fill(5, 8000)
		b.doAllBut(r, 3)
	}
	if s := b.q.Status(); s.First <= 3 || s.DroppedOldest > 0 || s.LedgerRecords > 0 {
		t.Fatalf("before the end: %+v", s)
	}
	return b, r
}

// isLost fails unless record 3 alone is lost, told once, after any number of starts.
func (b *bench) isLost(when string) {
	b.Helper()
	if got := b.ranges("drop_oldest", "out"); got != "3-3" {
		b.Errorf("%s the ledger has %s, want 3-3", when, got)
	}
	if n := len(b.ledger()); n > 1 {
		b.Errorf("%s the ledger has %d lines", when, n)
	}
}

// TestHeldWhenTheQueueEnds: so it is where the queue ends first, as it does when a daemon stops.
func TestHeldWhenTheQueueEnds(t *testing.T) {
	b, _ := holding(t)
	b.close()
	b.isLost("after the end")
	b.open()
	b.append("more")
	b.take(b.q.Reader("out", Oldest), 1)
	b.isLost("after the next start")
}

// TestHeldWhenItEnds: what an output had in its hands and has not done is lost when the output ends, if its segment was
// dropped meanwhile: that, and nothing of what it has done.
func TestHeldWhenItEnds(t *testing.T) {
	b, r := holding(t)
	r.Close()
	b.isLost("after the end")
	if o, _ := b.output("out"); o.Lost != 1 || o.BacklogRecords != 0 {
		t.Errorf("after the end: %+v", o)
	}
	b.close()
	survey, err := recovery.TakeSurvey(b.fsys, "/data")
	if err != nil || survey.LostRecords != 1 || survey.Outputs[0].Position != 301 {
		t.Errorf("%v; a survey finds %d lost, %+v", err, survey.LostRecords, survey.Outputs)
	}
	b.open()
	b.append("more")
	if all, lost := b.take(b.q.Reader("out", Oldest), 1); lost != 0 || len(all) != 1 {
		t.Errorf("%d records lost, %d come after the next start", lost, len(all))
	}
	b.isLost("after the next start")
}

// TestHeldWhenKilled: the start after a kill finds the same, from what was done above it.
func TestHeldWhenKilled(t *testing.T) {
	b, r := holding(t)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	positions, err := b.store.Reopen().Load()
	if err != nil {
		t.Fatal(err)
	}
	store, killed := checkpoint.NewMemory(), b.fsys.Crash(faultfs.Drop, 1)
	if err := store.Reopen().Save(positions); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.fsys, b.store = killed, store
	b.opt.FS, b.opt.OpenStore = killed, options(killed, store).OpenStore
	b.isLostNot("before the start")
	b.open()
	b.append("more")
	r = b.q.Reader("out", Oldest)
	b.take(r, 1)
	b.isLost("after the start")
	if o, _ := b.output("out"); o.Lost != 1 {
		t.Errorf("after the start: %+v", o)
	}
}

func (b *bench) isLostNot(when string) {
	b.Helper()
	if n := len(b.ledger()); n > 0 {
		b.Fatalf("%s the ledger has %d lines", when, n)
	}
}
