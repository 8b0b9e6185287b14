package tail

import "logmule/forward/pack"

var truncatedField = []pack.Field{{Name: "truncated", Value: true}}

// group takes records of several lines. A record ends where the next one begins, at the limits, and where final says so.
//
// upto only ever moves past whole records: the lines of one that is not complete are read again when more come.
func (s *splitter) group(raw []byte, at situation) chunk {
	c := chunk{form: pack.Records}
	s.own = s.own[:0]
	s.scratch = s.scratch[:0] // the record so far, its lines with LF between them
	lines, end := 0, 0        // of it; where it ends in raw
	skip := at.skip == flagSkipGroup
	if skip {
		c.skip = flagSkipGroup
	}
	for end < len(raw) {
		size := s.lineSize(raw[end:], at.big)
		line, complete := raw[end:], size > 0
		if complete {
			line = raw[end : end+size]
		}
		long := !complete && len(line) > s.rawMax()
		if !complete && !at.final && !long {
			break
		}
		text, invalid := s.text(line, complete, at, end)
		begins := s.multiline.begins(text)
		if lines > 0 && (begins || lines >= s.multiline.MaxLines) {
			if !s.record1(&c, end, lines, false) {
				return c
			}
			lines = 0
		}
		if skip && !begins {
			end += len(line)
			if long {
				return s.midLine(c, end)
			}
			c.upto = end
			continue
		}
		skip, c.skip = false, 0
		if c.count > 0 && len(s.own)+len(s.scratch)+len(text) >= s.limit {
			return c
		}
		s.invalid(invalid)
		if lines > 0 {
			s.scratch = append(s.scratch, '\n')
		}
		s.scratch = append(s.scratch, text...)
		lines++
		end += len(line)
		if len(s.scratch) > s.max || long {
			if !s.record1(&c, end, lines, true) {
				return c
			}
			if long {
				return s.midLine(c, end)
			}
			c.skip = flagSkipGroup
			return c
		}
	}
	if at.final && lines > 0 {
		s.record1(&c, end, lines, false)
	}
	return c
}

// midLine is a chunk that ends within a line, the rest of which is passed over.
func (s *splitter) midLine(c chunk, end int) chunk {
	if s.encoding.wide() {
		end &^= 1
	}
	c.upto, c.skip = end, flagSkipLine
	return c
}

// rawMax is how many bytes of a file a line has at least that is longer than max when it is decoded.
func (s *splitter) rawMax() int {
	if s.encoding.wide() {
		return 2*s.max + 4
	}
	return s.max
}

// record1 adds the record in scratch to the chunk, which then reaches to end. It is false, and the chunk as before, where
// the record is one too many for a pack.
func (s *splitter) record1(c *chunk, end, lines int, cut bool) bool {
	if c.count > 0 && (len(s.own)+len(s.scratch) >= s.limit || c.count == s.most) {
		return false
	}
	r := pack.Record{Attributes: pack.Attributes{Severity: pack.DefaultSeverity}, Payload: s.scratch}
	if cut {
		r.Payload = headOf(append(s.scratch, 0), min(len(s.scratch), s.max))
		r.Fields = truncatedField
		c.cuts++
		c.first = append([]byte(nil), r.Payload[:min(len(r.Payload), 100)]...)
	}
	s.own = pack.AppendOwn(s.own, r.Append(nil))
	c.body = s.own
	c.count++
	c.upto = end
	s.scratch = s.scratch[:0]
	return true
}
