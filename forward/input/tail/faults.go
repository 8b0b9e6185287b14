package tail

import (
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// faults makes one line of a failure that lasts, and one of its end.
type faults struct {
	log   *slog.Logger
	count *atomic.Uint64

	mu    sync.Mutex
	since map[string]*fault // what fails
}

type fault struct {
	first, last time.Time
	times       int
	text        string
}

// forgetFault is how long a failure is remembered that does not come again: longer than the pause after any.
const forgetFault = 2 * goneAfter

// note counts a failure, and logs the first one and any that is another.
func (f *faults) note(what string, err error, next string) {
	f.count.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	was, now := f.since[what], time.Now()
	if was != nil && was.text == err.Error() {
		was.times, was.last = was.times+1, now
		return
	}
	f.since[what] = &fault{first: now, last: now, times: 1, text: err.Error()}
	f.log.Warn("cannot be read", "what", what, "error", err, "next", next)
}

// over ends a failure, if there was one.
func (f *faults) over(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.since[what]
	if was == nil {
		return
	}
	delete(f.since, what)
	f.log.Info("can be read again", "what", what, "failures", was.times, "after", time.Since(was.first).Round(time.Millisecond))
}

// forget forgets what has failed and is not tried any more, since it was removed: nothing else ends that.
func (f *faults) forget(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.since, func(_ string, was *fault) bool { return now.Sub(was.last) > forgetFault })
}

// sparing lets one call a second through.
type sparing struct{ last atomic.Int64 }

func (s *sparing) allow(now time.Time) bool {
	last := s.last.Load()
	return (last == 0 || now.UnixNano()-last >= int64(time.Second)) && s.last.CompareAndSwap(last, now.UnixNano())
}
