package damage

import (
	"bytes"
	"slices"
	"strings"

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
		what: "without a whole checkpoints.db the log's positions may be a second old: what is missing before the oldest segment may have been delivered since. " +
			"Outputs after a start call it lost, fsck and its repair do not",
		shows: []string{"agree", "I5", "I7"},
		concerns: func(j *trial) bool {
			db, there := j.now[recovery.CheckpointFile]
			return j.expects.first > j.w.segs[0].First && !(there && bytes.Equal(db, j.w.files[recovery.CheckpointFile]))
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
