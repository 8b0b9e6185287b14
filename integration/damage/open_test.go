package damage

import (
	"slices"
	"strings"
)

// fault is one of the product that is known and open. A run that shows it is counted; a long one fails with it.
type fault struct {
	what     string
	shows    []string // invariants that it breaks
	concerns func(j *trial) bool
}

var openFaults = []fault{
	{
		what: "the oldest segment stands under the name of a later one: whoever is new begins behind it, as long as no output has missed its records, " +
			"since a start reads no old header",
		shows: []string{"I1", "agree"},
		concerns: func(j *trial) bool {
			at := j.expects.located[j.w.segs[0].file()]
			return j.way == byReaders && at != "" && at != j.w.segs[0].file()
		},
	},
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
