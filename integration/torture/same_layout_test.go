package torture

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// What follows reads undamaged segments by docs/format.md alone, so that what a damage may cost is known without asking logmule.

// frameSpan is a frame of a segment.
type frameSpan struct {
	from, to int // without the padding
	kind     byte
	first    uint64
	records  int
	body     int
}

// Types of frames.
const (
	ofData      = 1
	ofPositions = 2
)

// framesOf are the frames of an undamaged segment, and where they end.
func framesOf(text []byte) (all []frameSpan, end int) {
	magic := []byte("\xf7LMF")
	at := 4096
	for at+frameHeader <= len(text) && bytes.Equal(text[at:at+4], magic) {
		u32 := func(offset int) int { return int(binary.LittleEndian.Uint32(text[at+offset:])) }
		f := frameSpan{from: at, kind: text[at+4], first: binary.LittleEndian.Uint64(text[at+8:]), records: u32(16), body: at + frameHeader + u32(28)}
		f.to = f.body + u32(20)
		all = append(all, f)
		at = (f.to + 7) &^ 7
	}
	return all, at
}

// sealOf is what a sealed segment says at its end; ok is false for one without a trailer.
type sealOf struct {
	stripe, dataEnd, indexA, parity, indexB int
}

func sealIn(text []byte) (s sealOf, ok bool) {
	if len(text) < 8192 || !bytes.HasPrefix(text[len(text)-4096:], []byte("\x89LMTRL\r\n")) {
		return s, false
	}
	trailer := text[len(text)-4096:]
	u64 := func(offset int) int { return int(binary.LittleEndian.Uint64(trailer[offset:])) }
	s = sealOf{int(binary.LittleEndian.Uint32(trailer[12:])), u64(48), u64(56), u64(64), u64(72)}
	return s, true
}

// changes answers which bytes of a file have changed.
type changes struct{ before, after []byte }

func (c changes) in(from, to int) bool {
	to = min(to, len(c.before))
	return from < to && (to > len(c.after) || !bytes.Equal(c.before[from:to], c.after[from:to]))
}

// stays are the parts of the frames that are not as they were, and that nothing in the segment gives back.
func (c changes) stays(end int) (bad [][2]int) {
	s, sealed := sealIn(c.before)
	step := 4096
	if sealed {
		step = s.stripe
	}
	groups := map[int][]int{}
	for from := 0; from < end; from += step {
		if c.in(from, min(from+step, end)) {
			groups[from/step%32] = append(groups[from/step%32], from)
		}
	}
	index := sealed && (!c.in(s.indexA, s.parity) || !c.in(s.indexB, len(c.before)-4096))
	for g, stripes := range groups {
		if index && len(stripes) == 1 && !c.in(s.parity+g*s.stripe, s.parity+(g+1)*s.stripe) {
			continue
		}
		for _, from := range stripes {
			bad = append(bad, [2]int{from, min(from+step, end)})
		}
	}
	return bad
}

// mayCost are the records of the frames of which bytes stay bad: what a damage is allowed to cost.
func (c changes) mayCost() (lost numbers) {
	all, end := framesOf(c.before)
	bad := c.stays(end)
	for _, f := range all {
		if f.kind == ofData && slices.ContainsFunc(bad, func(b [2]int) bool { return c.in(max(f.from, b[0]), min(f.to, b[1])) }) {
			lost = lost.with(f.first, f.first+uint64(f.records)-1)
		}
	}
	return lost
}

// touched are the records some byte of which has changed, where lines of this length are stored as they came.
func (c changes) touched(line int) (lost numbers) {
	all, _ := framesOf(c.before)
	for _, f := range all {
		if f.kind != ofData || !c.in(f.from, f.to) {
			continue
		}
		for n := range f.records {
			if c.in(f.body+n*line, f.body+(n+1)*line) {
				lost = lost.with(f.first+uint64(n), f.first+uint64(n))
			}
		}
	}
	return lost
}
