package output

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// looks is how often within its limit patience looks whether a request moves.
const looks = 16

// patience ends a request that stands still: of which the peer has taken nothing more for a while, and which it has not
// answered. A limit for the whole request would cut off every large one on a slow link, again and again.
type patience struct {
	limit  time.Duration
	body   *body
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards what follows
	on    *wire
	read  int64
	taken uint64
	since time.Time // of the last progress
	timer *time.Timer
	over  bool
}

func newPatience(limit time.Duration, b *body, cancel context.CancelCauseFunc) *patience {
	p := &patience{limit: limit, body: b, cancel: cancel, since: time.Now()}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(limit/looks, p.look)
	return p
}

// look is called looks times within the limit: so much later than it may be, the request ends.
func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	now := time.Now()
	if on, read, taken := p.body.moved(); on != nil && (on != p.on || read > p.read || taken > p.taken) {
		p.on, p.read, p.taken, p.since = on, read, taken, now
	}
	left := p.limit - now.Sub(p.since)
	if left <= 0 {
		p.cancel(fmt.Errorf("no answer within %s: %w", p.limit, context.DeadlineExceeded))
		return
	}
	p.timer.Reset(min(left, p.limit/looks))
}

// end is for a request that is over.
func (p *patience) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	p.timer.Stop()
}
