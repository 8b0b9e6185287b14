package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/queue/segment"
)

// deliver appends n records of 8000 bytes and takes them, durably.
func (b *bench) deliver(r *Reader, n int) {
	b.Helper()
	b.fill(n, 8000)
	b.take(r, n)
	if err := r.Checkpoint(b.ctx); err != nil {
		b.Fatal(err)
	}
}

// TestKeepSize: delivered segments are kept up to so many bytes, the newest of them, also over a restart.
func TestKeepSize(t *testing.T) {
	const keep = 300 << 10
	b := newBench(t, func(o *Options) { o.KeepSize = keep })
	r := b.q.Reader("out", Oldest)
	settled := func(what string) {
		t.Helper()
		waitFor(t, what, func() bool {
			kept := b.q.Status().KeptBytes
			return kept <= keep && kept > keep-100<<10
		})
	}
	b.deliver(r, 100)
	settled("kept at first")
	first := b.q.Status().First
	if first < 50 {
		t.Errorf("kept from %d of 100", first)
	}
	b.reopen()
	r = b.q.Reader("out", Oldest)
	b.deliver(r, 1)
	settled("kept after a restart")
	b.deliver(r, 50)
	settled("kept later")
	if again := b.q.Status().First; again <= first {
		t.Errorf("kept from %d on, as before", again)
	}
	got, lost := b.take(b.q.Reader("late", Oldest), int(152-b.q.Status().First))
	if lost != 0 || len(got) == 0 {
		t.Errorf("a new output gets %d of what is kept, %d lost", len(got), lost)
	}
}

// TestKeepEither: a segment stays while keep_for or keep_size wants it.
func TestKeepEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.KeepSize, o.KeepFor = 300<<10, time.Hour })
		b.ctx = t.Context()
		b.deliver(b.q.Reader("out", Oldest), 100)
		time.Sleep(59 * time.Minute)
		if s := b.q.Status(); s.First != 1 {
			t.Errorf("kept from %d on before the hour is over", s.First)
		}
		time.Sleep(2 * time.Minute)
		if kept := b.q.Status().KeptBytes; kept > 300<<10 || kept < 200<<10 {
			t.Errorf("%d bytes kept after the hour", kept)
		}
	})
}

// TestKeptGoesForNewRecords: what is delivered and kept never makes the queue full, whatever it does then.
func TestKeptGoesForNewRecords(t *testing.T) {
	for _, when := range []WhenFull{Block, DropOldest, DropNewest} {
		b := newBench(t, func(o *Options) { small(when)(o); o.KeepSize, o.KeepFor = 1<<40, time.Hour })
		r := b.q.Reader("out", Oldest)
		for range 30 {
			b.deliver(r, 10)
		}
		s := b.q.Status()
		if s.DroppedNewest+s.DroppedOldest+s.LedgerRecords > 0 {
			t.Errorf("%v: %+v", when, s)
		}
		if s.KeptBytes < 300<<10 {
			t.Errorf("%v: only %d bytes kept", when, s.KeptBytes)
		}
	}
}

// limitsOf are those that a bench was opened with.
func (b *bench) limitsOf(change func(*Limits)) Limits {
	l := b.opt.limits()
	change(&l)
	return l
}

// TestRaiseMaxSize: a full queue with a larger limit takes records again.
func TestRaiseMaxSize(t *testing.T) {
	b := newBench(t, small(Block))
	b.pourUntilFull(0, 20000)
	done := make(chan error)
	go func() {
		_, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 20000))})
		done <- err
	}()
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.MaxSize = 2 << 20 }))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	b.append(noise(2, 20000))
	if s := b.q.Status(); s.MaxSize != 2<<20 || s.Full {
		t.Errorf("limit %d, full %v", s.MaxSize, s.Full)
	}
}

// TestChangeWhenFull: a full queue does what it is told now.
func TestChangeWhenFull(t *testing.T) {
	b := newBench(t, small(Block))
	r := b.q.Reader("out", Oldest)
	b.pourUntilFull(0, 20000)
	waits := func() chan error {
		done := make(chan error, 1)
		waiting := func() bool { return b.q.somebodyWaits() }
		go func() {
			_, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 20000))})
			done <- err
		}()
		waitFor(t, "somebody waits", waiting)
		return done
	}
	one := waits()
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.WhenFull = DropNewest }))
	if err := <-one; !errors.Is(err, ErrDropped) {
		t.Errorf("block to drop_newest: %v", err)
	}
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.WhenFull = Block }))
	two := waits()
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.WhenFull = DropOldest }))
	if err := <-two; err != nil {
		t.Errorf("block to drop_oldest: %v", err)
	}
	b.fill(100, 20000)
	if s := b.q.Status(); s.DroppedOldest == 0 || s.DroppedNewest != 1 {
		t.Errorf("%d oldest, %d newest dropped", s.DroppedOldest, s.DroppedNewest)
	}
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.WhenFull = Block }))
	b.pourUntilFull(0, 20000)
	b.take(r, 1)
}

// TestLowerMaxSize: a queue that is larger than its new limit is full until it has shrunk, whatever it was begun with,
// and nothing is lost with block.
func TestLowerMaxSize(t *testing.T) {
	for _, records := range []int{0, 60} {
		b := newBench(t, func(o *Options) { o.SegmentSize, o.Codec = 16<<20, segment.None })
		r := b.q.Reader("out", Oldest)
		b.fill(records, 20000)
		b.q.SetLimits(b.limitsOf(func(l *Limits) { l.MaxSize = 512 << 10 }))
		if records > 0 {
			waitFor(t, "full", func() bool { return b.q.Status().Full })
		}
		if got, lost := b.take(r, records); len(got) != records || lost != 0 {
			t.Fatalf("%d of %d, %d lost", len(got), records, lost)
		}
		for range 5 {
			b.deliver(r, 10)
		}
		waitFor(t, "shrunk", func() bool { return b.q.Status().Bytes <= 512<<10 })
	}
	b := newBench(t, func(o *Options) { o.SegmentSize, o.Codec, o.WhenFull = 16<<20, segment.None, DropOldest })
	b.q.Reader("out", Oldest)
	b.fill(60, 20000)
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.MaxSize = 512 << 10 }))
	b.fill(60, 20000)
	waitFor(t, "it has dropped enough", func() bool { s := b.q.Status(); return s.Bytes <= 512<<10 && s.DroppedOldest >= 60 })
}

// TestLimitsWhileAppending changes limits beside appends and reads; with the race detector it is about data races, and
// without about records that would be lost.
func TestLimitsWhileAppending(t *testing.T) {
	b := newBench(t, small(Block))
	r := b.q.Reader("out", Oldest)
	const producers, each = 4, 50
	var all, changes sync.WaitGroup
	var over atomic.Bool
	changes.Go(func() {
		for i := 0; !over.Load(); i++ {
			b.q.SetLimits(Limits{
				MaxSize: int64(1+i%4) << 20, MinFree: -1, WhenFull: []WhenFull{Block, DropOldest}[i/100%2], KeepSize: int64(i%3) << 18,
				KeepFor: time.Duration(i%2) * time.Millisecond, ForgetAfter: time.Hour,
			})
			b.q.Status()
			time.Sleep(time.Millisecond)
		}
	})
	for p := range producers {
		all.Go(func() {
			for i := range each {
				last, err := b.q.Append(b.ctx, []segment.Run{linesRun(fmt.Sprintf("%d.%d %s", p, i, noise(uint64(i), 20000)))})
				if err == nil {
					err = b.q.WaitDurable(b.ctx, last)
				}
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	var f segment.Frame
	for records := uint64(0); records < producers*each; {
		lost, err := r.Next(b.ctx, &f)
		if err != nil {
			t.Fatal(err)
		}
		if lost.Last > 0 {
			records += lost.Last - lost.First + 1
		}
		records += uint64(f.Count)
		r.settle(nil, rangeOf(&f))
		b.q.keep.poke()
	}
	all.Wait()
	over.Store(true)
	changes.Wait()
}

// TestAppendKept: where others are dropped it waits, keeps nobody waiting, and nothing of it is counted as dropped.
func TestAppendKept(t *testing.T) {
	for _, size := range []int{2000, 150000} {
		b := newBench(t, small(DropNewest))
		r := b.q.Reader("out", Oldest)
		waitFor(t, "dropped", func() bool {
			b.pour(0, 50, 20000, time.Second)
			return b.q.Status().DroppedNewest > 0
		})
		before := b.q.Status().DroppedNewest
		short, cancel := context.WithTimeout(b.ctx, 50*time.Millisecond)
		_, err := b.q.AppendKept(short, []segment.Run{linesRun(noise(1, size))})
		if cancel(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d bytes into a full queue: %v", size, err)
		}
		done := make(chan error)
		go func() {
			last, err := b.q.AppendKept(b.ctx, []segment.Run{linesRun("kept " + noise(2, size))})
			if err == nil {
				err = b.q.WaitDurable(b.ctx, last)
			}
			done <- err
		}()
		for range 20 {
			if _, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(3, 20000))}); !errors.Is(err, ErrDropped) {
				t.Fatalf("beside one that waits: %v", err)
			}
		}
		if n := b.q.Status().DroppedNewest - before; n != 20 {
			t.Errorf("%d counted as dropped, want 20", n)
		}
		last := b.q.lastAppended()
		b.take(r, int(last))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, lost := b.take(r, 1); lost != 0 || got[0][:4] != "kept" {
			t.Errorf("got %.20q, %d lost", got[0], lost)
		}
	}
}

// TestLimitsOfAFullDisk: limits that need no room on the disk work on a full one too.
func TestLimitsOfAFullDisk(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MinFree, o.Codec = 10<<20, segment.None })
	b.fsys.SetFree(10<<20 + 300<<10)
	b.pourUntilFull(0, 20000)
	b.q.SetLimits(b.limitsOf(func(l *Limits) { l.MinFree = -1 }))
	b.append(noise(1, 20000))
	b.fsys.SetFree(1 << 30)
}

// TestLowerMaxSizeUnderALargeAppend: an append that has to wait, and is larger than the new limits will ever allow, is
// refused; it does not keep the others waiting behind it.
func TestLowerMaxSizeUnderALargeAppend(t *testing.T) {
	for _, kept := range []bool{false, true} {
		b := newBench(t, func(o *Options) {
			o.MaxSize, o.Codec = 8<<20, segment.None
			if kept {
				o.WhenFull = DropNewest
			}
		})
		r := b.q.Reader("out", Oldest)
		large := []segment.Run{linesRun(noise(1, 2<<20))}
		for n := 0; ; n++ {
			b.fill(1, 100000)
			if b.q.hasRoom(2<<20) != nil {
				break
			}
		}
		refused := make(chan error, 1)
		go func() {
			_, err := b.q.append(b.ctx, large, kept)
			refused <- err
		}()
		waitFor(t, "it waits", func() bool { return kept || b.q.somebodyWaits() })
		b.q.SetLimits(b.limitsOf(func(l *Limits) { l.MaxSize = 1 << 20 }))
		b.take(r, int(b.q.lastAppended()))
		if err := <-refused; !errors.Is(err, ErrTooLarge) {
			t.Errorf("kept %v: %v, want that it is too large", kept, err)
		}
		waitFor(t, "it has shrunk", func() bool { return !b.q.isFullNow() })
		b.fill(1, 1000)
	}
}

// TestKeptGoesForALargeAppend: what is only kept makes room for a record that is larger than what the queue looks ahead
// for, whether the record waits or would be dropped.
func TestKeptGoesForALargeAppend(t *testing.T) {
	for _, when := range []WhenFull{Block, DropNewest, DropOldest} {
		for _, kept := range []bool{false, true} {
			b := newBench(t, func(o *Options) {
				o.MaxSize, o.Codec, o.KeepFor, o.WhenFull = 8<<20, segment.None, time.Hour, when
			})
			r := b.q.Reader("out", Oldest)
			for b.q.hasRoom(3<<20) == nil {
				b.deliver(r, 10)
			}
			ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
			_, err := b.q.append(ctx, []segment.Run{linesRun(noise(1, 3<<20))}, kept)
			if cancel(); err != nil {
				t.Errorf("%v, kept %v: %v", when, kept, err)
			}
		}
	}
}

// TestCloseUnderALargeKeptAppend: one that waits for room without a turn ends with the queue.
func TestCloseUnderALargeKeptAppend(t *testing.T) {
	b := newBench(t, small(DropNewest))
	b.q.Reader("out", Oldest)
	for b.q.hasRoom(400<<10) == nil {
		b.fill(1, 50000)
	}
	done := make(chan error, 1)
	q := b.q
	go func() {
		_, err := q.AppendKept(b.ctx, []segment.Run{linesRun(noise(1, 400<<10))})
		done <- err
	}()
	time.Sleep(50 * time.Millisecond) // it may wait by now; what it has to return is the same if not
	b.close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestRoomThatTheKeeperMakes: who looks for room while the keeper is making it sees it then.
func TestRoomThatTheKeeperMakes(t *testing.T) {
	const size = 500 << 10
	b := newBench(t, func(o *Options) { small(DropNewest)(o); o.KeepFor = time.Hour })
	r := b.q.Reader("out", Oldest)
	for b.q.hasRoom(size) == nil {
		b.deliver(r, 5)
	}
	b.q.trimming.Lock()
	found := make(chan error)
	go func() { found <- b.q.roomFor(b.ctx, size) }()
	time.Sleep(20 * time.Millisecond) // it may have looked by now
	delivered, _ := b.q.delivered()
	for _, f := range delivered {
		b.q.removeFile(f)
	}
	b.q.trimming.Unlock()
	if err := <-found; err != nil {
		t.Error(err)
	}
}
