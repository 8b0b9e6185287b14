package transport

import (
	"fmt"
	"io"
	"strings"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compressions are the values of the key compression of an output.
var compressions = []string{"none", "gzip", "zstd", "snappy"}

// zstdWindow is the memory for what a zstd encoder looks back at, in bytes: about a batch.
const zstdWindow = 1 << 20

// Packer compresses bodies. One goroutine uses it.
type Packer struct {
	coding Coding
	gzip   *gzip.Writer
	zstd   *zstd.Encoder
	packed appender
	whole  []byte // the content in one piece, for snappy
}

// NewPacker returns a Packer for the key compression, nil for "none". The error begins with the key.
func NewPacker(compression string) (*Packer, error) {
	switch compression {
	case "none":
		return nil, nil
	case "gzip":
		return &Packer{coding: gzipCoding, gzip: gzip.NewWriter(nil)}, nil
	case "zstd":
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("compression = %q: %w", compression, err)
		}
		return &Packer{coding: zstdCoding, zstd: e}, nil
	case "snappy":
		return &Packer{coding: snappyCoding}, nil
	}
	return nil, fmt.Errorf("compression = %q is not known; use one of %s", compression, strings.Join(compressions, ", "))
}

// Coding is what Pack makes.
func (p *Packer) Coding() Coding { return p.coding }

// Pack compresses the parts, one after the other, size bytes in all. The result is valid until the next call, or Shrink.
func (p *Packer) Pack(parts [][]byte, size int) ([]byte, error) {
	p.packed = p.packed[:0]
	var err error
	switch p.coding {
	case gzipCoding:
		p.gzip.Reset(&p.packed)
		err = writeAll(p.gzip, parts)
	case zstdCoding:
		p.zstd.ResetContentSize(&p.packed, int64(size)) // said, so that whoever unpacks it knows what to expect
		err = writeAll(p.zstd, parts)
	default:
		p.whole = p.whole[:0]
		for _, part := range parts {
			p.whole = append(p.whole, part...)
		}
		p.packed = snappy.Encode(p.packed[:cap(p.packed)], p.whole)
	}
	if err != nil {
		return nil, fmt.Errorf("compress %d bytes with %s: %w", size, p.coding, err)
	}
	return p.packed, nil
}

// Shrink lets go of memory beyond keep bytes that one large body had needed.
func (p *Packer) Shrink(keep int) {
	if cap(p.packed) > keep {
		p.packed = nil
	}
	if cap(p.whole) > keep {
		p.whole = nil
	}
}

func writeAll(w io.WriteCloser, parts [][]byte) error {
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.Close()
}

// appender is a Writer into memory.
type appender []byte

// Write appends.
func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
