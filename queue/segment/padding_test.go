package segment

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// padded is how much padding a frame has that stands at this offset.
func padded(b []byte, offset int64) int {
	h, err := DecodeFrameHeader(b[offset:], imageSalt, offset)
	if err != nil {
		panic(err)
	}
	return int(h.Size() - FrameHeaderSize - h.payload())
}

// threeFrames is a segment of three frames with this much padding each.
func threeFrames(t *testing.T, padding int) *image {
	t.Helper()
	m := newImage()
	for i := range uint64(3) {
		for n := 100; ; n++ {
			before := *m
			if m.add(noise(i, n)); padded(m.b, m.offsets[i]) == padding {
				break
			}
			*m = before
		}
	}
	return m
}

// cuts calls do for a segment that is cut at each byte of the padding of its last frame, and of another one; n is how many of
// its frames are left, and lacks what the last of them lacks.
func cuts(t *testing.T, do func(whole *image, cut []byte, n int, lacks int64)) {
	t.Helper()
	for padding := range 8 {
		m := threeFrames(t, padding)
		for n, end := range map[int]int64{2: m.offsets[2], 3: int64(len(m.b))} {
			for lacks := range int64(padding + 1) {
				do(m, bytes.Clone(m.b[:end-lacks]), n, lacks)
			}
		}
	}
}

// A frame of which only padding is missing is good, wherever in it the range ends, and whether the range or the file does.
func TestScanCutPadding(t *testing.T) {
	cuts(t, func(m *image, cut []byte, n int, lacks int64) {
		for _, end := range []int64{int64(len(cut)), int64(len(cut)) + lacks, int64(len(m.b)) + 4096} {
			parts := scanAll(t, bytes.NewReader(cut), imageSalt, HeaderSize, end)
			if got := survivors(parts); !slices.Equal(got, []uint64{1, 2, 3}[:n]) || len(parts) != n {
				t.Fatalf("%d bytes of padding missing: %s", lacks, describe(parts))
			}
			for i, p := range parts {
				want := int64(0)
				if i == n-1 {
					want = lacks
				}
				if p.Cut != want || p.Size != p.Header.Size() || !VerifyPayload(p.Header, p.Payload) {
					t.Errorf("part %d of %d: %d bytes cut of %d, want %d", i+1, n, p.Cut, p.Size, want)
				}
			}
		}
		h, _ := DecodeFrameHeader(m.b[m.offsets[n-1]:], imageSalt, m.offsets[n-1])
		used := m.offsets[n-1] + FrameHeaderSize + h.payload()
		if got := survivors(scanAll(t, bytes.NewReader(cut[:used-1]), imageSalt, HeaderSize, used-1)); len(got) != n-1 {
			t.Errorf("without the last byte of a payload: %v", got)
		}
	})
}

// A scan that ended within padding goes on behind it when the range grows.
func TestScanExtendsBehindCutPadding(t *testing.T) {
	cuts(t, func(m *image, cut []byte, n int, lacks int64) {
		s := NewScanner(bytes.NewReader(m.b), imageSalt, HeaderSize, int64(len(cut)))
		for range 2 {
			var got []uint64
			p, err := s.Next()
			for ; err == nil; p, err = s.Next() {
				if p.Bad {
					t.Fatalf("%d bytes at %d are bad", p.Size, p.Offset)
				}
				got = append(got, p.Header.First)
			}
			if err != io.EOF || len(got) != n {
				t.Fatalf("frames %v, %v, want %d", got, err, n)
			}
			s.Extend(int64(len(m.b)))
			n = 3 - n
		}
	})
}

// A segment that lacks padding is sealed as if it did not, after a crash on the way too.
func TestSealRecoveredMakesPaddingWhole(t *testing.T) {
	h := testHeader()
	h.First = 1
	seal := func(fsys vfs.FS, end int64) (Trailer, error) {
		f, err := fsys.OpenWrite(h.Name().String())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return SealRecovered(f, h, end, 3)
	}
	holding := func(b []byte) *faultfs.FS {
		fsys := faultfs.New()
		if err := vfs.WriteFile(fsys, h.Name().String(), b); err != nil {
			t.Fatal(err)
		}
		return fsys
	}
	read := func(fsys vfs.FS) []byte {
		b, err := vfs.ReadFile(fsys, h.Name().String(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cuts(t, func(m *image, cut []byte, n int, lacks int64) {
		end := int64(len(cut)) + lacks
		whole := holding(m.b[:end])
		want, err := seal(whole, end)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seal(holding(cut), end+8); !errors.Is(err, ErrMalformed) {
			t.Errorf("frames that end 8 bytes further on: %v", err)
		}
		for at := 0; ; at++ { // 0: never
			fsys := holding(cut)
			if at > 0 {
				fsys.CrashAt(fsys.Ops() + at)
			}
			_, err := seal(fsys, end)
			for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
				after := fsys.Crash(mode, uint64(at))
				if b := read(after); len(b) < len(cut) || !bytes.Equal(b[:len(cut)], cut) {
					t.Fatalf("crash at operation %d: frames are gone", at)
				}
				if got, err := seal(after, end); err != nil || got != want || !bytes.Equal(read(after), read(whole)) {
					t.Fatalf("crash at operation %d: %+v, %v", at, got, err)
				}
			}
			if at > 0 && err == nil {
				return
			}
		}
	})
}

// A segment that lacks padding is written anew with all of it.
func TestRewriteMakesPaddingWhole(t *testing.T) {
	h := testHeader()
	h.First = 1
	dir := t.TempDir()
	rewrite := func(name string, b []byte, end int64) []byte {
		path := filepath.Join(dir, name)
		f, err := vfs.OS().Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := Rewrite(f, bytes.NewReader(b), h, end, 3, nil); err != nil {
			t.Fatal(err)
		}
		b, err = vfs.ReadFile(vfs.OS(), path, 1<<20)
		if err == nil {
			err = vfs.OS().Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cuts(t, func(m *image, cut []byte, n int, lacks int64) {
		end := int64(len(cut)) + lacks
		if !bytes.Equal(rewrite("cut", cut, end), rewrite("whole", m.b[:end], end)) {
			t.Errorf("%d bytes of padding missing behind frame %d: it differs", lacks, n)
		}
	})
}
