package recovery

import (
	"io"

	"logmule/queue/segment"
)

// reading is what the frames of one segment say. Sequences are followed through all frames: what is missing between two
// of them, and where, is the whole measure of a loss.
type reading struct {
	frames           uint64
	records          uint64
	last             uint64 // highest sequence of the frames that count; the header's First-1 when there is none
	next             uint64 // the sequence that would follow
	seen             uint64 // highest sequence of any frame, superseded ones included
	mark             uint64 // highest durable mark of any frame
	end              int64  // of the last frame that counts, or of the header; with padding that a cut may have taken
	minTime, maxTime int64  // of its data frames
	holes            []hole // in the order of their offsets
	superseded       span   // frames that the next segment holds again, to the end of the file
	zeros            int64  // zeros after everything else: space reserved ahead
}

type span struct{ offset, length int64 }

// hole is a place where frames were, or could have been: bad bytes, or (length 0) a jump of the sequences.
type hole struct {
	span
	zero     bool
	err      error  // bytes that could not be read
	expected uint64 // the sequence that should come here
	next     uint64 // that of the next good frame; 0: none follows
}

// scanner follows the frames of one segment.
type scanner struct {
	reading
	limit uint64              // frames above it are superseded
	open  *hole               // bad bytes that no good frame has followed yet
	take  func(*segment.Part) // sees every frame that counts; may be nil
}

// scan reads the frames of a segment in [segment.HeaderSize, end). limit is the last sequence that counts: those above
// it stand in the next segment too. pace is called with the bytes passed, now and then, and may end the scan with an
// error; that and the error of a closed file are the only ones.
func scan(f io.ReaderAt, h segment.Header, end int64, limit uint64, pace func(int64) error, take func(*segment.Part)) (reading, error) {
	s := scanner{limit: limit, take: take}
	s.next, s.last, s.seen, s.end = h.First, h.First-1, h.First-1, segment.HeaderSize
	sc := segment.NewScanner(f, h.Salt, segment.HeaderSize, end)
	var passed int64
	for {
		p, err := sc.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return s.reading, err
		}
		if p.Bad {
			s.bad(&p)
		} else {
			s.good(&p)
		}
		if passed += p.Size; passed >= copyBlock {
			if err := pace(passed); err != nil {
				return s.reading, err
			}
			passed = 0
		}
	}
	if s.open != nil {
		s.holes = append(s.holes, *s.open)
	}
	return s.reading, pace(passed)
}

func (s *scanner) bad(p *segment.Part) {
	switch {
	case s.superseded.length > 0:
		if !p.Zero {
			s.superseded.length = p.Offset + p.Size - s.superseded.offset
		}
	case s.open == nil:
		s.open = &hole{span: span{p.Offset, p.Size}, zero: p.Zero, err: p.Err, expected: s.next}
	case p.Zero: // behind other bad bytes only at the end of the range
		s.zeros = p.Size
	default:
		s.open.length += p.Size
	}
}

func (s *scanner) good(p *segment.Part) {
	h := &p.Header
	s.mark = max(s.mark, h.Mark)
	s.seen = max(s.seen, h.Last())
	first := h.First
	if h.Count == 0 && first == 0 {
		first = s.next
	}
	if s.superseded.length > 0 || (h.Count > 0 && first > s.limit) || first > s.limit+1 {
		s.supersede(p)
		return
	}
	if s.open == nil && first > s.next {
		s.open = &hole{span: span{offset: p.Offset}, expected: s.next}
	}
	if s.open != nil {
		s.open.next = max(first, s.next)
		s.holes = append(s.holes, *s.open)
		s.open = nil
	}
	s.frames++
	s.next = max(s.next, first)
	if h.Count > 0 {
		s.next = max(s.next, h.Last()+1)
		s.last = s.next - 1
	}
	if h.Type == segment.Data {
		if s.records == 0 {
			s.minTime, s.maxTime = h.Time, h.Time
		}
		s.records += uint64(h.Count)
		s.minTime, s.maxTime = min(s.minTime, h.Time), max(s.maxTime, h.Time)
	}
	s.end = p.Offset + p.Size
	if s.take != nil {
		s.take(p)
	}
}

// supersede books a frame that the next segment holds again. Bad bytes before the first such frame belong to them where
// all that counts had come before.
func (s *scanner) supersede(p *segment.Part) {
	if s.superseded.length == 0 {
		s.superseded.offset = p.Offset
		if s.open != nil {
			if s.open.expected > s.limit {
				s.superseded.offset = s.open.offset
			} else {
				s.next = s.limit + 1
				s.open.next = s.next
				s.holes = append(s.holes, *s.open)
			}
			s.open = nil
		}
	}
	s.superseded.length = p.Offset + p.Size - p.Cut - s.superseded.offset
}

// unpaced lets a scan run to its end.
func unpaced(int64) error { return nil }
