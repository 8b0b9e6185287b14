package recovery

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"logmule/checkpoint"
	"logmule/queue/vfs"
)

// CauseLosses is what the loss ledger tells of one cause: records of which it is known alike whether they were acknowledged.
type CauseLosses struct {
	Cause        string    `json:"cause"`
	Acknowledged string    `json:"acknowledged"` // to their source: yes, no or unknown
	Lines        int       `json:"lines"`
	Records      uint64    `json:"records"` // each counted once
	First        uint64    `json:"first"`   // lowest and highest sequence; 0: none has one
	Last         uint64    `json:"last"`
	Since        time.Time `json:"since,omitzero"` // when the first and the last of it were written down
	Until        time.Time `json:"until,omitzero"`
	Sources      []string  `json:"sources,omitempty"`    // whose records they were, where that is known
	SourcesExact bool      `json:"sources_exact"`        // it is known of all
	Outputs      []string  `json:"outputs,omitempty"`    // that miss them; none: all
	Quarantine   []string  `json:"quarantine,omitempty"` // copies of the bytes, relative to the data directory, at most mostNamed
	Dropped      []string  `json:"dropped,omitempty"`    // such copies that are not there any more, where that was looked for
}

// mostNamed bounds the files and sources that a summary names.
const mostNamed = 16

// causeKey is what the lines of one CauseLosses have in common.
type causeKey struct{ cause, acknowledged string }

// causeSums gathers them.
type causeSums struct {
	of   map[causeKey]*CauseLosses
	told map[causeKey]checkpoint.Ranges
}

func (s *causeSums) book(loss Loss) {
	if s.of == nil {
		s.of, s.told = map[causeKey]*CauseLosses{}, map[causeKey]checkpoint.Ranges{}
	}
	key := causeKey{loss.Cause, loss.Acknowledged}
	c := s.of[key]
	if c == nil {
		c = &CauseLosses{Cause: loss.Cause, Acknowledged: loss.Acknowledged, Since: loss.Time, SourcesExact: true}
		s.of[key] = c
	}
	c.Lines++
	c.SourcesExact = c.SourcesExact && len(loss.Sources) > 0
	c.Until = loss.Time
	if loss.First == 0 {
		c.Records += loss.Count
	} else {
		told := s.told[key]
		c.Records += checkpoint.Ranges(told.Without(loss.First, loss.Last)).Count()
		s.told[key] = told.Add(loss.First, loss.Last)
		c.First, c.Last = s.told[key][0].First, s.told[key].Last()
	}
	c.Sources, c.Outputs = named(c.Sources, loss.Sources...), named(c.Outputs, loss.Outputs...)
	if loss.Quarantine != "" {
		c.Quarantine = named(c.Quarantine, loss.Quarantine)
	}
}

// named adds names that are not there yet, as long as there is room.
func named(all []string, more ...string) []string {
	for _, name := range more {
		if len(all) < mostNamed && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// all are the sums in the order in which the causes first came up.
func (s *causeSums) all() []CauseLosses {
	all := []CauseLosses{}
	for _, key := range slices.SortedFunc(maps.Keys(s.of), func(a, b causeKey) int {
		return cmp.Or(s.of[a].Since.Compare(s.of[b].Since), cmp.Compare(a.cause, b.cause), cmp.Compare(a.acknowledged, b.acknowledged))
	}) {
		c := *s.of[key]
		c.Sources, c.Outputs, c.Quarantine = slices.Clone(c.Sources), slices.Clone(c.Outputs), slices.Clone(c.Quarantine)
		all = append(all, c)
	}
	return all
}

// standing is all, with the copies that are gone apart from those that are there.
func (s *causeSums) standing(fsys vfs.FS, dir string) []CauseLosses {
	all := s.all()
	for i := range all {
		c := &all[i]
		c.Quarantine = slices.DeleteFunc(c.Quarantine, func(name string) bool {
			_, err := fsys.Stat(filepath.Join(dir, name))
			gone := errors.Is(err, fs.ErrNotExist)
			if gone {
				c.Dropped = append(c.Dropped, name)
			}
			return gone
		})
	}
	return all
}

// Meaning says in words what a cause in a report or in the loss ledger is, for the pages of fsck and stat and the log alike.
func Meaning(cause string) string {
	if text, ok := meanings[cause]; ok {
		return text
	}
	return cause
}

var meanings = map[string]string{
	causeChecksum:   "the bytes are not what was written",
	causeZeroed:     "zeros stand where records were",
	causeTruncated:  "the file ends too early",
	causeMissing:    "a whole segment file is gone",
	causeJump:       "sequences are missing between two good frames",
	causeTrailer:    "the trailer is gone or bad",
	causeIndex:      "a copy of the index is bad",
	causeHeader:     "the header is bad",
	causeUnreadable: "the disk does not give the bytes, or they cannot be decoded",
	causeStore:      "the checkpoint database is bad",
	causeForeign:    "foreign bytes stand behind the end of the segment",
	causeName:       "the file has the name of another segment",
	causeStranger:   "nothing but its name makes the file a segment, and none is missing there",
	causeQueue:      "the segment is of another queue",
	causeCopy:       "the segment is there a second time, under its own name",
	CauseEpoch:      "a segment that was brought back; the queue has given its sequences to other records since",
	CauseDropOldest: "the queue was full, and when_full = \"drop_oldest\"",
	CauseDropNewest: "the queue was full, and when_full = \"drop_newest\"",
	CauseBacklog:    "one output gave them up: its backlog was over max_backlog",
	CauseForgotten:  "an output was forgotten: it was not configured for forget_after",
	CauseRewind:     "an operator made one output skip them, with logmule rewind",
	CauseNotStored:  "taken from the source, and not stored when the process stopped",
}
