package recovery

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"

	"logmule/queue/segment"
)

// redundant is what is left of a sealed segment's parity: which stripes are bad, and which of those it can give back.
type redundant struct {
	stripe int64
	end    int64 // of the stripes
	bad    map[int]bool
	groups map[int]int  // bad stripes in each group
	lost   map[int]bool // groups whose parity is bad
}

// heals tells whether every bad stripe under a range can be made again from the others of its group, and that this
// changes something: a hole that was there when the segment was sealed is part of the stripes as they should be.
func (r *redundant) heals(what span) bool {
	if r == nil || what.length == 0 || what.offset >= r.end {
		return false
	}
	any := false
	for i := what.offset / r.stripe; i*r.stripe < what.offset+what.length; i++ {
		if !r.bad[int(i)] {
			continue
		}
		group := int(i) % segment.Groups
		if r.groups[group] > 1 || r.lost[group] {
			return false
		}
		any = true
	}
	return any
}

// verify checks all of a sealed segment but its frames, which scan has read: header, both copies of the index, the
// trailer's hash, parity and stripes. What it finds goes to problems and parity.
func (p *part) verify(f io.ReaderAt) error {
	t := p.trailer
	add := func(offset, length int64, cause, action string) {
		p.problems = append(p.problems, finding{
			part: p, segment: p.name.String(), span: span{offset, length}, cause: cause, action: action,
		})
	}
	a, b := p.vouched(f, t.IndexA), p.vouched(f, t.IndexB)
	length := t.Parity - t.IndexA
	x, err := segment.ReadIndex(f, t)
	if err == nil {
		p.parity, err = p.redundancy(f, x, add)
	} else {
		err = nil // reported below
	}
	if p.badHeader != nil {
		add(0, segment.HeaderSize, causeHeader, wouldRebuild)
	}
	switch {
	case a && b:
	case !a && !b && len(x.Stripes) > 0:
		// Both copies are sound and neither is what the trailer was made over.
		add(p.size-segment.TrailerSize, segment.TrailerSize, causeTrailer, wouldRebuild)
	default:
		if !a {
			add(t.IndexA, length, causeIndex, wouldRebuild)
		}
		if !b {
			add(t.IndexB, length, causeIndex, wouldRebuild)
		}
	}
	return err
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

// redundancy holds parity and stripes against the index. Bad stripes that no bad frame explains are findings of their
// own: they lie in the padding.
func (p *part) redundancy(f io.ReaderAt, x segment.Index, add func(int64, int64, string, string)) (*redundant, error) {
	t := p.trailer
	r := &redundant{stripe: int64(t.Stripe), end: t.DataEnd, bad: make(map[int]bool), groups: make(map[int]int), lost: make(map[int]bool)}
	groups, err := segment.BadParity(f, t, x)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		r.lost[g] = true
		block := (t.IndexB - t.Parity) / int64(len(x.Parity))
		add(t.Parity+int64(g)*block, block, causeChecksum, wouldRebuild)
	}
	bad, err := segment.BadStripes(f, t, x)
	if err != nil {
		return nil, err
	}
	for _, i := range bad {
		r.bad[i] = true
		r.groups[i%segment.Groups]++
	}
	var run span // of neighbouring stripes
	for _, i := range bad {
		what := span{int64(i) * r.stripe, r.stripe}
		what.length = min(what.length, t.DataEnd-what.offset)
		switch {
		case p.explained(what):
		case run.length > 0 && run.offset+run.length == what.offset:
			run.length += what.length
		default:
			if run.length > 0 {
				add(run.offset, run.length, causeChecksum, wouldQuarantine)
			}
			run = what
		}
	}
	if run.length > 0 {
		add(run.offset, run.length, causeChecksum, wouldQuarantine)
	}
	return r, nil
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
	f := finding{part: d.part, segment: d.part.name.String(), span: span{p.Offset, p.Size}, cause: causeUnreadable, action: wouldQuarantine}
	if p.Header.Count > 0 {
		f.lost.First, f.lost.Last = p.Header.First, p.Header.Last()
	}
	d.part.problems = append(d.part.problems, f)
}
