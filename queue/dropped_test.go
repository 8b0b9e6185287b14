package queue

import (
	"fmt"
	"sync/atomic"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestDroppedForEachOutput: the ledger names, for each record that drop_oldest takes from somebody, those who miss it, and each once:
// also the one that had it in its hands and gives it up later than others have missed it.
func TestDroppedForEachOutput(t *testing.T) {
	for _, queueFirst := range []bool{false, true} {
		b := newBench(t, func(o *Options) { o.SegmentSize, o.MaxSize, o.WhenFull = 64<<10, 1<<20, DropOldest })
		b.q.Reader("idle", Oldest)
		r := b.q.Reader("busy", Oldest)
		for range 60 {
			b.fill(5, 8000)
			b.doAllBut(r, 3, 4)
		}
		before := b.q.Status()
		if before.First <= 4 || before.DroppedOldest == 0 || before.LedgerRecords != before.DroppedOldest || b.ranges("drop_oldest", "busy") != "" {
			t.Fatalf("before the end: %+v, busy missed %s", before, b.ranges("drop_oldest", "busy"))
		}
		idle := b.ranges("drop_oldest", "idle")
		r.Done(nil, checkpoint.Range{First: 3, Last: 3})
		if !queueFirst {
			r.Close()
		}
		b.reopen()
		b.append("more")
		if _, lost := b.take(b.q.Reader("busy", Oldest), 1); lost > 1 {
			t.Errorf("%d lost", lost)
		}
		if got := b.ranges("drop_oldest", "busy"); got != "4-4" {
			t.Errorf("busy missed %s, want 4-4", got)
		}
		if got := b.ranges("drop_oldest", "idle"); got != idle {
			t.Errorf("idle missed %s, and then %s", idle, got)
		}
		if after := b.q.Status(); after.LedgerRecords != before.LedgerRecords {
			t.Errorf("the ledger has %d records, and then %d", before.LedgerRecords, after.LedgerRecords)
		}
	}
}

// TestDroppedIsExact: what one output has in its hands is not said to be lost to it, because another misses it too.
func TestDroppedIsExact(t *testing.T) {
	missing := map[string]checkpoint.Ranges{
		"a": {{First: 1, Last: 10}}, "b": {{First: 6, Last: 10}}, "c": {{First: 3, Last: 3}, {First: 8, Last: 12}},
	}
	got := map[string]checkpoint.Ranges{}
	for _, part := range byOutputs(missing) {
		for _, name := range part.outputs {
			if !(checkpoint.Ranges(got[name].Without(part.First, part.Last)).Count() == part.Last-part.First+1) {
				t.Errorf("%s misses %v twice", name, part)
			}
			got[name] = got[name].Add(part.First, part.Last)
		}
	}
	for name, want := range missing {
		if len(got[name]) != len(want) || got[name].Count() != want.Count() || len(want.Without(got[name][0].First, got[name].Last())) > 1 {
			t.Errorf("%s misses %v, want %v", name, got[name], want)
		}
	}
	if n := len(byOutputs(missing)); n != 6 { // 1-2 a, 3 ac, 4-5 a, 6-7 ab, 8-10 abc, 11-12 c
		t.Errorf("%d parts: %+v", n, byOutputs(missing))
	}
}

// opening is told when a file is opened.
type opening struct {
	*faultfs.FS
	before func(name string)
}

func (o *opening) Open(name string) (vfs.File, error) {
	o.before(name)
	return o.FS.Open(name)
}

// TestDroppedWhileLookedAt: a segment that goes while a reader looks at it, as the oldest one that is left, does not make what was
// deleted before it a loss for all: others may have had it.
func TestDroppedWhileLookedAt(t *testing.T) {
	b := newBench(t, nil)
	b.q.Reader("out", Oldest)
	b.fill(60, 5000)
	b.close()
	names := b.old()
	if err := b.fsys.Remove(segPath(names[0])); err != nil {
		t.Fatal(err)
	}
	var looked atomic.Pointer[file]
	b.opt.FS = &opening{FS: b.fsys, before: func(name string) {
		if f := looked.Load(); f != nil && f.path == name && b.q.files.holds(f) {
			b.q.files.remove(f)
		}
	}}
	b.open()
	oldest := b.q.files.snapshot()[0]
	oldest.vouched.Store(false)
	looked.Store(oldest)
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	b.drain(r)
	told := checkpoint.Ranges(nil)
	for _, l := range b.ledger() {
		if len(l.Outputs) == 0 {
			t.Errorf("lost for all: %+v", l)
		}
		told = told.Add(l.First, l.Last)
	}
	if want := fmt.Sprintf("1-%d", names[2].First-1); told.String() != want {
		t.Errorf("the ledger has %s, want %s", told, want)
	}
}
