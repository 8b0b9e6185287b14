// Package segment is the format of a queue file, version 1. Nothing else in logmule knows a byte of it.
//
//	+--------+-----------------------------+---------+--------+---------+---------+
//	| header | frame | frame | frame | ... | index A | parity | index B | trailer |
//	| 4096   | 8-byte aligned              |         |        | = A     | 4096    |
//	+--------+-----------------------------+---------+--------+---------+---------+
//	0      4096                         DataEnd                                 file size
//
// An active segment ends after its frames, in zeros where space was reserved ahead. A sealed one carries two copies of
// its index, the parity and the trailer, and never changes again: the trailer in the last 4096 bytes is the seal.
//
// All numbers are little-endian, all checksums CRC32C (Castagnoli). docs/format.md describes every byte for a reader in
// another language; a test holds that page against this code and a golden file.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Numbers of the format. They are part of every file on disk and cannot change within version 1.
const (
	Version         = 1         // format version written, and the newest that is read
	HeaderSize      = 4096      // bytes of the header block
	TrailerSize     = 4096      // bytes of the trailer block
	FrameHeaderSize = 56        // bytes of a frame header
	MaxFrame        = 16 << 20  // bytes of a whole frame on disk, and of its decompressed body
	MaxSegment      = 2 << 30   // bytes a segment may be configured to have
	MaxSequence     = 1<<63 - 1 // the largest sequence: no sum of two sequences wraps
	Groups          = 32        // parity groups: stripe i belongs to group i mod Groups
)

// Sizes that a writer keeps to; a reader only relies on MaxFrame.
const (
	FrameTarget = 256 << 10 // raw bytes at which a frame of several records is full
	MaxRecord   = 8 << 20   // bytes of one record
)

// What can be wrong with bytes. Callers branch on these with errors.Is; the texts around them name the place.
var (
	ErrMagic     = errors.New("not a logmule structure: the magic number is missing")
	ErrChecksum  = errors.New("checksum mismatch")
	ErrMalformed = errors.New("malformed: the checksum holds, the contents break a rule of the format")
	// ErrNoTrailer says that a segment is not sealed: it was open when the process stopped, or the seal is damaged (then
	// ErrChecksum or ErrMalformed is wrapped too).
	ErrNoTrailer = errors.New("no trailer")
)

// UnknownFeatureError says that a segment was written by a newer logmule in a way this one must not interpret.
// It is not damage: leave the file alone.
type UnknownFeatureError struct {
	Version  uint32 // of the file
	Incompat uint64 // the incompat bits that are not known here
}

func (e *UnknownFeatureError) Error() string {
	if e.Version > Version {
		return fmt.Sprintf("segment format version %d is newer than %d: use a newer logmule", e.Version, Version)
	}
	return fmt.Sprintf("segment uses unknown features (incompat bits %#x): use a newer logmule", e.Incompat)
}

var (
	le       = binary.LittleEndian
	crcTable = crc32.MakeTable(crc32.Castagnoli)
)

// align rounds up to the 8 bytes on which frames and indexes start.
func align(n int64) int64 { return (n + 7) &^ 7 }

// zero tells whether all bytes are zero.
func zero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if le.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
