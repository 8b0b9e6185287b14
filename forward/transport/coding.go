package transport

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/golang/snappy"
)

// Coding is a content coding of HTTP: how a body is compressed. The zero Coding is identity, no compression.
type Coding struct {
	name  string
	ratio int // a byte of the body is at most as many bytes of content
}

// The codings that a body may have. What is called snappy is one block for the whole body, as Prometheus, Loki and
// Vector send it; x-snappy-framed is the stream format of snappy, which is taken under the name snappy too.
var (
	gzipCoding    = Coding{"gzip", 1032}
	deflateCoding = Coding{"deflate", 1032} // in zlib's wrapping, as HTTP has it
	zstdCoding    = Coding{"zstd", 128 << 10}
	snappyCoding  = Coding{"snappy", 32}
	framedCoding  = Coding{"x-snappy-framed", 32}
)

// AcceptEncoding is the header that lists the codings which can be unpacked.
const AcceptEncoding = "gzip, deflate, zstd, snappy, x-snappy-framed"

// ErrCoding is why a body cannot be unpacked: nobody here knows how.
var ErrCoding = errors.New("the body must come with one of the codings " + AcceptEncoding + ", or without any")

// ParseCoding reads the Content-Encoding headers of a body. Several codings, one upon the other, are not taken.
func ParseCoding(headers []string) (Coding, error) {
	found := Coding{}
	for _, header := range headers {
		for name := range strings.SplitSeq(header, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" || name == "identity" {
				continue
			}
			coding, ok := codingOf(name)
			if !ok || found.Packed() {
				return Coding{}, ErrCoding
			}
			found = coding
		}
	}
	return found, nil
}

func codingOf(name string) (Coding, bool) {
	if name == "x-gzip" {
		return gzipCoding, true
	}
	all := []Coding{gzipCoding, deflateCoding, zstdCoding, snappyCoding, framedCoding}
	i := slices.IndexFunc(all, func(c Coding) bool { return c.name == name })
	if i < 0 {
		return Coding{}, false
	}
	return all[i], true
}

// String is the name, as in Content-Encoding.
func (c Coding) String() string {
	if c.name == "" {
		return "identity"
	}
	return c.name
}

// Packed tells whether the coding is other than identity.
func (c Coding) Packed() bool { return c.name != "" }

// Most returns the most bytes of content that a body of n bytes can have, limit where that is less.
func (c Coding) Most(n, limit int) int {
	if n > limit/max(c.ratio, 1) {
		return limit
	}
	return n * max(c.ratio, 1)
}

// Guess returns how many bytes of content the body says that it has, and about as many as usual where it says nothing;
// never more than Most.
func (c Coding) Guess(body []byte, limit int) int {
	n, said := 4*len(body), -1
	switch c {
	case gzipCoding: // the last four bytes, of the last member
		if at := len(body) - 4; at >= 0 {
			said = int(body[at]) | int(body[at+1])<<8 | int(body[at+2])<<16 | int(body[at+3]&0x7f)<<24
		}
	case zstdCoding:
		if size, ok := zstdSize(body); ok {
			said = int(min(size, uint64(limit)))
		}
	case snappyCoding:
		if size, err := snappy.DecodedLen(body); err == nil {
			said = size
		}
	}
	if said >= 0 {
		n = said
	}
	return min(n, c.Most(len(body), limit))
}

// brokenError says that a body is not what its Content-Encoding says.
func (c Coding) brokenError(why error) error {
	return fmt.Errorf("the body is not whole and sound %s: %w", c, why)
}
