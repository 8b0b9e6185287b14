package forward

import (
	"fmt"
	"strconv"
	"strings"

	"logmule/recovery/hekaqueue"
)

// stretch is a part of a Heka queue that is in a data directory: every record in it that a salvage was to put there, from
// start to end. It is stored with the records, as the position of a source: the key has the queue's name and the start, the
// value the end.
//
// What a queue is called does not say which one it is: two outputs of a Heka have queued the same records, and two machines
// have outputs of one name. So the file in which a stretch ends is known again by its first record, which is like no
// other, and by the last bytes of the stretch, which stand where they stood. What is not known again comes twice.
type stretch struct {
	key        string // behind keyOfSalvage
	start, end hekaqueue.Position
	print      string // of the file with end in it
	tail       string // sum of the last bytes before end
	tailSize   int64
}

// startKey is the key of a stretch: "queue/fingerprint/offset/twin/file" of its start. Twins are queues that begin alike.
func startKey(queue, print string, start hekaqueue.Position, twin uint64) string {
	return fmt.Sprintf("%s/%s/%d/%d/%s", queue, print, start.Offset, twin, start.File)
}

// value is "fingerprint/offset/bytes/sum/file" of the end.
func (s *stretch) value() string {
	return fmt.Sprintf("%s/%d/%d/%s/%s", s.print, s.end.Offset, s.tailSize, s.tail, s.end.File)
}

// parseStretch reads a stretch as it is stored, and says of which queue it is.
func parseStretch(key, value string) (queue string, s *stretch, err error) {
	s = &stretch{key: key}
	from, to := strings.SplitN(key, "/", 5), strings.SplitN(value, "/", 5)
	if len(from) == 5 && len(to) == 5 {
		var errs [4]error
		var twin uint64
		s.start.File, s.end.File, s.print, s.tail = from[4], to[4], to[0], to[3]
		s.start.Offset, errs[0] = strconv.ParseInt(from[2], 10, 64)
		s.end.Offset, errs[1] = strconv.ParseInt(to[1], 10, 64)
		s.tailSize, errs[2] = strconv.ParseInt(to[2], 10, 64)
		twin, errs[3] = strconv.ParseUint(from[3], 10, 64)
		if errs == [4]error{} && startKey(from[0], from[1], s.start, twin) == key && s.value() == value {
			return from[0], s, nil
		}
	}
	return "", nil, fmt.Errorf("%.200q to %.200q is no part of a Heka queue", key, value)
}

// has tells whether a record is in the stretch, as a whole.
func (s *stretch) has(r *hekaqueue.Record) bool {
	end := hekaqueue.Position{File: r.File.Name, Offset: r.End}
	return r.Position().Compare(s.start) >= 0 && end.Compare(s.end) <= 0
}
