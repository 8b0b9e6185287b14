package segment

import (
	"fmt"
	"hash/crc32"
	"io"
)

// Header is the first block of a segment. It is written once, synced before the first frame, and never changed.
//
//	0        8       12      16      24        32          48      56      64    72     80         88         96       104   112
//	+--------+-------+-------+-------+---------+-----------+-------+-------+-----+------+----------+----------+--------+-----+------+--------+
//	| magic  |version|0      |compat |incompat | queue id  |starts |random |salt | first|prev last |prev salt |created |size | 0... | CRC32C |
//	| 8      | u32   | u32   | u64   | u64     | 16        | u64   | u64   | u64 | u64  | u64      | u64      | i64    | u64 | 3980 | u32    |
//	+--------+-------+-------+-------+---------+-----------+-------+-------+-----+------+----------+----------+--------+-----+------+--------+
//
// The checksum covers the 4092 bytes before it.
type Header struct {
	Compat   uint64 // features that a reader may ignore
	Incompat uint64 // features that a reader must know
	Queue    ID
	Epoch    Epoch
	Salt     uint64 // random; seeds the checksum of every frame header of this segment
	First    uint64 // the first sequence the segment may hold, from 1
	Previous Link
	Created  int64  // unix nanoseconds
	Size     uint64 // configured segment size in bytes; decides the stripe size
}

const (
	headerMagic  = "\x89LMSEG\r\n" // the first byte and the line end show a transfer as text
	headerFields = 112             // bytes in use; the trailer keeps a copy of them

	knownIncompat = 0 // version 1 defines none
)

// Relaxed is a bit of Header.Compat: the segment was written with a sync policy that acknowledges records before they are durable.
const Relaxed = 1 << 0

// Name is the name of the segment's file.
func (h Header) Name() Name { return Name{First: h.First, Salt: h.Salt} }

// Encode returns the header block, HeaderSize bytes.
func (h Header) Encode() []byte {
	b := make([]byte, HeaderSize)
	h.put(b)
	le.PutUint32(b[HeaderSize-4:], crc32.Checksum(b[:HeaderSize-4], crcTable))
	return b
}

// DecodeHeader reads a header block. Errors: ErrMagic, ErrChecksum, ErrMalformed; *UnknownFeatureError, with the fields
// as version 1 would read them, for messages only.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || string(b[:8]) != headerMagic {
		return Header{}, fmt.Errorf("decode segment header: %w", ErrMagic)
	}
	if le.Uint32(b[HeaderSize-4:]) != crc32.Checksum(b[:HeaderSize-4], crcTable) {
		return Header{}, fmt.Errorf("decode segment header: %w", ErrChecksum)
	}
	h, err := getHeader(b)
	if err == nil && !zero(b[headerFields:HeaderSize-4]) {
		h, err = Header{}, fmt.Errorf("decode segment header: reserved bytes are in use: %w", ErrMalformed)
	}
	return h, err
}

// put writes the fields to the first headerFields bytes.
func (h Header) put(b []byte) {
	copy(b, headerMagic)
	le.PutUint32(b[8:], Version)
	le.PutUint32(b[12:], 0)
	le.PutUint64(b[16:], h.Compat)
	le.PutUint64(b[24:], h.Incompat)
	copy(b[32:48], h.Queue[:])
	le.PutUint64(b[48:], h.Epoch.Starts)
	le.PutUint64(b[56:], h.Epoch.Random)
	le.PutUint64(b[64:], h.Salt)
	le.PutUint64(b[72:], h.First)
	le.PutUint64(b[80:], h.Previous.Last)
	le.PutUint64(b[88:], h.Previous.Salt)
	le.PutUint64(b[96:], uint64(h.Created))
	le.PutUint64(b[104:], h.Size)
}

// getHeader is the reverse of put. The caller has verified a checksum over b.
func getHeader(b []byte) (Header, error) {
	h := Header{
		Compat:   le.Uint64(b[16:]),
		Incompat: le.Uint64(b[24:]),
		Queue:    ID(b[32:48]),
		Epoch:    Epoch{Starts: le.Uint64(b[48:]), Random: le.Uint64(b[56:])},
		Salt:     le.Uint64(b[64:]),
		First:    le.Uint64(b[72:]),
		Previous: Link{Last: le.Uint64(b[80:]), Salt: le.Uint64(b[88:])},
		Created:  int64(le.Uint64(b[96:])),
		Size:     le.Uint64(b[104:]),
	}
	version := le.Uint32(b[8:])
	if unknown := h.Incompat &^ knownIncompat; version > Version || unknown != 0 {
		return h, &UnknownFeatureError{Version: version, Incompat: unknown}
	}
	if string(b[:8]) != headerMagic || version != Version || le.Uint32(b[12:]) != 0 {
		return Header{}, fmt.Errorf("decode segment header: magic, version %d or reserved bytes: %w", version, ErrMalformed)
	}
	if err := h.check(); err != nil {
		return Header{}, fmt.Errorf("decode segment header: %w", err)
	}
	return h, nil
}

// check holds the fields to the limits of the format.
func (h Header) check() error {
	switch {
	case h.First == 0 || h.First > MaxSequence:
		return fmt.Errorf("first sequence %d is outside 1..%d: %w", h.First, uint64(MaxSequence), ErrMalformed)
	case h.Previous.Last > MaxSequence:
		return fmt.Errorf("last sequence %d of the previous segment is above %d: %w", h.Previous.Last, uint64(MaxSequence), ErrMalformed)
	case h.Size > MaxSegment:
		return fmt.Errorf("segment size %d is above %d: %w", h.Size, uint64(MaxSegment), ErrMalformed)
	}
	return nil
}

// ReadHeader finds the header of a segment whose file has this size and name: in its header block, else in the copy
// that the trailer keeps. As a last resort it returns what the name says (salt and first sequence; the size is guessed
// from the file, queue and epoch stay zero) with an error that wraps ErrChecksum and the cause: frames can be read with
// it. The header counts, not the name: a file may have been renamed. *UnknownFeatureError as in DecodeHeader.
func ReadHeader(f io.ReaderAt, size int64, name Name) (Header, error) {
	b := make([]byte, HeaderSize)
	_, err := readFull(f, b, 0)
	if err == nil {
		var h Header
		if h, err = DecodeHeader(b); err == nil || unknown(err) {
			return h, err
		}
	}
	t, terr := ReadTrailer(f, size)
	if terr == nil || unknown(terr) {
		return t.Header, terr
	}
	guess := uint64(64 << 10)
	for guess < uint64(size) && guess < MaxSegment {
		guess *= 2
	}
	h := Header{Salt: name.Salt, First: name.First, Size: guess}
	return h, fmt.Errorf("read header of segment %s: only its name is left: %w: %w", name, ErrChecksum, err)
}
