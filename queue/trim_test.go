package queue

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// withSource is a bench with a record whose source has a position, delivered.
func withSource(t *testing.T) (*bench, *Reader) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.appendRun(sourced("src/a", "offset 77", "one"))
	b.take(r, 1)
	b.checkpoint(r)
	return b, r
}

// hasSource checks that the position of that source survives what a kill leaves now.
func (b *bench) hasSource() {
	b.Helper()
	b.Logf("%d segments on disk", b.segments())
	if pos := kept(b.T, b.fsys.Crash(faultfs.Keep, 1)); string(pos["src/a"]) != "offset 77" {
		b.Errorf("source position lost over a restart: %q", pos["src/a"])
	}
}

// TestTrimKeepsTheLastPositions: a delivered segment stays as long as no newer one has the positions of sources, here
// because the disk refuses a new file.
func TestTrimKeepsTheLastPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := withSource(t)
		refuse := b.refuse(syscall.ENOSPC, faultfs.Create)
		b.fillUntilFull(r)
		b.checkpoint(r)
		time.Sleep(400 * time.Millisecond)
		b.hasSource()
		refuse.Store(false)
	})
}

// fillUntilFull appends and consumes until an append does not get durable, and leaves everything durable done.
func (b *bench) fillUntilFull(r *Reader) {
	b.Helper()
	for i := range 100 {
		last, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
		err = b.q.WaitDurable(ctx, last)
		cancel()
		b.drain(r)
		if err != nil {
			return
		}
	}
	b.Fatal("never full")
}

// TestTrimKeepsPoisoned: the same with a disk that fails, for a segment that was given up.
func TestTrimKeepsPoisoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := withSource(t)
		refuse := b.refuse(syscall.EIO, faultfs.Create, faultfs.Sync)
		if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("two")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		r.Done([]byte("x")) // anything that wakes the keeper
		time.Sleep(500 * time.Millisecond)
		b.hasSource()
		refuse.Store(false)
	})
}

// TestPositionsAreNotLeftOut: where a new segment has room for its header and not for its positions, the older ones stay.
func TestPositionsAreNotLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, r := withSource(t)
		r.Close()
		b.close()
		space := int64(4096 + segment.SealedSize(64<<10, 64<<10) - (64 << 10) + 2048) // reserve does not fit; header does; a step does not
		b.fsys.SetFree(space + 4096)
		b.open()
		r = b.q.Reader("out", Oldest)
		time.Sleep(300 * time.Millisecond)
		b.fsys.SetFree(1 << 30)
		b.append("two")
		b.take(r, 1)
		b.checkpoint(r)
		time.Sleep(300 * time.Millisecond)
		b.reopen()
		b.hasSource()
	})
}

// TestKeepFor: keep_for counts for every segment from its own delivery on, not one after the other.
func TestKeepFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.KeepFor = 300 * time.Millisecond })
		r := b.q.Reader("out", Oldest)
		b.fill(40, 8000)
		b.take(r, 40)
		b.checkpoint(r)
		was := b.segments()
		time.Sleep(900 * time.Millisecond)
		if n := b.segments(); n > 2 {
			t.Errorf("%d of %d segments left 900 ms after delivery, keep_for is 300 ms", n, was)
		}
	})
}

// TestKeepForGivesWay: keep_for never makes the queue full.
func TestKeepForGivesWay(t *testing.T) {
	b := newBench(t, func(o *Options) { small(Block)(o); o.KeepFor = time.Hour })
	r := b.q.Reader("out", Oldest)
	for i := range 100 {
		b.append(noise(uint64(i), 20000)) // everything before it is delivered
		b.take(r, 1)
	}
}

// TestTrimByWhatIsSaved: segments go by the position that is durable, not by one that a kill would take back.
func TestTrimByWhatIsSaved(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(40, 8000)
	b.checkpoint(r)
	time.Sleep(150 * time.Millisecond)
	b.take(r, 40)
	r.Close()
	waitFor(t, "trimmed", func() bool { return b.segments() <= 2 })
	left := b.fsys.Crash(faultfs.Keep, 1)
	saved, _ := b.store.Reopen().Load()
	t.Logf("store floor %d", saved[checkpoint.Key("out")].Floor)
	b.close()
	b.opt = options(left, b.store)
	b.open()
	if _, gone, err := b.q.Reader("out", Oldest).TryNext(b.ctx, new(segment.Frame)); err != nil || gone.Last != 0 {
		t.Errorf("delivered records %d..%d are deleted and now reported lost, %v", gone.First, gone.Last, err)
	}
}

// TestReaderLetsGoOfDeleted: the room of a delivered and deleted segment is free though an idle reader had it open.
func TestReaderLetsGoOfDeleted(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None; o.SegmentSize = 1 << 20 })
	b.fill(40, 20000)
	r := b.q.Reader("out", Oldest)
	b.take(r, 40) // the first ones from the disk
	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var f segment.Frame
		for {
			if _, err := r.Next(ctx, &f); err != nil {
				return
			}
			r.Done(nil, rangeOf(&f))
		}
	}()
	defer cancel()
	for i := range 60 {
		b.append(noise(uint64(i), 20000))
	}
	waitFor(t, "deleted", func() bool { return b.segments() == 1 })
	if s := b.q.sealing.Load(); s != nil {
		<-s.done // until then it holds room, too
	}
	before, _ := b.fsys.Space("/data")
	cancel()
	<-ended
	r.Close()
	after, _ := b.fsys.Space("/data")
	if after.Free > before.Free { // less, where a position went into the log meanwhile
		t.Errorf("the idle reader held %d bytes of a deleted segment", after.Free-before.Free)
	}
}
