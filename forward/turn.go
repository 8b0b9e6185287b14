package forward

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// errYield is why a wait with the turn ends when somebody needs it.
var errYield = errors.New("somebody else needs the turn")

// turn lets one at a time through. Of those who wait, the last one is the next, so that no more of them work than are
// needed; who demands it comes before all others, or two who find nothing to do could pass it to each other for ever. The
// zero turn is ready.
type turn struct {
	mu      sync.Mutex // guards everything below
	held    bool
	waiting queued
	urgent  queued                  // those who demand it
	needed  int                     // how many want it even from a holder who only waits for something
	yield   context.CancelCauseFunc // of that holder
}

// queued are those who wait for a turn; the channel of the one that gets it is closed.
type queued []chan struct{}

// take waits for the turn, false when ctx ends first.
func (t *turn) take(ctx context.Context) bool { return t.join(ctx, &t.waiting) }

// join is take among those in a queue.
func (t *turn) join(ctx context.Context, among *queued) bool {
	t.mu.Lock()
	if !t.held {
		t.held = true
		t.mu.Unlock()
		return true
	}
	mine := make(chan struct{})
	*among = append(*among, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(*among, mine)
	if i >= 0 {
		*among = slices.Delete(*among, i, i+1)
	}
	t.mu.Unlock()
	if i < 0 { // it was given at the same moment
		t.give()
	}
	return false
}

// demand is take, also from a holder who only waits for something.
func (t *turn) demand(ctx context.Context) bool {
	t.mu.Lock()
	t.needed++
	if t.yield != nil {
		t.yield(errYield)
	}
	t.mu.Unlock()
	ok := t.join(ctx, &t.urgent)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.needed--
	return ok
}

// give gives the turn to the next.
func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := &t.urgent
	if len(*next) == 0 {
		next = &t.waiting
	}
	last := len(*next) - 1
	if last < 0 {
		t.held = false
		return
	}
	close((*next)[last])
	*next = (*next)[:last]
}

// lend is for a holder who is going to wait: the context ends, with errYield, when somebody demands the turn. The holder
// calls back when the wait is over.
func (t *turn) lend(ctx context.Context) (_ context.Context, back func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.yield = cancel
	if t.needed > 0 {
		cancel(errYield)
	}
	return ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.yield = nil
		cancel(nil)
	}
}
