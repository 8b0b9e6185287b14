package queue

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestReaderOfNothing: a reader that is behind the mark when no segment is left waits, and minds its context.
func TestReaderOfNothing(t *testing.T) {
	const hang = time.Minute
	disk := &tight{}
	b := newBench(t, func(o *Options) {
		disk.FS = o.FS.(*faultfs.FS)
		o.FS, o.WhenFull, o.Codec = disk, DropOldest, segment.None
	})
	r := b.q.Reader("out", Oldest)
	b.fill(8, 20000)
	disk.on.Store(true)
	if b.pour(0, 2, 20000, time.Minute) != 2 {
		t.Fatal("not accepted")
	}
	waitFor(t, "full", func() bool { return b.q.Status().Full })
	t.Logf("segments: %d, dropped %d", b.q.Status().Segments, b.q.Status().DroppedOldest)
	done := ended(func() {
		ctx, cancel := context.WithTimeout(b.ctx, 500*time.Millisecond)
		defer cancel()
		r.q.ring.drop() // as after 32 more frames
		for err := error(nil); err == nil; {
			_, err = r.Next(ctx, new(segment.Frame))
		}
	})
	select {
	case <-done:
	case <-time.After(hang):
		t.Error("Next spins and does not mind its context")
	}
	late := ended(func() { b.q.Reader("late", Oldest).TryNext(b.ctx, new(segment.Frame)) })
	select {
	case <-late:
	case <-time.After(hang):
		t.Error("TryNext of an output that was never seen spins")
	}
	disk.on.Store(false)
	<-done
	<-late
}

// ended runs f beside the test and closes the channel at its end.
func ended(f func()) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// TestTransientReadError: an error that passes costs nothing.
func TestTransientReadError(t *testing.T) {
	b := newBench(t, nil)
	b.fill(40, 8000)
	b.reopen()
	var n atomic.Int64
	b.fsys.FailReads(func(name string, offset int64, size int) error {
		if strings.HasSuffix(name, ".seg") && n.Add(1) < 4 {
			return syscall.EIO
		}
		return nil
	})
	if _, lost := b.take(b.q.Reader("out", Oldest), 20); lost != 0 {
		t.Errorf("%d records given up for an error that passed", lost)
	}
}

// TestReaderCloseIsSaved: Checkpoint makes durable too what an earlier reader of that name had done.
func TestReaderCloseIsSaved(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(10, 100)
	b.checkpoint(r)
	b.take(r, 6)
	r.Close()
	b.checkpoint(b.q.Reader("out", Oldest))
	saved, err := b.store.Reopen().Load()
	if p := saved[checkpoint.Key("out")]; err != nil || p.Floor != 7 {
		t.Errorf("Checkpoint returned, the store has floor %d, want 7, %v", p.Floor, err)
	}
}

// TestStateTooLong: one output with a state that is too long does not stop the checkpoints of all.
func TestStateTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		bad, good := b.q.Reader("bad", Oldest), b.q.Reader("good", Oldest)
		b.fill(3, 100)
		b.take(good, 3)
		bad.Done(make([]byte, checkpoint.MaxState+1))
		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		if err := good.Checkpoint(ctx); err != nil {
			t.Errorf("checkpoint of the good output: %v", err)
		}
	})
}

// TestStateOfSameFloor: a state, or a done range, that Checkpoint made durable is newer than one of the same floor in the
// log.
func TestStateOfSameFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		r := b.q.Reader("out", Oldest)
		b.append("1", "2", "3")
		if _, err := r.Next(b.ctx, new(segment.Frame)); err != nil {
			t.Fatal(err)
		}
		r.Done([]byte("old"))
		time.Sleep(1500 * time.Millisecond) // it goes into the log
		r.Done([]byte("new"))
		r.Done(nil, checkpoint.Range{First: 2, Last: 3})
		b.checkpoint(r)
		left := b.fsys.Crash(faultfs.Drop, 1)
		b.close()
		b.fsys, b.opt.FS = left, left
		b.open()
		r = b.q.Reader("out", Oldest)
		if got := fmt.Sprint(string(r.State()), r.Within(1, 3)); got != "new[{2 3}]" {
			t.Errorf("after Checkpoint and a power loss: %s", got)
		}
	})
}

// TestSecondClose: the second Close says what the first one said.
func TestSecondClose(t *testing.T) {
	b := newBench(t, nil)
	b.append("x")
	b.fsys.FailFrom(1, syscall.EIO)
	if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("y")}); err != nil {
		t.Fatal(err)
	}
	first, second := b.q.Close(), b.q.Close()
	b.q = nil
	if first == nil || second == nil {
		t.Errorf("first %v, second %v", first, second)
	}
}
