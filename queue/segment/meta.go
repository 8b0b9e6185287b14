package segment

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Form is how the records of a run lie in its body.
type Form uint8

// The forms of version 1. A reader that does not know a form passes the run on or leaves it out, as a whole.
const (
	Lines   Form = 1 // the bytes as received, every record followed by LF
	Records Form = 2 // every record as uvarint length and a Heka protobuf message
)

// Run is a row of a data frame's table: consecutive records of one source that share what is written here once.
type Run struct {
	Form       Form
	Count      uint32 // records
	Raw        uint32 // bytes of Body
	Key        []byte // source key; empty: the source keeps no position
	Position   []byte // position in the source after the last record
	Attributes []byte // shared attributes, opaque here
	Body       []byte // raw bytes; filled by Frame, not looked at when encoding
}

// minRun is the least number of bytes a row takes: form and five one-byte numbers.
const minRun = 6

// AppendMeta appends the table of runs as it stands between a data frame's header and its body.
//
//	+---------+ +------+---------+---------+---------+-----+---------+----------+---------+------------+
//	| runs    | | form | count   | raw     | length  | key | length  | position | length  | attributes | ...
//	| uvarint | | u8   | uvarint | uvarint | uvarint |     | uvarint |          | uvarint |            |
//	+---------+ +------+---------+---------+---------+-----+---------+----------+---------+------------+
func AppendMeta(dst []byte, runs []Run) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for i := range runs {
		r := &runs[i]
		dst = append(dst, byte(r.Form))
		dst = binary.AppendUvarint(dst, uint64(r.Count))
		dst = binary.AppendUvarint(dst, uint64(r.Raw))
		dst = appendBytes(dst, r.Key)
		dst = appendBytes(dst, r.Position)
		dst = appendBytes(dst, r.Attributes)
	}
	return dst
}

// metaBound is at least the length of AppendMeta's result.
func metaBound(runs []Run) int {
	n := binary.MaxVarintLen64
	for i := range runs {
		r := &runs[i]
		n += 1 + 2*binary.MaxVarintLen32 + 3*binary.MaxVarintLen64 + len(r.Key) + len(r.Position) + len(r.Attributes)
	}
	return n
}

// DecodeMeta reads a table of runs into runs[:0]. The slices of the result are parts of b; a slice of no bytes is nil.
// Only what AppendMeta writes is accepted: minimal numbers, nothing after the last run. ErrMalformed otherwise, also
// where a run has more records than bytes, or bytes and no record.
func DecodeMeta(b []byte, runs []Run) ([]Run, error) {
	c := cut{b: b}
	n := c.number(uint64(len(b)) / minRun)
	runs = runs[:0]
	for range n {
		r := Run{Form: Form(c.byte())}
		r.Count = uint32(c.number(math.MaxUint32))
		r.Raw = uint32(c.number(math.MaxUint32))
		r.Key = c.bytes()
		r.Position = c.bytes()
		r.Attributes = c.bytes()
		if c.bad || r.Count > r.Raw || (r.Count == 0) != (r.Raw == 0) {
			return runs, fmt.Errorf("decode run %d of a frame's meta: %w", len(runs), ErrMalformed)
		}
		runs = append(runs, r)
	}
	if c.bad || len(c.b) != 0 {
		return runs, fmt.Errorf("decode a frame's meta: %w", ErrMalformed)
	}
	return runs, nil
}

// appendBytes appends a length and the bytes.
func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// cut takes values off the front of b. The first that is not there, or not written in its one canonical way, sets bad;
// from then on everything is zero.
type cut struct {
	b   []byte
	bad bool
}

// byte takes one byte.
func (c *cut) byte() byte {
	if c.bad || len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// number takes a minimal uvarint of at most this value.
func (c *cut) number(most uint64) uint64 {
	v, n := binary.Uvarint(c.b)
	if c.bad || n <= 0 || v > most || (n > 1 && c.b[n-1] == 0) {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes takes a length and that many bytes, which stay part of b; nil where the length is zero.
func (c *cut) bytes() []byte { return c.take(c.number(uint64(len(c.b)))) }

// take takes n bytes.
func (c *cut) take(n uint64) []byte {
	if c.bad || n == 0 || n > uint64(len(c.b)) {
		c.bad = c.bad || n != 0
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}
