package queue

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestCloseDoesNotWaitForInterval: Close does not wait for the interval.
func TestCloseDoesNotWaitForInterval(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Sync = SyncPolicy{Mode: SyncInterval, Every: time.Hour} })
	b.append("x")
	done := make(chan error, 1)
	go func() { done <- b.q.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Close waits for the interval sync")
	}
	b.q = nil
}

// TestRewrittenInOrder: what is written again after a failed write keeps its order.
func TestRewrittenInOrder(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.Sync = SyncPolicy{Mode: SyncInterval, Every: time.Hour}
		o.Codec, o.SegmentSize = segment.None, 1<<20
	})
	for i := range 5 {
		b.append(fmt.Sprint(i))
	}
	fail := true
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if fail && isSeg(op) && op.Kind == faultfs.Write {
			fail = false
			return syscall.EIO
		}
		return nil
	})
	b.append("5")
	b.reopen()
	got, lost := b.take(b.q.Reader("out", Oldest), 6)
	equal(t, "rewritten", got, []string{"0", "1", "2", "3", "4", "5"})
	if lost != 0 {
		t.Errorf("%d lost", lost)
	}
}

// TestSilentSourceKeepsItsPosition: the position of a silent source outlives its segment.
func TestSilentSourceKeepsItsPosition(t *testing.T) {
	for _, size := range []int{10, 30000} {
		b := newBench(t, nil)
		r := b.q.Reader("out", Oldest)
		b.appendRun(sourced("src/a", "77", noise(1, size)))
		b.fill(30, 8000)
		b.take(r, 31)
		if err := r.Checkpoint(b.ctx); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "trimmed", func() bool { return b.segments() <= 2 })
		if pos := kept(t, b.fsys.Crash(faultfs.Keep, 1)); string(pos["src/a"]) != "77" {
			t.Errorf("size %d: position %q", size, pos["src/a"])
		}
	}
}

// TestManyPositions: positions that need several frames.
func TestManyPositions(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	for i := range 300 {
		b.appendRun(sourced(fmt.Sprintf("src/%03d", i), noise(uint64(i), 1000), "x"))
	}
	b.fill(30, 8000)
	b.take(r, 330)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "trimmed", func() bool { return b.segments() <= 2 })
	if pos := kept(t, b.fsys.Crash(faultfs.Keep, 1)); len(pos) != 300 {
		t.Errorf("%d of 300 positions", len(pos))
	}
}

// TestWrongHint: a hint that leads too far costs nothing.
func TestWrongHint(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize = 1 << 20 })
	b.fill(10, 1000)
	r := b.q.Reader("out", Oldest)
	var f segment.Frame
	var far int64
	for ok := true; ok; {
		ok, _, _ = r.TryNext(b.ctx, &f)
		far = f.Offset
	}
	name := b.q.files.snapshot()[0].name
	b.close()
	for _, at := range []int64{far, far + 8} {
		store := checkpoint.NewMemory()
		store.Save(map[string]checkpoint.Position{checkpoint.Key("other"): {Floor: 2, Segment: name, Offset: at}})
		left := b.fsys.Crash(faultfs.Keep, 1)
		q, err := Open(options(left, store))
		if err != nil {
			t.Fatal(err)
		}
		r := q.Reader("other", Oldest)
		ok, lost, err := r.TryNext(b.ctx, &f)
		if !ok || lost.Last != 0 || err != nil || f.First != 2 {
			t.Errorf("hint %d: %v %v %v, first %d", at, ok, lost, err, f.First)
		}
		q.Close()
	}
	b.open()
}

// TestEmptyStarts: starts without records leave nothing behind.
func TestEmptyStarts(t *testing.T) {
	b := newBench(t, nil)
	b.append("x")
	for range 10 {
		b.reopen()
	}
	if n := b.segments(); n > 2 {
		t.Errorf("%d segments after 10 starts", n)
	}
}

// TestCleanStop: a clean stop leaves the store exact and every segment sealed.
func TestCleanStop(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(3, 100)
	b.take(r, 3)
	b.close()
	saved, err := b.store.Reopen().Load()
	if err != nil || saved[checkpoint.Key("out")].Floor != 4 {
		t.Errorf("store has floor %d, %v", saved[checkpoint.Key("out")].Floor, err)
	}
	list, _ := b.fsys.ReadDir("/data/segments")
	for _, info := range list {
		f, err := b.fsys.Open(filepath.Join("/data/segments", info.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := segment.ReadTrailer(f, info.Size()); err != nil {
			t.Errorf("%s: %v", info.Name(), err)
		}
		f.Close()
	}
	b.open()
}

// failing is a store that cannot save.
type failing struct {
	checkpoint.Store
	fail func() bool
}

func (s failing) Save(p map[string]checkpoint.Position, gone ...string) error {
	if s.fail() {
		return errors.New("no save")
	}
	return s.Store.Save(p, gone...)
}

// TestTrimWaitsForSave: nothing is deleted by a floor that is not saved.
func TestTrimWaitsForSave(t *testing.T) {
	b := newBench(t, nil)
	b.close()
	var broken atomic.Bool
	broken.Store(true)
	b.opt.OpenStore = func(string) (checkpoint.Store, []checkpoint.Problem, error) {
		return failing{b.store.Reopen(), broken.Load}, nil, nil
	}
	b.open()
	r := b.q.Reader("out", Oldest)
	b.fill(40, 8000)
	was := b.segments()
	b.take(r, 40)
	time.Sleep(400 * time.Millisecond)
	if n := b.segments(); n < was {
		t.Errorf("%d of %d segments left, nothing is saved", n, was)
	}
	broken.Store(false)
}

// TestLimitsAreKept: the limits are kept.
func TestLimitsAreKept(t *testing.T) {
	for _, when := range []WhenFull{Block, DropOldest} {
		b := newBench(t, func(o *Options) { small(when)(o); o.MinFree = 10 << 20 })
		b.fsys.SetFree(10<<20 + 600<<10)
		for i := range 60 {
			b.pour(i, 1, 20000, 30*time.Millisecond)
			space, _ := b.fsys.Space("/data")
			if space.Free < 10<<20-64<<10 {
				t.Fatalf("%v: %d bytes free, min_free is %d", when, space.Free, 10<<20)
			}
		}
		b.fsys.SetFree(1 << 30)
		for i := range 120 {
			b.pour(i, 1, 20000, 30*time.Millisecond)
			if n := b.q.Status().Bytes; n > 1<<20 {
				t.Fatalf("%v: %d bytes, max_size is %d", when, n, 1<<20)
			}
		}
	}
}

// TestPowerLossWhileDropping: a power loss at any operation of a drop: what is missing is in the ledger.
func TestPowerLossWhileDropping(t *testing.T) {
	for n := 60; n < 260; n += 1 {
		fsys, store := faultfs.New(), checkpoint.NewMemory()
		opt := options(fsys, store)
		opt.MaxSize, opt.WhenFull, opt.Codec = 256<<10, DropOldest, segment.None
		fsys.CrashAt(n)
		q, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		r := q.Reader("out", Oldest)
		_ = r.Checkpoint(t.Context())
		for i := range 16 {
			if fsys.Ops() >= n {
				break
			}
			last, err := q.Append(t.Context(), []segment.Run{linesRun(noise(uint64(i), 20000))})
			for err == nil && fsys.Ops() < n && q.stored.Load() < last {
				time.Sleep(50 * time.Microsecond)
			}
		}
		q.Close()
		left := fsys.Crash(faultfs.Keep, 1)
		opt.FS = left
		if q, err = Open(opt); err != nil {
			t.Fatal(err)
		}
		r = q.Reader("out", Oldest)
		var f segment.Frame
		_, lost, _ := r.TryNext(t.Context(), &f)
		q.Close()
		losses, _ := recovery.ReadLedger(left, "/data")
		var told uint64
		for _, l := range losses {
			if l.Segment != "" {
				told += l.Count
			}
		}
		if lost.Last > 0 && told < lost.Last-lost.First+1 {
			t.Fatalf("crash at %d: %v missing, the writer's ledger has %d", n, lost, told)
		}
	}
}
