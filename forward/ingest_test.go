package forward

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"logmule/forward/input"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
)

// fakeQueue remembers the runs of the last append.
type fakeQueue struct {
	appends int
	runs    []segment.Run
	keep    bool // copy the runs
	kept    int  // appends of packs that their source keeps
	err     error
}

func (q *fakeQueue) Append(_ context.Context, runs []segment.Run) (uint64, error) {
	if q.err != nil {
		return 0, q.err
	}
	q.appends++
	if q.keep {
		q.runs = nil
		for _, r := range runs {
			r.Key, r.Position, r.Attributes = bytes.Clone(r.Key), bytes.Clone(r.Position), bytes.Clone(r.Attributes)
			q.runs = append(q.runs, r)
		}
	}
	return 42, nil
}

func (q *fakeQueue) AppendKept(ctx context.Context, runs []segment.Run) (uint64, error) {
	q.kept++
	return q.Append(ctx, runs)
}

func (q *fakeQueue) WaitDurable(context.Context, uint64) error { return errors.New("asked") }

func linesPack(body string) *pack.Pack {
	return &pack.Pack{
		Shared: pack.Attributes{Timestamp: 1, Type: "app", Logger: "peer", Severity: 7, Hostname: "here"},
		Form:   pack.Lines, Body: []byte(body), Count: pack.CountLines([]byte(body)),
	}
}

func TestEmitOfWhatTheSourceKeeps(t *testing.T) {
	q := new(fakeQueue)
	g := &ingest{queue: q}
	p := linesPack("one\n")
	for _, kept := range []bool{false, true} {
		p.Kept = kept
		if _, err := g.emit(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if q.appends != 2 || q.kept != 1 {
		t.Errorf("%d appends, %d of them kept", q.appends, q.kept)
	}
}

// refusing is a disk that takes nothing.
type refusing struct{ asked int }

func (r *refusing) WaitDisk(ctx context.Context) error {
	r.asked++
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestEmitWhileTheDiskRefuses: nothing is taken into memory then but what its source could neither keep nor send again.
func TestEmitWhileTheDiskRefuses(t *testing.T) {
	q, disk := new(fakeQueue), new(refusing)
	g := &ingest{queue: q, disk: disk}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	p := linesPack("one\n")
	if _, err := g.emit(ctx, p); !errors.Is(err, input.ErrDisk) || !errors.Is(err, context.DeadlineExceeded) || q.appends != 0 {
		t.Errorf("emit: %v, %d appends", err, q.appends)
	}
	p.Passing = true
	if _, err := g.emit(t.Context(), p); err != nil || q.appends != 1 || disk.asked != 1 {
		t.Errorf("emit of what passes by: %v, %d appends, the disk was asked %d times", err, q.appends, disk.asked)
	}
}

func TestEmitOneFrame(t *testing.T) {
	q := &fakeQueue{keep: true}
	g := &ingest{queue: q}
	p := linesPack("one\ntwo\n")
	p.Source, p.Position = "in/app", []byte("here")
	receipt, err := g.emit(t.Context(), p)
	if err != nil || receipt.Sequence != 42 {
		t.Fatalf("emit = %v, %v", receipt, err)
	}
	if err := receipt.Wait(t.Context()); err == nil || err.Error() != "asked" {
		t.Errorf("the receipt does not wait for the queue: %v", err)
	}
	if len(q.runs) != 1 {
		t.Fatalf("%d runs", len(q.runs))
	}
	r := q.runs[0]
	if r.Form != segment.Lines || r.Count != 2 || r.Raw != 8 || string(r.Key) != "in/app" || string(r.Position) != "here" {
		t.Errorf("run is %+v", r)
	}
	if &r.Body[0] != &p.Body[0] {
		t.Error("the body was copied")
	}
	var record pack.Record
	if err := record.Decode(r.Attributes, []byte("one"), pack.Lines); err != nil || record.Type != "app" || record.Hostname != "here" {
		t.Errorf("attributes decode as %+v, %v", record, err)
	}
	if g.records.Load() != 2 || g.bytes.Load() != 8 {
		t.Errorf("counted %d records, %d bytes", g.records.Load(), g.bytes.Load())
	}
}

func TestEmitSplitsAtRecords(t *testing.T) {
	line := strings.Repeat("x", 1000) + "\n"
	long := strings.Repeat("y", 2*segment.FrameTarget) + "\n"
	body := strings.Repeat(line, 600) + long + strings.Repeat(line, 3)
	var records []byte
	for range 600 {
		records = pack.AppendOwn(records, []byte(line))
	}
	for name, p := range map[string]*pack.Pack{
		"lines":        linesPack(body),
		"zero form":    {Body: []byte(body), Count: 604},
		"records":      {Form: pack.Records, Body: records, Count: 600},
		"one long":     linesPack(long),
		"long at last": linesPack(line + long),
	} {
		t.Run(name, func(t *testing.T) {
			q := &fakeQueue{keep: true}
			g := &ingest{queue: q}
			p.Source, p.Position = "in/app", []byte("end")
			if _, err := g.emit(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if q.appends != 1 {
				t.Errorf("%d appends, want one for all", q.appends)
			}
			var joined []byte
			count := 0
			for i, r := range q.runs {
				joined = append(joined, r.Body...)
				count += int(r.Count)
				if len(r.Body) > segment.FrameTarget && r.Count != 1 {
					t.Errorf("run %d has %d records in %d bytes", i, r.Count, len(r.Body))
				}
				if int(r.Raw) != len(r.Body) {
					t.Errorf("run %d says %d bytes and has %d", i, r.Raw, len(r.Body))
				}
				if last := i == len(q.runs)-1; (len(r.Position) > 0) != last || string(r.Key) != "in/app" {
					t.Errorf("run %d of %d has position %q of %q", i, len(q.runs), r.Position, r.Key)
				}
				if !bytes.Equal(r.Attributes, q.runs[0].Attributes) || len(r.Attributes) == 0 {
					t.Errorf("run %d has other attributes", i)
				}
			}
			if !bytes.Equal(joined, p.Body) || count != p.Count {
				t.Errorf("runs hold %d records in %d bytes, the pack %d in %d", count, len(joined), p.Count, len(p.Body))
			}
		})
	}
}

func TestEmitNothing(t *testing.T) {
	q := &fakeQueue{}
	g := &ingest{queue: q}
	receipt, err := g.emit(t.Context(), &pack.Pack{})
	if err != nil || q.appends != 0 || receipt.Wait(t.Context()) != nil {
		t.Errorf("an empty pack: %v, %v, %d appends", receipt, err, q.appends)
	}
}

func TestEmitRefuses(t *testing.T) {
	long := strings.Repeat("z", 2*segment.FrameTarget)
	for name, p := range map[string]*pack.Pack{
		"no body":         {Form: pack.Lines, Count: 3},
		"no newline":      {Form: pack.Lines, Body: []byte(long), Count: 1},
		"too few counted": {Form: pack.Lines, Body: []byte(strings.Repeat(long+"\n", 2) + "a\n"), Count: 2},
	} {
		q := &fakeQueue{}
		g := &ingest{queue: q}
		_, err := g.emit(t.Context(), p)
		if !errors.Is(err, pack.ErrBody) || q.appends != 0 {
			t.Errorf("%s: %v, %d appends", name, err, q.appends)
		}
	}
}

func TestEmitErrors(t *testing.T) {
	p := linesPack("one\n")
	g := &ingest{queue: &fakeQueue{err: queue.ErrDropped}}
	if _, err := g.emit(t.Context(), p); !errors.Is(err, input.ErrDropped) {
		t.Errorf("a dropped pack gives %v", err)
	}
	g.queue = &fakeQueue{err: context.DeadlineExceeded}
	if _, err := g.emit(t.Context(), p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a queue without room gives %v", err)
	}
	if g.records.Load() != 0 {
		t.Error("counted what was not stored")
	}
}

func TestEmitKeepsNothing(t *testing.T) {
	g := &ingest{queue: &fakeQueue{}}
	if _, err := g.emit(t.Context(), linesPack("one\n")); err != nil {
		t.Fatal(err)
	}
	s, ok := g.scratch.Get().(*scratch)
	if !ok {
		return // the pool has dropped it, as it may
	}
	for _, r := range s.runs[:cap(s.runs)] {
		if r.Body != nil {
			t.Error("the scratch still holds the body of the input")
		}
	}
}

func TestEmitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools allocate; the run without it counts")
	}
	g := &ingest{queue: &fakeQueue{}}
	emit := input.Emit(g.emit)
	p := linesPack(strings.Repeat("a line of the usual kind\n", 1000))
	p.Source, p.Position = "in/app", []byte("1234")
	ctx := t.Context()
	n := testing.AllocsPerRun(1000, func() {
		if _, err := emit(ctx, p); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations for a pack of one frame", n)
	}
}
