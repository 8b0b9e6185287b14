package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

// TestLinesMemory follows the budget and the deadlines from read to read.
func TestLinesMemory(t *testing.T) {
	env := testEnv(10 << 20)
	s := new(script)
	l := newLines(&env, s, newStore().emit, 1<<20, new(sparing), "peer")
	for i, c := range []struct {
		read     any
		used     int64
		deadline time.Duration
	}{
		{"short\n", 0, 0},
		{strings.Repeat("x", 100), 0, 0},
		{strings.Repeat("x", smallBlock-101), largeBlock, stallAfter},            // fills the small block
		{strings.Repeat("x", largeBlock-smallBlock), 2 * largeBlock, stallAfter}, // and the large one
		{strings.Repeat("x", largeBlock) + "\ny", largeBlock, idleAfter},         // back
		{strings.Repeat("x", smallBlock) + "\n" + "partial", largeBlock, idleAfter},
		{os.ErrDeadlineExceeded, 0, 0},
		{strings.Repeat("x", smallBlock), largeBlock, stallAfter},
		{"\n", 0, 0}, // brought little, left nothing
		{strings.Repeat("x\n", smallBlock), largeBlock, idleAfter},
		{strings.Repeat("x\n", smallBlock), largeBlock, idleAfter},
		{os.ErrDeadlineExceeded, 0, 0},
	} {
		s.reads = []any{c.read}
		for len(s.reads) > 0 {
			if err := l.step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if used := env.Memory.Used(); used != c.used {
			t.Errorf("step %d: %d bytes of the budget used, want %d", i, used, c.used)
		}
		if got := time.Until(s.deadline); c.deadline == 0 != s.deadline.IsZero() ||
			c.deadline > 0 && (got > c.deadline+deadlineSlack || got < c.deadline-5*time.Second && c.deadline == stallAfter) {
			t.Errorf("step %d: deadline in %v, want %v", i, got, c.deadline)
		}
	}
	l.close()
}

// TestLinesWithoutMemory uses a budget that others hold: short records go on, a long one waits.
func TestLinesWithoutMemory(t *testing.T) {
	env := testEnv(0)
	if err := env.Memory.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	st := newStore()
	s := &script{reads: []any{strings.Repeat("x\n", largeBlock), strings.Repeat("y", 1<<20)}}
	done := make(chan error)
	go func() {
		done <- newLines(&env, s, st.emit, 1<<20, new(sparing), "peer").run(t.Context())
	}()
	st.wait(t, largeBlock)
	eventually(t, "a waiter", func() bool {
		env.Memory.mu.Lock()
		defer env.Memory.mu.Unlock()
		return len(env.Memory.mu.waiters) == 1
	})
	env.Memory.Release(1)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	records := st.records()
	if len(records) != largeBlock+1 || records[largeBlock].text != strings.Repeat("y", 1<<20) {
		t.Errorf("%d records, the last %s", len(records), show(records[len(records)-1]))
	}
	if used := env.Memory.Used(); used != 0 {
		t.Errorf("%d bytes not given back", used)
	}
}

// TestLinesMemoryIsNeverAllHeldByWaiters: a reader that was admitted beyond the limit keeps its grant while others hold
// the limit. Had it given back a part, its next long record would wait for the other reader, which waits for it.
func TestLinesMemoryIsNeverAllHeldByWaiters(t *testing.T) {
	env := testEnv(largeBlock)
	st := newStore()
	step := func(l *lines, s *script, text string) {
		t.Helper()
		for s.reads = []any{text}; len(s.reads) > 0; {
			ctx, stop := context.WithTimeout(t.Context(), patience)
			defer stop()
			if err := l.step(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	first, second := new(script), new(script)
	a := newLines(&env, first, st.emit, 1<<20, new(sparing), "a")
	b := newLines(&env, second, st.emit, 1<<20, new(sparing), "b")
	long, some := strings.Repeat("x", 600<<10), strings.Repeat("y", largeBlock/4)
	step(a, first, long[:largeBlock-2]) // all of the limit
	step(b, second, long+"\n"+some)     // the one beyond it
	if used := env.Memory.Used(); used <= 2*largeBlock {
		t.Errorf("%d bytes used: what was admitted went back in part", used)
	}
	first.reads = []any{"xx"}
	waited := make(chan error, 1)
	go func() { waited <- a.step(t.Context()) }()
	eventually(t, "a waiter", func() bool { return env.Memory.waiting() == 1 })
	step(b, second, long[len(some):]+"\n"+some)
	step(b, second, "\nz") // so little that it fits the small block
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	step(a, first, "x\n")
	st.want(t, line{long, false}, line{some + long[len(some):], false}, line{some, false}, line{long[:largeBlock], false})
	a.close()
	b.close()
	if used := env.Memory.Used(); used != 0 {
		t.Errorf("%d bytes not given back", used)
	}
}

// TestLinesMemoryDenied ends the wait for memory.
func TestLinesMemoryDenied(t *testing.T) {
	env := testEnv(0)
	if err := env.Memory.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := newLines(&env, &script{reads: []any{strings.Repeat("y", 1<<20)}}, newStore().emit, 1<<20, new(sparing), "peer").run(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "memory_limit") {
		t.Errorf("run returns %v", err)
	}
	if used := env.Memory.Used(); used != 1 {
		t.Errorf("%d bytes used, want 1", used)
	}
}

// endless is a byteStream that fills every read with whole and partial lines.
type endless struct{ text []byte }

func newEndless() *endless {
	return &endless{bytes.Repeat([]byte(strings.Repeat("k", 99)+"\n"), largeBlock/100+1)}
}

func (e *endless) Read(b []byte) (int, error)        { return copy(b, e.text), nil }
func (e *endless) SetReadDeadline(_ time.Time) error { return nil }

func discard(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, nil }

func TestLinesAllocateNothing(t *testing.T) {
	env := testEnv(1 << 20)
	l := newLines(&env, newEndless(), discard, 1<<20, new(sparing), "peer")
	ctx := t.Context()
	if n := testing.AllocsPerRun(1000, func() {
		if err := l.step(ctx); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
	if len(l.block) != largeBlock {
		t.Errorf("block of %d bytes, want the large one", len(l.block))
	}
	l.loan.end()
}

func BenchmarkLines(b *testing.B) {
	for _, limit := range []int{1 << 20, 200} {
		b.Run(fmt.Sprintf("max_record=%d", limit), func(b *testing.B) {
			env := testEnv(1 << 20)
			l := newLines(&env, newEndless(), discard, limit, new(sparing), "peer")
			defer l.close()
			ctx := b.Context()
			b.SetBytes(largeBlock)
			b.ReportAllocs()
			for b.Loop() {
				if err := l.step(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
