package queue

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestStartFullNeverTrims: a start without room for a new segment trims too, so that what is delivered makes room.
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
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
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

// TestKeepForAllGone: one moment of being full costs of what keep_for keeps as much as is needed, not all.
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

// TestFaultStays: a fault that is over goes out of the status though nothing is appended.
func TestFaultStays(t *testing.T) {
	b := newBench(t, nil)
	b.append("one")
	refuse := b.refuse(syscall.EIO, faultfs.Sync)
	b.q.Reader("out", Oldest) // a positions frame is due
	waitFor(t, "fault", func() bool { return b.q.Status().Fault != "" })
	refuse.Store(false)
	waitFor(t, "the disk works again, and the status says so", func() bool { return b.q.Status().Fault == "" })
}

// TestSmallQueueRefusesPacks: ordinary runs are taken where max_size is small (256 KiB is allowed).
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

// TestSmallestQueue: the smallest queue makes progress.
func TestSmallestQueue(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxSize, o.Codec = 256<<10, segment.None })
	r := b.q.Reader("out", Oldest)
	for i := range 40 {
		ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
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

// TestTooLargeIsRefusedAtOnce: what can never be held does not wait behind others for room.
func TestTooLargeIsRefusedAtOnce(t *testing.T) {
	b := newBench(t, small(Block))
	r := b.q.Reader("out", Oldest)
	n := b.pourUntilFull(0, 20000)
	waits := make(chan error, 1)
	go func() {
		_, err := b.q.Append(b.ctx, several(1))
		waits <- err
	}()
	waitFor(t, "an append waits", b.q.somebodyWaits)
	if _, err := b.q.Append(b.ctx, several(40)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v, want that it is too large", err)
	}
	b.take(r, n)
	if err := <-waits; err != nil {
		t.Error(err)
	}
}
