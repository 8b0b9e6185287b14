package segment

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"logmule/queue/vfs"
)

// TestScanHoles: what a scan finds in a file does not depend on whether its zeros are in holes.
func TestScanHoles(t *testing.T) {
	const gap = 9 << 20
	frames := make([]byte, HeaderSize)
	frame := func(first uint64, at int64) []byte {
		h := FrameHeader{Type: Data, First: first, Time: 1}
		b := EncodeFrame(nil, &h, []Run{{Form: Lines, Count: 1, Raw: 2}}, []byte("x\n"), None)
		h.Put(b, 77, at)
		return b
	}
	parts := map[int64][]byte{HeaderSize: frame(1, HeaderSize), gap: frame(2, gap), gap + 4096: []byte("garbage!"), 2 * gap: frame(3, 2*gap)}
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := vfs.OS().Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(path, 3*gap+5); err != nil {
		t.Fatal(err)
	}
	dense := append(frames, make([]byte, 3*gap+5-HeaderSize)...)
	for at, b := range parts {
		copy(dense[at:], b)
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	if at := vfs.NextData(f, gap+1<<20); at == gap+1<<20 {
		t.Log("this file system tells of no holes")
	}
	for _, end := range []int64{3*gap + 5, 3 * gap, 4 * gap, gap + 100, gap / 2} {
		a, b := NewScanner(f, 77, HeaderSize, end), NewScanner(denseFile(dense), 77, HeaderSize, end)
		for {
			x, xerr := a.Next()
			y, yerr := b.Next()
			if x.Offset != y.Offset || x.Size != y.Size || x.Bad != y.Bad || x.Zero != y.Zero || x.Header != y.Header || xerr != yerr {
				t.Fatalf("to %d: %+v, %v; without holes %+v, %v", end, x, xerr, y, yerr)
			}
			if xerr != nil {
				break
			}
		}
	}
}

// denseFile is a file without holes.
type denseFile []byte

func (d denseFile) ReadAt(b []byte, offset int64) (int, error) {
	n := copy(b, d[min(offset, int64(len(d))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}
