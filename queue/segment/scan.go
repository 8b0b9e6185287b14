package segment

import (
	"fmt"
	"io"

	"logmule/queue/vfs"
)

// Scanner walks over a range of a segment's file, frame by frame, whatever is damaged in it. After damage it goes on at
// the next 8-byte step where a header and its payload hold, and trusts nothing that a damaged header says. It takes time
// in proportion to the range, whatever the bytes are, and at most MaxFrame and two windows of memory.
type Scanner struct {
	f          io.ReaderAt
	salt       uint64
	start, end int64
	at         int64 // everything before is returned or waits in ready

	buf   []byte // bytes of the file from base on
	base  int64
	holes []hole // what of the file could not be read; removed when it has been reported

	ready []Part // returned next
	spent int64  // payload bytes behind good headers that turned out bad
}

// hole is a range that could not be read.
type hole struct {
	from, to int64
	err      error
}

// Part is what a Scanner finds next: a good frame, or a bad range as long as it goes.
type Part struct {
	Offset, Size int64
	Header       FrameHeader // of a good frame
	Payload      []byte      // meta and body of a good frame; valid until the next call
	Cut          int64       // of Size, what the range lacks: the end of a good frame's padding, where the file was cut in it
	Bad          bool
	Zero         bool  // a bad range of nothing but zeros: reserved space, or a block that was never written
	Err          error // a bad range of which bytes could not be read; the first such error
}

// NewScanner scans [start, end) of a segment with this salt; start is a multiple of 8, such as HeaderSize or the end
// of a frame. Where the file ends earlier, so does the scan. The last frame counts also where the end lies in its padding,
// which says nothing: then it alone reaches behind the end, up to where a next frame would begin.
func NewScanner(f io.ReaderAt, salt uint64, start, end int64) *Scanner {
	return &Scanner{f: f, salt: salt, start: start, at: start, base: start, end: end}
}

// Extend moves the end of the range on, for a segment that has grown. Only a scan that has found no bad bytes at its old
// end may be extended.
func (s *Scanner) Extend(end int64) { s.end = max(s.end, end) }

// Next returns the next part; parts follow each other without a gap. Bad ranges never touch, but for one case: zeros
// that go on to the end of the range are a part of their own. Errors: io.EOF at the end, and that of a closed file.
func (s *Scanner) Next() (Part, error) {
	if len(s.ready) == 0 {
		if err := s.advance(); err != nil {
			return Part{}, err
		}
	}
	p := s.ready[0]
	s.ready = s.ready[:copy(s.ready, s.ready[1:])]
	return p, nil
}

// advance fills ready.
func (s *Scanner) advance() error {
	if s.at >= s.end {
		return io.EOF
	}
	p, ok, err := s.frame(s.at)
	if err != nil {
		return err
	}
	if ok {
		s.ready = append(s.ready, p)
		s.at += p.Size
		return nil
	}
	if s.at >= s.end { // the file turned out to end here
		return io.EOF
	}
	return s.skip()
}

// frame tries for a good frame at this offset.
func (s *Scanner) frame(offset int64) (Part, bool, error) {
	b, err := s.bytes(offset, FrameHeaderSize)
	if err != nil || len(b) < FrameHeaderSize {
		return Part{}, false, err
	}
	h, err := DecodeFrameHeader(b, s.salt, offset)
	// Payloads of good headers cannot overlap unless someone who knows the salt made them to; then the allowance, one
	// byte for every byte passed and a frame, keeps the work in proportion.
	if err != nil || s.spent > offset-s.start+MaxFrame {
		return Part{}, false, nil
	}
	size, end := h.Size(), FrameHeaderSize+h.payload() // with the padding, and without
	if offset+end > s.end {
		return Part{}, false, nil
	}
	b, err = s.bytes(offset, size)
	if err != nil || int64(len(b)) < end {
		return Part{}, false, err
	}
	payload := b[FrameHeaderSize:end]
	if !VerifyPayload(h, payload) {
		s.spent += h.payload()
		return Part{}, false, nil
	}
	return Part{Offset: offset, Size: size, Header: h, Payload: payload, Cut: size - int64(len(b))}, true, nil
}

// skip passes the bad bytes at s.at up to the next good frame or the end.
func (s *Scanner) skip() error {
	start, zeros := s.at, s.at // zeros: what follows is zero so far
	for at := start; at < s.end; {
		if at >= s.base+int64(len(s.buf)) {
			if data := min(vfs.NextData(s.f, at)&^7, s.end); data > at {
				at = data // all that is passed is zero
				continue
			}
		}
		b, err := s.bytes(at, 8)
		if err != nil {
			return err
		}
		if len(b) < 8 {
			if !zero(b) {
				zeros = at + int64(len(b))
			}
			break
		}
		b = s.buf[at-s.base:]
		for ; len(b) >= 8; b = b[8:] {
			if word := le.Uint64(b); word != 0 {
				if uint32(word) == frameMagic && at > start {
					break
				}
				zeros = at + 8
			}
			at += 8
		}
		if len(b) < 8 {
			continue
		}
		p, ok, err := s.frame(at)
		if err != nil {
			return err
		}
		if ok {
			s.bad(start, at, zeros)
			s.ready = append(s.ready, p)
			s.at = at + p.Size
			return nil
		}
		zeros = at + 8
		at += 8
	}
	s.bad(start, s.end, zeros)
	s.at = s.end
	return nil
}

// bad puts the bad range [from, to) into ready; from zeros on it holds nothing else than zeros, as far as it was read.
func (s *Scanner) bad(from, to, zeros int64) {
	p := Part{Offset: from, Bad: true}
	for len(s.holes) > 0 && s.holes[0].from < to {
		h := &s.holes[0]
		if h.to > from {
			if p.Err == nil {
				p.Err = fmt.Errorf("read bytes %d to %d: %w", max(h.from, from), min(h.to, to), h.err)
			}
			zeros = max(zeros, min(h.to, to))
		}
		if h.to > to {
			h.from = to
			break
		}
		s.holes = s.holes[1:]
	}
	if to == s.end && from < zeros && zeros < to {
		p.Size = zeros - from
		s.ready = append(s.ready, p, Part{Offset: zeros, Size: to - zeros, Bad: true, Zero: true})
		return
	}
	p.Size, p.Zero = to-from, zeros == from
	s.ready = append(s.ready, p)
}

// bytes returns n bytes from offset on, fewer where the range ends. It never goes back.
func (s *Scanner) bytes(offset, n int64) ([]byte, error) {
	n = min(n, s.end-offset)
	if offset+n > s.base+int64(len(s.buf)) {
		if err := s.read(offset, n); err != nil {
			return nil, err
		}
		n = min(n, s.end-offset)
	}
	return s.buf[offset-s.base : offset-s.base+n], nil
}

// read drops what is before offset from buf and reads at least n bytes from there, in windows.
func (s *Scanner) read(offset, n int64) error {
	kept := s.buf[min(offset-s.base, int64(len(s.buf))):]
	have := int64(len(kept))
	want := min(have+max(n-have, window), s.end-offset)
	if int64(cap(s.buf)) < want {
		// With room for what is usually left of a window, so that this is the only allocation.
		grown := make([]byte, have, min(want+FrameTarget, s.end-offset))
		copy(grown, kept)
		s.buf = grown
	} else {
		s.buf = s.buf[:copy(s.buf[:have], kept)]
	}
	s.base = offset
	fresh := s.buf[have:want]
	got, err := readSparing(s.f, fresh, offset+have, func(from, to int64, err error) {
		if last := len(s.holes) - 1; last >= 0 && s.holes[last].to == from {
			s.holes[last].to = to
			return
		}
		s.holes = append(s.holes, hole{from, to, err})
	})
	if err != nil {
		return fmt.Errorf("scan segment: %w", err)
	}
	s.buf = s.buf[:have+int64(got)]
	if int64(got) < int64(len(fresh)) {
		s.end = offset + have + int64(got)
	}
	return nil
}
