package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// fullAfter is a bench with one record, on a disk that gets full under five more, which were accepted.
func fullAfter(t *testing.T, policy SyncPolicy) *bench {
	b := newBench(t, func(o *Options) { o.Sync, o.Codec, o.SegmentSize = policy, segment.None, 1<<20 })
	b.append("start")
	b.fsys.SetFree(0)
	if _, err := b.q.Append(b.ctx, several(5)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "full", func() bool { return b.q.Status().Full })
	return b
}

// TestFullStillSyncs: what was written before the queue became full becomes durable while it is full.
func TestFullStillSyncs(t *testing.T) {
	for _, policy := range []SyncPolicy{{}, {Mode: SyncInterval, Every: 30 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			b := fullAfter(t, policy)
			time.Sleep(700 * time.Millisecond)
			if written, mark := b.q.Status().Records, b.q.mark.Load(); written > mark {
				t.Errorf("%+v: %d records written, %d acknowledged, %d synced, 700 ms later", policy, written, b.q.stored.Load(), mark)
			}
			b.fsys.SetFree(1 << 30)
		})
	}
}

// TestCloseOfAFullQueue: what a start brings back is not in the ledger as lost.
func TestCloseOfAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes in which the queue could be full before it has the records
		b := fullAfter(t, SyncPolicy{})
		t.Logf("close: %v", b.q.Close())
		b.fsys.SetFree(1 << 30)
		claimed := b.inLedger("")
		b.open()
		if n, _ := b.drain(b.q.Reader("out", Oldest)); n+claimed != 6 {
			t.Errorf("6 accepted, %d came back, the ledger says %d are lost", n, claimed)
		}
	})
}

// TestDropNewestWakes: who waits for memory when the queue becomes full is refused then.
func TestDropNewestWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.WhenFull = DropNewest })
		hold := func(n int) {
			b.q.in.Lock()
			defer b.q.in.Unlock()
			b.q.held = n
		}
		hold(9 << 20) // the writer is busy with that
		ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
		defer cancel()
		res := make(chan error, 1)
		go func() { _, err := b.q.Append(ctx, []segment.Run{linesRun("x")}); res <- err }()
		synctest.Wait()
		b.q.setFull(&FullError{Limit: "no room for what is held"})
		if err := <-res; !errors.Is(err, ErrDropped) {
			t.Errorf("the append that waited: %v, want ErrDropped at once", err)
		}
		hold(0)
		b.q.setFull(nil)
	})
}

// TestIntervalDoesNotDelayAppends: an append that finds no room in memory does not wait for the end of a sync interval.
func TestIntervalDoesNotDelayAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(o *Options) { o.Sync = SyncPolicy{Mode: SyncInterval, Every: time.Hour}; o.Codec = segment.None })
		if _, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 3900<<10))}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
		defer cancel()
		if _, err := b.q.Append(ctx, []segment.Run{linesRun(noise(2, 5<<20))}); err != nil {
			t.Errorf("append to an idle queue: %v", err)
		}
	})
}

// TestFullFreesDelivered: when the disk gets full under an idle queue, the delivered segment goes, and its room comes back
// though an idle reader has it open.
func TestFullFreesDelivered(t *testing.T) {
	for _, fromDisk := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.Codec, o.SegmentSize = segment.None, 1<<20 })
			r := b.q.Reader("out", Oldest)
			if fromDisk {
				b.fill(40, 20000)
				b.take(r, 40)
			} else {
				for range 40 {
					b.fill(1, 20000)
					b.take(r, 1)
				}
			}
			ctx, cancel := context.WithCancel(b.ctx)
			var idle sync.WaitGroup
			idle.Go(func() { r.Next(ctx, new(segment.Frame)) })
			b.checkpoint(r)
			time.Sleep(1500 * time.Millisecond) // idle: the keeper sleeps
			b.fsys.SetFree(350 << 10)
			last, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 300<<10))})
			if err != nil {
				t.Fatal(err)
			}
			short, end := context.WithTimeout(b.ctx, 3*time.Second)
			if err := b.q.WaitDurable(short, last); err != nil {
				t.Errorf("disk reader %v: stuck with %d segments: %v", fromDisk, b.segments(), err)
			}
			end()
			cancel()
			idle.Wait()
			b.fsys.SetFree(1 << 30)
		})
	}
}

// TestAttributesAreHeld: attributes count as memory that is held.
func TestAttributesAreHeld(t *testing.T) {
	b := newBench(t, nil)
	hold := make(chan struct{})
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if isSeg(op) && op.Kind == faultfs.Sync {
			<-hold
		}
		return nil
	})
	run := linesRun("x")
	run.Attributes = make([]byte, 20000)
	ctx, cancel := context.WithTimeout(b.ctx, 500*time.Millisecond)
	defer cancel()
	n := 0
	for ; n < 4000; n++ {
		if _, err := b.q.Append(ctx, []segment.Run{run}); err != nil {
			break
		}
	}
	if n*20000 > 3*heldMost {
		t.Errorf("%d MiB accepted and not stored, held says %d bytes, the limit is %d", n*20000>>20, b.q.Status().Held, heldMost)
	}
	close(hold)
}

// TestBadRunsAreRefused: a run that could never become a frame is refused at once, and the next good one is stored.
func TestBadRunsAreRefused(t *testing.T) {
	count, attributes := linesRun("x"), linesRun("x")
	count.Count = 100
	attributes.Attributes = make([]byte, 17<<20)
	for name, bad := range map[string]segment.Run{
		"more records than bytes":        count,
		"attributes larger than a frame": attributes,
		"record larger than the queue":   linesRun(noise(1, 2<<20)),
	} {
		b := newBench(t, small(Block))
		if _, err := b.q.Append(b.ctx, []segment.Run{bad}); err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if last := b.append("good"); last != 1 {
			t.Errorf("%s: the next record has sequence %d, want 1", name, last)
		}
	}
}

// TestBackoffGrows: the pause after failures grows, also where the new segment itself can be made.
func TestBackoffGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.append("one")
		syncs := map[string]int{}
		var refuse atomic.Bool
		refuse.Store(true)
		b.fsys.FailMatching(func(op faultfs.Op) error {
			if refuse.Load() && isSeg(op) && op.Kind == faultfs.Sync {
				if syncs[op.Name]++; syncs[op.Name] > 2 || len(syncs) == 1 {
					return syscall.EIO
				}
			}
			return nil
		})
		before := b.segments()
		if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("two")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if n := b.segments() - before; n > 7 {
			t.Errorf("%d segments made within 3 s of a failing disk (100 ms doubling: 5)", n)
		}
		refuse.Store(false)
	})
}

// TestReserveUnsupported: on a file system without fallocate there is no reserve, and it is not tried over and over.
func TestReserveUnsupported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var made atomic.Int64
		b.fsys.FailMatching(func(op faultfs.Op) error {
			if op.Kind == faultfs.Create && strings.HasSuffix(op.Name, "reserve") {
				made.Add(1)
			}
			if op.Kind == faultfs.Allocate {
				return errors.ErrUnsupported
			}
			return nil
		})
		b.close()
		if err := b.fsys.Remove("/data/reserve"); err != nil {
			t.Fatal(err)
		}
		made.Store(0)
		b.open()
		r := b.q.Reader("out", Oldest)
		for i := range 15 {
			b.append(fmt.Sprint(i))
			b.take(r, 1)
			time.Sleep(100 * time.Millisecond)
		}
		if n := made.Load(); n > 2 {
			t.Errorf("the reserve was made %d times in 1.5 s", n)
		}
	})
}

// TestDropOldestCreateRefused: drop_oldest makes room too on a file system that refuses new files (inodes, quota).
func TestDropOldestCreateRefused(t *testing.T) {
	b := newBench(t, func(o *Options) { o.WhenFull = DropOldest; o.Codec = segment.None })
	live := map[string]bool{}
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if !isSeg(op) {
			return nil
		}
		switch op.Kind {
		case faultfs.Create:
			if len(live) >= 4 {
				return syscall.EDQUOT
			}
			live[op.Name] = true
		case faultfs.Remove:
			delete(live, op.Name)
		}
		return nil
	})
	n := b.pour(0, 60, 20000, time.Minute)
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	if err := b.q.Sync(ctx); err != nil || n < 60 {
		t.Errorf("%d of 60 accepted, sync: %v; full: %s; dropped %d", n, err, b.q.Status().FullWhy, b.q.Status().DroppedOldest)
	}
	b.fsys.FailMatching(nil)
}

// TestRecordsCountOnce: records that are written again after a failed sync count once.
func TestRecordsCountOnce(t *testing.T) {
	b := newBench(t, nil)
	b.append("one")
	fails := 1
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if isSeg(op) && op.Kind == faultfs.Sync && fails > 0 {
			fails--
			return syscall.EIO
		}
		return nil
	})
	b.append("two")
	if n := b.q.Status().Records; n != 2 {
		t.Errorf("2 records appended, status says %d", n)
	}
}

// TestLargeGetsIn: a large append gets in beside a stream of small ones.
func TestLargeGetsIn(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None; o.SegmentSize = 16 << 20 })
	b.q.Reader("out", Oldest)
	ctx, cancel := context.WithCancel(b.ctx)
	small := linesRun(noise(1, 100000))
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for err := error(nil); err == nil; {
				_, err = b.q.Append(ctx, []segment.Run{small})
			}
		})
	}
	waitFor(t, "small ones come in", func() bool { return b.q.Status().Mark > 50 })
	start := time.Now()
	_, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 8<<20-10))})
	cancel()
	others.Wait()
	t.Logf("waited %v; %d records meanwhile", time.Since(start), b.q.Status().Mark)
	if err != nil {
		t.Errorf("a record of 8 MiB does not get in beside small ones: %v", err)
	}
}
