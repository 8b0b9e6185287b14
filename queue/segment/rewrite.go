package segment

import (
	"fmt"
	"io"
	"slices"

	"logmule/queue/vfs"
)

// Rewrite writes a damaged segment anew to the empty file into: the header h, every good frame of f in [HeaderSize, dataEnd)
// at its own offset, which its checksum is bound to, zeros everywhere else, and a seal over that. f may be the damaged file
// or what a Healing makes of it. known are the ranges that somebody has looked at and kept; bad bytes outside of them are
// an error, so that nothing is dropped which the disk gave a moment ago. It is durable when it returns, but for the name.
func Rewrite(into vfs.File, f io.ReaderAt, h Header, dataEnd int64, mark uint64, known []Span) (Trailer, error) {
	if err := h.check(); err != nil {
		return Trailer{}, fmt.Errorf("rewrite segment %s: %w", h.Name(), err)
	}
	if dataEnd < HeaderSize || dataEnd > MaxDataEnd || dataEnd%8 != 0 {
		return Trailer{}, fmt.Errorf("rewrite segment %s: frames cannot end at offset %d: %w", h.Name(), dataEnd, ErrMalformed)
	}
	r := rewriting{into: into, tally: newTally(h)}
	err := r.bytes(h.Encode())
	if err == nil {
		err = r.frames(NewScanner(f, h.Salt, HeaderSize, dataEnd), known)
	}
	if err == nil {
		err = r.zeros(dataEnd - r.tally.end)
	}
	if err == nil {
		err = r.flush()
	}
	var t Trailer
	if err == nil {
		var pieces [][]byte
		t, pieces = r.tally.seal(h, mark, true)
		err = writeSeal(into, into.Sync, t, pieces)
	}
	if err != nil {
		return Trailer{}, fmt.Errorf("rewrite segment %s: %w", h.Name(), err)
	}
	return t, nil
}

// rewriting is one Rewrite under way.
type rewriting struct {
	into  vfs.File
	tally *tally
	out   []byte // counted, and not written yet: the bytes before tally.end
}

func (r *rewriting) frames(s *Scanner, known []Span) error {
	for {
		p, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Bad {
			if what := (Span{p.Offset, p.Size}); !within(known, what) {
				return fmt.Errorf("%d bytes at offset %d were good a moment ago; the disk gives other bytes each time", p.Size, p.Offset)
			}
			if err := r.zeros(p.Size); err != nil {
				return err
			}
			continue
		}
		r.tally.frame(p.Header, p.Offset)
		stored := s.stored(p)
		if err := r.bytes(stored); err != nil {
			return err
		}
		if err := r.bytes(make([]byte, p.Size-int64(len(stored)))); err != nil { // the padding is zeros, whatever stood there
			return err
		}
	}
}

// within tells whether a range lies in one of these.
func within(known []Span, what Span) bool {
	return slices.ContainsFunc(known, func(k Span) bool { return k.Offset <= what.Offset && what.End() <= k.End() })
}

// stored is a good frame that Next has just returned, without its padding.
func (s *Scanner) stored(p Part) []byte {
	at := p.Offset - s.base
	return s.buf[at : at+FrameHeaderSize+p.Header.payload()]
}

func (r *rewriting) bytes(b []byte) error {
	r.tally.bytes(b)
	if r.out = append(r.out, b...); len(r.out) < window {
		return nil
	}
	return r.flush()
}

func (r *rewriting) flush() error {
	if len(r.out) == 0 {
		return nil
	}
	_, err := r.into.WriteAt(r.out, r.tally.end-int64(len(r.out)))
	r.out = r.out[:0]
	return err
}

// zeros counts zeros, which a file has where nothing was written.
func (r *rewriting) zeros(n int64) error {
	if err := r.flush(); err != nil {
		return err
	}
	b := make([]byte, min(n, window))
	for ; n > 0; n -= int64(len(b)) {
		b = b[:min(n, window)]
		r.tally.bytes(b)
	}
	return nil
}
