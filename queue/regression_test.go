package queue

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

func isSeg(op faultfs.Op) bool { return strings.HasSuffix(op.Name, ".seg") }

func sourced(key, pos string, payloads ...string) segment.Run {
	r := linesRun(payloads...)
	r.Key, r.Position = []byte(key), []byte(pos)
	return r
}

func (b *bench) appendRun(r segment.Run) uint64 {
	b.Helper()
	last, err := b.q.Append(b.ctx, []segment.Run{r})
	if err == nil {
		err = b.q.WaitDurable(b.ctx, last)
	}
	if err != nil {
		b.Fatalf("append: %v", err)
	}
	return last
}

// kept is the source positions that a start on what is there now would find.
func kept(t *testing.T, fsys *faultfs.FS) map[string][]byte {
	t.Helper()
	st, err := recovery.Start(fsys, "/data", checkpoint.NewMemory(), recovery.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st.Positions
}

// TestTrimTakesLastPositions: trim deletes the last segment before its successor has the source positions (here: the disk refuses a new file).
func TestTrimTakesLastPositions(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.appendRun(sourced("src/a", "offset 77", "one"))
	b.take(r, 1)
	var refuse atomic.Bool
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if refuse.Load() && op.Kind == faultfs.Create && isSeg(op) {
			return syscall.ENOSPC
		}
		return nil
	})
	refuse.Store(true)
	n := b.fillUntilFull(r)
	_ = n
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	t.Logf("%d segments on disk", b.segments())
	pos := kept(t, b.fsys.Crash(faultfs.Keep, 1))
	if string(pos["src/a"]) != "offset 77" {
		t.Errorf("source position lost over a restart: %q", pos["src/a"])
	}
	refuse.Store(false)
}

// fillUntilFull appends and consumes until an append does not get durable, and leaves everything durable done.
func (b *bench) fillUntilFull(r *Reader) int {
	b.Helper()
	for i := range 100 {
		last, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
		err = b.q.WaitDurable(ctx, last)
		cancel()
		var f segment.Frame
		for {
			ok, _, err2 := r.TryNext(&f)
			if err2 != nil {
				b.Fatal(err2)
			}
			if !ok {
				break
			}
			r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
		}
		if err != nil {
			return i
		}
	}
	b.Fatal("never full")
	return 0
}

// TestTrimTakesPoisoned: the same with a failing disk: a poisoned segment is deleted though no other has the positions.
func TestTrimTakesPoisoned(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.appendRun(sourced("src/a", "offset 77", "one"))
	b.take(r, 1)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	var refuse atomic.Bool
	refuse.Store(true)
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if refuse.Load() && isSeg(op) && (op.Kind == faultfs.Create || op.Kind == faultfs.Sync) {
			return syscall.EIO
		}
		return nil
	})
	if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("two")}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	r.Done([]byte("x")) // anything that wakes the keeper
	time.Sleep(500 * time.Millisecond)
	t.Logf("%d segments on disk", b.segments())
	pos := kept(t, b.fsys.Crash(faultfs.Keep, 1))
	if string(pos["src/a"]) != "offset 77" {
		t.Errorf("source position lost over a restart: %q", pos["src/a"])
	}
	refuse.Store(false)
}

// TestPositionsLeftOut: the positions at the start of a segment are silently left out when there is room for the header and not for the
// first step; then everything older goes.
func TestPositionsLeftOut(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.appendRun(sourced("src/a", "offset 77", "one"))
	b.take(r, 1)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
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
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	t.Logf("%d segments on disk", b.segments())
	b.reopen()
	pos := kept(t, b.fsys.Crash(faultfs.Keep, 1))
	if string(pos["src/a"]) != "offset 77" {
		t.Errorf("source position lost over a clean restart: %q", pos["src/a"])
	}
}

// tight is a disk that others keep full while on is set: what is freed is taken at once.
type tight struct {
	*faultfs.FS
	on atomic.Bool
}

func (t *tight) Space(name string) (vfs.Space, error) {
	s, err := t.FS.Space(name)
	if t.on.Load() {
		s.Free = 0
	}
	return s, err
}

// R2: TryNext spins for ever when no segment is left and a reader is behind the mark.
func TestReaderSpins(t *testing.T) {
	disk := &tight{}
	b := newBench(t, func(o *Options) {
		disk.FS = o.FS.(*faultfs.FS)
		o.FS, o.WhenFull, o.Codec = disk, DropOldest, segment.None
	})
	r := b.q.Reader("out", Oldest)
	b.fill(8, 20000)
	disk.on.Store(true)
	for i := range 2 {
		b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
	}
	waitFor(t, "full", func() bool { return b.q.Status().Full })
	t.Logf("segments: %d, dropped %d", b.q.Status().Segments, b.q.Status().DroppedOldest)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var f segment.Frame
		ctx, cancel := context.WithTimeout(b.ctx, 500*time.Millisecond)
		defer cancel()
		r.q.ring.drop() // as after 32 more frames
		for {
			if _, err := r.Next(ctx, &f); err != nil {
				return
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Error("Next spins and does not mind its context")
	}
	late := make(chan struct{})
	go func() {
		defer close(late)
		r := b.q.Reader("late", Oldest)
		var f segment.Frame
		r.TryNext(&f)
	}()
	select {
	case <-late:
	case <-time.After(3 * time.Second):
		t.Error("TryNext of an output that was never seen spins")
	}
	disk.on.Store(false)
	<-done
	<-late
}

// TestKeepFor: keep_for of the second segment only begins when the first is deleted.
func TestKeepFor(t *testing.T) {
	b := newBench(t, func(o *Options) { o.KeepFor = 300 * time.Millisecond })
	r := b.q.Reader("out", Oldest)
	b.fill(40, 8000)
	b.take(r, 40)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	was := b.segments()
	time.Sleep(900 * time.Millisecond)
	if n := b.segments(); n > 2 {
		t.Errorf("%d of %d segments left 900 ms after delivery, keep_for is 300 ms", n, was)
	}
}

// several is one Append that makes n frames.
func several(n int) []segment.Run {
	var runs []segment.Run
	for i := range n {
		runs = append(runs, linesRun(noise(uint64(i), 20000)))
	}
	return runs
}

// TestFullDefersSync: what was written before the queue became full is not synced while it is full.
func TestFullDefersSync(t *testing.T) {
	for _, policy := range []SyncPolicy{{}, {Mode: SyncInterval, Every: 30 * time.Millisecond}} {
		b := newBench(t, func(o *Options) { o.Sync, o.Codec, o.SegmentSize = policy, segment.None, 1<<20 })
		b.append("start")
		b.fsys.SetFree(0)
		if _, err := b.q.Append(b.ctx, several(5)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "full", func() bool { return b.q.Status().Full })
		time.Sleep(700 * time.Millisecond)
		written, mark := 1+b.q.Status().Records-1, b.q.mark.Load()
		if written > mark {
			t.Errorf("%+v: %d records written, %d acknowledged, %d synced, 700 ms later", policy, written, b.q.stored.Load(), mark)
		}
		b.fsys.SetFree(1 << 30)
	}
}

// TestFullCloseLedger: and Close writes them into the ledger as lost though they come back at the next start.
func TestFullCloseLedger(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec, o.SegmentSize = segment.None, 1<<20 })
	b.append("start")
	b.fsys.SetFree(0)
	if _, err := b.q.Append(b.ctx, several(5)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "full", func() bool { return b.q.Status().Full })
	t.Logf("close: %v", b.q.Close())
	b.fsys.SetFree(1 << 30)
	var claimed uint64
	for _, l := range b.ledger() {
		claimed += l.Count
	}
	b.open()
	r := b.q.Reader("out", Oldest)
	var f segment.Frame
	n := 0
	for {
		ok, _, _ := r.TryNext(&f)
		if !ok {
			break
		}
		n += int(f.Count)
	}
	if n+int(claimed) != 6 {
		t.Errorf("6 accepted, %d came back, the ledger says %d are lost", n, claimed)
	}
}

// TestDropNewestWaiters: drop_newest: who waits for memory when the queue becomes full is not woken.
func TestDropNewestWaiters(t *testing.T) {
	b := newBench(t, func(o *Options) { o.WhenFull = DropNewest })
	b.q.in.Lock()
	b.q.held = 9 << 20 // the writer is busy with that
	b.q.in.Unlock()
	ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
	defer cancel()
	res := make(chan error, 1)
	go func() { _, err := b.q.Append(ctx, []segment.Run{linesRun("x")}); res <- err }()
	time.Sleep(50 * time.Millisecond)
	b.q.setFull(&FullError{Limit: "no room for what is held"})
	if err := <-res; !errors.Is(err, ErrDropped) {
		t.Errorf("the append that waited: %v, want ErrDropped at once", err)
	}
	b.q.in.Lock()
	b.q.held = 0
	b.q.in.Unlock()
	b.q.setFull(nil)
}

// TestIntervalStall: a long sync interval: a large append waits for the interval though the writer is idle.
func TestIntervalStall(t *testing.T) {
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
}

// TestFullStuck: becoming full does not wake the keeper; a delivered segment that could go stays, and the queue is stuck.
// the keeper is woken, and the segment goes, but an idle reader has it open, so its room does not come back.
func TestFullStuck(t *testing.T) {
	for _, fromDisk := range []bool{false, true} {
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
		idle := make(chan struct{})
		go func() {
			defer close(idle)
			var f segment.Frame
			r.Next(ctx, &f)
		}()
		if err := r.Checkpoint(b.ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond) // idle: the keeper sleeps
		b.fsys.SetFree(350 << 10)
		last, err := b.q.Append(b.ctx, []segment.Run{linesRun(noise(1, 300<<10))})
		if err != nil {
			t.Fatal(err)
		}
		wait := func() error {
			ctx, cancel := context.WithTimeout(b.ctx, 3*time.Second)
			defer cancel()
			return b.q.WaitDurable(ctx, last)
		}
		if wait() != nil {
			t.Errorf("disk reader %v: stuck with %d segments", fromDisk, b.segments())
			b.q.keep.poke()
			t.Logf("after a poke of the keeper: %v, %d segments", wait(), b.segments())
			cancel()
			<-idle
			r.Close()
			t.Logf("after the reader let go: %v", wait())
		}
		cancel()
		<-idle
		b.fsys.SetFree(1 << 30)
	}
}

// TestAttributesNotHeld: attributes do not count as memory held.
func TestAttributesNotHeld(t *testing.T) {
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

// TestOldestGone: the oldest segments were removed while the queue was closed: nothing in the ledger.
func TestOldestGone(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(30, 8000)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.close()
	list, _ := b.fsys.ReadDir("/data/segments")
	b.fsys.Remove(filepath.Join("/data/segments", list[0].Name()))
	b.open()
	r = b.q.Reader("out", Oldest)
	var f segment.Frame
	_, gone, err := r.TryNext(&f)
	if err != nil || gone.Last == 0 {
		t.Fatal(gone, err)
	}
	if len(b.ledger()) == 0 {
		t.Errorf("%d..%d lost, nothing in the ledger", gone.First, gone.Last)
	}
}

// TestSecondClose: the second Close returns before the directory is released, and without the error.
func TestSecondClose(t *testing.T) {
	b := newBench(t, nil)
	b.append("x")
	b.fsys.FailFrom(1, syscall.EIO)
	b.q.Append(b.ctx, []segment.Run{linesRun("y")})
	first := b.q.Close()
	second := b.q.Close()
	b.q = nil
	b.fsys.FailFrom(1, nil)
	if first != nil && second == nil {
		t.Errorf("first %v, second nil", first)
	}
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
	r := b.q.Reader("out", Oldest)
	_, lost := b.take(r, 20)
	if lost != 0 {
		t.Errorf("%d records given up for an error that passed", lost)
	}
}

// TestDropCountsDamaged: drop_oldest counts sequences again that the ledger has as damaged.
func TestDropCountsDamaged(t *testing.T) {
	b := newBench(t, func(o *Options) { small(DropOldest)(o) })
	b.fill(30, 5000)
	b.close()
	list, _ := b.fsys.ReadDir("/data/segments")
	f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", list[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("damage"), 20000)
	f.Close()
	b.open()
	fast, slow := b.q.Reader("fast", Oldest), b.q.Reader("slow", Oldest)
	b.take(fast, 29)
	for i := range 60 {
		b.append(noise(uint64(i), 20000))
	}
	var fr segment.Frame
	_, gone, _ := slow.TryNext(&fr)
	var n uint64
	for _, l := range b.ledger() {
		n += l.Count
	}
	if missing := gone.Last - gone.First + 1; n != missing {
		t.Errorf("%d records never came to slow, the ledger has %d", missing, n)
	}
}

// TestOverlappingLoss: overlapping losses of two outputs are written twice.
func TestOverlappingLoss(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None; o.SegmentSize = 1 << 20 })
	b.fill(30, 5000)
	r := b.q.Reader("two", Oldest)
	b.take(r, 11)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	r.Close()
	b.close()
	list, _ := b.fsys.ReadDir("/data/segments")
	name := filepath.Join("/data/segments", list[0].Name())
	f, err := b.fsys.OpenWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	st, _ := f.Size()
	_ = st
	f.WriteAt(make([]byte, 25000), 40000)
	f.Close()
	b.open()
	r2 := b.q.Reader("two", Oldest)
	_, _, err = r2.TryNext(new(segment.Frame))
	if err != nil {
		t.Fatal(err)
	}
	r1 := b.q.Reader("one", Oldest)
	var fr segment.Frame
	var lost uint64
	for {
		ok, gone, err := r1.TryNext(&fr)
		if err != nil {
			t.Fatal(err)
		}
		if gone.Last != 0 {
			lost += gone.Last - gone.First + 1
		}
		if !ok {
			break
		}
	}
	var ledger uint64
	for _, l := range b.ledger() {
		t.Logf("%d..%d %d", l.First, l.Last, l.Count)
		ledger += l.Count
	}
	if ledger != lost {
		t.Errorf("%d records lost, the ledger says %d", lost, ledger)
	}
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

// TestBackoffReset: the pause after failures never grows when the new segment itself can be made.
func TestBackoffReset(t *testing.T) {
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
	b.q.Append(b.ctx, []segment.Run{linesRun("two")})
	time.Sleep(3 * time.Second)
	if n := b.segments() - before; n > 7 {
		t.Errorf("%d segments made within 3 s of a failing disk (100 ms doubling: 5)", n)
	}
	t.Logf("bytes of segments: %d, outputs none", b.q.Status().Bytes)
	refuse.Store(false)
}

// R11: Close of a reader: progress is not saved, trim goes by it all the same, Checkpoint of the next reader lies.
func TestReaderCloseUnsaved(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(10, 100)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.take(r, 6)
	r.Close()
	r = b.q.Reader("out", Oldest)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	saved, _ := b.store.Reopen().Load()
	if p := saved[checkpoint.Key("out")]; p.Floor != 7 {
		t.Errorf("Checkpoint returned, the store has floor %d, want 7", p.Floor)
	}
	b.store = nil
	b.q.Close()
	b.q = nil
}

// TestTrimByUnsavedFloor: trim by a floor that is not durable.
func TestTrimByUnsavedFloor(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(40, 8000)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	b.take(r, 40)
	r.Close()
	waitFor(t, "trimmed", func() bool { return b.segments() <= 2 })
	left := b.fsys.Crash(faultfs.Keep, 1)
	saved, _ := b.store.Reopen().Load()
	t.Logf("store floor %d", saved[checkpoint.Key("out")].Floor)
	b.q.Close()
	opt := options(left, b.store)
	q, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	b.q = q
	r = q.Reader("out", Oldest)
	var f segment.Frame
	_, gone, _ := r.TryNext(&f)
	if gone.Last != 0 {
		t.Errorf("delivered records %d..%d are deleted and now reported lost", gone.First, gone.Last)
	}
}

// TestStateTooLong: one output with a state that is too long stops the checkpoints of all.
func TestStateTooLong(t *testing.T) {
	b := newBench(t, nil)
	bad, good := b.q.Reader("bad", Oldest), b.q.Reader("good", Oldest)
	b.fill(3, 100)
	b.take(good, 3)
	bad.Done(make([]byte, 257))
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	if err := good.Checkpoint(ctx); err != nil {
		t.Errorf("checkpoint of the good output: %v", err)
	}
	b.q.Close()
	b.q = nil
}

// TestLedgerForgets: drop_newest counts that could not be written into the ledger are never written.
func TestLedgerForgets(t *testing.T) {
	b := newBench(t, small(DropNewest))
	var refuse atomic.Bool
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if refuse.Load() && (strings.Contains(op.Name, "losses")) {
			return syscall.ENOSPC
		}
		return nil
	})
	refuse.Store(true)
	for i := 0; b.q.Status().DroppedNewest == 0; i++ {
		b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
	}
	time.Sleep(300 * time.Millisecond)
	refuse.Store(false)
	b.q.keep.poke()
	time.Sleep(300 * time.Millisecond)
	dropped := b.q.Status().DroppedNewest
	b.q.Close()
	b.q = nil
	var n uint64
	for _, l := range b.ledger() {
		if l.Cause == "drop_newest" {
			n += l.Count
		}
	}
	if n != dropped {
		t.Errorf("dropped %d, the ledger has %d", dropped, n)
	}
}

// TestLedgerGrows: ledger lines per second while dropping.
func TestLedgerGrows(t *testing.T) {
	b := newBench(t, small(DropNewest))
	for i := 0; b.q.Status().DroppedNewest == 0; i++ {
		b.q.Append(b.ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
	}
	end := time.Now().Add(3 * time.Second)
	for time.Now().Before(end) {
		b.q.Append(b.ctx, []segment.Run{linesRun("x")})
		time.Sleep(5 * time.Millisecond)
	}
	if n := len(b.ledger()); n > 6 {
		t.Errorf("%d ledger lines in 3 s of one episode", n)
	}
	b.q.Close()
	b.q = nil
}

// TestReserveUnsupported: a file system without fallocate: the reserve is made and removed in every round.
func TestReserveUnsupported(t *testing.T) {
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
	b.fsys.Remove("/data/reserve")
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
}

// TestDropOldestCreateRefused: drop_oldest and a file system that refuses new files (inodes, quota).
func TestDropOldestCreateRefused(t *testing.T) {
	b := newBench(t, func(o *Options) { o.WhenFull = DropOldest; o.Codec = segment.None })
	b.fsys.FailMatching(nil)
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
	n := b.pour(0, 60, 20000, time.Second)
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	if err := b.q.Sync(ctx); err != nil {
		t.Errorf("%d accepted, sync: %v; full: %s; dropped %d", n, err, b.q.Status().FullWhy, b.q.Status().DroppedOldest)
	}
	b.fsys.FailMatching(nil)
}

// TestRecordsCountedTwice: records counted again after a failed sync.
func TestRecordsCountedTwice(t *testing.T) {
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

// TestLargeStarves: a large append starves beside a stream of small ones.
func TestLargeStarves(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None; o.SegmentSize = 16 << 20 })
	b.q.Reader("out", Oldest)
	stop := make(chan struct{})
	fin := make(chan struct{}, 4)
	small := linesRun(noise(1, 100000))
	for range 4 {
		go func() {
			defer func() { fin <- struct{}{} }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.q.Append(b.ctx, []segment.Run{small}); err != nil {
					return
				}
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Second)
	defer cancel()
	start := time.Now()
	_, err := b.q.Append(ctx, []segment.Run{linesRun(noise(1, 8<<20-10))})
	close(stop)
	for range 4 {
		<-fin
	}
	t.Logf("waited %v; %d records meanwhile", time.Since(start), b.q.Status().Mark)
	if err != nil {
		t.Errorf("a record of 8 MiB does not get in beside small ones: %v", err)
	}
}

// TestKeepForBlocks: keep_for holds delivered segments while the queue is full.
func TestKeepForBlocks(t *testing.T) {
	b := newBench(t, func(o *Options) { small(Block)(o); o.KeepFor = time.Hour })
	r := b.q.Reader("out", Oldest)
	ctx, cancel := context.WithTimeout(b.ctx, 15*time.Second)
	defer cancel()
	for i := range 100 {
		last, err := b.q.Append(ctx, []segment.Run{linesRun(noise(uint64(i), 20000))})
		if err == nil {
			err = b.q.WaitDurable(ctx, last)
		}
		if err != nil {
			t.Errorf("record %d: %v, though everything is delivered: %s", i, err, b.q.Status().FullWhy)
			break
		}
		b.take(r, 1)
	}
	b.q.Close()
	b.q = nil
}

// TestDropCountsDone: drop_oldest counts records that an output has done above its floor.
func TestDropCountsDone(t *testing.T) {
	b := newBench(t, small(DropOldest))
	r := b.q.Reader("out", Oldest)
	b.fill(5, 10000)
	r.Done(nil, checkpoint.Range{First: 2, Last: 5})
	for i := range 80 {
		b.append(noise(uint64(i), 20000))
	}
	var f segment.Frame
	_, gone, _ := r.TryNext(&f)
	missing := uint64(0)
	for s := gone.First; s <= gone.Last && s > 0; s++ {
		if s < 2 || s > 5 {
			missing++
		}
	}
	if d := b.q.Status().DroppedOldest; d != missing {
		t.Errorf("%d records are missing, counted %d", missing, d)
	}
}

// TestReaderHoldsDeleted: a delivered and deleted segment keeps its room while an idle reader has it open.
func TestReaderHoldsDeleted(t *testing.T) {
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
			r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
		}
	}()
	defer cancel()
	for i := range 60 {
		b.append(noise(uint64(i), 20000))
	}
	waitFor(t, "deleted", func() bool { return b.segments() == 1 })
	before, _ := b.fsys.Space("/data")
	cancel()
	<-ended
	r.Close()
	after, _ := b.fsys.Space("/data")
	if after.Free != before.Free {
		t.Errorf("the idle reader held %d bytes of a deleted segment", after.Free-before.Free)
	}
}

// TestStateOfSameFloor: a state (or a done range) that Checkpoint made durable is thrown away for an older one of the same floor in the log.
func TestStateOfSameFloor(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.append("1", "2", "3")
	var f segment.Frame
	if _, err := r.Next(b.ctx, &f); err != nil {
		t.Fatal(err)
	}
	r.Done([]byte("old"))
	time.Sleep(1500 * time.Millisecond) // it goes into the log
	r.Done([]byte("new"))
	r.Done(nil, checkpoint.Range{First: 2, Last: 3})
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	left := b.fsys.Crash(faultfs.Drop, 1)
	b.close()
	b.fsys, b.opt.FS = left, left
	b.open()
	r = b.q.Reader("out", Oldest)
	if got := fmt.Sprint(string(r.State()), r.Within(1, 3)); got != "new[{2 3}]" {
		t.Errorf("after Checkpoint and a power loss: %s", got)
	}
}
