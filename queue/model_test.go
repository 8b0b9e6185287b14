package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// model is what a run on a failing disk was promised: which records were acknowledged, and what was delivered and done.
// What a power loss may leave is judged in integration/states.
type model struct {
	payload map[uint64]string // by sequence, of everything appended in this or an earlier life
	acked   map[uint64]bool
	done    map[uint64]bool // handed to Done by the reader
	seen    uint64          // the highest sequence that any source or reader has seen
}

func newModel() *model {
	return &model{payload: map[uint64]string{}, acked: map[uint64]bool{}, done: map[uint64]bool{}}
}

// noise is text that does not compress.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('!' + r.IntN(90))
	}
	return string(b)
}

func linesRun(payloads ...string) segment.Run {
	body := strings.Join(payloads, "\n") + "\n"
	return segment.Run{Form: segment.Lines, Count: uint32(len(payloads)), Raw: uint32(len(body)), Key: []byte("in/test"), Attributes: []byte("attributes"), Body: []byte(body)}
}

// life runs a queue on fsys through a short load: small and large appends, enough for several segments, an output
// that follows, and a clean stop. It ends early, without a verdict, when the file system has crashed.
func (m *model) life(t *testing.T, opt Options, crashed func() bool) {
	t.Helper()
	q, err := Open(opt)
	if err != nil {
		if crashed() {
			return
		}
		t.Fatalf("open: %v", err)
	}
	m.run(t, q, crashed)
}

// run is the load of a life on an open queue, and its end.
func (m *model) run(t *testing.T, q *Queue, crashed func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		for ctx.Err() == nil {
			if crashed() {
				cancel()
				return
			}
			time.Sleep(200 * time.Microsecond)
		}
	}()
	r := q.Reader("out", Oldest)
	for i := range 14 {
		var payloads []string
		for j := range 1 + i%4 {
			payloads = append(payloads, fmt.Sprintf("life %d record %d.%d %s", len(m.payload), i, j, noise(uint64(i), (i%5)*3000)))
		}
		last, err := q.Append(ctx, []segment.Run{linesRun(payloads...)})
		if err != nil {
			break
		}
		first := last - uint64(len(payloads)) + 1
		if first <= m.seen {
			t.Errorf("sequence %d given again; %d was seen already", first, m.seen)
		}
		for k, p := range payloads {
			m.payload[first+uint64(k)] = p
		}
		if q.WaitDurable(ctx, last) != nil {
			break
		}
		m.seen = max(m.seen, last)
		for s := first; s <= last; s++ {
			m.acked[s] = true
		}
		if i%3 == 2 && !m.read(ctx, t, r, crashed) {
			break
		}
	}
	cancel()
	<-watch
	r.Close()
	if err := q.Close(); err != nil && !crashed() {
		t.Errorf("close: %v", err)
	}
}

// read takes what is there, checks each record against the model, and marks half of the frames done.
func (m *model) read(ctx context.Context, t *testing.T, r *Reader, crashed func() bool) bool {
	t.Helper()
	var f segment.Frame
	for {
		ok, lost, err := r.TryNext(t.Context(), &f)
		if err != nil || ctx.Err() != nil || crashed() {
			return false
		}
		for s := lost.First; s <= lost.Last && s != 0; s++ {
			if m.acked[s] && !m.done[s] {
				t.Errorf("acknowledged record %d is reported lost", s)
			}
		}
		if !ok {
			return true
		}
		m.check(t, &f)
		for s := f.First; s <= f.Last(); s++ {
			m.done[s] = true
		}
		r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
		if f.First%2 == 0 && r.Checkpoint(ctx) != nil {
			return false
		}
	}
}

func (m *model) check(t *testing.T, f *segment.Frame) {
	t.Helper()
	s := f.First
	for _, run := range f.Runs {
		for line := range strings.Lines(string(run.Body)) {
			want, known := m.payload[s]
			if !known {
				t.Errorf("sequence %d was never appended", s)
			} else if want != strings.TrimSuffix(line, "\n") {
				t.Errorf("sequence %d is altered: %.60q, want %.60q", s, line, want)
			}
			m.seen = max(m.seen, s)
			s++
		}
	}
	if s != f.Last()+1 {
		t.Errorf("frame %d..%d holds %d records", f.First, f.Last(), s-f.First)
	}
}

// judge opens what is left after a crash and demands every acknowledged record that was not done.
func (m *model) judge(t *testing.T, opt Options) {
	t.Helper()
	q, err := Open(opt)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	r := q.Reader("out", Oldest)
	defer r.Close()
	ctx := context.Background()
	last, err := q.Append(ctx, []segment.Run{linesRun("the end")})
	if err != nil {
		t.Fatalf("append after the crash: %v", err)
	}
	if last <= m.seen {
		t.Errorf("sequence %d given again; %d was seen already", last, m.seen)
	}
	m.payload[last] = "the end"
	if err := q.WaitDurable(ctx, last); err != nil {
		t.Fatalf("wait after the crash: %v", err)
	}
	got := map[uint64]bool{}
	var f segment.Frame
	before := uint64(0)
	for !got[last] {
		lost, err := r.Next(ctx, &f)
		if err != nil {
			t.Fatalf("read after the crash: %v", err)
		}
		for s := lost.First; s <= lost.Last && s != 0; s++ {
			if m.acked[s] && !m.done[s] {
				t.Errorf("acknowledged record %d is reported lost", s)
			}
		}
		if f.First <= before {
			t.Errorf("order: frame %d after %d", f.First, before)
		}
		before = f.Last()
		m.check(t, &f)
		for s := f.First; s <= f.Last(); s++ {
			got[s] = true
		}
	}
	for s := range m.acked {
		if !got[s] && !m.done[s] {
			t.Errorf("acknowledged record %d is lost", s)
		}
	}
}

func options(fsys vfs.FS, store *checkpoint.Memory) Options {
	return Options{
		Dir: "/data", FS: fsys, SegmentSize: 64 << 10, MinFree: -1, Codec: segment.Snappy,
		OpenStore: func(string) (checkpoint.Store, []checkpoint.Problem, error) { return store.Reopen(), nil, nil },
	}
}

// TestFailedSync: after a sync fails, nothing of its group is acknowledged until another segment has it.
func TestFailedSync(t *testing.T) {
	fsys, store, m := faultfs.New(), checkpoint.NewMemory(), newModel()
	failures, syncs := 0, 0
	fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && strings.HasSuffix(op.Name, ".seg") {
			if syncs++; syncs%5 == 0 || syncs%7 == 0 {
				failures++
				return errors.New("planted EIO")
			}
		}
		return nil
	})
	m.life(t, options(fsys, store), func() bool { return false })
	if failures == 0 {
		t.Fatal("no sync failed")
	}
	m.judge(t, options(fsys.Crash(faultfs.Drop, 1), store))
}
