package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// TestComingsAndGoings: outputs come, read, go and are forgotten while limits change and segments are deleted; the one that
// stays misses nothing, no other is given a record twice or has a hole, and nothing counts as lost.
func TestComingsAndGoings(t *testing.T) {
	for seed := range uint64(2) {
		rng := rand.New(rand.NewPCG(seed, 9))
		b := newBench(t, small(Block))
		stays := b.q.Reader("stays", Oldest)
		readers, next := map[string]*Reader{}, map[string]uint64{}
		var f segment.Frame
		read := func(name string, r *Reader, frames int) {
			for range frames {
				ok, lost, err := r.TryNext(b.ctx, &f)
				if err != nil || lost.Last != 0 {
					t.Fatalf("seed %d: %s: lost %v, %v", seed, name, lost, err)
				}
				if !ok {
					return
				}
				if next[name] != 0 && f.First != next[name] {
					t.Fatalf("seed %d: %s gets %d, want %d", seed, name, f.First, next[name])
				}
				next[name] = f.Last() + 1
				r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
			}
		}
		next["stays"] = 1
		for step := range 3000 {
			name := fmt.Sprintf("out%d", rng.IntN(3))
			r := readers[name]
			switch action := rng.IntN(20); {
			case action < 8:
				ctx, cancel := context.WithTimeout(b.ctx, time.Millisecond)
				_, _ = b.q.Append(ctx, []segment.Run{linesRun(strings.Repeat("x", 1+rng.IntN(30000)))}) // or it is full
				cancel()
			case action < 13:
				read("stays", stays, 5)
			case action < 16 && r != nil:
				read(name, r, 5)
			case action == 16 && r == nil:
				readers[name] = b.q.Reader(name, StartAt(rng.IntN(2)))
			case action == 17 && r != nil:
				r.Close()
				delete(readers, name)
			case action == 18 && r == nil:
				if err := b.q.Forget(name); err != nil {
					t.Fatal(err)
				}
				delete(next, name)
			case action == 19 && step%5 == 0:
				b.q.SetLimits(b.limitsOf(func(l *Limits) {
					l.MaxSize = int64(1+rng.IntN(3)) << 20
					l.KeepFor = time.Duration(rng.IntN(2)) * time.Hour
					l.KeepSize = int64(rng.IntN(2)) << 19
				}))
			}
		}
		read("stays", stays, 1<<20)
		if at, mark := next["stays"], b.q.mark.Load(); at != mark+1 {
			t.Errorf("seed %d: at %d of %d", seed, at, mark)
		}
		for _, loss := range b.ledger() {
			if loss.Cause != recovery.CauseForgotten { // the model forgets outputs with a backlog
				t.Errorf("seed %d: %+v", seed, loss)
			}
		}
		_ = b.q.Close() // which complains about what was accepted under larger limits and has no room
		b.q = nil
	}
}
