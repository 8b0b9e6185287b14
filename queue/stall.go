package queue

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// stall notices a disk that does not answer: no error tells of it, and nothing is acknowledged meanwhile.
type stall struct {
	log   *slog.Logger
	after time.Duration
	over  func() // called when a disk answers again

	now atomic.Bool // the log has been told, and the disk does not answer yet

	mu    sync.Mutex  // guards everything below
	timer *time.Timer // runs while the writer is at work; nil before its first
	since time.Time   // when that began; zero: it is not
}

// during does work of the writer.
func (s *stall) during(work func() error) error {
	s.begin()
	defer s.end()
	return work()
}

func (s *stall) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = time.Now()
	if s.timer == nil {
		s.timer = time.AfterFunc(s.after, s.tell)
		return
	}
	s.timer.Reset(s.after)
}

func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer.Stop()
	if s.now.Swap(false) {
		s.log.Info("disk answers again", "after", time.Since(s.since).Round(time.Millisecond).String())
		s.over()
	}
	s.since = time.Time{}
}

// tell is called by the timer, which may be late: then the work that it was for has ended.
func (s *stall) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || time.Since(s.since) < s.after {
		return
	}
	s.now.Store(true)
	s.log.Warn("disk does not answer; nothing is acknowledged until it does", "for", time.Since(s.since).Round(time.Second).String())
}

// text says since when the disk has not answered, nothing where it does.
func (s *stall) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.now.Load() {
		return ""
	}
	return fmt.Sprintf("it has not answered for %v", time.Since(s.since).Round(time.Second))
}
