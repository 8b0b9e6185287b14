package segment

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Index says what every stripe of a sealed segment holds. It stands in the file twice, before and after the parity.
//
//	0       4       8      16        20       24         32         40
//	+-------+-------+------+---------+--------+----------+----------+--------------------+-----+------------+-----+------+--------+
//	| magic | length| salt | stripes | groups | min time | max time | sum | frame| first | ... | parity sum | ... | 0... | CRC32C |
//	| u32   | u32   | u64  | u32     | u32    | i64      | i64      | u32 | u32  | u64   |     | u32        |     | 0-7  | u32    |
//	+-------+-------+------+---------+--------+----------+----------+--------------------+-----+------------+-----+------+--------+
//
// length is that of the whole index, a multiple of 8; the checksum covers everything before it.
type Index struct {
	MinTime, MaxTime int64 // arrival times of the data frames, unix nanoseconds; both zero where there is none
	Stripes          []Stripe
	Parity           []uint32 // CRC32C of every parity block
}

// Stripe is what an index knows of one stripe of header and frames.
type Stripe struct {
	Sum   uint32 // CRC32C of its bytes
	Frame uint32 // offset of the first frame that starts in it; 0: none does
	First uint64 // sequence of that frame's first record, or of the first that can follow it
}

// indexMagic is F7 'L' 'M' 'X'.
const indexMagic = 0x584d4cf7

const (
	indexFields  = 40 // bytes before the first stripe
	stripeFields = 16 // bytes of a stripe
)

// encode returns the index of a segment with this salt, laid out like this.
func (x Index) encode(salt uint64, l layout) []byte {
	b := make([]byte, l.index)
	le.PutUint32(b, indexMagic)
	le.PutUint32(b[4:], uint32(len(b)))
	le.PutUint64(b[8:], salt)
	le.PutUint32(b[16:], uint32(len(x.Stripes)))
	le.PutUint32(b[20:], uint32(len(x.Parity)))
	le.PutUint64(b[24:], uint64(x.MinTime))
	le.PutUint64(b[32:], uint64(x.MaxTime))
	at := indexFields
	for _, s := range x.Stripes {
		le.PutUint32(b[at:], s.Sum)
		le.PutUint32(b[at+4:], s.Frame)
		le.PutUint64(b[at+8:], s.First)
		at += stripeFields
	}
	for _, sum := range x.Parity {
		le.PutUint32(b[at:], sum)
		at += 4
	}
	le.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], crcTable))
	return b
}

// decodeIndex reads the index of a segment with this salt and layout. Errors: ErrMagic, ErrChecksum, ErrMalformed.
func decodeIndex(b []byte, salt uint64, l layout) (Index, error) {
	if int64(len(b)) != l.index || le.Uint32(b) != indexMagic {
		return Index{}, ErrMagic
	}
	if le.Uint32(b[len(b)-4:]) != crc32.Checksum(b[:len(b)-4], crcTable) {
		return Index{}, ErrChecksum
	}
	rest := indexFields + stripeFields*l.stripes + 4*l.groups
	if int(le.Uint32(b[4:])) != len(b) || le.Uint64(b[8:]) != salt || int64(le.Uint32(b[16:])) != int64(l.stripes) ||
		int64(le.Uint32(b[20:])) != int64(l.groups) || !zero(b[rest:len(b)-4]) {
		return Index{}, ErrMalformed
	}
	x := Index{
		MinTime: int64(le.Uint64(b[24:])),
		MaxTime: int64(le.Uint64(b[32:])),
		Stripes: make([]Stripe, l.stripes),
		Parity:  make([]uint32, l.groups),
	}
	at := indexFields
	for i := range x.Stripes {
		s := Stripe{Sum: le.Uint32(b[at:]), Frame: le.Uint32(b[at+4:]), First: le.Uint64(b[at+8:])}
		if frame := int64(s.Frame); frame != 0 && (frame/l.stripe != int64(i) || frame < HeaderSize || frame >= l.indexA || frame%8 != 0) {
			return Index{}, ErrMalformed
		}
		x.Stripes[i] = s
		at += stripeFields
	}
	for g := range x.Parity {
		x.Parity[g] = le.Uint32(b[at:])
		at += 4
	}
	return x, nil
}

// ReadIndex reads the index of a sealed segment: the first copy, or the second where the first is damaged. t is what
// ReadTrailer returned for this file. Where neither copy is good the error wraps what is wrong with each.
func ReadIndex(f io.ReaderAt, t Trailer) (Index, error) {
	l := layOut(t.Header.Size, t.DataEnd)
	b := make([]byte, l.index)
	var wrong []error
	for _, offset := range []int64{l.indexA, l.indexB} {
		_, err := readFull(f, b, offset)
		if err == nil {
			var x Index
			x, err = decodeIndex(b, t.Header.Salt, l)
			if err == nil && sealSum(t.Header, b) != t.Sum {
				err = ErrChecksum
			}
			if err == nil {
				return x, nil
			}
		}
		wrong = append(wrong, fmt.Errorf("read index at offset %d: %w", offset, err))
	}
	return Index{}, errors.Join(wrong...)
}

// sealSum is the hash that a trailer keeps over the header block and an index.
func sealSum(h Header, index []byte) [32]byte {
	s := sha256.New()
	s.Write(h.Encode())
	s.Write(index)
	return [32]byte(s.Sum(nil))
}

// Seek returns the offset of a frame at or before the one that holds this sequence: the last one the index knows, or the
// first of the segment.
func (x Index) Seek(sequence uint64) int64 {
	offset := int64(HeaderSize)
	for _, s := range x.Stripes {
		if s.Frame == 0 {
			continue
		}
		if s.First > sequence {
			break
		}
		offset = int64(s.Frame)
	}
	return offset
}
