package queue

import (
	"fmt"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestMovedAgainWhileWritten: a position that is set while an older one is on its way to the disk is written too.
func TestMovedAgainWhileWritten(t *testing.T) {
	for _, first := range []string{"1", ""} {
		s := sources{newest: map[string]source{"a": {value: []byte("0")}}, moved: map[string]struct{}{}}
		s.set("a", []byte(first))
		if first == "" {
			s.set("a", nil)
		}
		under := s.ready(0)
		s.set("a", []byte("2"))
		s.settled(under)
		if next := s.ready(0); len(next) != 1 || string(next[0].Value) != "2" {
			t.Errorf("after %q: %+v is left to write, want 2", first, next)
		}
	}
}

// TestWithinIsClipped: nothing outside of what is asked for.
func TestWithinIsClipped(t *testing.T) {
	p := progress{floor: 4, done: checkpoint.Ranges{{First: 6, Last: 9}, {First: 20, Last: 30}}}
	for _, c := range []struct {
		first, last uint64
		want        string
	}{{1, 2, "[{1 2}]"}, {2, 7, "[{2 3} {6 7}]"}, {8, 25, "[{8 9} {20 25}]"}, {10, 19, "[]"}, {21, 22, "[{21 22}]"}} {
		if got := fmt.Sprint(p.Within(c.first, c.last)); got != c.want {
			t.Errorf("done from %d to %d: %s, want %s", c.first, c.last, got, c.want)
		}
	}
}

// TestReserveIsSpent: on a disk without a free byte the reserve makes room for a line of the ledger.
func TestReserveIsSpent(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("slow", Oldest)
	b.fill(3, 100)
	waitFor(t, "the reserve", func() bool { return b.q.reserved.Load() })
	b.fsys.SetFree(0)
	if n := r.Shed(1); n != 3 {
		t.Errorf("%d records given up, want 3", n)
	}
	if _, err := b.fsys.Stat("/data/" + reserveFile); err == nil {
		t.Error("the reserve is still there")
	}
	b.fsys.SetFree(1 << 30)
}

// TestReaderOpensAgain: a segment that was healed and replaced while a reader had it open costs no record.
func TestReaderOpensAgain(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize, o.Codec = 8<<20, segment.None })
	b.fill(800, 8000)
	b.reopen()
	r := b.q.Reader("out", Oldest)
	b.take(r, 1)
	path := "/data/segments/" + b.names()[0].String()
	healthy, err := vfs.ReadFile(b.fsys, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.fsys.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 30000), 6000000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := vfs.WriteFile(b.fsys, path, healthy); err != nil {
		t.Fatal(err)
	}
	if got, lost := b.take(r, 799); len(got) != 799 || lost != 0 {
		t.Errorf("%d records, %d lost", len(got), lost)
	}
	if losses := b.ledger(); len(losses) > 0 {
		t.Errorf("the ledger has %+v", losses)
	}
}

// TestAcceptedBeforeTheChange: what a queue has accepted while it dropped the oldest gets its place that way, also where
// it is told to block before it is written.
func TestAcceptedBeforeTheChange(t *testing.T) {
	b := newBench(t, small(DropOldest))
	b.q.Reader("out", Oldest)
	b.fill(100, 20000)
	broken := b.refuse(syscall.EIO, faultfs.Sync)
	var last uint64
	for i := range 3 {
		n, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 18000))})
		if err != nil {
			t.Fatal(err)
		}
		last = n
	}
	waitFor(t, "the disk refuses", func() bool { return b.q.Status().Fault != "" })
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.WhenFull = Block; l.MaxSize = 900 << 10 }))
	broken.Store(false)
	if err := b.q.WaitDurable(b.ctx, last); err != nil {
		t.Errorf("accepted and not stored: %v", err)
	}
}
