package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/vfs/faultfs"
)

// addOutputWith is addOutput with keys.
func (r *rig) addOutputWith(name, keys string, build func(output.Env) (output.Output, error)) {
	r.t.Helper()
	cfg, err := config.Parse("rig", []byte("data_dir = '/x'\n[input.x]\ntype = 'stdin'\n[output."+name+"]\ntype = 'stdout'\n"+keys))
	if err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Outputs = append(r.cfg.Outputs, cfg.Outputs[0])
	r.outputs[name] = build
}

// crowd is a sink of which there may be several.
type crowd struct{ *sink }

func (crowd) Concurrent() {}

// crowded builds outputs that share what a sink keeps.
func crowded(out *sink) func(output.Env) (output.Output, error) {
	return func(output.Env) (output.Output, error) { return crowd{out}, nil }
}

// TestInFlight: as many requests as in_flight says are under way at once, and everything arrives once.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		var mu sync.Mutex
		now, most := 0, 0
		out.send = func(ctx context.Context, b *output.Batch) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			pause(ctx, time.Second)
			out.take(b, 0, b.Len())
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		r.addOutputWith("out", "in_flight = 5\nrate_limit = '900B'", crowded(out)) // so that batches are small
		r.start()
		var want []string
		for i := range 100 {
			records := numbered(i*40, 40)
			in.send(t, records...)
			want = append(want, records...)
		}
		eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		got := out.records()
		slices.Sort(got)
		expect(t, "out", got, want)
		if most > 5 {
			t.Errorf("%d requests at once, want at most 5", most)
		}
		r.mustStop()
		if out.closed != 5 {
			t.Errorf("%d outputs were closed, want 5", out.closed)
		}
	})
}

// TestInFlightOvertakes: a batch that keeps failing stops nobody, holds the position, and comes in the end; with one
// request in flight nothing overtakes.
func TestInFlightOvertakes(t *testing.T) {
	for inFlight, overtakes := range map[int]bool{1: false, 2: true, 8: true} {
		synctest.Test(t, func(t *testing.T) {
			r, in, out := newRig(t), newTap(), new(sink)
			r.addInput("in", in.build)
			var mu sync.Mutex
			bad := true
			var ids []string
			out.send = func(ctx context.Context, b *output.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				if b.First == 1 && bad {
					ids = append(ids, b.ID)
					return errRefused
				}
				out.take(b, 0, b.Len())
				return nil
			}
			r.addOutputWith("out", fmt.Sprintf("in_flight = %d", inFlight), crowded(out))
			r.start()
			for i := range 10 {
				in.send(t, numbered(i*10, 10)...)
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if n := len(out.records()); n != 90 && overtakes || n != 0 && !overtakes {
				t.Errorf("in_flight = %d: %d records while the first batch fails", inFlight, n)
			}
			if o := r.output("out"); o.Position != 1 || o.State != stateRetrying || o.NextRetry == nil || o.LastError != errRefused.Error() {
				t.Errorf("in_flight = %d: status %+v", inFlight, o)
			}
			mu.Lock()
			bad = false
			mu.Unlock()
			eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
			got := out.records()
			if overtakes {
				expect(t, "out", got[90:], numbered(0, 10))
				slices.Sort(got)
			}
			expect(t, "out", got, numbered(0, 100))
			if o := r.output("out"); o.Position != 101 || o.State != stateIdle || o.NextRetry != nil {
				t.Errorf("in_flight = %d: status %+v", inFlight, o)
			}
			if first := slices.Compact(ids); len(ids) < 2 || len(first) != 1 {
				t.Errorf("in_flight = %d: the batch had the IDs %q over its retries", inFlight, first)
			}
			r.mustStop()
		})
	}
}

// TestInFlightStops: a stop ends back-off at once, and lets the requests in flight finish.
func TestInFlightStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		out.send = func(ctx context.Context, b *output.Batch) error {
			if b.First%20 == 1 {
				return errRefused
			}
			pause(ctx, 3*time.Second)
			out.take(b, 0, b.Len())
			return ctx.Err()
		}
		r.addOutputWith("out", "in_flight = 6", crowded(out))
		r.start()
		for i := range 6 {
			in.send(t, numbered(i*10, 10)...)
			synctest.Wait()
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		r.mustStop()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if n := len(out.records()); n != 30 {
			t.Errorf("%d records, want the 30 of the batches that did not fail", n)
		}
	})
}

// stranger is a destination for several outputs at once that fails in every way there is.
type stranger struct {
	mu   sync.Mutex
	rand *rand.Rand
	got  map[string]int
	bad  int // how often out of 100 something goes wrong
}

func (d *stranger) build(output.Env) (output.Output, error) {
	out := new(sink)
	out.send = func(ctx context.Context, b *output.Batch) error {
		pause(ctx, time.Duration(d.draw(50))*time.Millisecond)
		d.mu.Lock()
		defer d.mu.Unlock()
		fate := d.rand.IntN(100)
		for i := range b.Len() {
			if !b.IsPending(i) {
				continue
			}
			if fate < d.bad && d.rand.IntN(3) == 0 {
				switch fate % 3 {
				case 0:
					return errRefused
				case 1:
					return output.ErrAgain
				default:
					panic("a bug in an output")
				}
			}
			record := strings.TrimSuffix(string(slices.Concat(b.AppendLines(nil, i, i+1)...)), "\n")
			if strings.HasSuffix(record, "3") {
				b.Reject(i, "refused for good")
				continue
			}
			d.got[record]++
			b.Accept(i)
		}
		if fate == 99 {
			return errRefused // though all were accepted
		}
		return nil
	}
	return crowd{out}, nil
}

func (d *stranger) draw(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

// TestInFlightModel runs outputs that fail, refuse and panic at random, on a disk that loses power at a random operation:
// every acknowledged record arrives or is a dead letter.
func TestInFlightModel(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) { inFlightModel(t, uint64(seed)) })
	}
}

func inFlightModel(t *testing.T, seed uint64) {
	rand := rand.New(rand.NewPCG(seed, 1))
	there := &stranger{rand: rand, got: map[string]int{}, bad: 60}
	r, in := newRig(t), newTap()
	r.addInput("in", in.build)
	r.addOutputWith("out", fmt.Sprintf("in_flight = %d\nrate_limit = '4KiB'", 1+rand.IntN(9)), there.build)
	var acknowledged []string
	for life := range 3 {
		if life < 2 {
			r.fs.CrashAt(r.fs.Ops() + 20 + rand.IntN(120))
		}
		in.up = make(chan struct{})
		r.start()
		for range 8 {
			records := numbered(len(acknowledged), 1+there.draw(30))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if r.running() && in.trySend(ctx, records...) == nil {
				acknowledged = append(acknowledged, records...)
			}
			cancel()
			time.Sleep(time.Duration(there.draw(100)) * time.Millisecond)
		}
		if life == 2 {
			break
		}
		time.Sleep(time.Duration(there.draw(3000)) * time.Millisecond)
		r.stop() // what it says of the dead disk does not matter
		r.fs = r.fs.Crash([]faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder}[rand.IntN(3)], seed)
	}
	eventually(t, fmt.Sprintf("seed %d: everything is done", seed), func() bool { return r.output("out").BacklogRecords == 0 })
	r.mustStop()
	have := map[string]bool{}
	for record := range there.got {
		have[record] = true
	}
	for _, letter := range r.letters() {
		have[string(letter.Payload)] = true
	}
	lost := slices.DeleteFunc(acknowledged, func(record string) bool { return have[record] })
	if len(lost) > 0 {
		t.Errorf("seed %d: %d acknowledged records are lost: %q", seed, len(lost), lost)
	}
}

// TestInFlightBatchesAreCutAgain: after a kill the batches that were not finished come again as they were, so that their
// IDs say that they are repeats; the others do not come.
func TestInFlightBatchesAreCutAgain(t *testing.T) {
	r := newRig(t)
	open := func() *queue.Queue {
		q, err := r.open(queue.Options{Dir: "/data"})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := open()
	g := &ingest{queue: q}
	for i := range 12 {
		receipt, err := g.emit(t.Context(), linesPack(strings.Join(numbered(i*10, 10), "\n")+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := receipt.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	take := func(f *feed, limit int) *hand {
		h := new(hand)
		if err := f.fill(h, limit); err != nil {
			t.Fatal(err)
		}
		if h.batch.Len() > 0 {
			f.plan(h)
		}
		return h
	}
	span := func(h *hand) string { return fmt.Sprintf("%d-%d", h.batch.First, h.batch.Last) }
	f := &feed{reader: q.Reader("out", queue.Oldest), several: true, moved: make(chan struct{}, 1)}
	var hands []*hand
	for _, limit := range []int{300, 150, 400, 150, 500} {
		hands = append(hands, take(f, limit))
	}
	f.finish(hands[1], nil)
	f.finish(hands[3], nil)
	want := []string{span(hands[0]), span(hands[2]), span(hands[4])}

	// One that is given back comes again as it was, before anything else, while the others are still in other hands.
	f.giveBack(hands[2], true)
	if again := take(f, 1<<20); span(again) != want[1] {
		t.Errorf("given back: %s, want %s", span(again), want[1])
	}
	rest := take(f, 1<<20)
	if rest.batch.First != hands[4].batch.Last+1 || rest.batch.Last != 120 {
		t.Errorf("the rest is %s", span(rest))
	}
	want = append(want, span(rest))

	for range 2 { // a second kill before anything more is done
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		q = open()
		f = &feed{reader: q.Reader("out", queue.Oldest), several: true, moved: make(chan struct{}, 1)}
		f.resume()
		var got []string
		for h := take(f, 1<<20); h.batch.Len() > 0; h = take(f, 1<<20) {
			got = append(got, span(h))
			if len(got) == 2 {
				break // killed
			}
		}
		expect(t, "after a kill", got, want[:2])
	}
	var got []string
	for _, w := range want[2:] {
		h := take(f, 1<<20)
		got = append(got, span(h))
		if span(h) != w {
			t.Errorf("then %s, want %s", span(h), w)
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// TestInFlightCutsInsideARun: a batch may have ended in the middle of a run.
func TestInFlightCutsInsideARun(t *testing.T) {
	f, _ := feedOf(t, "1\n2\n3\n4\n5\n", "6\n7\n")
	f.several, f.moved, f.cuts = true, make(chan struct{}, 1), []uint64{2, 3, 6}
	for _, want := range []string{"1\n2\n", "3\n", "4\n5\n6\n", "7\n", ""} {
		var h hand
		if err := f.feed.fill(&h, f.limit); err != nil || text(&h.batch) != want {
			t.Errorf("batch %q, %v, want %q", text(&h.batch), err, want)
		}
	}
}

// TestInFlightKeepsTogether: nothing is read without end beyond a batch that is not finished.
func TestInFlightKeepsTogether(t *testing.T) {
	f, _ := feedOf(t, "1\n", "2\n", "3\n")
	f.several, f.moved, f.limit = true, make(chan struct{}, 1), 1
	var one, two hand
	for _, h := range []*hand{&one, &two} {
		if err := f.feed.fill(h, f.limit); err != nil || h.batch.Len() != 1 {
			t.Fatal(h.batch.Len(), err)
		}
	}
	if f.tooFar() {
		t.Error("two batches are too many")
	}
	f.feed.read.frames += aheadFrames
	if !f.tooFar() {
		t.Error("nothing bounds the frames")
	}
	f.finish(&two, nil)
	if !f.tooFar() {
		t.Error("the newer batch decides")
	}
	f.finish(&one, nil)
	if f.tooFar() {
		t.Error("nothing is in hand, and still it is too far")
	}
	select {
	case <-f.moved:
	default:
		t.Error("who waits is not told that a batch was finished")
	}
}

func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn turn
		ctx := t.Context()
		if !turn.take(ctx) {
			t.Fatal("the first one does not get it")
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if turn.take(ended) {
			t.Fatal("two have it")
		}
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				if turn.take(ctx) {
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					turn.give()
				}
			})
			synctest.Wait()
		}
		lent, back := turn.lend(ctx)
		if lent.Err() != nil {
			t.Error("nobody demanded it")
		}
		all.Go(func() {
			if turn.demand(ctx) {
				mu.Lock()
				order = append(order, 9)
				mu.Unlock()
				turn.give()
			}
		})
		synctest.Wait()
		if context.Cause(lent) != errYield {
			t.Error("the holder is not told")
		}
		back()
		if again, back := turn.lend(ctx); context.Cause(again) != errYield {
			t.Error("a holder who begins to wait is not told")
		} else {
			back()
		}
		turn.give()
		all.Wait()
		if fmt.Sprint(order) != "[9 2 1 0]" {
			t.Errorf("order %v, want the last one first", order)
		}
		if !turn.take(ended) || turn.needed != 0 {
			t.Error("a free turn is not given")
		}
	})
}
