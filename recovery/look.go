package recovery

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"slices"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// image is a segment as it is, or as it will be when what can be healed is.
func (p *part) image(f io.ReaderAt) io.ReaderAt {
	if p.healing == nil || !p.healing.Won() {
		return f
	}
	if p.healing.Dropped() {
		h, err := segment.Diagnose(f, p.size, p.name)
		if err != nil {
			return f // what could be healed a moment ago is bad now
		}
		return h.Over(f)
	}
	return p.healing.Over(f)
}

// look reads a segment as it is when its redundancy has made good what it can: what is left then is lost. thorough
// compares every checksum, else only what the frames show calls for that. begin is called before each reading.
func (p *part) look(f vfs.File, next *part, thorough bool, pace func(int64) error, begin func() func(*segment.Part)) error {
	if p.sealed && thorough {
		if err := p.diagnose(f); err != nil {
			return err
		}
	}
	if err := p.scan(p.image(f), next, pace, begin()); err != nil {
		return err
	}
	if p.healing != nil || !p.hurt() && !(thorough && p.sealed) {
		return nil
	}
	if err := p.diagnose(f); err != nil || p.healing == nil || !p.healing.Won() {
		return err
	}
	return p.scan(p.image(f), next, unpaced, begin())
}

// gather begins to gather what the positions frames among those that are read say, without those of former times.
func (p *part) gather() func(*segment.Part) {
	p.positions = newGatherer(false)
	return p.positions.take
}

// hurt tells whether there are bad bytes that could have been frames.
func (p *part) hurt() bool {
	return p.badHeader != nil && p.sealed || slices.ContainsFunc(p.holes, func(h hole) bool { return h.length > 0 && !(h.zero && h.next == 0 && !p.sealed) })
}

// diagnose finds out what can be healed. A segment without a trailer is one that had been sealed if that gives something
// back; else a crash has cut its seal short, and all frames are there.
func (p *part) diagnose(f io.ReaderAt) error {
	h, err := segment.Diagnose(f, p.size, p.name)
	if errors.Is(err, fs.ErrClosed) {
		return err
	}
	if err != nil || h.Trailer.Header.Name() != p.name {
		return nil
	}
	if !p.sealed && len(h.Healed) == 0 {
		p.endAt(h, f)
		return nil
	}
	p.healing = h
	if !p.sealed {
		p.sealed, p.trailer = true, h.Trailer
	}
	return nil
}

// endAt takes the word of an index for the end of the frames, where only what follows them is not whole. The frames had been durable
// before that was written.
func (p *part) endAt(h *segment.Healing, f io.ReaderAt) {
	n, t := len(p.holes), h.Trailer
	if p.end > t.DataEnd || n == 0 || p.holes[n-1].next != 0 {
		return
	}
	p.unfinished, p.mark, p.seen, p.zeros = true, max(p.mark, t.Mark), max(p.seen, t.Last), 0
	last := &p.holes[n-1]
	switch behind := strangeBehind(t.DataEnd, h, f); {
	case behind > 0: // it is kept with what is lost before it
		from := behind
		if last.offset < t.DataEnd {
			from = last.offset
		}
		last.span, last.zero = span{from, p.size - from}, false
	case last.offset < t.DataEnd:
		last.length = t.DataEnd - last.offset
	default:
		p.holes = withoutTail(p.holes)
	}
}

// strangeBehind is where bytes begin, behind the frames, that no seal writes there; 0: there are none.
func strangeBehind(end int64, h *segment.Healing, f io.ReaderAt) int64 {
	for _, s := range h.Changed() {
		b := make([]byte, s.Size)
		_, err := patient{f}.ReadAt(b, s.Offset)
		if s.Offset >= end && (err != nil || len(bytes.TrimLeft(b, "\x00")) > 0) {
			return s.Offset
		}
	}
	return 0
}
