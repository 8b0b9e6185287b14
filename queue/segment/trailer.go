package segment

import (
	"fmt"
	"hash/crc32"
	"io"
)

// Trailer is the last block of a sealed segment, and what makes it sealed.
//
//	0       8       12       16       24        32     40     48        56        64       72        80         88         96      128      240
//	+-------+-------+--------+--------+---------+------+------+---------+---------+--------+---------+----------+----------+-------+--------+------+--------+
//	| magic | flags | stripe | frames | records | last | mark | data end| index A | parity | index B | min time | max time | SHA256| header | 0... | CRC32C |
//	| 8     | u32   | u32    | u64    | u64     | u64  | u64  | u64     | u64     | u64    | u64     | i64      | i64      | 32    | 112    | 3852 | u32    |
//	+-------+-------+--------+--------+---------+------+------+---------+---------+--------+---------+----------+----------+-------+--------+------+--------+
//
// header is a copy of the first 112 bytes of the header block; the checksum covers the 4092 bytes before it.
type Trailer struct {
	Header  Header
	Frames  uint64 // good frames, of every type
	Records uint64 // records in them
	Last    uint64 // highest sequence of a data or gap frame; Header.First-1 where there is none
	Mark    uint64 // the durable mark when it was sealed
	DataEnd int64  // end of the frames
	Stripe  uint32 // bytes of a stripe

	IndexA, Parity, IndexB int64 // offsets
	MinTime, MaxTime       int64 // arrival times of the data frames, unix nanoseconds; both zero where there is none

	Recovered bool     // sealed after a crash by SealRecovered
	Sum       [32]byte // SHA-256 over header block and index A
}

const (
	trailerMagic  = "\x89LMTRL\r\n"
	trailerFields = 128 + headerFields
	flagRecovered = 1
)

// Encode returns the trailer block, TrailerSize bytes.
func (t Trailer) Encode() []byte {
	b := make([]byte, TrailerSize)
	copy(b, trailerMagic)
	if t.Recovered {
		le.PutUint32(b[8:], flagRecovered)
	}
	le.PutUint32(b[12:], t.Stripe)
	le.PutUint64(b[16:], t.Frames)
	le.PutUint64(b[24:], t.Records)
	le.PutUint64(b[32:], t.Last)
	le.PutUint64(b[40:], t.Mark)
	le.PutUint64(b[48:], uint64(t.DataEnd))
	le.PutUint64(b[56:], uint64(t.IndexA))
	le.PutUint64(b[64:], uint64(t.Parity))
	le.PutUint64(b[72:], uint64(t.IndexB))
	le.PutUint64(b[80:], uint64(t.MinTime))
	le.PutUint64(b[88:], uint64(t.MaxTime))
	copy(b[96:128], t.Sum[:])
	t.Header.put(b[128:])
	le.PutUint32(b[TrailerSize-4:], crc32.Checksum(b[:TrailerSize-4], crcTable))
	return b
}

// DecodeTrailer reads a trailer block. Errors: ErrMagic, ErrChecksum, ErrMalformed; *UnknownFeatureError, with the
// Header as DecodeHeader returns it then.
func DecodeTrailer(b []byte) (Trailer, error) {
	if len(b) < TrailerSize || string(b[:8]) != trailerMagic {
		return Trailer{}, fmt.Errorf("decode segment trailer: %w", ErrMagic)
	}
	if le.Uint32(b[TrailerSize-4:]) != crc32.Checksum(b[:TrailerSize-4], crcTable) {
		return Trailer{}, fmt.Errorf("decode segment trailer: %w", ErrChecksum)
	}
	h, err := getHeader(b[128:])
	if err != nil {
		return Trailer{Header: h}, fmt.Errorf("decode segment trailer: %w", err)
	}
	t := Trailer{
		Header:  h,
		Stripe:  le.Uint32(b[12:]),
		Frames:  le.Uint64(b[16:]),
		Records: le.Uint64(b[24:]),
		Last:    le.Uint64(b[32:]),
		Mark:    le.Uint64(b[40:]),
		DataEnd: int64(le.Uint64(b[48:])),
		IndexA:  int64(le.Uint64(b[56:])),
		Parity:  int64(le.Uint64(b[64:])),
		IndexB:  int64(le.Uint64(b[72:])),
		MinTime: int64(le.Uint64(b[80:])),
		MaxTime: int64(le.Uint64(b[88:])),
		Sum:     [32]byte(b[96:128]),

		Recovered: le.Uint32(b[8:]) == flagRecovered,
	}
	if le.Uint32(b[8:]) > flagRecovered || !zero(b[trailerFields:TrailerSize-4]) || !t.valid() {
		return Trailer{}, fmt.Errorf("decode segment trailer: %w", ErrMalformed)
	}
	return t, nil
}

// valid checks the fields against the limits and against each other.
func (t Trailer) valid() bool {
	if t.DataEnd < HeaderSize || t.DataEnd > MaxDataEnd || t.DataEnd%8 != 0 ||
		t.Last > MaxSequence || t.Last < t.Header.First-1 || t.Mark > MaxSequence {
		return false
	}
	l := layOut(t.Header.Size, t.DataEnd)
	return int64(t.Stripe) == l.stripe && t.IndexA == l.indexA && t.Parity == l.parity && t.IndexB == l.indexB
}

// ReadTrailer reads the trailer of a segment whose file has this size. The error wraps ErrNoTrailer where the segment is
// not sealed, and also ErrChecksum or ErrMalformed where there is a seal that is damaged or belongs to a file of another
// size; it is *UnknownFeatureError, or that of the read, where only that is known. Compare Header.Salt with the salt
// that the file's name has.
func ReadTrailer(f io.ReaderAt, size int64) (Trailer, error) {
	if size < HeaderSize+TrailerSize {
		return Trailer{}, fmt.Errorf("read segment trailer: %d bytes hold none: %w", size, ErrNoTrailer)
	}
	b := make([]byte, TrailerSize)
	if _, err := readFull(f, b, size-TrailerSize); err != nil {
		return Trailer{}, fmt.Errorf("read segment trailer: %w", err)
	}
	if string(b[:8]) != trailerMagic {
		return Trailer{}, fmt.Errorf("read segment trailer: %w", ErrNoTrailer)
	}
	t, err := DecodeTrailer(b)
	if err == nil && t.IndexB+(t.Parity-t.IndexA)+TrailerSize != size {
		t, err = Trailer{}, fmt.Errorf("its file should have another size than %d: %w", size, ErrMalformed)
	}
	if err != nil && !unknown(err) {
		err = fmt.Errorf("read segment trailer: %w: %w", ErrNoTrailer, err)
	}
	return t, err
}
