package transport

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// codings are all but identity.
var codings = []Coding{gzipCoding, deflateCoding, zstdCoding, snappyCoding, framedCoding}

// packWith compresses content as other programs do.
func packWith(t testing.TB, c Coding, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	var w io.WriteCloser
	switch c {
	case gzipCoding:
		w = gzip.NewWriter(&packed)
	case deflateCoding:
		w = zlib.NewWriter(&packed)
	case zstdCoding:
		e, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = e
	case framedCoding:
		w = snappy.NewBufferedWriter(&packed)
	default:
		return snappy.Encode(nil, content)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func contents() [][]byte {
	noise := make([]byte, 300_000)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(noise)
	return [][]byte{{}, []byte("x"), []byte("one\ntwo\n"), bytes.Repeat([]byte("the same line again and again\n"), 50_000), noise}
}

func TestUnpack(t *testing.T) {
	u := NewUnpacker()
	for _, c := range codings {
		for _, content := range contents() {
			packed := packWith(t, c, content)
			if len(content) > 1<<20 && len(packed) > len(content)/10 {
				t.Fatalf("%s: %d bytes packed to %d", c, len(content), len(packed))
			}
			most := c.Most(len(packed), 1<<30)
			if guess := c.Guess(packed, 1<<30); most < len(content) || guess > most {
				t.Errorf("%s: guess %d and most %d of %d packed bytes that are %d", c, guess, most, len(packed), len(content))
			}
			dst := make([]byte, len(content))
			n, err := u.Unpack(t.Context(), c, dst, packed)
			if err != nil || !bytes.Equal(dst[:n], content) {
				t.Errorf("%s of %d bytes: %d, %v", c, len(content), n, err)
			}
			if len(content) > 0 {
				if n, err := u.Unpack(t.Context(), c, dst[:len(content)-1], packed); err != ErrRoom {
					t.Errorf("%s of %d bytes without room for the last: %d, %v", c, len(content), n, err)
				}
			}
			for _, cut := range []int{0, 1, len(packed) / 2, len(packed) - 1} {
				if cut < 0 || cut >= len(packed) || c == framedCoding && cut == 0 {
					continue
				}
				if n, err := u.Unpack(t.Context(), c, dst, packed[:cut]); err == nil || err == ErrRoom || !strings.Contains(err.Error(), c.String()) {
					t.Errorf("%s of %d bytes, %d of %d packed ones: %d, %v", c, len(content), cut, len(packed), n, err)
				}
			}
			for _, tail := range []string{"x", "\x00", "\x1f\x8b", "garbage that follows", "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00nam"} {
				if n, err := u.Unpack(t.Context(), c, make([]byte, len(content)+1000), append(packed[:len(packed):len(packed)], tail...)); err == nil || err == ErrRoom {
					t.Errorf("%s of %d bytes followed by %q: %d, %v", c, len(content), tail, n, err)
				}
			}
		}
	}
}

// TestUnpackSeveral takes streams that follow one another as one, with not a byte of room to spare.
func TestUnpackSeveral(t *testing.T) {
	u := NewUnpacker()
	for _, c := range []Coding{gzipCoding, zstdCoding, framedCoding} {
		for _, sizes := range [][]int{{3, 4}, {0, 5, 0}, {200_000, 10, 300_000}, {1, 1 << 20}, {1 << 20, 1}} {
			var packed, content []byte
			for i, n := range sizes {
				part := bytes.Repeat([]byte{byte('a' + i), '\n'}, n)
				packed, content = append(packed, packWith(t, c, part)...), append(content, part...)
			}
			dst := make([]byte, len(content))
			if n, err := u.Unpack(t.Context(), c, dst, packed); err != nil || !bytes.Equal(dst[:n], content) {
				t.Errorf("%s %v: %d of %d, %v", c, sizes, n, len(content), err)
			}
		}
	}
}

func TestParseCoding(t *testing.T) {
	for header, want := range map[string]string{
		"": "identity", "identity": "identity", "Gzip": "gzip", "x-gzip": "gzip", " zstd ": "zstd", "identity, gzip": "gzip",
		"snappy": "snappy", "x-snappy-framed": "x-snappy-framed", "deflate": "deflate",
		"gzip, gzip": "", "gzip,zstd": "", "br": "", "gzip, br": "", "gzip;q=1": "", "compress": "",
	} {
		got, err := ParseCoding([]string{header})
		if errors.Is(err, ErrCoding) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v", header, got, err)
		}
	}
	if _, err := ParseCoding([]string{"gzip", "gzip"}); !errors.Is(err, ErrCoding) {
		t.Errorf("two headers: %v", err)
	}
	for name := range strings.SplitSeq(AcceptEncoding, ", ") {
		if c, ok := codingOf(name); !ok || c.String() != name {
			t.Errorf("%s is said to be accepted", name)
		}
	}
}
