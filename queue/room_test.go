package queue

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// H1: a start without room for a new segment never trims, so that what is delivered never makes room.
func TestStartFullNeverTrims(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec, o.MaxSize = segment.None, 4<<20 })
	r := b.q.Reader("out", Oldest)
	b.fill(60, 20000) // 2 MiB and more
	r.Close()
	b.close()
	b.opt.MaxSize = 1 << 20 // the operator has lowered it; or min_free is not met any more
	b.open()
	r = b.q.Reader("out", Oldest)
	b.take(r, 60)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 4*time.Second)
	defer cancel()
	last, err := b.q.Append(ctx, []segment.Run{linesRun("x")})
	if err == nil {
		err = b.q.WaitDurable(ctx, last)
	}
	if err != nil {
		t.Errorf("everything is delivered: %v; %d segments; %s", err, b.segments(), b.q.Status().FullWhy)
		b.q.Close()
		b.q = nil
	}
}

// H2: one moment of being full costs all that keep_for keeps, not only as much as is needed.
func TestKeepForAllGone(t *testing.T) {
	b := newBench(t, func(o *Options) { small(Block)(o); o.KeepFor = time.Hour })
	r := b.q.Reader("out", Oldest)
	most := 0
	for i := range 60 {
		last, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
		if err == nil {
			err = b.q.WaitDurable(b.ctx, last)
		}
		if err != nil {
			t.Fatal(err)
		}
		b.take(r, 1)
		n := b.segments()
		if most = max(most, n); n < most/2 {
			t.Errorf("%d of %d kept segments left after the queue was full once", n, most)
			break
		}
	}
}

// H3: a fault that is over stays in the status while nothing is appended.
func TestFaultStays(t *testing.T) {
	b := newBench(t, nil)
	b.append("one")
	var refuse atomic.Bool
	refuse.Store(true)
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if refuse.Load() && isSeg(op) && op.Kind == faultfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	b.q.Reader("out", Oldest) // a positions frame is due
	waitFor(t, "fault", func() bool { return b.q.Status().Fault != "" })
	refuse.Store(false)
	time.Sleep(1500 * time.Millisecond)
	if s := b.q.Status().Fault; s != "" {
		t.Errorf("the disk works again, status says %.80s", s)
	}
}

// H4: ordinary runs are refused for good where max_size is small (256 KiB is allowed).
func TestSmallQueueRefusesPacks(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxSize = 256 << 10 })
	line := strings.Repeat("x", 99)
	var lines []string
	for range 1000 {
		lines = append(lines, line)
	}
	if _, err := b.q.Append(b.ctx, []segment.Run{linesRun(lines...)}); err != nil {
		t.Errorf("1000 records of 100 bytes: %v", err)
	}
}

// H5: the smallest queue makes progress.
func TestSmallestQueue(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxSize, o.Codec = 256<<10, segment.None })
	r := b.q.Reader("out", Oldest)
	for i := range 40 {
		ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
		last, err := b.q.Append(ctx, []segment.Run{linesRun(noise(uint64(i), 60000))})
		if err == nil {
			err = b.q.WaitDurable(ctx, last)
		}
		cancel()
		if err != nil {
			t.Fatalf("%d: %v: %s", i, err, b.q.Status().FullWhy)
		}
		b.take(r, 1)
	}
}
