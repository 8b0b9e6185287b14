package segment

import (
	"crypto/subtle"
	"hash/crc32"
)

// tally gathers what the seal of a segment says about its header and frames, as their bytes pass: the checksum of every
// stripe, the first frame in it, the parity, counts and times.
type tally struct {
	stripe  int64
	end     int64 // bytes seen
	stripes []Stripe
	parity  []byte // Groups blocks of one stripe each

	frames, records  uint64
	last             uint64 // highest sequence of a data or gap frame; first-1 before the first
	minTime, maxTime int64  // of data frames
}

// newTally starts the tally of a segment.
func newTally(h Header) *tally {
	stripe := stripeSize(h.Size)
	return &tally{
		stripe:  stripe,
		stripes: make([]Stripe, 0, int64(h.Size)/stripe+1),
		parity:  make([]byte, Groups*stripe),
		last:    h.First - 1,
	}
}

// at returns the row of the stripe that this offset lies in.
func (t *tally) at(offset int64) *Stripe {
	i := int(offset / t.stripe)
	for len(t.stripes) <= i {
		t.stripes = append(t.stripes, Stripe{})
	}
	return &t.stripes[i]
}

// bytes counts the next bytes of the file. They go by in pieces of whole stripes where possible: two passes at memory
// speed, nothing per record.
func (t *tally) bytes(p []byte) {
	for len(p) > 0 {
		within := t.end % t.stripe
		n := min(t.stripe-within, int64(len(p)))
		s := t.at(t.end)
		s.Sum = crc32.Update(s.Sum, crcTable, p[:n])
		group := t.end / t.stripe % Groups * t.stripe
		block := t.parity[group+within : group+within+n]
		subtle.XORBytes(block, block, p[:n])
		t.end += n
		p = p[n:]
	}
}

// frame counts a frame that stands at this offset. Frames are counted in the order of their offsets.
func (t *tally) frame(h FrameHeader, offset int64) {
	first := t.last + 1
	if h.Type == Data {
		first = h.First
		if t.records == 0 {
			t.minTime, t.maxTime = h.Time, h.Time
		}
		t.minTime, t.maxTime = min(t.minTime, h.Time), max(t.maxTime, h.Time)
		t.records += uint64(h.Count)
	}
	if s := t.at(offset); s.Frame == 0 {
		s.Frame, s.First = uint32(offset), first
	}
	if h.Type == Data || h.Type == Gap {
		t.last = max(t.last, h.Last())
	}
	t.frames++
}

// index is the index over what was counted, laid out like this.
func (t *tally) index(l layout) Index {
	x := Index{MinTime: t.minTime, MaxTime: t.maxTime, Stripes: t.stripes, Parity: make([]uint32, l.groups)}
	for g := range x.Parity {
		x.Parity[g] = crc32.Checksum(t.parity[int64(g)*l.block:int64(g+1)*l.block], crcTable)
	}
	return x
}
