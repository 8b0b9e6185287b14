package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// small is a queue whose limit is about 1 MiB.
func small(when WhenFull) func(*Options) {
	return func(o *Options) { o.MaxSize, o.WhenFull, o.Codec = 1<<20, when, segment.None }
}

// pour appends records of size bytes until the queue refuses or n are in; it returns how many were accepted.
func (b *bench) pour(from, n, size int, patience time.Duration) int {
	for i := range n {
		ctx, cancel := context.WithTimeout(b.ctx, patience)
		_, err := b.q.Append(ctx, []segment.Run{linesRun(fmt.Sprintf("%06d %s", from+i, noise(uint64(i), size)))})
		cancel()
		if err != nil && !errors.Is(err, ErrDropped) {
			return i
		}
	}
	return n
}

// pourUntilFull appends records of size bytes until the queue is full and lets nobody in any more; it returns how many
// were accepted.
func (b *bench) pourUntilFull(from, size int) (n int) {
	b.Helper()
	for !b.q.Status().Full {
		if n += b.pour(from+n, 2000, size, 200*time.Millisecond); n >= 2000 {
			b.Fatal("the queue never filled")
		}
	}
	return n
}

// TestFullBlocks: Append waits, nothing is lost, and it goes on when the output has caught up.
func TestFullBlocks(t *testing.T) {
	b := newBench(t, small(Block))
	r := b.q.Reader("out", Oldest)
	n := b.pourUntilFull(0, 20000)
	if s := b.q.Status(); !s.Full || !strings.Contains(s.FullWhy, "are kept for what is still in memory") {
		t.Fatalf("status: %+v", s)
	}
	done := make(chan int)
	go func() { done <- b.pour(n, 20, 20000, time.Minute) }()
	got, lost := b.take(r, n+20)
	if m := <-done; m != 20 || lost != 0 {
		t.Fatalf("%d of 20 accepted after room came back, %d lost", m, lost)
	}
	for i, p := range got {
		if p[:6] != fmt.Sprintf("%06d", i) {
			t.Fatalf("record %d is %.20q", i, p)
		}
	}
	waitFor(t, "no longer full", func() bool { return !b.q.Status().Full })
}

// TestFullNeverKeepsWaiting: whoever was let in gets a receipt, though nothing makes room; whoever comes later is told
// that there is none.
func TestFullNeverKeepsWaiting(t *testing.T) {
	for _, when := range []WhenFull{Block, DropNewest} {
		b := newBench(t, small(when))
		b.q.Reader("out", Oldest)
		for i := 0; ; i++ {
			ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
			last, err := b.q.Append(ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
			cancel()
			if errors.Is(err, context.DeadlineExceeded) && b.q.Status().Full || errors.Is(err, ErrDropped) {
				break
			}
			if errors.Is(err, context.DeadlineExceeded) {
				continue // the machine is slow
			}
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel = context.WithTimeout(b.ctx, time.Minute)
			err = b.q.WaitDurable(ctx, last)
			cancel()
			if err != nil {
				t.Fatalf("%v: no receipt for record %d: %v", when, i, err)
			}
		}
	}
}

// TestFullDropsOldest: the newest records are kept, and what is missing is what the counters and the ledger say.
// The log tells of it now and then, not segment by segment.
func TestFullDropsOldest(t *testing.T) {
	var log bytes.Buffer // read when the queue is closed
	began := time.Now()
	b := newBench(t, func(o *Options) { small(DropOldest)(o); o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	r := b.q.Reader("out", Oldest)
	b.append("in hand")
	var hand segment.Frame
	if _, err := r.Next(b.ctx, &hand); err != nil {
		t.Fatal(err)
	}
	const n = 200
	if m := b.pour(0, n, 20000, time.Minute); m != n {
		t.Fatalf("only %d of %d accepted", m, n)
	}
	if err := b.q.Sync(b.ctx); err != nil {
		t.Fatal(err)
	}
	dropped := b.q.Status().DroppedOldest
	if dropped == 0 {
		t.Fatal("nothing dropped")
	}
	r.Done(nil, checkpoint.Range{First: 1, Last: 1})
	got, lost := b.take(r, n-int(dropped))
	if lost != dropped || got[len(got)-1][:6] != fmt.Sprintf("%06d", n-1) {
		t.Fatalf("dropped %d, the reader missed %d, last record %.10q", dropped, lost, got[len(got)-1])
	}
	var written uint64
	for _, loss := range b.ledger() {
		written += loss.Count
	}
	if written != dropped {
		t.Errorf("ledger has %d records, dropped %d", written, dropped)
	}
	b.close()
	var told, lines, segments uint64
	for line := range strings.Lines(log.String()) {
		var records, files uint64
		if _, what, ok := strings.Cut(line, "drop_oldest says\" "); ok {
			if _, err := fmt.Sscanf(what, "records=%d segments=%d outputs=[out]", &records, &files); err != nil {
				t.Errorf("%v: %s", err, line)
			}
			told, lines, segments = told+records, lines+1, segments+files
		}
	}
	if told != dropped || lines > 2+uint64(time.Since(began)/tellEvery) || segments <= 2 {
		t.Errorf("%d lines tell of %d records in %d segments, dropped %d", lines, told, segments, dropped)
	}
	b.q = nil
}

// TestFullDropsNewest: the oldest records are kept, refused ones are counted and written down.
func TestFullDropsNewest(t *testing.T) {
	b := newBench(t, small(DropNewest))
	r := b.q.Reader("out", Oldest)
	const n = 200
	for i := range n {
		_, err := b.q.Append(b.ctx, []segment.Run{linesRun(fmt.Sprintf("%06d %s", i, noise(uint64(i), 20000)))})
		if err != nil && !errors.Is(err, ErrDropped) {
			t.Fatal(err)
		}
		// The queue finds out that it is full when it writes.
		waitFor(t, "written or full", func() bool { s := b.q.Status(); return s.Full || s.Held == 0 })
	}
	dropped := b.q.Status().DroppedNewest
	if dropped == 0 {
		t.Fatal("nothing dropped")
	}
	got, lost := b.take(r, n-int(dropped))
	if lost != 0 {
		t.Errorf("%d records lost", lost)
	}
	for i, p := range got[:min(20, len(got))] {
		if p[:6] != fmt.Sprintf("%06d", i) {
			t.Fatalf("record %d is %.20q", i, p)
		}
	}
	waitFor(t, "drops in the ledger", func() bool {
		var written uint64
		for _, loss := range b.ledger() {
			written += loss.Count
		}
		return written == dropped
	})
}

// TestDiskFull: the file system itself has no room: no error ends anything, the reserve keeps checkpoints going, and
// the queue goes on by itself when there is room again.
func TestDiskFull(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None })
	r := b.q.Reader("out", Oldest)
	b.fill(10, 10000)
	b.fsys.SetFree(200 << 10)
	n := b.pourUntilFull(10, 10000)
	b.fsys.SetFree(0)
	b.take(r, 5)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatalf("checkpoint on a full disk: %v", err)
	}
	b.fsys.SetFree(1 << 30)
	got, lost := b.take(r, 10+n-5)
	if lost != 0 || got[len(got)-1][:6] != fmt.Sprintf("%06d", 9+n) {
		t.Fatalf("lost %d, last %.10q, want %06d", lost, got[len(got)-1], 9+n)
	}
}

// TestFaultyDisk: one error at each operation in turn: nothing acknowledged is lost, nothing hangs, and at worst the
// start has to be repeated.
func TestFaultyDisk(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT} {
		for n := 1; !t.Failed(); n++ {
			fsys, store, m := faultfs.New(), checkpoint.NewMemory(), newModel()
			opt := options(fsys, store)
			fsys.FailAt(n, errno)
			if q, err := Open(opt); err != nil {
				m.life(t, opt, func() bool { return false })
			} else {
				m.run(t, q, func() bool { return false })
			}
			if fsys.Ops() < n {
				break // the error never came
			}
			m.judge(t, opt)
			if t.Failed() {
				t.Logf("%v at operation %d: %v", errno, n, fsys.Trace()[n-1])
			}
		}
	}
}

// slowSeal is a disk on which the end of a segment takes until the gate is opened.
type slowSeal struct {
	*faultfs.FS
	gate chan struct{}
}

func (s *slowSeal) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return f, err
	}
	return slowSealFile{f, s.gate}, nil
}

type slowSealFile struct {
	vfs.File
	gate chan struct{}
}

func (f slowSealFile) Truncate(size int64) error { // only the seal does that
	<-f.gate
	return f.File.Truncate(size)
}

// TestDropNewestWaitsForTheSeal: the blocks of a delivered segment are free when its seal ends, even if it was deleted
// before. Nothing is dropped for want of them.
func TestDropNewestWaitsForTheSeal(t *testing.T) {
	disk := &slowSeal{gate: make(chan struct{})}
	b := newBench(t, func(o *Options) {
		disk.FS = o.FS.(*faultfs.FS)
		o.FS, o.Codec, o.WhenFull, o.SegmentSize, o.MinFree, o.NoReserve = disk, segment.None, DropNewest, 1<<20, -1, true
	})
	open := sync.OnceFunc(func() { close(disk.gate) })
	t.Cleanup(open)
	r := b.q.Reader("out", Oldest)
	for b.q.sealing.Load() == nil {
		b.deliver(r, 1)
	}
	waitFor(t, "deleted", func() bool { return b.segments() == 1 })
	b.fsys.SetFree(b.q.ahead() + b.q.tail() + 100<<10)
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 50 && err == nil; i++ {
			_, err = b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 8000))})
		}
		done <- err
	}()
	waitFor(t, "no room", func() bool { return b.q.hasRoom(b.q.ahead()) != nil })
	time.Sleep(50 * time.Millisecond) // it may have been refused by now
	open()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := b.q.Status(); s.DroppedNewest > 0 {
		t.Errorf("%d dropped", s.DroppedNewest)
	}
}
