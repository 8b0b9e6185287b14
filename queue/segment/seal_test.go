package segment

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// A segment that was open at a crash is sealed to the same bytes as one that was closed, but for the flag.
func TestSealRecoveredEqualsSeal(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	fill(t, w, 700, 40_000)
	open := content(t, w)
	want, err := w.Seal(5)
	if err != nil {
		t.Fatal(err)
	}
	want.Recovered = true
	sealed := content(t, w)
	copy(sealed[len(sealed)-TrailerSize:], want.Encode())

	for name, rest := range map[string][]byte{
		"exact":        nil,
		"preallocated": make([]byte, 30_000),
		"torn":         noise(1, 3000),
		"half sealed":  sealed[len(open) : len(open)+2000],
		"sealed":       sealed[len(open):],
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, h.Name().String())
		if err := os.WriteFile(path, append(bytes.Clone(open), rest...), 0o600); err != nil {
			t.Fatal(err)
		}
		f := openWrite(t, dir, h.Name())
		for range 2 {
			got, err := SealRecovered(f, h, int64(len(open)), 5)
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, sealed) {
				t.Errorf("%s: file of %d bytes differs, %v", name, len(b), err)
			}
		}
	}
}

// Damage before the end of the frames stays what it was; good frames around it count.
func TestSealRecoveredOverDamage(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	offsets := fill(t, w, 700, 40_000)
	end := w.End()
	damaged := content(t, w)
	clear(damaged[100:200])                     // the header
	copy(damaged[offsets[3]+20:], noise(1, 50)) // the frame header of one
	damaged[offsets[9]+300] ^= 1                // the body of another
	if _, err := w.File().WriteAt(damaged, 0); err != nil {
		t.Fatal(err)
	}
	got, err := SealRecovered(w.File(), h, end, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Frames != uint64(len(offsets)-2) || got.Records != got.Frames || got.Last != h.First+uint64(len(offsets))-1 {
		t.Errorf("trailer %+v for %d frames of which two are damaged", got, len(offsets))
	}
	file := content(t, w)
	if !bytes.Equal(file[:end], damaged) {
		t.Error("bytes before the end of the frames were changed")
	}
	tr, err := ReadTrailer(w.File(), int64(len(file)))
	if err != nil || tr.Header != h {
		t.Fatalf("%+v, %v", tr, err)
	}
	x, err := ReadIndex(w.File(), tr)
	if err != nil {
		t.Fatal(err)
	}
	// The seal vouches for the bytes as they are now.
	if bad, err := badStripes(w.File(), tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
}

// What cannot be read is no reason to give up, and shows as bad from then on.
func TestSealRecoveredOverUnreadableBlocks(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	offsets := fill(t, w, 700, 40_000)
	f := &unreadable{File: w.File(), from: 12288, to: 16384}
	tr, err := SealRecovered(f, h, w.End(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var lost uint64
	for _, o := range offsets {
		if o < f.to && o+760 > f.from {
			lost++
		}
	}
	if tr.Frames != uint64(len(offsets))-lost {
		t.Errorf("%d frames of %d, want %d lost", tr.Frames, len(offsets), lost)
	}
	x, err := ReadIndex(f, tr)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := badStripes(f, tr, x)
	if err != nil || len(bad) != 4096/64 || bad[0] != 12288/64 {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
	if s := x.Stripes[bad[0]]; s.Sum != crc32.Checksum(make([]byte, 64), crcTable) {
		t.Error("what cannot be read does not count as zeros")
	}
}

// unreadable is a file with a range that answers with an error, and with rubbish.
type unreadable struct {
	vfs.File
	from, to int64
}

func (u *unreadable) ReadAt(b []byte, offset int64) (int, error) {
	if offset >= u.to || offset+int64(len(b)) <= u.from {
		return u.File.ReadAt(b, offset)
	}
	for i := range b {
		b[i] = 0xee
	}
	return 0, errDisk
}

func TestSealRecoveredRefuses(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	fill(t, w, 700, 10_000)
	for name, end := range map[string]int64{"in the header": 4088, "unaligned": w.End() - 1, "beyond the file": w.End() + 8, "negative": -8} {
		if _, err := SealRecovered(w.File(), h, end, 0); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.First = 0
	if _, err := SealRecovered(w.File(), h, w.End(), 0); !errors.Is(err, ErrMalformed) {
		t.Errorf("no first sequence: %v", err)
	}
	if size, _ := w.File().Size(); size != w.End() {
		t.Errorf("the file was changed: %d bytes", size)
	}
}

// crashRun is what a queue does with one segment. It returns how far frames were durable, and whether it was sealed.
func crashRun(fsys vfs.FS, dir string) (durable int64, sealed bool) {
	w, err := Create(fsys, dir, testHeader())
	if err != nil {
		return 0, false
	}
	defer w.Close()
	durable = HeaderSize
	for first := testHeader().First; first < testHeader().First+6; first++ {
		h, b := dataFrame(first, 1, None, blob(first, 1500))
		h.Put(b, w.Header().Salt, w.End())
		if w.Write([]FrameHeader{h}, [][]byte{b}) != nil || w.Sync() != nil {
			return durable, false
		}
		durable = w.End()
	}
	_, err = w.Seal(testHeader().First + 5)
	return durable, err == nil
}

// At whatever operation power is lost: a segment that Create returned is there, every synced frame is there, and the
// segment can be sealed.
func TestPowerLossAtEveryOperation(t *testing.T) {
	whole := faultfs.New()
	if err := whole.MkdirAll("q"); err != nil {
		t.Fatal(err)
	}
	before := whole.Ops()
	if _, sealed := crashRun(whole, "q"); !sealed {
		t.Fatal("not sealed without a crash")
	}
	for n := 1; n <= whole.Ops()-before+1; n++ {
		for mode, name := range map[faultfs.Mode]string{faultfs.Keep: "keep", faultfs.Drop: "drop", faultfs.Reorder: "reorder"} {
			for seed := range uint64(8) {
				fsys := faultfs.New()
				if err := fsys.MkdirAll("q"); err != nil {
					t.Fatal(err)
				}
				fsys.CrashAt(fsys.Ops() + n)
				durable, sealed := crashRun(fsys, "q")
				checkAfterCrash(t, fsys.Crash(mode, seed), durable, sealed)
				if t.Failed() {
					t.Fatalf("crash at operation %d, %s, seed %d", n, name, seed)
				}
			}
		}
	}
}

func checkAfterCrash(t *testing.T, fsys vfs.FS, durable int64, sealed bool) {
	t.Helper()
	h := testHeader()
	f, err := fsys.OpenWrite(filepath.Join("q", h.Name().String()))
	if err != nil {
		if durable > 0 {
			t.Error("the segment is gone")
		}
		return
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Error(err)
	}
	if durable == 0 {
		return // never announced: whatever is there may be thrown away
	}
	if got, err := ReadHeader(f, size, h.Name()); err != nil || got != h {
		t.Errorf("header %+v, %v", got, err)
	}
	tr, err := ReadTrailer(f, size)
	if err != nil && (sealed || !errors.Is(err, ErrNoTrailer)) {
		t.Errorf("trailer: %v", err)
	}
	end := size
	if err == nil {
		end = tr.DataEnd
		checkSeal(t, f, tr)
	}
	s := NewScanner(f, h.Salt, HeaderSize, end)
	good := int64(HeaderSize)
	for {
		p, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.Bad && p.Offset < durable {
			t.Errorf("bad range at %d below the durable end %d", p.Offset, durable)
		}
		if !p.Bad {
			good = p.Offset + p.Size
		}
	}
	if good < durable {
		t.Errorf("frames end at %d, %d were durable", good, durable)
	}
	if tr, err = SealRecovered(f, h, good, 0); err != nil {
		t.Error(err)
	}
	size, _ = f.Size()
	if got, err := ReadTrailer(f, size); err != nil || got != tr {
		t.Errorf("after recovery: %+v, %v", got, err)
	}
	checkSeal(t, f, tr)
}

// checkSeal holds a segment against everything its trailer vouches for.
func checkSeal(t *testing.T, f io.ReaderAt, tr Trailer) {
	t.Helper()
	x, err := ReadIndex(f, tr)
	if err != nil {
		t.Error(err)
		return
	}
	if bad, err := badStripes(f, tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
	if bad, err := badParity(f, tr, x); err != nil || bad != nil {
		t.Errorf("bad parity %v, %v", bad, err)
	}
}
