package input

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

func (b *Budget) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mu.waiters)
}

func TestBudgetLimit(t *testing.T) {
	b := NewBudget(100)
	for i, c := range []struct {
		n    int64
		want bool
	}{{60, true}, {41, false}, {40, true}, {1, false}} {
		if got := b.TryAcquire(c.n); got != c.want {
			t.Errorf("step %d: TryAcquire(%d) is %v", i, c.n, got)
		}
	}
	if used := b.Used(); used != 100 {
		t.Errorf("%d bytes used, want 100", used)
	}
}

// TestBudgetOneBeyond grants one more than the limit, whatever its size, and then nothing until that is given back.
func TestBudgetOneBeyond(t *testing.T) {
	b := NewBudget(100)
	ctx := t.Context()
	for _, n := range []int64{100, 1000} {
		if err := b.Acquire(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	order := make(chan int, 2)
	for i, n := range []int64{500, 10} {
		go func() {
			if b.Acquire(ctx, n) == nil {
				order <- i
			}
		}()
		eventually(t, "a waiter", func() bool { return b.waiting() == i+1 })
	}
	if b.TryAcquire(1) {
		t.Error("TryAcquire overtakes those who wait")
	}
	b.Release(100)
	if used := b.Used(); used != 1000 || b.waiting() != 2 {
		t.Errorf("%d bytes used, %d waiting: more than one grant beyond the limit", used, b.waiting())
	}
	b.Release(1000)
	if first := <-order; first != 0 {
		t.Error("the second waiter came first")
	}
	if used := b.Used(); used != 500 || b.waiting() != 1 {
		t.Errorf("%d bytes used, %d waiting, want 500 and 1", used, b.waiting())
	}
	b.Release(500)
	<-order
	b.Release(10)
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes used in the end", used)
	}
}

func TestBudgetEndedContext(t *testing.T) {
	b := NewBudget(0)
	if err := b.Acquire(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() { failed <- b.Acquire(ctx, 5) }()
	eventually(t, "a waiter", func() bool { return b.waiting() == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire returns %v", err)
	}
	b.Release(7)
	if used := b.Used(); used != 0 || b.waiting() != 0 {
		t.Errorf("%d bytes used, %d waiting, want none", used, b.waiting())
	}
}

// TestBudgetGrowers lets many loans grow far beyond the limit at once: all of them come to an end.
func TestBudgetGrowers(t *testing.T) {
	const final = 1 << 20
	b := NewBudget(final / 2)
	ctx := t.Context()
	var growers sync.WaitGroup
	for i := range 16 {
		growers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 50 {
				l := loan{from: b}
				want := []byte(fmt.Sprint(i))
				keep := want
				for size := minBlock; size < final; size *= 2 + 2*random.IntN(3) {
					if err := l.resize(ctx, size, final, keep); err != nil {
						t.Error(err)
					}
					keep = l.bytes()[:len(want)]
					if used := b.Used(); used > final/2+final {
						t.Errorf("%d bytes used", used)
					}
					if string(keep) != string(want) || len(l.bytes()) != size {
						t.Errorf("block of %d bytes with %q, want %d with %q", len(l.bytes()), keep, size, want)
					}
				}
				l.end()
			}
		})
	}
	growers.Wait()
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes not given back", used)
	}
}

func TestLoanShrinks(t *testing.T) {
	b := NewBudget(1 << 20)
	l := loan{from: b}
	if !l.tryResize(512<<10, []byte("head")) {
		t.Fatal("no memory")
	}
	if !l.tryShrink(64<<10, l.bytes()[:4]) {
		t.Fatal("nothing is given back")
	}
	if used := b.Used(); used != 64<<10 || len(l.bytes()) != 64<<10 || string(l.bytes()[:4]) != "head" {
		t.Errorf("%d bytes used, block of %d with %q", used, len(l.bytes()), l.bytes()[:4])
	}
	l.end()
	l.end()
	if used := b.Used(); used != 0 || l.bytes() != nil {
		t.Errorf("%d bytes used after the end", used)
	}
}

func TestBlockSize(t *testing.T) {
	for n, want := range map[int]int{1: minBlock, minBlock: minBlock, minBlock + 1: 2 * minBlock, 100_000: 128 << 10,
		maxBlock: maxBlock, maxBlock + 2: maxBlock + 2} {
		if got := blockSize(n); got != want {
			t.Errorf("blockSize(%d) is %d, want %d", n, got, want)
		}
	}
	pools := new(blockPools)
	for _, n := range []int{minBlock, largeBlock, maxBlock} {
		if pools.of(n) == nil {
			t.Errorf("blocks of %d bytes are not pooled", n)
		}
	}
	if pools.of(minBlock) == pools.of(2*minBlock) || pools.of(minBlock+1) != nil || pools.of(2*maxBlock) != nil {
		t.Error("blocks go into the wrong pool")
	}
}
