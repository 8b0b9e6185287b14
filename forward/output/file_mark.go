package output

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// fileMark is the state of a file output: up to where in which file everything was accepted.
type fileMark struct {
	path  string // or the hash of it
	inode uint64
	size  int64
}

// A mark is stored as one byte for the kind of path, inode and size as uvarints, and the path. A state may have 256
// bytes: a path that does not fit is stored as its SHA-256.
const (
	markPath = 1
	markHash = 2

	markMost = 256
)

var errMark = errors.New("the stored state is not that of a file output")

func (m fileMark) encode() []byte {
	b := binary.AppendUvarint([]byte{markPath}, m.inode)
	b = binary.AppendUvarint(b, uint64(m.size))
	if len(b)+len(m.path) <= markMost {
		return append(b, m.path...)
	}
	b[0] = markHash
	return append(b, hashPath(m.path)...)
}

func hashPath(path string) string {
	sum := sha256.Sum256([]byte(path))
	return string(sum[:])
}

// decodeMark reads a mark. hashed says that its path is what hashPath made of one.
func decodeMark(b []byte) (m fileMark, hashed bool, err error) {
	if len(b) == 0 || b[0] != markPath && b[0] != markHash {
		return m, false, errMark
	}
	hashed, b = b[0] == markHash, b[1:]
	inode, n := binary.Uvarint(b)
	if n <= 0 {
		return m, false, errMark
	}
	size, k := binary.Uvarint(b[n:])
	if k <= 0 || int64(size) < 0 {
		return m, false, errMark
	}
	m = fileMark{path: string(b[n+k:]), inode: inode, size: int64(size)}
	if hashed && len(m.path) != sha256.Size || m.path == "" {
		return fileMark{}, false, errMark
	}
	return m, hashed, nil
}
