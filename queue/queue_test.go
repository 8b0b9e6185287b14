package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/integration/leaks"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// bench is a queue on a file system in memory, and what a test wants to know of it.
type bench struct {
	*testing.T
	fsys  *faultfs.FS
	store *checkpoint.Memory
	opt   Options
	q     *Queue
	ctx   context.Context
}

func newBench(t *testing.T, change func(*Options)) *bench {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute) // a hang detector
	t.Cleanup(cancel)
	b := &bench{T: t, fsys: faultfs.New(), store: checkpoint.NewMemory(), ctx: ctx}
	b.opt = options(b.fsys, b.store)
	if change != nil {
		change(&b.opt)
	}
	b.open()
	t.Cleanup(func() {
		if b.q != nil {
			b.close()
		}
	})
	return b
}

func (b *bench) open() {
	b.Helper()
	q, err := Open(b.opt)
	if err != nil {
		b.Fatalf("open: %v", err)
	}
	b.q = q
}

func (b *bench) close() {
	b.Helper()
	if err := b.q.Close(); err != nil {
		b.Errorf("close: %v", err)
	}
	b.q = nil
}

func (b *bench) reopen() {
	b.Helper()
	b.close()
	b.open()
}

// append appends one run and waits until it is durable.
func (b *bench) append(payloads ...string) uint64 {
	b.Helper()
	last, err := b.q.Append(b.ctx, []segment.Run{linesRun(payloads...)})
	if err == nil {
		err = b.q.WaitDurable(b.ctx, last)
	}
	if err != nil {
		b.Fatalf("append: %v", err)
	}
	return last
}

// fill appends n records of about size bytes, one a frame, and returns their payloads.
func (b *bench) fill(n, size int) []string {
	b.Helper()
	var all []string
	for i := range n {
		p := fmt.Sprintf("%06d %s", i, noise(uint64(i), size))
		b.append(p)
		all = append(all, p)
	}
	return all
}

// take reads frames until n records have come, marks them done and returns their payloads and what was lost.
func (b *bench) take(r *Reader, n int) (payloads []string, lost uint64) {
	b.Helper()
	var f segment.Frame
	for len(payloads) < n {
		gone, err := r.Next(b.ctx, &f)
		if err != nil {
			b.Fatalf("read after %d of %d records: %v", len(payloads), n, err)
		}
		if gone.Last != 0 {
			lost += gone.Last - gone.First + 1
		}
		for _, run := range f.Runs {
			for line := range strings.Lines(string(run.Body)) {
				payloads = append(payloads, strings.TrimSuffix(line, "\n"))
			}
		}
		r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
	}
	return payloads, lost
}

func (b *bench) segments() int {
	b.Helper()
	list, err := b.fsys.ReadDir(filepath.Join(b.opt.Dir, "segments"))
	if err != nil {
		b.Fatalf("list segments: %v", err)
	}
	return len(list)
}

func (b *bench) ledger() []recovery.Loss {
	b.Helper()
	losses, err := recovery.ReadLedger(b.fsys, b.opt.Dir)
	if err != nil {
		b.Fatalf("read ledger: %v", err)
	}
	return losses
}

// TestReadersAreIndependent: every output gets every record, from memory or from disk, over a restart, and what all
// have done is deleted.
func TestReadersAreIndependent(t *testing.T) {
	b := newBench(t, nil)
	fast, slow := b.q.Reader("fast", Oldest), b.q.Reader("slow", Oldest)
	first := b.fill(40, 8000)
	got, _ := b.take(fast, 40)
	equal(t, "fast", got, first)
	got, _ = b.take(slow, 10)
	equal(t, "slow", got, first[:10])
	if err := slow.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	fast.Close()
	slow.Close()
	b.reopen()
	fast, slow = b.q.Reader("fast", Oldest), b.q.Reader("slow", Oldest)
	more := b.fill(10, 3000)
	got, _ = b.take(fast, 10)
	equal(t, "fast after restart", got, more)
	got, _ = b.take(slow, 40)
	equal(t, "slow after restart", got, append(first[10:], more...))
	if err := errors.Join(fast.Checkpoint(b.ctx), slow.Checkpoint(b.ctx)); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "delivered segments deleted", func() bool { return b.segments() <= 2 })
	if n := len(b.ledger()); n != 0 {
		t.Errorf("%d losses in the ledger", n)
	}
}

// TestOrderOfProducers: the records of each producer keep their order, small and large ones, under contention.
func TestOrderOfProducers(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	const producers, records = 8, 60
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range records {
				payload := fmt.Sprintf("%d %d %s", p, i, noise(uint64(i), (i%3)*9000))
				if _, err := b.q.Append(b.ctx, []segment.Run{linesRun(payload)}); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
		})
	}
	got, _ := b.take(r, producers*records)
	wg.Wait()
	next := make([]int, producers)
	for _, payload := range got {
		var p, i int
		if _, err := fmt.Sscanf(payload, "%d %d", &p, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[p] {
			t.Fatalf("producer %d: record %d, want %d", p, i, next[p])
		}
		next[p]++
	}
}

// TestAppendIsAtomic: all runs of one Append get neighbouring sequences, or none is stored.
func TestAppendIsAtomic(t *testing.T) {
	disk := &tight{}
	b := newBench(t, func(o *Options) { disk.FS, o.FS = o.FS.(*faultfs.FS), disk })
	runs := []segment.Run{linesRun("a"), linesRun(noise(1, 40000)), linesRun("b", "c"), linesRun(noise(2, 20000)), linesRun("d")}
	last, err := b.q.Append(b.ctx, runs)
	if err != nil || last != 6 {
		t.Fatalf("append: last %d, error %v; want 6", last, err)
	}
	r := b.q.Reader("out", Oldest)
	got, _ := b.take(r, 6)
	equal(t, "runs", got, []string{"a", noise(1, 40000), "b", "c", noise(2, 20000), "d"})
	disk.on.Store(true)
	waitFor(t, "full", func() bool { b.q.work.poke(); return b.q.Status().Full })
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := b.q.Append(ctx, runs); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append to a full queue: %v", err)
	}
	disk.on.Store(false)
	if last := b.append("e"); last != 7 {
		t.Fatalf("sequence %d after a refused append, want 7", last)
	}
}

// TestPartlyDone: ranges done above the floor survive a restart and are not lost from sight by Rewind.
func TestPartlyDone(t *testing.T) {
	b := newBench(t, nil)
	b.append("1", "2", "3", "4", "5", "6")
	r := b.q.Reader("out", Oldest)
	var f segment.Frame
	if _, err := r.Next(b.ctx, &f); err != nil {
		t.Fatal(err)
	}
	r.Done([]byte("state"), checkpoint.Range{First: 1, Last: 2})
	r.Done(nil, checkpoint.Range{First: 4, Last: 5})
	r.Close()
	epoch := b.q.Epoch()
	b.reopen()
	r = b.q.Reader("out", Newest)
	for range 2 {
		if _, err := r.Next(b.ctx, &f); err != nil || f.First != 1 || f.Last() != 6 {
			t.Fatalf("frame %d..%d, error %v", f.First, f.Last(), err)
		}
		if got := fmt.Sprint(r.Within(f.First, f.Last()), string(r.State())); got != "[{1 2} {4 5}]state" {
			t.Fatalf("done: %s", got)
		}
		if r.Epoch() != epoch || epoch == b.q.Epoch() {
			t.Fatalf("epoch %v of a record that was appended in %v", r.Epoch(), epoch)
		}
		r.Rewind()
	}
}

// TestCheckpointsLost: with the store gone, positions come from the log.
func TestCheckpointsLost(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(30, 5000)
	b.take(r, 20)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	r.Close()
	b.close()
	b.store = checkpoint.NewMemory()
	b.opt = options(b.fsys, b.store)
	b.open()
	r = b.q.Reader("out", Oldest)
	got, lost := b.take(r, 10)
	if !strings.HasPrefix(got[0], "000020") || lost != 0 {
		t.Fatalf("goes on at %.20q, lost %d", got[0], lost)
	}
}

// TestCheckpointIsKept: what Checkpoint made durable is not delivered again, though the power goes at once.
func TestCheckpointIsKept(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(10, 100)
	b.take(r, 6)
	r.Done([]byte("six"))
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	r.Plan(9)
	killed, left := b.fsys.Crash(faultfs.Keep, 1), b.fsys.Crash(faultfs.Drop, 1)
	b.close()
	b.fsys, b.opt.FS = killed, killed
	b.open()
	if got := b.q.Reader("out", Oldest).Planned(); got != 9 {
		t.Errorf("after a kill the planned batch ends at %d, want 9", got)
	}
	b.close()
	b.fsys, b.opt.FS = left, left
	b.open()
	r = b.q.Reader("out", Oldest)
	got, _ := b.take(r, 4)
	if !strings.HasPrefix(got[0], "000006") || string(r.State()) != "six" {
		t.Fatalf("goes on at %.20q with state %q", got[0], r.State())
	}
}

// TestDamageIsSkipped: a frame that is damaged beyond what parity has costs its records, once, with a copy and a line in the ledger.
func TestDamageIsSkipped(t *testing.T) {
	b := newBench(t, nil)
	all := b.fill(30, 5000)
	b.close()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil || len(list) < 3 {
		t.Fatalf("%d segments, error %v", len(list), err)
	}
	name := filepath.Join("/data/segments", list[0].Name())
	f, err := b.fsys.OpenWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(bytes.Repeat([]byte("damage"), 420), 20000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b.open()
	for _, output := range []*Reader{b.q.Reader("one", Oldest), b.q.Reader("two", Oldest)} {
		got, lost := b.take(output, 29)
		if lost != 1 {
			t.Fatalf("%s: lost %d records, want 1", output.name, lost)
		}
		missing := 0
		for i, p := range got {
			if p != all[i+missing] {
				missing++
			}
			if p != all[i+missing] {
				t.Fatalf("%s: record %d is %.20q", output.name, i, p)
			}
		}
	}
	losses := b.ledger()
	if len(losses) != 1 || losses[0].Count != 1 || losses[0].Acknowledged != "yes" || losses[0].Quarantine == "" {
		t.Fatalf("ledger: %+v", losses)
	}
	if _, err := b.fsys.Stat(filepath.Join("/data", losses[0].Quarantine)); err != nil {
		t.Errorf("no quarantine copy: %v", err)
	}
}

// TestSyncPolicies: what is acknowledged when, and that readers wait for the disk in any case but never.
func TestSyncPolicies(t *testing.T) {
	held := make(chan struct{})
	hold := func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && strings.HasSuffix(op.Name, ".seg") {
			<-held
		}
		return nil
	}
	b := newBench(t, func(o *Options) { o.Sync = SyncPolicy{Mode: SyncInterval, Every: 10 * time.Millisecond} })
	letGo := sync.OnceFunc(func() { close(held) })
	t.Cleanup(letGo)
	b.fsys.FailMatching(hold)
	b.append("one")
	r := b.q.Reader("out", Oldest) // not before: its position goes into the log, with a sync of its own
	var f segment.Frame
	if ok, _, _ := r.TryNext(b.ctx, &f); ok {
		t.Error("a reader saw a record that is not durable")
	}
	letGo()
	b.take(r, 1)

	never := newBench(t, func(o *Options) { o.Sync.Mode = SyncNever })
	syncs := 0
	never.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && strings.HasSuffix(op.Name, ".seg") {
			syncs++
		}
		return nil
	})
	never.append("one")
	never.take(never.q.Reader("out", Oldest), 1)
	if syncs != 0 {
		t.Errorf("%d syncs with sync = never", syncs)
	}
}

// TestLocked: a second queue on the directory is refused, and told by whom.
func TestLocked(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Holder = "process 42" })
	_, err := Open(b.opt)
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || !strings.Contains(err.Error(), "process 42") {
		t.Fatalf("second open: %v", err)
	}
}
