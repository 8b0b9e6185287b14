package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"logmule/queue/vfs"
)

func TestScanUnreadableBlocks(t *testing.T) {
	m := newImage()
	for range 40 {
		m.add(noise(m.next, 1000))
	}
	for name, c := range map[string]struct {
		from, to int64 // unreadable
		zero     bool  // the rest of the range is zeros
	}{
		"one block":         {12288, 16384, false},
		"three blocks":      {12288, 24576, false},
		"part of a block":   {12300, 12310, false},
		"the last bytes":    {int64(len(m.b)) - 100, int64(len(m.b)), false},
		"the whole range":   {HeaderSize, int64(len(m.b)), false},
		"in trailing zeros": {int64(len(m.b)) + 4096, int64(len(m.b)) + 5000, true},
	} {
		b := m.b
		if c.zero {
			b = append(bytes.Clone(m.b), make([]byte, 20_000)...)
		}
		f := &unreadableBytes{b: b, from: c.from, to: c.to}
		parts := scanAll(t, f, imageSalt, HeaderSize, int64(len(b)))
		var want []uint64
		for i, o := range m.offsets {
			end := int64(len(m.b))
			if i+1 < len(m.offsets) {
				end = m.offsets[i+1]
			}
			// A block that holds an unreadable byte is unreadable as a whole, the ones beside it are not.
			if end <= c.from&^(blockSize-1) || o >= (c.to+blockSize-1)&^(blockSize-1) {
				want = append(want, uint64(i+1))
			}
		}
		if got := survivors(parts); !slices.Equal(got, want) {
			t.Errorf("%s: survivors %v, want %v", name, got, want)
		}
		var failed []Part
		for _, p := range parts {
			if p.Err != nil {
				failed = append(failed, p)
			}
		}
		if len(failed) != 1 || !errors.Is(failed[0].Err, errDisk) || !failed[0].Bad || failed[0].Zero ||
			failed[0].Offset > c.from || failed[0].Offset+failed[0].Size < c.to {
			t.Errorf("%s: parts with errors %+v", name, failed)
		}
	}
}

// Two unreadable blocks in two bad ranges: each has its own error.
func TestScanUnreadableTwice(t *testing.T) {
	m := newImage()
	for range 40 {
		m.add(noise(m.next, 1000))
	}
	// From the middle of a block, so that steps have to find its end.
	start := m.offsets[3]
	f := &unreadableBytes{b: m.b, from: 12288, to: 16384, more: []int64{24576, 28672}}
	var failed []string
	for _, p := range scanAll(t, f, imageSalt, start, int64(len(m.b))) {
		if p.Err != nil {
			failed = append(failed, p.Err.Error())
		}
	}
	want := []string{"read bytes 12288 to 16384: " + errDisk.Error(), "read bytes 24576 to 28672: " + errDisk.Error()}
	if !slices.Equal(failed, want) {
		t.Errorf("errors %q, want %q", failed, want)
	}
}

// unreadableBytes is bytes with ranges that answer with an error, and with rubbish.
type unreadableBytes struct {
	b        []byte
	from, to int64
	more     []int64 // another range
}

func (u *unreadableBytes) ReadAt(b []byte, offset int64) (int, error) {
	end := offset + int64(len(b))
	if offset < u.to && end > u.from || len(u.more) == 2 && offset < u.more[1] && end > u.more[0] {
		for i := range b {
			b[i] = 0xee
		}
		return 0, errDisk
	}
	return bytes.NewReader(u.b).ReadAt(b, offset)
}

func TestScanEnds(t *testing.T) {
	m := tenFrames()
	size := int64(len(m.b))
	// The range goes on where the file does not.
	parts := scanAll(t, bytes.NewReader(m.b), imageSalt, HeaderSize, size+1<<20)
	if got := survivors(parts); !slices.Equal(got, all()) || len(parts) != 10 {
		t.Errorf("beyond the file: %s", describe(parts))
	}
	parts = scanAll(t, bytes.NewReader(m.b[:size-9]), imageSalt, HeaderSize, size)
	if got := survivors(parts); !slices.Equal(got, all(10)) || len(parts) != 10 {
		t.Errorf("file cut: %s", describe(parts))
	}
	// The range ends, the file goes on.
	parts = scanAll(t, bytes.NewReader(m.b), imageSalt, HeaderSize, m.offsets[4])
	if got := survivors(parts); !slices.Equal(got, []uint64{1, 2, 3, 4}) || len(parts) != 4 {
		t.Errorf("range ends: %s", describe(parts))
	}
	parts = scanAll(t, bytes.NewReader(m.b), imageSalt, m.offsets[7], size)
	if got := survivors(parts); !slices.Equal(got, []uint64{8, 9, 10}) || len(parts) != 3 {
		t.Errorf("range starts: %s", describe(parts))
	}
	if parts = scanAll(t, bytes.NewReader(nil), imageSalt, HeaderSize, size); len(parts) != 0 {
		t.Errorf("empty file: %s", describe(parts))
	}
	if parts = scanAll(t, bytes.NewReader(m.b), imageSalt, size, HeaderSize); len(parts) != 0 {
		t.Errorf("empty range: %s", describe(parts))
	}
}

// A closed file is the caller's mistake, not damage.
func TestScanClosedFile(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(vfs.OS(), dir, testHeader())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, w, 500, 9000)
	f, end := w.File(), w.End()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if p, err := NewScanner(f, w.Header().Salt, HeaderSize, end).Next(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%+v, %v", p, err)
	}
}

// Frames of a type that this version does not know are passed on whole.
func TestScanUnknownType(t *testing.T) {
	m := newImage().add(noise(1, 100))
	h := FrameHeader{Type: 77, Codec: 9, First: 2, Count: 5, Mark: 1}
	b := EncodeFrame(nil, &h, nil, []byte("something new"), None)
	h.Codec = 9
	h.Put(b, imageSalt, int64(len(m.b)))
	m.b = append(m.b, b...)
	m.add(noise(2, 100))
	parts := m.scan(t)
	if len(parts) != 3 || parts[1].Bad || parts[1].Header != h || string(parts[1].Payload) != "something new" {
		t.Errorf("got %s", describe(parts))
	}
	var f Frame
	if err := f.Decode(parts[1].Header, parts[1].Offset, parts[1].Payload); !errors.Is(err, ErrMalformed) {
		t.Errorf("a codec to come was decoded: %v", err)
	}
}
