package queue

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// stall notices a disk that does not answer: no error tells of it, and nothing is acknowledged meanwhile.
type stall struct {
	log   *slog.Logger
	after time.Duration

	mu    sync.Mutex  // guards everything below
	timer *time.Timer // runs while the writer is at work; nil before its first
	since time.Time   // when that began; zero: it is not
	told  bool        // the log has been
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
	if s.told {
		s.log.Info("disk answers again", "after", time.Since(s.since).Round(time.Millisecond).String())
	}
	s.since, s.told = time.Time{}, false
}

// tell is called by the timer, which may be late: then the work that it was for has ended.
func (s *stall) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() || time.Since(s.since) < s.after {
		return
	}
	s.told = true
	s.log.Warn("disk does not answer; nothing is acknowledged until it does", "for", time.Since(s.since).Round(time.Second).String())
}

// text says since when the disk has not answered, nothing where it does.
func (s *stall) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told {
		return ""
	}
	return fmt.Sprintf("it has not answered for %v", time.Since(s.since).Round(time.Second))
}
