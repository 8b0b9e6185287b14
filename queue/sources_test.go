package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// at is the positions of the open queue as text, "key=value" in order.
func (b *bench) at(prefix string) string { return text(b.q.Sources(prefix)) }

func text(positions map[string][]byte) string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(positions)) {
		all = append(all, key+"="+string(positions[key]))
	}
	return strings.Join(all, " ")
}

// settled waits until all moves are durable.
func (b *bench) settled() {
	b.Helper()
	waitFor(b.T, "moves are durable", func() bool { return !b.q.sources.changed() })
}

// TestSources: positions that come with records, and without, and go, in one life and over restarts.
func TestSources(t *testing.T) {
	b := newBench(t, nil)
	b.appendRun(sourced("in/app/a", "1", "one"))
	b.q.SetSource("in/app/b", []byte("2"))
	b.q.SetSource("in/application", []byte("3"))
	b.q.SetSource("in/app/a", []byte("4"))
	if got := b.at("in/app/"); got != "a=4 b=2" {
		t.Fatalf("positions %q", got)
	}
	b.reopen()
	if got := b.at(""); got != "in/app/a=4 in/app/b=2 in/application=3" {
		t.Fatalf("after a restart %q", got)
	}
	b.q.ForgetSource("in/app/a", "in/application", "never seen")
	b.appendRun(sourced("in/app/b", "5", "two"))
	b.settled()
	if got := text(kept(t, b.fsys.Crash(faultfs.Drop, 1))); got != "in/app/b=5" {
		t.Fatalf("on the disk %q", got)
	}
	b.q.SetSource("in/app/b", nil)
	b.q.SetSource("in/app/c", []byte("6"))
	if got := b.at(""); got != "in/app/c=6" {
		t.Fatalf("in the second life %q", got)
	}
	b.reopen()
	if got := b.at(""); got != "in/app/c=6" {
		t.Fatalf("in the third life %q", got)
	}
	if got, err := recovery.SourcePositions(b.fsys, "/data", "in/app/"); err != nil || text(got) != "c=6" {
		t.Errorf("read beside the daemon: %q, %v", text(got), err)
	}
}

// TestWaitSources: what was waited for is on the disk, whatever is lost then.
func TestWaitSources(t *testing.T) {
	b := newBench(t, nil)
	for i := range 3 { // the later ones do not wait for the time of the next positions frame
		b.q.SetSource("in/app/a", []byte(fmt.Sprint(i)))
		if err := b.q.WaitSources(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := text(kept(t, b.fsys.Crash(faultfs.Drop, 1))); got != fmt.Sprint("in/app/a=", i) {
			t.Errorf("on the disk %q", got)
		}
	}
	b.q.SetSource("in/app/a", []byte("last"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.q.WaitSources(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSourcesOfAcceptedPacks: what is accepted counts in a living process before it is durable, and so does its order.
func TestSourcesOfAcceptedPacks(t *testing.T) {
	b := newBench(t, nil)
	b.appendRun(sourced("in/a", "1", "one"))
	held := b.refuse(syscall.EIO, faultfs.Sync)
	for i, run := range []segment.Run{sourced("in/a", "2", "two"), sourced("in/a", "3", noise(3, 40000))} { // gathered, and a frame of its own
		if _, err := b.q.Append(b.ctx, []segment.Run{run}); err != nil {
			t.Fatal(err)
		}
		if got, want := b.at(""), fmt.Sprintf("in/a=%d", i+2); got != want {
			t.Fatalf("positions %q, want %q", got, want)
		}
	}
	b.q.SetSource("in/a", []byte("4"))
	b.q.SetSource("in/b", []byte("1"))
	if got := text(kept(t, b.fsys.Crash(faultfs.Drop, 1))); got != "in/a=1" {
		t.Errorf("on the disk %q before the records are", got)
	}
	held.Store(false)
	b.settled()
	if got := text(kept(t, b.fsys.Crash(faultfs.Drop, 1))); got != "in/a=4 in/b=1" {
		t.Errorf("on the disk %q", got)
	}
}

// TestNoSourceOfTheQueuesOwn: keys that mean something else are no sources.
func TestNoSourceOfTheQueuesOwn(t *testing.T) {
	b := newBench(t, nil)
	b.q.SetSource(checkpoint.Key("out"), []byte("x"))
	b.q.SetSource(awayPrefix+"out", []byte("x"))
	b.q.SetSource("", []byte("x"))
	b.q.SetSource("in/long", make([]byte, sourceLimit))
	if got := b.at(""); got != "" {
		t.Errorf("taken as sources: %.100q", got)
	}
}

// TestSourcesWriteOnlyChanges: nothing is written while nothing changes, also where the same position is set again.
func TestSourcesWriteOnlyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.q.SetSource("in/a", []byte("1"))
		time.Sleep(10 * time.Second)
		if b.q.sources.changed() {
			t.Fatal("not durable after 10 seconds")
		}
		ops := b.fsys.Ops()
		b.q.SetSource("in/a", []byte("1"))
		b.q.ForgetSource("in/b")
		time.Sleep(time.Hour)
		if n := b.fsys.Ops() - ops; n > 0 {
			t.Errorf("%d operations in an hour without a change", n)
		}
		for range 100 {
			b.q.SetSource("in/a", []byte(fmt.Sprint(b.fsys.Ops(), time.Now())))
			time.Sleep(100 * time.Millisecond)
		}
		if n := b.fsys.Ops() - ops; n > 40 {
			t.Errorf("%d operations for 10 seconds of changes", n)
		}
	})
}

// TestMovesWithoutRecords: positions that change for ever while no record comes take no room for ever.
func TestMovesWithoutRecords(t *testing.T) {
	for _, outputs := range []int{0, 1} {
		b := newBench(t, nil)
		if outputs > 0 {
			b.q.Reader("out", Oldest)
			b.append("not done")
		}
		for i := range 60 {
			b.q.SetSource("in/a", []byte(fmt.Sprint(i, noise(uint64(i), 9000))))
			b.q.positionsDue.Store(true)
			b.q.work.poke()
			b.settled()
		}
		waitFor(t, "few segments", func() bool { return b.q.Status().Bytes < 300<<10 })
		want := b.at("")
		b.reopen()
		if b.at("") != want {
			t.Errorf("another position after the restart")
		}
		if outputs > 0 {
			if got, lost := b.take(b.q.Reader("out", Oldest), 1); got[0] != "not done" || lost != 0 {
				t.Errorf("the record is %q, %d lost", got, lost)
			}
		}
	}
}

// TestManySources: thousands of sources, in segments of every size: the queue starts, goes on, and knows them all after a
// kill.
func TestManySources(t *testing.T) {
	for _, c := range []struct {
		sources     int
		segment     int64
		max         int64
		when        WhenFull
		records     int
		mostWritten int64 // bytes of all segments, kept by an output that does nothing
	}{
		{sources: 5000, segment: 64 << 20, records: 50, mostWritten: 16 << 20},
		{sources: 50000, segment: 64 << 20, records: 50, mostWritten: 64 << 20},
		{sources: 5000, segment: 64 << 10, records: 100, mostWritten: 32 << 20},
		{sources: 5000, segment: 64 << 10, max: 1 << 20, when: DropOldest, records: 100, mostWritten: 8 << 20},
	} {
		t.Run(fmt.Sprintf("%d/%d/%d", c.sources, c.segment, c.max), func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.SegmentSize, o.MaxSize, o.WhenFull = c.segment, c.max, c.when })
			b.q.Reader("out", Oldest)
			for i := range c.sources {
				b.q.SetSource(fmt.Sprintf("in/files/%06d", i), []byte(noise(uint64(i), 200)))
			}
			b.settled()
			for i := range c.records {
				b.appendRun(sourced(fmt.Sprintf("in/files/%06d", i%7), fmt.Sprint("with records ", i), noise(uint64(i), 20000)))
			}
			if n := b.q.Status().Bytes; n > c.mostWritten {
				t.Errorf("%d bytes for %d records of 20000", n, c.records)
			}
			want := b.q.Sources("in/files/")
			if len(want) != c.sources {
				t.Fatalf("%d sources", len(want))
			}
			crashed := b.fsys.Crash(faultfs.Drop, 1)
			opt := b.opt
			opt.FS = crashed
			q, err := Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			if got := q.Sources("in/files/"); !maps.EqualFunc(got, want, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Errorf("other positions after a kill: %d of %d", len(got), len(want))
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestManySourcesNeverStuck: a small queue whose positions take more than all its records goes on when they are delivered.
func TestManySourcesNeverStuck(t *testing.T) {
	b := newBench(t, small(Block))
	for i := range 5000 {
		b.q.SetSource(fmt.Sprintf("in/files/%06d", i), []byte(noise(uint64(i), 200)))
	}
	b.settled()
	r := b.q.Reader("out", Oldest)
	for life := range 3 {
		for i := range 60 {
			b.append(fmt.Sprint(life, i, noise(uint64(i), 20000)))
			if _, lost := b.take(r, 1); lost != 0 {
				t.Fatalf("%d records lost", lost)
			}
		}
		b.reopen()
		r = b.q.Reader("out", Oldest)
	}
}
