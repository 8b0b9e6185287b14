package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// ErrRoom is what Unpack returns for content that is longer than what it was given room for.
var ErrRoom = errors.New("the content is longer than there is room for")

// framedStart is how the stream format of snappy begins. No block of snappy does: its second element would be a copy from
// far before the start.
const framedStart = "\xff\x06\x00\x00sNaPpY"

// Unpacker takes compressed bodies apart, in memory: it holds no window and starts no goroutine. Any number of goroutines
// may use it; as many as there are processors work at a time, so that there are no more decoders than that.
type Unpacker struct {
	turns chan struct{} // holds one for each that works

	gzip, zlib, framed sync.Pool // of *unpacking
	zstd               sync.Pool // of *zstd.Decoder
}

// NewUnpacker returns an Unpacker.
func NewUnpacker() *Unpacker {
	return &Unpacker{turns: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// content is a decoder that reads from memory.
type content interface {
	// begin starts with the first byte of from.
	begin(from *bytes.Reader) error
	io.Reader
}

// unpacking is a pooled one.
type unpacking struct {
	from bytes.Reader
	content
	more [1]byte
}

// Unpack writes the content of a body to dst and returns how many bytes it is. ErrRoom says that dst is too short, the
// error of ctx that it ended before this one's turn, and any other error that the body is broken, cut short, or followed
// by something else.
func (u *Unpacker) Unpack(ctx context.Context, coding Coding, dst, body []byte) (int, error) {
	select {
	case u.turns <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-u.turns }()
	n, err := u.unpack(coding, dst, body)
	if err == ErrRoom && len(dst) >= coding.Most(len(body), len(dst)+1) {
		err = errors.New("it claims to be longer than it can be")
	}
	if err != nil && err != ErrRoom {
		err = coding.brokenError(err)
	}
	return n, err
}

func (u *Unpacker) unpack(coding Coding, dst, body []byte) (int, error) {
	if len(body) == 0 && coding != framedCoding { // of which nothing is a stream of nothing
		return 0, io.ErrUnexpectedEOF
	}
	switch {
	case coding == gzipCoding:
		return unpackFrom(&u.gzip, func() content { return new(gzipContent) }, dst, body)
	case coding == deflateCoding:
		return unpackFrom(&u.zlib, func() content { return new(zlibContent) }, dst, body)
	case coding == framedCoding, coding == snappyCoding && bytes.HasPrefix(body, []byte(framedStart)):
		return unpackFrom(&u.framed, func() content { return framedContent{snappy.NewReader(nil)} }, dst, body)
	case coding == snappyCoding:
		return unpackBlock(dst, body)
	case coding == zstdCoding:
		return u.unpackZstd(dst, body)
	default:
		return 0, ErrCoding
	}
}

func unpackFrom(pool *sync.Pool, fresh func() content, dst, body []byte) (int, error) {
	d, ok := pool.Get().(*unpacking)
	if !ok {
		d = &unpacking{content: fresh()}
	}
	d.from.Reset(body)
	defer func() {
		d.from.Reset(nil) // the body is the caller's
		pool.Put(d)
	}()
	if err := d.begin(&d.from); err != nil {
		return 0, noEnd(err)
	}
	n, err := fill(d, dst)
	if err == nil { // dst is full; is that all?
		var m int
		if m, err = fill(d, d.more[:]); m > 0 {
			return n, ErrRoom
		}
	}
	switch {
	case err != io.EOF:
		return n, err
	case d.from.Len() > 0:
		return n, errors.New("there are bytes behind its end")
	}
	return n, nil
}

// fill reads until dst is full or an error comes; io.EOF is the end of a whole stream and nothing else.
func fill(from io.Reader, dst []byte) (n int, err error) {
	for n < len(dst) && err == nil {
		var m int
		m, err = from.Read(dst[n:])
		n += m
	}
	return n, err
}

// noEnd makes an error of an end where none should be.
func noEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// gzipContent takes one member after the other. The decoder's own way of doing so takes a member that is cut in its name
// for a clean end.
type gzipContent struct {
	gzip.Reader
	from *bytes.Reader
}

func (c *gzipContent) begin(from *bytes.Reader) error {
	c.from = from
	err := c.Reader.Reset(from)
	c.Reader.Multistream(false)
	return err
}

func (c *gzipContent) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF && c.from.Len() > 0 {
		err = noEnd(c.begin(c.from))
	}
	return n, err
}

type zlibContent struct{ io.ReadCloser }

func (c *zlibContent) begin(from *bytes.Reader) (err error) {
	if c.ReadCloser == nil {
		c.ReadCloser, err = zlib.NewReader(from)
		return err
	}
	return c.ReadCloser.(zlib.Resetter).Reset(from, nil)
}

type framedContent struct{ *snappy.Reader }

func (c framedContent) begin(from *bytes.Reader) error {
	c.Reset(from)
	return nil
}

// unpackBlock takes a block of snappy apart.
func unpackBlock(dst, body []byte) (int, error) {
	size, err := snappy.DecodedLen(body)
	switch {
	case err != nil:
		return 0, err
	case size > len(dst):
		return 0, ErrRoom
	}
	content, err := snappy.Decode(dst[:size], body)
	return len(content), err
}
