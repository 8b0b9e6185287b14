package tail

import (
	"bytes"
	"regexp"
	"unicode/utf16"
	"unicode/utf8"

	"logmule/forward/pack"
)

// bodyLimit is the most that a pack of several records holds, in bytes: one frame, so that a crash never leaves a part of
// a pack behind. A larger record is a pack of its own.
const (
	bodyLimit   = 256 << 10
	growLimit   = 64 << 10 // the same where records grow on their way to the queue: then at most
	growRecords = 256      // records, and what grows is what each of them has
	recordExtra = 1 << 10  // what a record of several lines takes beside its text, and some more
)

// Encoding is how the bytes of a file become UTF-8.
type Encoding string

// The encodings. UTF8 takes bytes as they are, whatever they are.
const (
	UTF8    Encoding = "utf-8"
	UTF16   Encoding = "utf-16" // by its byte order mark, little endian without one
	UTF16LE Encoding = "utf-16le"
	UTF16BE Encoding = "utf-16be"
	Latin1  Encoding = "latin-1"
)

// Encodings lists them.
func Encodings() []string {
	return []string{string(Latin1), string(UTF16), string(UTF16BE), string(UTF16LE), string(UTF8)}
}

func (e Encoding) wide() bool { return e == UTF16 || e == UTF16LE || e == UTF16BE }

// Multiline puts the lines of one record together. One of the patterns is set.
type Multiline struct {
	Start        *regexp.Regexp // a line that matches begins a record
	Continuation *regexp.Regexp // a line that matches belongs to the record before it
	MaxLines     int
}

func (m *Multiline) begins(line []byte) bool {
	if m.Start != nil {
		return m.Start.Match(line)
	}
	return !m.Continuation.Match(line)
}

// splitter cuts the bytes of files into records. It keeps nothing between two calls but memory.
type splitter struct {
	limit     int // bytes of a body of several records, at most
	most      int // records of a body, at most; 0: any number
	max       int // longest record, in bytes as they are emitted
	encoding  Encoding
	multiline *Multiline
	invalid   func(n int) // called with the number of characters that had to be replaced

	scratch, record, own []byte
}

// chunk is what becomes one pack. body is part of the bytes that were split, or of the splitter's own until its next call.
type chunk struct {
	body  []byte
	form  pack.Form
	count int
	upto  int    // bytes that are done with it; 0: more bytes are needed
	cuts  int    // records of which only the head is in body
	first []byte // the head of the first of them
	skip  uint8  // flagSkipLine or flagSkipGroup: what follows upto is the rest of a cut record
}

// situation is what next has to know of the bytes beside them.
type situation struct {
	big   bool  // UTF-16 with the larger byte first
	begin bool  // the bytes are the beginning of the file
	final bool  // no more are waited for
	skip  uint8 // as in chunk
}

// next returns what the next pack of raw holds.
func (s *splitter) next(raw []byte, at situation) chunk {
	if at.skip == flagSkipLine {
		return s.skipLine(raw, at)
	}
	if s.multiline != nil {
		return s.group(raw, at)
	}
	if s.encoding == UTF8 {
		return s.plain(raw, at)
	}
	return s.decoded(raw, at)
}

// skipLine passes over the rest of a cut line.
func (s *splitter) skipLine(raw []byte, at situation) chunk {
	if size := s.lineSize(raw, at.big); size > 0 {
		if s.multiline != nil {
			return chunk{upto: size, skip: flagSkipGroup}
		}
		return chunk{upto: size}
	}
	n := len(raw)
	if s.encoding.wide() && !at.final {
		n &^= 1
	}
	if at.final {
		return chunk{upto: n}
	}
	return chunk{upto: n, skip: flagSkipLine}
}

// lineSize returns the length of the first line with its LF, 0 where there is none.
func (s *splitter) lineSize(raw []byte, big bool) int {
	if !s.encoding.wide() {
		return bytes.IndexByte(raw, '\n') + 1
	}
	lf := []byte{'\n', 0}
	if big {
		lf = []byte{0, '\n'}
	}
	for at := 0; ; {
		i := bytes.Index(raw[at:], lf)
		if i < 0 {
			return 0
		}
		if at += i; at%2 == 0 {
			return at + 2
		}
		at++
	}
}

// plain takes lines as they are: as many as a pack holds, without looking at them unless one is too long.
func (s *splitter) plain(raw []byte, at situation) chunk {
	window := raw[:min(len(raw), s.limit)]
	end := bytes.LastIndexByte(window, '\n') + 1
	if end == 0 {
		end = bytes.IndexByte(raw, '\n') + 1
	}
	if end == 0 {
		return s.unfinished(raw, at)
	}
	if s.most > 0 {
		end = s.firstLines(raw[:end])
	}
	if end > s.max+1 {
		end = s.shortLines(raw[:end])
		if end == 0 {
			size := bytes.IndexByte(raw, '\n') + 1
			return s.cutPlain(raw, size, 0)
		}
	}
	return chunk{body: raw[:end], form: pack.Lines, count: pack.CountLines(raw[:end]), upto: end}
}

// firstLines returns how many bytes the first lines have, as many as a body may hold.
func (s *splitter) firstLines(body []byte) int {
	at := 0
	for n := 0; n < s.most && at < len(body); n++ {
		at += bytes.IndexByte(body[at:], '\n') + 1
	}
	return at
}

// shortLines returns how many bytes there are before the first line that is too long.
func (s *splitter) shortLines(body []byte) int {
	at := 0
	for at < len(body) {
		size := bytes.IndexByte(body[at:], '\n')
		if size > s.max {
			break
		}
		at += size + 1
	}
	return at
}

// unfinished is for bytes without an LF.
func (s *splitter) unfinished(raw []byte, at situation) chunk {
	if len(raw) > s.max {
		return s.cutPlain(raw, s.max, flagSkipLine)
	}
	if !at.final || len(raw) == 0 {
		return chunk{}
	}
	s.scratch = append(append(s.scratch[:0], raw...), '\n')
	return chunk{body: s.scratch, form: pack.Lines, count: 1, upto: len(raw)}
}

func (s *splitter) cutPlain(raw []byte, upto int, skip uint8) chunk {
	s.scratch = append(append(s.scratch[:0], raw[:s.max]...), '\n')
	return chunk{body: s.scratch, form: pack.Lines, count: 1, upto: upto, cuts: 1, first: s.scratch[:s.max], skip: skip}
}

// decoded takes lines of another encoding than UTF-8.
func (s *splitter) decoded(raw []byte, at situation) chunk {
	c := chunk{form: pack.Lines}
	s.scratch = s.scratch[:0]
	for c.upto < len(raw) {
		size := s.lineSize(raw[c.upto:], at.big)
		line, complete := raw[c.upto:], size > 0
		if complete {
			line = raw[c.upto : c.upto+size]
		}
		text, invalid := s.text(line, complete, at, c.upto)
		long := len(text) > s.max
		if !complete && !long && !at.final || c.count > 0 && (long || len(s.scratch)+len(text) >= s.limit) {
			break
		}
		s.invalid(invalid)
		c.upto += len(line)
		if !complete && s.encoding.wide() && !at.final {
			c.upto &^= 1
		}
		if long {
			text = headOf(text, s.max)
			c.cuts, c.first = 1, text
			if !complete {
				c.skip = flagSkipLine
			}
		}
		s.scratch = append(append(s.scratch, text...), '\n')
		c.count++
		if long || c.count == s.most {
			break
		}
	}
	c.body = s.scratch
	return c
}

// text decodes one line, with its LF where it is complete, into s.record. offset is where it stands in the bytes.
func (s *splitter) text(line []byte, complete bool, at situation, offset int) (text []byte, invalid int) {
	if complete && s.encoding.wide() {
		line = line[:len(line)-2]
	} else if complete {
		line = line[:len(line)-1]
	}
	if s.encoding == UTF8 {
		return line, 0
	}
	if s.encoding == Latin1 {
		s.record = s.record[:0]
		for _, b := range line {
			s.record = utf8.AppendRune(s.record, rune(b))
		}
		return s.record, 0
	}
	if at.begin && offset == 0 && unit(line, 0, at.big) == 0xfeff {
		line = line[2:]
	}
	s.record, invalid = appendUTF16(s.record[:0], line, at.big, complete || at.final)
	return s.record, invalid
}

// unit is the 16 bit number at i, 0 behind the end.
func unit(b []byte, i int, big bool) uint16 {
	if i+1 >= len(b) {
		return 0
	}
	if big {
		return uint16(b[i])<<8 | uint16(b[i+1])
	}
	return uint16(b[i+1])<<8 | uint16(b[i])
}

// appendUTF16 appends b as UTF-8. whole says that half a character at the end is a fault; else it is left out.
func appendUTF16(dst, b []byte, big, whole bool) (_ []byte, invalid int) {
	i := 0
	for ; i+1 < len(b); i += 2 {
		r := rune(unit(b, i, big))
		if utf16.IsSurrogate(r) {
			if !whole && i+3 >= len(b) {
				return dst, invalid // the other half of the pair may follow
			}
			if pair := utf16.DecodeRune(r, rune(unit(b, i+2, big))); pair != utf8.RuneError {
				dst = utf8.AppendRune(dst, pair)
				i += 2
				continue
			}
			invalid++
			r = utf8.RuneError
		}
		dst = utf8.AppendRune(dst, r)
	}
	if i < len(b) && whole {
		invalid++
		dst = utf8.AppendRune(dst, utf8.RuneError)
	}
	return dst, invalid
}

// headOf returns at most n bytes of text, without a broken character at their end where text was not broken.
func headOf(text []byte, n int) []byte {
	end := n
	for end > 0 && end > n-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	if end > 0 && utf8.RuneStart(text[end]) {
		return text[:end]
	}
	return text[:n]
}
