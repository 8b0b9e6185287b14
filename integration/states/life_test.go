package states

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

const dataDir = "/data"

// life is one run of a queue on a file system in memory, and what the model notes of it. It runs in a bubble, where
// seconds pass at once.
type life struct {
	t   *testing.T
	ctx context.Context
	fs  *faultfs.FS
	m   *model
	opt queue.Options
	q   *queue.Queue
	rng *rand.Rand

	outputs sync.WaitGroup
	stop    context.CancelFunc // ends the outputs
	name    string             // of this life, in positions
	packs   atomic.Int64       // so far
}

// recorded is a life that is over, operation by operation.
type recorded struct {
	*faultfs.Recording
	m *model
}

// record lets a queue live on fsys and returns what it did. before is the model of what the disk holds already.
func (p phase) record(t *testing.T, fsys *faultfs.FS, before *model, seed uint64) (r recorded) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &life{t: t, rng: rand.New(rand.NewPCG(seed, 11)), name: fmt.Sprintf("%x", seed&0xffff)}
		if p.prepare != nil && before == nil {
			l.fs, l.opt, l.m = fsys, p.options(fsys), newModel(func() int { return 0 })
			fsys, before = p.prepare(l), l.m
			l.name += "'"
		}
		l.fs, l.opt = fsys, p.options(fsys)
		began := fsys.Ops()
		clock := func() int { return fsys.Ops() - began }
		if l.m = newModel(clock); before != nil {
			l.m = before.from(never-1, clock)
		}
		r = recorded{fsys.Record(), l.m}
		fsys.PauseBefore(func() {
			for range 8 { // whoever has been told something notes it first
				runtime.Gosched()
			}
			l.m.happened()
		})
		p.run(l)
		fsys.PauseBefore(nil)
	})
	return r
}

// options of every queue here: small segments, so that a short run has several.
func (p phase) options(fsys *faultfs.FS) queue.Options {
	o := queue.Options{Dir: dataDir, FS: fsys, SegmentSize: 64 << 10, MinFree: -1, Codec: segment.Snappy}
	o.OpenStore = func(path string) (checkpoint.Store, []checkpoint.Problem, error) { return openStore(fsys, path) }
	if p.change != nil {
		p.change(&o)
	}
	return o
}

// open opens the queue.
func (l *life) open() {
	l.t.Helper()
	if len(l.m.sources) > 0 {
		first, there := l.found()
		l.m.survived(first, there, l.opt.WhenFull == queue.DropOldest)
	}
	var err error
	if l.q, err = queue.Open(l.opt); err != nil {
		l.t.Fatalf("open: %v", err)
	}
	var cancel context.CancelFunc
	l.ctx, cancel = context.WithCancel(context.Background())
	l.stop = cancel
}

// found is what a start finds on the disk: the first record that is retained, 0 for none, and which there are. It looks at a copy, on
// which nothing is deleted meanwhile because it is delivered.
func (l *life) found() (first uint64, there map[uint64]bool) {
	l.t.Helper()
	opt, copied := l.opt, l.fs.Crash(faultfs.Keep, 0)
	copied.SetFree(1 << 30)
	opt.FS, opt.MaxSize, opt.WhenFull, opt.KeepFor = copied, 1<<29, queue.Block, time.Hour
	opt.OpenStore = func(path string) (checkpoint.Store, []checkpoint.Problem, error) { return openStore(copied, path) }
	q, err := queue.Open(opt)
	if err != nil {
		l.t.Fatalf("open a copy: %v", err)
	}
	first, there = q.Recovered().FirstSequence, map[uint64]bool{}
	r := q.Preview("nobody")
	for f := (segment.Frame{}); ; {
		ok, _, err := r.TryNext(context.Background(), &f)
		if err != nil {
			l.t.Errorf("read a copy: %v", err)
		}
		if !ok {
			break
		}
		for s := f.First; s <= f.Last(); s++ {
			there[s] = true
		}
	}
	r.Close()
	if err := q.Close(); err != nil {
		l.t.Errorf("close a copy: %v", err)
	}
	return first, there
}

// close ends outputs and queue; then everything is durable that can be.
func (l *life) close() {
	l.t.Helper()
	l.stop()
	l.outputs.Wait()
	if err := l.q.Close(); err != nil {
		l.t.Logf("close: %v", err)
		return
	}
	l.m.settled()
	for name := range l.m.outputs {
		l.m.saved(name)
	}
}

// noise is text that does not compress.
func noise(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + rng.IntN(90))
	}
	return string(b)
}

func run(key, position string, payloads ...string) segment.Run {
	body := strings.Join(payloads, "\n") + "\n"
	return segment.Run{
		Form: segment.Lines, Count: uint32(len(payloads)), Raw: uint32(len(body)), Key: []byte(key), Position: []byte(position),
		Attributes: []byte("attributes"), Body: []byte(body),
	}
}

// pack appends a few records of a source with its next position, and tells whether it was accepted.
func (l *life) pack(ctx context.Context, rng *rand.Rand, key, position string, count, size int) (last uint64, ok bool) {
	var payloads []string
	for j := range count {
		payloads = append(payloads, fmt.Sprintf("%s %s.%d %s", key, position, j, noise(rng, size)))
	}
	last, err := l.q.Append(ctx, []segment.Run{run(key, position, payloads...)})
	if err != nil {
		if errors.Is(err, queue.ErrDropped) {
			l.m.refuses(count)
		}
		return 0, false
	}
	l.m.appended(key, position, last, payloads)
	return last, true
}

// wait waits until a sequence is durable and notes that the source was told.
func (l *life) wait(ctx context.Context, last uint64) bool {
	if l.q.WaitDurable(ctx, last) != nil {
		return false
	}
	if l.opt.Sync.Mode == queue.SyncAlways {
		l.m.durable(last)
	}
	return true
}

// load is what sources do: so many of them at once, each so many packs.
type load struct {
	sources, packs int
	most           int           // records in a pack
	size           int           // bytes of a large record
	pause          time.Duration // now and then
	patience       time.Duration // of an append; 0: without end
}

// ingest lets sources append, and returns when the last one has.
func (l *life) ingest(what load) {
	var sources sync.WaitGroup
	for n := range what.sources {
		key, rng := fmt.Sprintf("in/%d", n), rand.New(rand.NewPCG(l.rng.Uint64(), 3))
		sources.Go(func() {
			for range what.packs {
				l.one(rng, key, what)
			}
		})
	}
	sources.Wait()
}

// one is one pack of a source.
func (l *life) one(rng *rand.Rand, key string, what load) {
	ctx, cancel := context.WithTimeout(l.ctx, cmp.Or(what.patience, time.Hour))
	defer cancel()
	size := rng.IntN(60)
	if rng.IntN(3) == 0 {
		size = rng.IntN(what.size)
	}
	position := fmt.Sprintf("%s-%d", l.name, l.packs.Add(1))
	if last, ok := l.pack(ctx, rng, key, position, 1+rng.IntN(what.most), size); ok && rng.IntN(3) > 0 {
		l.wait(ctx, last)
	}
	if what.patience == 0 && ctx.Err() != nil {
		l.t.Errorf("%s has waited for an hour: %+v", key, l.q.Status())
	}
	if what.pause > 0 && rng.IntN(4) == 0 {
		time.Sleep(what.pause)
	}
}

// follow is an output that takes what comes, with pauses between frames; now and then it leaves something undone for a
// while, and now and then it waits for a checkpoint. end ends it before the life does.
func (l *life) follow(name string, pause time.Duration) (end func()) {
	r, rng := l.q.Reader(name, queue.Oldest), rand.New(rand.NewPCG(l.rng.Uint64(), 5))
	l.m.follows(name)
	ctx, cancel := context.WithCancel(l.ctx)
	ended := make(chan struct{})
	l.outputs.Go(func() {
		defer close(ended)
		defer cancel()
		defer r.Close()
		var f segment.Frame
		var left []checkpoint.Range
		for {
			ok, _, err := r.TryNext(context.Background(), &f)
			if !ok && err == nil { // nothing more comes while the queue waits for what is left
				l.done(name, r, left...)
				left = nil
				_, err = r.Next(ctx, &f)
			}
			if err != nil {
				return
			}
			got := checkpoint.Range{First: f.First, Last: f.Last()}
			l.m.given(name, got.First, got.Last)
			if rng.IntN(4) == 0 {
				left = append(left, got)
			} else {
				l.done(name, r, got)
			}
			if len(left) > 2 {
				l.done(name, r, left...)
				left = nil
			}
			if rng.IntN(5) == 0 && r.Checkpoint(ctx) == nil {
				l.m.saved(name)
			}
			if pause > 0 {
				time.Sleep(time.Duration(rng.Int64N(int64(pause))))
			}
		}
	})
	return func() {
		cancel()
		<-ended
	}
}

func (l *life) done(name string, r *queue.Reader, all ...checkpoint.Range) {
	for _, got := range all {
		l.m.takes(name, got.First, got.Last)
	}
	r.Done([]byte("state of "+name), all...)
}
