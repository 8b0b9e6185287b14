package segment

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Positions is the body of a positions frame: opaque keys and values.
//
// A full set stands at the start of a segment, cut into Parts frames with Part 0 to Parts-1 in order. It counts when all
// parts are there; an incomplete set is ignored. Later frames of the segment that are not Full hold what changed since.
type Positions struct {
	Full  bool
	Part  uint32 // from 0; below Parts in a full set
	Parts uint32
	Pairs []Pair // a later pair replaces an earlier one of the same key
}

// Pair is one position. A nil Value says that the key is removed; an empty one is a value.
type Pair struct {
	Key   string
	Value []byte
}

// minPair is the least number of bytes a pair takes.
const minPair = 2

// AppendPositions appends the body of a positions frame.
//
//	+------+---------+---------+---------+ +---------+-----+------------------------+-------+
//	| full | part    | parts   | pairs   | | length  | key | 0: removed, 1 + length | value | ...
//	| u8   | uvarint | uvarint | uvarint | | uvarint |     | uvarint                |       |
//	+------+---------+---------+---------+ +---------+-----+------------------------+-------+
func AppendPositions(dst []byte, p Positions) []byte {
	full := byte(0)
	if p.Full {
		full = 1
	}
	dst = append(dst, full)
	dst = binary.AppendUvarint(dst, uint64(p.Part))
	dst = binary.AppendUvarint(dst, uint64(p.Parts))
	dst = binary.AppendUvarint(dst, uint64(len(p.Pairs)))
	for _, pair := range p.Pairs {
		dst = binary.AppendUvarint(dst, uint64(len(pair.Key)))
		dst = append(dst, pair.Key...)
		if pair.Value == nil {
			dst = append(dst, 0)
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(pair.Value))+1)
		dst = append(dst, pair.Value...)
	}
	return dst
}

// DecodePositions reads the body of a positions frame. The result does not share memory with b. ErrMalformed for
// anything that AppendPositions does not write, and for a full set whose Part is not below Parts.
func DecodePositions(b []byte) (Positions, error) {
	c := cut{b: b}
	full := c.byte()
	p := Positions{Full: full == 1}
	p.Part = uint32(c.number(math.MaxUint32))
	p.Parts = uint32(c.number(math.MaxUint32))
	n := c.number(uint64(len(c.b)) / minPair)
	if c.bad || full > 1 || (p.Full && p.Part >= p.Parts) {
		return Positions{}, fmt.Errorf("decode positions: %w", ErrMalformed)
	}
	if n > 0 {
		p.Pairs = make([]Pair, 0, n)
	}
	for range n {
		pair := Pair{Key: string(c.bytes())}
		if size := c.number(uint64(len(c.b)) + 1); size > 0 {
			pair.Value = append([]byte{}, c.take(size-1)...)
		}
		if c.bad {
			return Positions{}, fmt.Errorf("decode position %d of %d: %w", len(p.Pairs)+1, n, ErrMalformed)
		}
		p.Pairs = append(p.Pairs, pair)
	}
	if len(c.b) != 0 {
		return Positions{}, fmt.Errorf("decode positions: %d bytes after the last: %w", len(c.b), ErrMalformed)
	}
	return p, nil
}
