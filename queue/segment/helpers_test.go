package segment

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"logmule/queue/vfs"
)

// testHeader is a header of a small segment.
func testHeader() Header {
	return Header{
		Compat:   1 << 40,
		Queue:    ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Epoch:    Epoch{Starts: 7, Random: 0x1122334455667788},
		Salt:     0xfeedfacecafebeef,
		First:    1000,
		Previous: Link{Last: 999, Salt: 0x0123456789abcdef},
		Created:  1700000000000000000,
		Size:     64 << 10,
	}
}

// lines is a run of lines records.
func lines(source string, records ...string) Run {
	var body []byte
	for _, r := range records {
		body = append(append(body, r...), '\n')
	}
	return Run{
		Form: Lines, Count: uint32(len(records)), Raw: uint32(len(body)),
		Key: []byte("in/" + source), Position: []byte{1, 2, 3}, Attributes: []byte("type=" + source), Body: body,
	}
}

// raw is the bodies of runs one after the other.
func raw(runs []Run) []byte {
	var b []byte
	for i := range runs {
		b = append(b, runs[i].Body...)
	}
	return b
}

// dataFrame encodes a data frame, header excepted.
func dataFrame(first uint64, time int64, codec Codec, runs ...Run) (FrameHeader, []byte) {
	h := FrameHeader{Type: Data, First: first, Time: time, Mark: first - 1}
	return h, EncodeFrame(nil, &h, runs, raw(runs), codec)
}

// writeFrame puts the header of a frame for the end of the segment and appends it.
func writeFrame(t testing.TB, w *Writer, h *FrameHeader, b []byte) {
	t.Helper()
	h.Put(b, w.Header().Salt, w.End())
	if err := w.Write([]FrameHeader{*h}, [][]byte{b}); err != nil {
		t.Fatal(err)
	}
}

// newWriter creates a segment in a directory of its own.
func newWriter(t testing.TB, h Header) *Writer {
	t.Helper()
	w, err := Create(vfs.OS(), t.TempDir(), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// content is the whole file of a segment.
func content(t testing.TB, w *Writer) []byte {
	t.Helper()
	b, err := vfs.ReadFile(vfs.OS(), w.path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// noise is n bytes that do not compress; text is n bytes that do, in lines.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "2024-03-0%d 12:00:%02d host-%d app[%d]: request %x took %d ms status=%d\n",
			1+r.IntN(9), r.IntN(60), r.IntN(20), r.IntN(5000), r.Uint64(), r.IntN(900), 200+r.IntN(4))
	}
	b = b[:n]
	b[n-1] = '\n'
	return b
}

// blob is a run of one lines record of n random bytes.
func blob(seed uint64, n int) Run {
	b := noise(seed, n)
	b[n-1] = '\n'
	return Run{Form: Lines, Count: 1, Raw: uint32(n), Body: b}
}

// fill appends incompressible data frames of n raw bytes until size bytes are written, and returns their offsets.
func fill(t testing.TB, w *Writer, n int, size int64) []int64 {
	t.Helper()
	var offsets []int64
	first := w.Header().First
	for w.End() < size {
		offsets = append(offsets, w.End())
		h, b := dataFrame(first, int64(first)*1000, None, blob(first, n))
		writeFrame(t, w, &h, b)
		first++
	}
	return offsets
}

// scanAll returns the parts of a range, payloads copied, and checks that they follow each other.
func scanAll(t testing.TB, f io.ReaderAt, salt uint64, start, end int64) []Part {
	t.Helper()
	s := NewScanner(f, salt, start, end)
	var parts []Part
	at := start
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Offset != at || p.Size <= 0 {
			t.Fatalf("part %d of %d bytes at %d, want one at %d", len(parts), p.Size, p.Offset, at)
		}
		at += p.Size
		p.Payload = bytes.Clone(p.Payload)
		parts = append(parts, p)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Fatalf("after the end: %v", err)
	}
	return parts
}

// survivors are the sequences that the good data frames of parts start with.
func survivors(parts []Part) []uint64 {
	var firsts []uint64
	for _, p := range parts {
		if !p.Bad && p.Header.Type == Data {
			firsts = append(firsts, p.Header.First)
		}
	}
	return firsts
}

// openWrite opens a file of a segment for writing.
func openWrite(t testing.TB, dir string, n Name) vfs.File {
	t.Helper()
	f, err := vfs.OS().OpenWrite(filepath.Join(dir, n.String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
