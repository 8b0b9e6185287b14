package forward

import (
	"time"

	"logmule/forward/pack"
)

// ReplayName is the name under which a replay reads a dead-letter queue.
const ReplayName = "replay"

// Letter says why a record is a dead letter. It stands in fields in front of the record's own attributes.
type Letter struct {
	Output   string // which refused it
	Reason   string
	Time     time.Time // when that was, to the second; zero: not told
	Sequence uint64    // that the record had in the queue which it was delivered from
}

// The fields of a dead letter, in their order.
const (
	letterOutput   = "deadletter_output"
	letterReason   = "deadletter_reason"
	letterTime     = "deadletter_time"
	letterSequence = "deadletter_sequence"
)

// before puts the fields of a dead letter before the record's own attributes: those come second, so that what they set
// wins, and fields add up.
func (l Letter) before(own []byte) []byte {
	about := pack.Attributes{Severity: pack.DefaultSeverity, Fields: []pack.Field{
		{Name: letterOutput, Value: l.Output},
		{Name: letterReason, Value: l.Reason},
		{Name: letterTime, Value: l.Time.UTC().Format(time.RFC3339)},
		{Name: letterSequence, Value: int64(l.Sequence)},
	}}
	return append(about.Append(nil), own...)
}

// cutLetter is the inverse of before; false where attributes are not those of a dead letter.
func cutLetter(attributes []byte) (l Letter, own []byte, ok bool) {
	fields, own, err := pack.CutFront(attributes, letterOutput, letterReason, letterTime, letterSequence)
	if err != nil {
		return Letter{}, attributes, false
	}
	l, ok = LetterOf(fields)
	return l, own, ok
}

// LetterOf reads why a record with these fields is a dead letter; false where it is none.
func LetterOf(fields []pack.Field) (l Letter, ok bool) {
	for _, f := range fields[:min(len(fields), 4)] {
		text, _ := f.Value.(string)
		switch f.Name {
		case letterOutput:
			l.Output = text
		case letterReason:
			l.Reason = text
		case letterTime:
			l.Time, _ = time.Parse(time.RFC3339, text) // zero where it is something else
		case letterSequence:
			n, _ := f.Value.(int64)
			l.Sequence = uint64(n)
		}
	}
	return l, l.Output != ""
}
