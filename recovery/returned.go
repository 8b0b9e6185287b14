package recovery

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"logmule/checkpoint"
)

// WasGone tells whether the ledger says of a sequence that it was lost because its segment was not there.
func (l *Ledger) WasGone(sequence uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.wasGone(sequence)
}

func (s *ledgerSums) wasGone(sequence uint64) bool {
	return len(s.gone.Without(sequence, sequence)) == 0
}

// returned are the records in segments that the ledger says were not there: of a disk that was mounted late, or put back by someone.
func (s *ledgerSums) returned(parts []*part) (back checkpoint.Ranges) {
	for _, p := range parts {
		if p.normal() && p.holdsRecords() && s.wasGone(p.header.First) {
			for _, r := range s.gone.Within(p.header.First, p.last) {
				back = back.Add(r.First, r.Last)
			}
		}
	}
	return back
}

// tellReturned says of records that are here again who gets them, and how everybody else does.
func tellReturned(dir string, back checkpoint.Ranges, outputs map[string]checkpoint.Position) string {
	var passed []string
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if outputs[name].Floor > back[0].First {
			passed = append(passed, name)
		}
	}
	text := fmt.Sprintf("%s, %s, are here again that %s tells of as lost with their segment", countOf(back.Count(), "record"),
		Sequences(back[0].First, back.Last()), ledgerFile)
	if len(passed) == 0 {
		return text + "; every output has still to come to them"
	}
	text += fmt.Sprintf("; %s went on without them, and an output gets them only when it is told to, with the daemon stopped: logmule rewind %s OUTPUT --to %d",
		List(passed), filepath.Clean(dir), back[0].First)
	if len(passed) == len(outputs) {
		text += "; until then they are kept as long as there is room"
	}
	return text
}
