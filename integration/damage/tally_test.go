package damage

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/integration/reliability"
)

// mostFailures is how many are shown.
const mostFailures = 8

// tally adds up what runs came to.
type tally struct {
	mu sync.Mutex // guards by
	by [ways]counts
}

// counts are those of one way.
type counts struct {
	runs     uint64
	damaged  uint64 // runs in which fsck had found damage
	healed   uint64 // of these, those in which nothing was lost
	declared uint64 // records that are lost, and in the ledger
	lost     uint64 // findings against the promises
	altered  uint64
}

func (s *tally) add(j *trial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.by[j.way]
	c.runs++
	var lost uint64
	for _, loss := range j.losses[min(len(j.w.losses), len(j.losses)):] {
		lost += loss.Count
	}
	c.declared += lost
	if !j.before.Clean {
		c.damaged++
		if lost == 0 {
			c.healed++
		}
	}
	for _, text := range j.findings {
		switch {
		case strings.HasPrefix(text, "I2"):
			c.altered++
		case strings.HasPrefix(text, "I1"):
			c.lost++
		}
	}
}

// rows are one for each way, for the page.
func (s *tally) rows(t testing.TB, fault string, began time.Time) {
	t.Helper()
	var runs uint64
	for by := range ways {
		c := s.by[by]
		runs += c.runs
		reliability.Add(t, reliability.Row{
			Part: reliability.Damage, Fault: fault, Kind: by.String(), Tried: c.runs, Lost: c.lost, Declared: c.declared, Altered: c.altered,
			Outcome: fmt.Sprintf("every start by itself; in the latest run fsck found damage in %d directories, and in %d of them nothing was lost", c.damaged, c.healed),
		})
	}
	took := time.Since(began)
	t.Logf("%d runs in %v, %.0f a second", runs, took.Round(time.Millisecond), float64(runs)/took.Seconds())
}
