package forward

import (
	"fmt"
	"strconv"
	"strings"

	"logmule/recovery/hekaqueue"
)

// stretch is a part of a Heka queue that is in a data directory: every record in it that a salvage was to put there, from
// start to end. It is stored with the records, as the position of a source: the key has the start, the value the end.
//
// A queue has no name that lasts, but the first record of each file is like no other: by its fingerprint the file in which
// a stretch ends is known again.
type stretch struct {
	key        string // behind keyOfSalvage
	start, end hekaqueue.Position
	print      string // of the file with end in it
}

// startKey is the key of a stretch: "fingerprint/offset/file" of its start.
func startKey(print string, start hekaqueue.Position) string {
	return fmt.Sprintf("%s/%d/%s", print, start.Offset, start.File)
}

// value is the same for its end.
func (s *stretch) value() string { return startKey(s.print, s.end) }

// parseStretch reads a stretch as it is stored.
func parseStretch(key, value string) (*stretch, error) {
	s := &stretch{key: key}
	var err error
	if _, s.start, err = parseMark(key); err == nil {
		s.print, s.end, err = parseMark(value)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func parseMark(text string) (print string, at hekaqueue.Position, err error) {
	parts := strings.SplitN(text, "/", 3)
	if len(parts) == 3 {
		at = hekaqueue.Position{File: parts[2]}
		if at.Offset, err = strconv.ParseInt(parts[1], 10, 64); err == nil && startKey(parts[0], at) == text {
			return parts[0], at, nil
		}
	}
	return "", at, fmt.Errorf("%.200q is no place in a Heka queue", text)
}

// has tells whether a record is in the stretch, as a whole.
func (s *stretch) has(r *hekaqueue.Record) bool {
	end := hekaqueue.Position{File: r.File.Name, Offset: r.End}
	return r.Position().Compare(s.start) >= 0 && end.Compare(s.end) <= 0
}
