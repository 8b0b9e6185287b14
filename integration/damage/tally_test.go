package damage

import (
	"sync"
	"testing"
	"time"
)

// mostFailures is how many are shown.
const mostFailures = 8

// tally adds up what runs came to.
type tally struct {
	mu       sync.Mutex // guards everything below
	runs     uint64
	declared uint64         // records that are lost, and in the ledger
	healed   uint64         // runs in which nothing was lost though fsck had found damage
	open     map[string]int // runs that showed an open fault
}

func (s *tally) add(j *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	var lost uint64
	for _, loss := range j.losses[min(len(j.w.losses), len(j.losses)):] {
		lost += loss.Count
	}
	s.declared += lost
	if lost == 0 && !j.before.Clean {
		s.healed++
	}
}

func (s *tally) log(t testing.TB, began time.Time) {
	t.Helper()
	took := time.Since(began)
	t.Logf("%d runs in %v, %.0f a second; in %d of them damage was found and nothing lost; %d records lost and declared",
		s.runs, took.Round(time.Millisecond), float64(s.runs)/took.Seconds(), s.healed, s.declared)
	for _, what := range sorted(s.open) {
		t.Logf("open: %s: in %d runs", what, s.open[what])
	}
}
