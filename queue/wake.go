package queue

import "sync"

// broadcast wakes everybody who waits for some state to change. A waiter takes the channel, looks at the state, and
// only then waits: a change in between has closed the channel already. It carries no data.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{} // nil while nobody waits
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// nudge is a wake-up for one goroutine: sends while it is awake fold into one.
type nudge chan struct{}

func newNudge() nudge { return make(nudge, 1) }

func (n nudge) poke() {
	select {
	case n <- struct{}{}:
	default:
	}
}
