package forward

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	firstDelay   = 250 * time.Millisecond
	longestDelay = 10 * time.Second

	// foldFor is the least time between two lines about one plugin that keeps failing.
	foldFor = 10 * time.Second
)

// delays gives the waits between attempts: 250 ms, doubling with jitter to 10 s, without end.
type delays struct {
	*backoff.ExponentialBackOff
}

func newDelays() delays {
	return delays{backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstDelay),
		backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(0.2),
		backoff.WithMaxInterval(longestDelay),
		backoff.WithMaxElapsedTime(0),
	)}
}

func (d delays) next() time.Duration {
	return min(d.NextBackOff(), longestDelay)
}

// less is what is left to wait of a delay when the attempt has taken so long, and never nothing.
func less(delay, took time.Duration) time.Duration {
	return min(delay, max(delay-took, firstDelay))
}

// pause waits, false as soon as ctx ends.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sparing lets one line through every foldFor, so that what happens all the time fills no log. The zero value lets the first
// one through.
type sparing struct{ last atomic.Int64 }

func (s *sparing) allow(now time.Time) bool {
	last := s.last.Load()
	return (last == 0 || now.UnixNano()-last >= int64(foldFor)) && s.last.CompareAndSwap(last, now.UnixNano())
}

// trouble logs the failures of one plugin so that a dead destination fills no log: the first failure at once, those
// after it folded into one line every 10 s with their number, the recovery once. The fold holds across recoveries, for a
// destination that comes and goes.
type trouble struct {
	log   *slog.Logger
	words troubleWords

	mu     sync.Mutex // guards everything below
	since  time.Time  // of the first failure in a row; zero: all is well
	said   time.Time  // of the last line about a failure
	told   bool       // a line was written about the present row of failures
	folded int        // failures since that line
}

// troubleWords are the lines, which say what is wrong and what happens next.
type troubleWords struct{ first, still, over string }

func (t *trouble) failed(err error, delay time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.since.IsZero() {
		t.since, t.told = now, false
	}
	t.folded++
	if now.Sub(t.said) < foldFor {
		return
	}
	about := []any{"error", err, "retry_in", delay.Round(time.Millisecond)}
	if t.folded == 1 && !t.told {
		t.log.Warn(t.words.first, about...)
	} else {
		t.log.Warn(t.words.still, append(about, "failures", t.folded, "down", now.Sub(t.since).Round(time.Millisecond))...)
	}
	t.said, t.told, t.folded = now, true, 0
}

// over notes a success.
func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return
	}
	if t.told {
		t.log.Info(t.words.over, "down", time.Since(t.since).Round(time.Millisecond))
	}
	t.since = time.Time{}
}
