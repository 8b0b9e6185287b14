package tail

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// What is hashed of a file, in bytes: its head, and what stands before the offset.
const (
	headSize = 1 << 10
	tailSize = 1 << 10
)

// A position is version | flags | fields | CRC32C of all before. It stays below 1 KiB.
const (
	positionVersion = 1
	positionBorn    = 2   // with the time of creation
	positionBegun   = 3   // and with that from which on copies are not of what came before
	maxName         = 400 // of each of the two names in a position, in bytes; a longer one is left out
	maxMarks        = 3
	markDistance    = 16 << 10 // bytes between two marks, at least
)

// Flags of a position. Others are refused.
const (
	flagGzip      = 1 << iota // the file is compressed; offset and prints are those of the decompressed stream
	flagDone                  // all of a compressed file was read
	flagSkipLine              // the rest of a cut record, up to its LF, is thrown away
	flagSkipGroup             // the rest of a cut record of several lines is thrown away
	flagAll       = 1<<iota - 1
)

var errPosition = errors.New("not a position of a file")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileID is what the file system calls a file. Numbers of deleted files are used again, so it never suffices.
type fileID struct{ dev, ino uint64 }

// fingerprint stands for n bytes of a file.
type fingerprint struct {
	n   int
	sum uint64 // the first 8 bytes of their SHA-256; 0 where n is 0
}

func fingerprintOf(b []byte) fingerprint {
	if len(b) == 0 {
		return fingerprint{}
	}
	sum := sha256.Sum256(b)
	return fingerprint{n: len(b), sum: binary.BigEndian.Uint64(sum[:])}
}

// mark is what stood before an earlier offset. It recognises a copy that is shorter than what was read.
type mark struct {
	offset int64
	tail   fingerprint
}

// position is how far one content was read, and how to find that content again: under another name, in another inode or
// compressed. A content is what one file held from its creation or truncation on.
type position struct {
	flags  uint8
	id     fileID
	offset int64
	head   fingerprint // of the first bytes, as many as there were, at most headSize
	tail   fingerprint // of the bytes before offset
	marks  []mark      // earlier ones first
	gen    uint64      // grows with each content of one file
	mtime  int64       // of the file when it was read, in nanoseconds since 1970
	born   int64       // when the file was created, the same; 0 where the file system does not say
	begun  int64       // copies that are not younger are of what came before this content; 0: unknown
	name   string      // the logger: the path under which the file was first seen
	base   string      // path of the live file without links; empty where it is name
}

// append encodes p.
func (p *position) append(dst []byte) []byte {
	start := len(dst)
	version := byte(positionVersion)
	switch {
	case p.begun != 0:
		version = positionBegun
	case p.born != 0:
		version = positionBorn
	}
	dst = append(dst, version, p.flags)
	dst = binary.AppendUvarint(dst, p.id.dev)
	dst = binary.AppendUvarint(dst, p.id.ino)
	dst = binary.AppendUvarint(dst, uint64(p.offset))
	dst = p.head.append(dst)
	dst = p.tail.append(dst)
	dst = append(dst, byte(len(p.marks)))
	for _, m := range p.marks {
		dst = binary.AppendUvarint(dst, uint64(m.offset))
		dst = m.tail.append(dst)
	}
	dst = binary.AppendUvarint(dst, p.gen)
	dst = binary.AppendVarint(dst, p.mtime)
	if version >= positionBorn {
		dst = binary.AppendVarint(dst, p.born)
	}
	if version >= positionBegun {
		dst = binary.AppendVarint(dst, p.begun)
	}
	dst = appendName(dst, p.name)
	dst = appendName(dst, p.base)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (f fingerprint) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(f.n))
	return binary.BigEndian.AppendUint64(dst, f.sum)
}

func appendName(dst []byte, name string) []byte {
	if len(name) > maxName {
		name = ""
	}
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	return append(dst, name...)
}

// decodePosition is the inverse of append. Whatever it accepts encodes to the same bytes again.
func decodePosition(b []byte) (position, error) {
	var p position
	if len(b) < 6 || len(b) > 1<<10 {
		return p, fmt.Errorf("%d bytes: %w", len(b), errPosition)
	}
	if b[0] < positionVersion || b[0] > positionBegun {
		return p, fmt.Errorf("version %d: %w of this program", b[0], errPosition)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return p, fmt.Errorf("checksum does not match: %w", errPosition)
	}
	r := fields{rest: body[2:]}
	p.flags = body[1]
	p.id = fileID{r.uvarint(), r.uvarint()}
	p.offset = int64(r.uvarint())
	p.head, p.tail = r.fingerprint(headSize), r.fingerprint(tailSize)
	for range min(r.byte(), maxMarks) {
		p.marks = append(p.marks, mark{int64(r.uvarint()), r.fingerprint(tailSize)})
	}
	p.gen, p.mtime = r.uvarint(), r.varint()
	if b[0] >= positionBorn {
		p.born = r.varint()
	}
	if b[0] >= positionBegun {
		p.begun = r.varint()
	}
	p.name, p.base = r.name(), r.name()
	if r.bad || p.flags&^flagAll != 0 || p.offset < 0 || int64(p.tail.n) > p.offset || !bytes.Equal(p.append(nil), b) {
		return position{}, errPosition
	}
	return p, nil
}

// fields takes the fields of a position one after the other; after the first fault bad is set and all are zero.
type fields struct {
	rest []byte
	bad  bool
}

func (r *fields) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *fields) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *fields) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.take(n) == nil || n == 0 {
		r.bad = true
		return 0
	}
	return v
}

func (r *fields) varint() int64 {
	v, n := binary.Varint(r.rest)
	if r.take(n) == nil || n == 0 {
		r.bad = true
		return 0
	}
	return v
}

func (r *fields) fingerprint(most int) fingerprint {
	n, sum := r.uvarint(), r.take(8)
	if r.bad || n > uint64(most) {
		r.bad = true
		return fingerprint{}
	}
	return fingerprint{int(n), binary.BigEndian.Uint64(sum)}
}

func (r *fields) name() string {
	n := r.uvarint()
	if n > maxName {
		r.bad = true
	}
	return string(r.take(int(min(n, maxName))))
}

// proven is the last offset up to which a file that was cut to upto bytes while nobody looked is known to hold what was read of it;
// 0 where only its first bytes are known. What stands behind that may be new: a power loss takes from a log what its program had
// not synced, and the program goes on there.
func (p *position) proven(upto int64) (offset int64) {
	for _, m := range p.marks {
		if m.offset <= upto {
			offset = m.offset
		}
	}
	return offset
}

// advance moves the position to offset. window is what stands there before it.
func (p *position) advance(offset int64, window []byte) {
	if last := len(p.marks) - 1; p.offset > 0 && p.tail.n > 0 && (last < 0 || p.offset-p.marks[last].offset >= markDistance) {
		// A new slice: the one before may be part of a copy of this position.
		kept := p.marks[max(0, len(p.marks)-maxMarks+1):]
		p.marks = append(append(make([]mark, 0, maxMarks), kept...), mark{p.offset, p.tail})
	}
	p.offset, p.tail = offset, fingerprintOf(window)
}
