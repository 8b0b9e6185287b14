package input

import (
	"context"
	"slices"
	"sync"
)

// defaultMemory is the limit of a Budget that nobody chose: memory_limit's default.
const defaultMemory = 64 << 20

// Budget is the memory that all inputs share beyond what an idle connection has for itself (memory_limit), in bytes.
// Any number of goroutines may use it.
//
// It keeps to its limit with one exception: while nothing is granted beyond the limit, one more grant is given,
// whatever its size, so that a single long record always gets through, even where the limit is smaller than it. For
// that to prevent a deadlock, who waits in Acquire asks at once for all that it can ever need, and keeps that until all
// of it goes back, or a part that brings what is granted within the limit (TryRelease). So those who hold less than they
// may need, and may wait, never hold more than the limit together: somebody is always admitted.
type Budget struct {
	limit  int64
	blocks blockPools

	mu struct {
		sync.Mutex           // guards:
		used       int64     // granted and not released
		waiters    []*waiter // in the order of their arrival; none while used <= limit
		waits      uint64    // calls of Acquire that had to wait
	}
}

type waiter struct {
	n       int64
	granted chan struct{} // closed once n is part of used
}

// NewBudget returns a Budget of limit bytes. Zero leaves room for one grant at a time.
func NewBudget(limit int64) *Budget { return &Budget{limit: max(limit, 0)} }

// Acquire waits until n bytes are granted, in the order of the calls, or until ctx ends: then it returns the error of
// ctx and nothing is granted.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	if b.mu.used <= b.limit {
		b.mu.used += n
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, granted: make(chan struct{})}
	b.mu.waiters = append(b.mu.waiters, w)
	b.mu.waits++
	b.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.mu.waiters, w); i >= 0 {
		b.mu.waiters = slices.Delete(b.mu.waiters, i, i+1)
		return ctx.Err()
	}
	return nil // granted in the same moment
}

// TryAcquire grants n bytes if they are within the limit. It overtakes nobody: while others wait, nothing is.
func (b *Budget) TryAcquire(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.used+n > b.limit {
		return false
	}
	b.mu.used += n
	return true
}

// Release gives back n bytes that were granted: all of a grant, or what a grant of Acquire has beyond all that is needed.
func (b *Budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.releaseLocked(n)
}

// TryRelease gives back a part of a grant, n bytes, unless more than the limit would still be granted after that: whoever
// kept the rest and waited for more could then wait for those who wait for it.
func (b *Budget) TryRelease(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.used-n > b.limit {
		return false
	}
	b.releaseLocked(n)
	return true
}

func (b *Budget) releaseLocked(n int64) {
	b.mu.used -= n
	for len(b.mu.waiters) > 0 && b.mu.used <= b.limit {
		w := b.mu.waiters[0]
		b.mu.waiters = slices.Delete(b.mu.waiters, 0, 1)
		b.mu.used += w.n
		close(w.granted)
	}
}

// waits returns how often somebody has had to wait.
func (b *Budget) waits() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.waits
}

// Used returns how many bytes are granted at the moment.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}
