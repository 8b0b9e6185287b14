package damage

import (
	"slices"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/recovery"
)

// fault is one of the product that is known and open. A run that shows it is counted; a long one fails with it.
type fault struct {
	what     string
	shows    []string // invariants that it breaks
	concerns func(j *trial) bool
}

var openFaults = []fault{
	{
		what: "a segment under another name is not read, and an output that comes to it in an older one waits for ever", shows: []string{"I1", "I4", "I5", "agree", "row"},
		concerns: (*trial).misnamed,
	},
	{
		what:  "fsck does not know of lost records that only the stored positions of outputs tell of: at the end of the log, and before its beginning",
		shows: []string{"agree", "row"},
		concerns: func(j *trial) bool {
			said, written := j.lost()
			for _, r := range said {
				written = slices.DeleteFunc(written, func(w checkpoint.Range) bool { return w == r })
			}
			return len(written) > 0 && (written.Last() >= j.there.Last()-min(j.there.Last(), 1) || written[0].First < j.expects.first)
		},
	},
}

// misnamed tells whether some file has the name of another segment than it is, or of none.
func (j *trial) misnamed() bool {
	for name, data := range j.now {
		if strings.HasPrefix(name, recovery.SegmentDir+"/") {
			if s := j.w.identify(name, data); s == nil || s.file() != name {
				return true
			}
		}
	}
	return false
}

// known are the open faults that together explain everything that is wrong, none where they do not.
func (j *trial) known() (faults []string) {
	left := slices.Clone(j.findings)
	for _, f := range openFaults {
		if len(left) == 0 || !f.concerns(j) {
			continue
		}
		faults = append(faults, f.what)
		left = slices.DeleteFunc(left, func(text string) bool {
			name, _, _ := strings.Cut(text, ":")
			return slices.Contains(f.shows, name)
		})
	}
	if len(left) > 0 {
		return nil
	}
	return faults
}

// report fails the test with what is wrong, or counts it where it is known and this is no long run.
func (s *tally) report(t testing.TB, j *trial, text func() string) (failed bool) {
	t.Helper()
	if j.err() == nil {
		return false
	}
	if faults := j.known(); faults != nil && level(t) != "long" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.open == nil {
			s.open = map[string]int{}
		}
		for _, what := range faults {
			s.open[what]++
		}
		return false
	}
	t.Error(text())
	return true
}
