package recovery

import (
	"errors"
	"fmt"
	"slices"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// finding is one thing that is not as it was written.
type finding struct {
	span
	part    *part  // nil: a segment that is not there
	after   *part  // the one before it
	segment string // name of the file, empty where unknown
	cause   string
	action  string           // of a sealed segment, where only repair acts
	lost    checkpoint.Range // sequences that are gone; zero: none
	torn    bool             // beyond the durable mark: what a crash leaves
	tail    bool             // no good frame follows in the file
	zero    bool             // the bytes are zeros: there is nothing to keep of them
	idle    bool             // a parity block of a group that has bad stripes: nothing more is lost with it
}

// judge decides what the holes in a row of neighbouring segments are. There is one of it, for Start and Check alike.
type judge struct {
	parts []*part           // in order; those that are not normal only excuse what is missing around them, or are to blame for it
	mark  uint64            // the durable mark: every sequence up to it was once on stable storage
	end   uint64            // last sequence that was ever given, as far as is known; at least mark
	owed  checkpoint.Ranges // sequences up to end that some output has not done: those before the first segment are lost
}

func (j *judge) findings() []finding {
	var found []finding
	n := neighbour{}
	for _, p := range j.parts {
		switch {
		case p.normal():
			n.next = p
			found = append(found, j.around(n)...)
			n = neighbour{p: p}
		case p.stray != "":
			found = append(found, p.strayFinding())
		case p.blank:
			n.blanks = append(n.blanks, p)
		default:
			n.opaque = n.opaque || p.opaque
		}
	}
	return append(found, j.around(n)...)
}

// neighbour is a segment and what follows it.
type neighbour struct {
	p, next *part   // p is nil before the oldest one, next behind the newest
	opaque  bool    // between the two are files that may hold anything
	blanks  []*part // between the two, by their names: files of which nothing is left
}

// around is what is wrong in one segment and behind it.
func (j *judge) around(n neighbour) []finding {
	var found []finding
	if n.p != nil {
		found = j.within(n)
	}
	return append(found, j.between(n)...)
}

// within is what is wrong in one segment.
func (j *judge) within(n neighbour) []finding {
	p := n.p
	found := append([]finding(nil), p.problems...)
	if p.misnamed {
		found = append(found, finding{part: p, segment: p.base(), cause: causeName, action: wouldRename})
	}
	if p.badHeader != nil && !p.sealed && p.frames > 0 {
		found = append(found, finding{part: p, segment: p.name.String(), span: span{0, segment.HeaderSize}, cause: causeHeader})
	}
	if p.foreign.length > 0 {
		found = append(found, finding{part: p, segment: p.name.String(), span: p.foreign, cause: causeForeign})
	}
	for _, h := range p.holes {
		if h.next == 0 {
			continue
		}
		// Behind all records that count in a segment only frames without any can be torn: it was given up before their sync.
		torn := !p.sealed && (h.expected > j.mark || h.expected > p.bound)
		f := finding{part: p, segment: p.name.String(), span: h.span, cause: h.cause(), zero: h.zero, torn: torn}
		if h.next > h.expected {
			f.lost = checkpoint.Range{First: h.expected, Last: h.next - 1}
		}
		found = append(found, f)
	}
	if f, ok := j.tail(n); ok {
		found = append(found, f)
	}
	return found
}

// tail judges what follows the last good frame of a segment.
func (j *judge) tail(n neighbour) (finding, bool) {
	p, h := n.p, n.p.tail()
	f := finding{
		part: p, segment: p.name.String(), span: h.span, cause: h.cause(), zero: h.zero, tail: true,
		torn: !p.sealed && h.expected > j.mark,
	}
	if last := j.reaches(n); last >= h.expected {
		f.lost = checkpoint.Range{First: h.expected, Last: last}
		if h.length == 0 && f.cause == causeChecksum {
			f.cause = causeTruncated
		}
		return f, true
	}
	if !p.sealed {
		f.torn = true // no record is missing: a seal that was not finished, or a frame without records
	}
	return f, f.length > 0 && !f.zero
}

// reaches is the last sequence that a segment must have held.
func (j *judge) reaches(n neighbour) uint64 {
	p, tail := n.p, n.p.tail()
	limit := p.limit(n.next)
	switch {
	case p.sealed && !p.resealed():
		return min(p.trailer.Last, limit)
	case n.opaque:
		return p.last
	case n.next == nil:
		return max(j.mark, min(p.seen, j.end))
	case p.isPrevious(n.next), tail.length > 0 && !tail.zero:
		return limit
	}
	return p.last
}

// between judges the sequences from the end of one segment to the beginning of the next, or to the last one given. A file of which
// nothing is left is to blame where its name says that it begins there; where nothing is missing, it never was a segment.
func (j *judge) between(n neighbour) []finding {
	var found []finding
	for _, hole := range j.missing(n) {
		for _, p := range n.blanks {
			if hole.First <= p.name.First && p.name.First <= hole.Last {
				if p.name.First > hole.First {
					found = append(found, j.absent(n, checkpoint.Range{First: hole.First, Last: p.name.First - 1}))
				}
				hole.First = p.name.First
				n.blanks = slices.DeleteFunc(slices.Clone(n.blanks), func(b *part) bool { return b == p })
				found = append(found, emptied(p, hole, j.mark))
				hole.First = hole.Last + 1
				break
			}
		}
		if hole.First <= hole.Last {
			found = append(found, j.absent(n, hole))
		}
	}
	for _, p := range n.blanks {
		found = append(found, emptied(p, checkpoint.Range{}, j.mark))
	}
	return found
}

// missing are the sequences between two neighbours.
func (j *judge) missing(n neighbour) []checkpoint.Range {
	last := j.end
	if n.next != nil {
		last = n.next.header.First - 1
	}
	switch {
	case n.opaque:
		return nil
	case n.p == nil:
		missing := slices.Clone(j.owed)
		for _, p := range n.blanks {
			if n.next != nil && n.next.identified && n.next.header.Previous.Salt == p.name.Salt {
				missing = missing.Add(p.name.First, last) // the name is the true one
			}
		}
		return missing.Within(1, last)
	}
	if first := max(n.p.next, j.reaches(n)+1); first <= last {
		return []checkpoint.Range{{First: first, Last: last}}
	}
	return nil
}

// beforeAll tells whether records are missing before the oldest segment, so that the positions of the outputs alone tell of them.
func (f finding) beforeAll() bool { return f.part == nil && f.after == nil && f.lost.First > 0 }

// absent is a segment that is not there; or where none can have been, since the next one follows the one before, what a repair could not
// keep at the end of that.
func (j *judge) absent(n neighbour, lost checkpoint.Range) finding {
	f := finding{after: n.p, cause: causeMissing, torn: lost.First > j.mark, lost: lost}
	if n.p != nil && n.next != nil && n.p.isPrevious(n.next) && lost.Last <= n.next.header.Previous.Last {
		f.cause, f.segment, f.offset = causeJump, n.p.name.String(), n.p.end
		return f
	}
	if n.next != nil && n.next.identified && n.next.header.Previous.Salt != 0 && (n.p == nil || !n.p.isPrevious(n.next)) {
		// The name is exact where a single file is missing.
		f.segment = segment.Name{First: lost.First, Salt: n.next.header.Previous.Salt}.String()
	}
	return f
}

// emptied is a file of which nothing is left but its name, and, where that explains them, the sequences that are missing.
func emptied(p *part, lost checkpoint.Range, mark uint64) finding {
	f := finding{part: p, segment: p.base(), span: span{0, p.size}, cause: causeHeader, lost: lost, zero: p.void}
	if lost.First == 0 {
		f.cause, f.action = causeStranger, wouldQuarantine
		f.torn, f.tail = p.leftover(), p.leftover()
		return f
	}
	f.torn = lost.First > mark
	return f
}

// tail is the hole behind the last good frame, of no length where the file ends there.
func (p *part) tail() hole {
	if p.cut.length > 0 {
		return hole{span: p.cut, expected: p.next}
	}
	if n := len(p.holes); n > 0 && p.holes[n-1].next == 0 {
		return p.holes[n-1]
	}
	return hole{span: span{offset: p.end}, expected: p.next}
}

// cause is why the bytes of a hole are no frames.
func (h hole) cause() string {
	switch {
	case h.err != nil:
		return causeUnreadable
	case h.zero:
		return causeZeroed
	}
	return causeChecksum
}

// history tells whether the ledger has all of a finding.
func (s *ledgerSums) history(f finding) bool {
	if f.lost.First > 0 {
		return len(s.lost.Without(f.lost.First, f.lost.Last)) == 0
	}
	_, known := s.spots[spot{f.segment, f.offset}]
	return known && f.segment != ""
}

// owed is what some output has not done of the sequences up to end, without what the ledger says that it will not get. What comes
// before or next to records that drop_oldest has dropped is not among it: it may have been in the hands of an output when it went,
// and is written down when that output comes back. Where no output has a position nobody has done anything: it is all that the
// queue has not let go itself, from begin on; 0: that is not known.
func (s *ledgerSums) owed(outputs map[string]checkpoint.Position, begin, end uint64) checkpoint.Ranges {
	if len(outputs) == 0 && begin > 0 {
		return s.told.Without(begin, end)
	}
	var owed checkpoint.Ranges
	for name, p := range outputs {
		open := checkpoint.Ranges(p.Done).Without(max(p.Floor, 1), end)
		for _, told := range []checkpoint.Ranges{
			s.lost, s.missed[name], s.given[givenUp{CauseBacklog, name}], s.given[givenUp{CauseForgotten, name}],
		} {
			var left []checkpoint.Range
			for _, r := range open {
				left = append(left, told.Without(r.First, r.Last)...)
			}
			open = left
		}
		for _, r := range open {
			if first := max(r.First, s.dropped+1); s.dropped == 0 || r.First > s.dropped+1 {
				owed = owed.Add(first, r.Last)
			}
		}
	}
	return owed
}

// losses are the lines that the ledger needs for a finding: what of the lost sequences it does not have yet, or the
// damaged place itself where they cost none.
func (s *ledgerSums) losses(f finding, mark uint64, copied string) []Loss {
	loss := Loss{Cause: f.cause, Segment: f.segment, Offset: f.offset, Length: f.length, Quarantine: copied, Acknowledged: AcknowledgedUnknown}
	if f.lost.First == 0 {
		if (f.torn && f.tail) || f.cause == causeName || s.history(f) {
			return nil
		}
		if f.cause == causeEpoch {
			loss.First, loss.Last, loss.Count = f.part.header.First, f.part.seen, f.part.records
		}
		return []Loss{loss}
	}
	var losses []Loss
	for _, r := range s.lost.Without(f.lost.First, f.lost.Last) {
		for _, half := range []struct {
			first, last  uint64
			acknowledged string
		}{{r.First, min(r.Last, mark), Acknowledged}, {max(r.First, mark+1), r.Last, f.acknowledgedBeyondMark()}} {
			if half.first > half.last {
				continue
			}
			loss.First, loss.Last, loss.Count = half.first, half.last, half.last-half.first+1
			loss.Acknowledged = half.acknowledged
			losses = append(losses, loss)
		}
	}
	return losses
}

// relaxed says whether records were acknowledged before they were durable.
func (f finding) relaxed() bool {
	p := f.part
	if p == nil {
		p = f.after
	}
	return p != nil && p.header.Compat&segment.Relaxed != 0
}

// acknowledgedBeyondMark is what is known of records that were never durable.
func (f finding) acknowledgedBeyondMark() string {
	if f.relaxed() {
		return AcknowledgedUnknown
	}
	return NotAcknowledged
}

// tornRecords is the note on records that a crash has taken.
func (f finding) tornRecords() string {
	if f.relaxed() {
		return fmt.Sprintf("records %d to %d were not on the disk yet and are gone; sync was not \"always\", so they may have been acknowledged", f.lost.First, f.lost.Last)
	}
	return fmt.Sprintf("records %d to %d were never acknowledged and are gone", f.lost.First, f.lost.Last)
}

// damage is a finding as a report shows it.
func (f finding) damage(action string) Damage {
	return Damage{
		Segment: f.segment, Offset: f.offset, Length: f.length, Cause: f.cause, Action: action,
		FirstLost: f.lost.First, LastLost: f.lost.Last,
	}
}

// count fills in how much there is.
func (r *Report) count(parts []*part) {
	for _, p := range parts {
		if p.gone || p.blank || p.stray != "" {
			continue
		}
		r.Segments++
		r.Bytes += p.size
		if p.aside != "" {
			r.note(p.aside)
			continue
		}
		r.Records += p.records - p.undecoded
		if p.holdsRecords() {
			if r.FirstSequence == 0 {
				r.FirstSequence = p.header.First
			}
			r.LastSequence = p.last
		}
	}
}

// backlog is how many records from first to last an output at this position has not done.
func backlog(p checkpoint.Position, first, last uint64) uint64 {
	from := max(p.Floor, first)
	if last == 0 || from > last {
		return 0
	}
	n := last - from + 1
	for _, r := range p.Done {
		if lo, hi := max(r.First, from), min(r.Last, last); lo <= hi {
			n -= hi - lo + 1
		}
	}
	return n
}

// formatError is the first newer format among the parts.
func formatError(parts []*part) error {
	var errs []error
	for _, p := range parts {
		if p.newer != nil {
			errs = append(errs, p.newer)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("some files are not for this logmule: %w", err)
	}
	return nil
}
