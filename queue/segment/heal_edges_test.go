package segment

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"
)

// What is cut off or stands behind the file is no part of the segment.
func TestHealsTheEnd(t *testing.T) {
	file0, _, _ := sealedFile(t, 64<<10, 700)
	tr, err := ReadTrailer(bytes.NewReader(file0), int64(len(file0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{len(file0) - 1, len(file0) - TrailerSize, len(file0) - TrailerSize - 100, int(tr.Parity)} {
		f := &file{data: file0[:size]}
		h, err := Diagnose(f, int64(size), testHeader().Name())
		if err != nil {
			t.Fatalf("cut to %d: %v", size, err)
		}
		if got := healedBytes(t, h, f); !h.Seal || int64(size) > h.Trailer.IndexB && !bytes.Equal(got[:len(got)-TrailerSize], file0[:len(file0)-TrailerSize]) {
			t.Errorf("cut to %d: %+v", size, h)
		}
	}
	f := &file{data: append(bytes.Clone(file0), noise(1, 5000)...)}
	f.data[9000] ^= 1
	h, err := Diagnose(f, int64(len(f.data)), testHeader().Name())
	if err != nil || h.Seal || !bytes.Equal(healedBytes(t, h, f), file0) {
		t.Errorf("grown: %+v, %v", h, err)
	}
}

// Nothing is made of what was never sealed, of what nothing is known, and of what a newer logmule wrote.
func TestDiagnoseRefuses(t *testing.T) {
	sealed, _, _ := sealedFile(t, 64<<10, 700)
	w := newWriter(t, testHeader())
	fill(t, w, 500, 20_000)
	h := testHeader()
	h.Incompat = 1 << 9
	for what, c := range map[string]struct {
		data []byte
		want error
	}{
		"active":           {content(t, w), ErrNoTrailer},
		"empty":            {nil, ErrNoTrailer},
		"noise":            {noise(5, 30_000), ErrNoTrailer},
		"header, trailer":  {append(noise(8, HeaderSize), sealed[HeaderSize:len(sealed)-1]...), ErrNoTrailer},
		"newer logmule":    {append(h.Encode(), sealed[HeaderSize:]...), &UnknownFeatureError{}},
		"closed":           {nil, fs.ErrClosed},
		"index of another": {append(bytes.Clone(content(t, w)), sealed[30000:]...), ErrNoTrailer},
	} {
		var f io.ReaderAt = &file{data: c.data}
		if what == "closed" {
			f = closed{}
		}
		_, err := Diagnose(f, int64(max(len(c.data), 9000)), testHeader().Name())
		var newer *UnknownFeatureError
		if !errors.Is(err, c.want) && !(errors.As(c.want, &newer) && errors.As(err, &newer)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type closed struct{}

func (closed) ReadAt([]byte, int64) (int, error) { return 0, fs.ErrClosed }

// Both copies of the index are made again from sound stripes; the trailer's hash proves them.
func TestHealsBothIndexes(t *testing.T) {
	sealed, _, _ := sealedFile(t, 64<<10, 700)
	f := &file{data: bytes.Clone(sealed)}
	tr, err := ReadTrailer(f, int64(len(sealed)))
	if err != nil {
		t.Fatal(err)
	}
	f.data[tr.IndexA+50], f.data[tr.IndexB+90], f.data[30] = 1, 2, 3
	h, err := Diagnose(f, int64(len(sealed)), testHeader().Name())
	if err != nil || !bytes.Equal(healedBytes(t, h, f), sealed) {
		t.Fatalf("%+v, %v", h, err)
	}
	f.data[HeaderSize+100] ^= 1
	if _, err := Diagnose(f, int64(len(sealed)), testHeader().Name()); !errors.Is(err, ErrNoTrailer) {
		t.Errorf("indexes and a stripe: %v", err)
	}
}

// Header and trailer are copies of each other; where both are gone the parity has the header, if that is no more than it
// gives back.
func TestHealsHeaderAndTrailer(t *testing.T) {
	sealed, _, dataEnd := sealedFile(t, 4<<20, 3000)
	f := &file{data: bytes.Clone(sealed)}
	clear(f.data[:HeaderSize])
	clear(f.data[len(f.data)-TrailerSize:])
	f.data[dataEnd-9000] ^= 1
	h, err := Diagnose(f, int64(len(sealed)), testHeader().Name())
	if err != nil {
		t.Fatal(err)
	}
	got := healedBytes(t, h, f)
	if !h.Header || !h.Seal || !bytes.Equal(got[:len(got)-TrailerSize], sealed[:len(sealed)-TrailerSize]) || h.Trailer.Header != testHeaderOf(4<<20) {
		t.Errorf("%+v", h)
	}
	f.data[Groups*4096+7] ^= 1 // the same group as the header
	if _, err := Diagnose(f, int64(len(sealed)), testHeader().Name()); !errors.Is(err, ErrNoTrailer) {
		t.Errorf("the header is lost for good: %v", err)
	}
	w := newWriter(t, testHeaderOf(64<<20)) // of a single stripe
	fh, b := dataFrame(w.Header().First, 1, None, blob(1, 3000))
	writeFrame(t, w, &fh, b)
	if _, err := w.Seal(w.tally.last); err != nil {
		t.Fatal(err)
	}
	sealed = content(t, w)
	f = &file{data: bytes.Clone(sealed)}
	clear(f.data[:w.End()])
	clear(f.data[len(f.data)-TrailerSize:])
	if h, err = Diagnose(f, int64(len(sealed)), testHeader().Name()); err != nil || !bytes.Equal(healedBytes(t, h, f), sealed) {
		t.Errorf("a single stripe: %+v, %v", h, err)
	}
}

func testHeaderOf(size uint64) Header {
	h := testHeader()
	h.Size = size
	return h
}

// What could be read when it was diagnosed, and cannot when it is written, ends the writing; what could not before does not.
func TestHealingNeverWritesZerosForBytes(t *testing.T) {
	sealed, stripe, _ := sealedFile(t, 1<<20, 700)
	f := &file{data: bytes.Clone(sealed), broken: []Span{{64 << 10, 36 << 10}}} // two bad stripes in some groups
	h, err := Diagnose(f, int64(len(sealed)), testHeader().Name())
	if err != nil || !h.Unread || h.Whole() || !h.Won() || stripe != 1<<10 {
		t.Fatalf("%+v, %v", h, err)
	}
	var out file
	if err := h.Write(&out, f); err != nil {
		t.Errorf("unreadable before: %v", err)
	}
	f.broken = append(f.broken, Span{512 << 10, 4 << 10})
	if err := h.Write(&out, f); !errors.Is(err, syscall.EIO) {
		t.Errorf("unreadable now: %v", err)
	}
}
