package segment

import (
	"fmt"
	"hash/crc32"

	"github.com/golang/snappy"
)

// Type says what a frame is for. A reader skips a type it does not know.
type Type uint8

// The types of version 1.
const (
	Data           Type = 1 // records: a table of runs and their bodies
	PositionsFrame Type = 2 // positions of outputs, sources and streams: the body is a Positions
	Gap            Type = 3 // sequences that will never come: First and Count; the body is the reason as text
	Marker         Type = 4 // only carries the mark
	Close          Type = 5 // as Marker, and the process stopped cleanly
)

func (t Type) String() string {
	switch t {
	case Data:
		return "data"
	case PositionsFrame:
		return "positions"
	case Gap:
		return "gap"
	case Marker:
		return "marker"
	case Close:
		return "close"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Codec is how a body is compressed.
type Codec uint8

// The codecs of version 1.
const (
	None   Codec = 0
	Snappy Codec = 1 // the block format, without stream framing
)

// maxRatio bounds what snappy can make of one byte: its densest element is 64 bytes in 3.
const maxRatio = 22

// frameMagic is F7 'L' 'M' 'F': no UTF-8 text holds it.
const frameMagic = 0x464d4cf7

// FrameHeader is the fixed part of a frame.
//
//	0     4    5     6      8       16      20       24    28     32    40    48             52          56
//	+-----+----+-----+------+-------+-------+--------+-----+------+-----+-----+--------------+-----------+------+------+-----+
//	|magic|type|codec|0     | first | count | stored | raw | meta | time| mark| CRC of       | CRC of    | meta | body | 0.. |
//	|u32  |u8  |u8   |u16   | u64   | u32   | u32    | u32 | u32  | i64 | u64 | meta + body  | 0..51     |      |      | 0-7 |
//	+-----+----+-----+------+-------+-------+--------+-----+------+-----+-----+--------------+-----------+------+------+-----+
//
// The checksum of the header is a CRC32C over the segment's salt (u64), the offset of the frame in its file (u64) and
// bytes 0 to 51: a stale frame, a moved one or one inside a record's payload never passes. The checksum of meta and body
// is not seeded, so that both travel between nodes as they are.
type FrameHeader struct {
	Type   Type
	Codec  Codec
	First  uint64 // sequence of the first record; of a frame without records the next sequence at that point
	Count  uint32 // records; of a gap the sequences lost
	Stored uint32 // bytes of the body as stored
	Raw    uint32 // bytes of the body decompressed
	Meta   uint32 // bytes of the meta
	Time   int64  // unix nanoseconds of its arrival
	Mark   uint64 // the durable mark when it was written
	Sum    uint32 // CRC32C of meta and body as stored
}

// Size is the length of the frame in the file: header, meta and body, padded to 8 bytes.
func (h FrameHeader) Size() int64 { return align(FrameHeaderSize + h.payload()) }

// Last is the sequence of the last record; First-1 where there is none, and 0 where First is.
func (h FrameHeader) Last() uint64 {
	if h.First == 0 {
		return 0
	}
	return h.First + uint64(h.Count) - 1
}

// payload is the length of meta and body.
func (h FrameHeader) payload() int64 { return int64(h.Meta) + int64(h.Stored) }

// Put writes the header to the first FrameHeaderSize bytes of b, for a frame that will stand at this offset of the
// segment with this salt.
func (h FrameHeader) Put(b []byte, salt uint64, offset int64) {
	_ = b[FrameHeaderSize-1]
	le.PutUint32(b, frameMagic)
	b[4], b[5], b[6], b[7] = byte(h.Type), byte(h.Codec), 0, 0
	le.PutUint64(b[8:], h.First)
	le.PutUint32(b[16:], h.Count)
	le.PutUint32(b[20:], h.Stored)
	le.PutUint32(b[24:], h.Raw)
	le.PutUint32(b[28:], h.Meta)
	le.PutUint64(b[32:], uint64(h.Time))
	le.PutUint64(b[40:], h.Mark)
	le.PutUint32(b[48:], h.Sum)
	le.PutUint32(b[52:], headerSum(b, salt, offset))
}

// headerSum is the seeded checksum over bytes 0..51. The sixteen bytes of the seed go through the table by hand: a slice
// of a local array given to crc32.Update would be a heap allocation per frame.
func headerSum(b []byte, salt uint64, offset int64) uint32 {
	c := ^uint32(0)
	for _, v := range [2]uint64{salt, uint64(offset)} {
		for range 8 {
			c = crcTable[byte(c)^byte(v)] ^ c>>8
			v >>= 8
		}
	}
	return crc32.Update(^c, crcTable, b[:52])
}

// DecodeFrameHeader reads the header of a frame that stands at this offset. Errors: ErrMagic, ErrChecksum, ErrMalformed.
// A header that decodes promises lengths within MaxFrame, sequences within MaxSequence and, for types it knows, fields
// that agree with each other.
func DecodeFrameHeader(b []byte, salt uint64, offset int64) (FrameHeader, error) {
	if len(b) < FrameHeaderSize || le.Uint32(b) != frameMagic {
		return FrameHeader{}, ErrMagic
	}
	if le.Uint32(b[52:]) != headerSum(b, salt, offset) {
		return FrameHeader{}, ErrChecksum
	}
	h := FrameHeader{
		Type:   Type(b[4]),
		Codec:  Codec(b[5]),
		First:  le.Uint64(b[8:]),
		Count:  le.Uint32(b[16:]),
		Stored: le.Uint32(b[20:]),
		Raw:    le.Uint32(b[24:]),
		Meta:   le.Uint32(b[28:]),
		Time:   int64(le.Uint64(b[32:])),
		Mark:   le.Uint64(b[40:]),
		Sum:    le.Uint32(b[48:]),
	}
	if le.Uint16(b[6:]) != 0 || !h.valid() {
		return FrameHeader{}, fmt.Errorf("decode header of %s frame at offset %d: %w", h.Type, offset, ErrMalformed)
	}
	return h, nil
}

// valid checks the fields against the limits and against each other.
func (h FrameHeader) valid() bool {
	if h.Size() > MaxFrame || h.Raw > MaxFrame || h.Mark > MaxSequence ||
		h.First > MaxSequence || uint64(h.Count) > MaxSequence-h.First+1 {
		return false
	}
	switch h.Type {
	case Data:
		if h.First == 0 || h.Count == 0 || h.Count > h.Raw || h.Meta == 0 {
			return false
		}
	case Gap:
		if h.First == 0 || h.Count == 0 || h.Meta != 0 {
			return false
		}
	case PositionsFrame:
		if h.Count != 0 || h.Meta != 0 {
			return false
		}
	case Marker, Close:
		if h.Count != 0 || h.Meta != 0 || h.Stored != 0 {
			return false
		}
	default:
		return true // the frame of a later version: only its bounds matter here
	}
	return h.decodable()
}

// decodable tells whether the lengths can be right for a codec that is known.
func (h FrameHeader) decodable() bool {
	switch h.Codec {
	case None:
		return h.Stored == h.Raw
	case Snappy:
		return uint64(h.Raw) <= maxRatio*uint64(h.Stored)
	}
	return false
}

// VerifyPayload tells whether payload, meta and body as stored, is what the header promises.
func VerifyPayload(h FrameHeader, payload []byte) bool {
	return int64(len(payload)) == h.payload() && crc32.Checksum(payload, crcTable) == h.Sum
}

// FrameBound is the capacity with which EncodeFrame does not allocate for runs and a raw body of this many bytes.
func FrameBound(runs []Run, raw int) int {
	return FrameHeaderSize + metaBound(runs) + max(raw, snappy.MaxEncodedLen(raw)) + 7
}

// EncodeFrame builds a frame in dst[:0]: room for the header, which Put fills in later, meta, body and padding. raw
// is the bodies of the runs one after the other; it must not overlap dst. The body is compressed where codec is Snappy and
// that saves at least 1/16. Sets Codec, Stored, Raw, Meta and Sum of h, and Count of a data frame. Frames of other types
// have no meta: runs are ignored and raw is the body. Does not allocate where cap(dst) is at least FrameBound.
func EncodeFrame(dst []byte, h *FrameHeader, runs []Run, raw []byte, codec Codec) []byte {
	if h.Type != Data {
		runs = nil
	}
	if n := FrameBound(runs, len(raw)); cap(dst) < n {
		dst = make([]byte, 0, n)
	}
	dst = dst[:FrameHeaderSize]
	clear(dst)
	if h.Type == Data {
		dst = AppendMeta(dst, runs)
		h.Count = 0
		for i := range runs {
			h.Count += runs[i].Count
		}
	}
	body := len(dst)
	h.Codec, h.Raw, h.Meta = None, uint32(len(raw)), uint32(body-FrameHeaderSize)
	if codec == Snappy && len(raw) <= MaxFrame {
		packed := snappy.Encode(dst[body:cap(dst)], raw)
		if len(packed)+(len(raw)+15)/16 <= len(raw) {
			h.Codec, dst = Snappy, dst[:body+len(packed)]
		}
	}
	if h.Codec == None {
		dst = append(dst, raw...)
	}
	h.Stored = uint32(len(dst) - body)
	h.Sum = crc32.Checksum(dst[FrameHeaderSize:], crcTable)
	for len(dst)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst
}
