package forward

import (
	"context"
	"time"
)

const (
	// lookEvery is how often a wait looks at max_backlog.
	lookEvery = time.Second
	// hangsAfter is how long a request may take before that is a wait: what is dropped then may be delivered as well.
	hangsAfter = 10 * time.Second
	// mostBurst bounds what rate_limit lets through at once, in bytes.
	mostBurst = 1 << 30
)

// rest waits, and looks at max_backlog meanwhile. false: stop has ended, or the batch, where there is one, has been given
// up.
func (l *lane) rest(stop context.Context, d time.Duration) bool {
	for until := time.Now().Add(d); ; {
		left := time.Until(until)
		if left <= 0 {
			return true
		}
		if l.keys.MaxBacklog > 0 {
			left = min(left, lookEvery)
		}
		if !pause(stop, left) {
			return false
		}
		if l.swamped() {
			l.shedOthers(stop)
		}
		if l.dropped() {
			l.giveUp(stop, false)
			return false
		}
	}
}

// dropped says that some of the batch was dropped for max_backlog since this was last asked, or without a batch that
// anything was.
func (l *lane) dropped() bool {
	n, b := l.sheddings.Load(), &l.hand.batch
	if n == l.seen {
		return false
	}
	l.seen = n
	return b.Len() == 0 || len(l.reader.Within(b.First, b.Last)) > 0
}

// watch looks at max_backlog for a lane whose Send may hang, until the function that it returns is called.
func (l *lane) watch(stop context.Context) (end func()) {
	ctx, cancel := context.WithCancel(stop)
	done := ended(func() {
		for left := hangsAfter; pause(ctx, left); left = lookEvery {
			if l.swamped() {
				l.shedOthers(ctx)
			}
		}
	})
	return func() { cancel(); <-done }
}

// swamped says that more than max_backlog waits.
func (c *consumer) swamped() bool {
	if c.keys.MaxBacklog == 0 {
		return false
	}
	_, bytes := c.reader.Backlog()
	return bytes > int64(c.keys.MaxBacklog)
}

// shedOthers is shedNow for a lane without the turn.
func (l *lane) shedOthers(stop context.Context) {
	if !l.feed.turn.demand(stop) {
		return
	}
	defer l.feed.turn.give()
	if l.swamped() { // still
		l.shedNow()
	}
}

// shedNow drops the oldest records until no more than max_backlog waits, and a little less, so that it is not done for
// every single one. It needs the turn. Batches that are being sent meanwhile are not taken back; one that is to be sent
// again is given up where it is dropped.
func (l *lane) shedNow() {
	if most := int64(l.keys.MaxBacklog); l.reader.Shed(most-most/16) > 0 {
		l.feed.rewind()
		l.sheddings.Add(1)
	}
}

// keepPace waits until rate_limit lets the pending records of the batch through. false: stop has ended, or the batch has
// been given up.
func (l *lane) keepPace(stop context.Context) bool {
	b := &l.hand.batch
	if l.limiter == nil || b.Len() == b.Filtered() {
		return true
	}
	left := int64(b.Bytes()) * int64(b.Pending()) / int64(b.Len()-b.Filtered())
	for left > 0 {
		n := int(min(left, int64(l.limiter.Burst())))
		left -= int64(n)
		now := time.Now()
		delay := l.limiter.ReserveN(now, n).DelayFrom(now)
		if delay == 0 {
			continue
		}
		l.enter(stateLimited)
		if !l.rest(stop, delay) {
			return false
		}
	}
	return true
}
