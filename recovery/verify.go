package recovery

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"

	"logmule/queue/segment"
)

// verify notes what is wrong with a sealed segment besides its frames, which have been read: header, stripes that heal or
// that no bad frame explains, both copies of the index, parity, trailer.
func (p *part) verify(f io.ReaderAt) {
	add := func(s segment.Span, cause, action string) {
		p.problems = append(p.problems, finding{
			part: p, segment: p.name.String(), span: span{s.Offset, s.Size}, cause: cause, action: action,
		})
	}
	h := p.healing
	if h == nil {
		h = p.hopeless(f)
	}
	for _, s := range h.BadParity {
		add(s, causeChecksum, wouldRebuild)
		p.problems[len(p.problems)-1].idle = true
	}
	if p.badHeader != nil && !h.Header {
		add(segment.Span{Size: segment.HeaderSize}, causeHeader, wouldRebuild)
	}
	for _, g := range gains(h, f) {
		add(g.Span, g.Cause, g.action(wouldHeal, wouldRebuild))
	}
	p.unexplained(h.Bad, add)
}

// hopeless is what can be said of a segment that nothing tells the stripes of: which copies of its index are not what the
// trailer was made over.
func (p *part) hopeless(f io.ReaderAt) *segment.Healing {
	return &segment.Healing{Trailer: p.trailer, IndexA: !p.vouched(f, p.trailer.IndexA), IndexB: !p.vouched(f, p.trailer.IndexB)}
}

// vouched tells whether the hash in the trailer holds over the header and the index at this offset.
func (p *part) vouched(f io.ReaderAt, offset int64) bool {
	index := make([]byte, p.trailer.Parity-p.trailer.IndexA)
	if n, err := (patient{f}).ReadAt(index, offset); n < len(index) && err != nil {
		return false
	}
	sum := sha256.New()
	sum.Write(p.trailer.Header.Encode())
	sum.Write(index)
	return bytes.Equal(sum.Sum(nil), p.trailer.Sum[:])
}

// unexplained adds the bad stripes that no bad frame explains, neighbours together: they lie in the padding.
func (p *part) unexplained(bad []segment.Span, add func(segment.Span, string, string)) {
	stripe := int64(p.trailer.Stripe)
	for _, s := range bad {
		var run segment.Span
		for at := s.Offset; at < s.End(); at += stripe {
			size := min(stripe, s.End()-at)
			switch {
			case !p.explained(span{at, size}):
				if run.Size == 0 {
					run.Offset = at
				}
				run.Size = at + size - run.Offset
				continue
			case run.Size > 0:
				add(run, causeChecksum, wouldQuarantine)
			}
			run = segment.Span{}
		}
		if run.Size > 0 {
			add(run, causeChecksum, wouldQuarantine)
		}
	}
}

// explained tells whether a bad stripe overlaps a bad header or bad frames.
func (p *part) explained(stripe span) bool {
	if p.badHeader != nil && stripe.offset < segment.HeaderSize {
		return true
	}
	return slices.ContainsFunc(p.holes, func(h hole) bool {
		return h.offset < stripe.offset+stripe.length && stripe.offset < h.offset+h.length
	})
}

// decoder tries the body of every frame.
type decoder struct {
	part  *part
	frame segment.Frame
}

func (d *decoder) take(p *segment.Part) {
	err := d.frame.Decode(p.Header, p.Offset, p.Payload)
	if err == nil && p.Header.Type == segment.PositionsFrame {
		_, err = segment.DecodePositions(d.frame.Body())
	}
	if err == nil {
		return
	}
	f := finding{part: d.part, segment: d.part.name.String(), span: span{p.Offset, p.Size - p.Cut}, cause: causeUnreadable, action: wouldQuarantine}
	if p.Header.Count > 0 {
		f.lost.First, f.lost.Last = p.Header.First, p.Header.Last()
	}
	if p.Header.Type == segment.Data {
		d.part.undecoded += uint64(p.Header.Count)
	}
	d.part.problems = append(d.part.problems, f)
}
