package forward

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"logmule/queue"
)

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
		if err := f.fill(context.Background(), h, limit); err != nil {
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
	for _, w := range want[2:] {
		if h := take(f, 1<<20); span(h) != w {
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
		if err := f.feed.fill(context.Background(), &h, f.limit); err != nil || text(&h.batch) != want {
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
		if err := f.feed.fill(context.Background(), h, f.limit); err != nil || h.batch.Len() != 1 {
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
