package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"logmule/queue/vfs"
)

func TestSealedSize(t *testing.T) {
	for _, size := range []uint64{0, 4096, 64 << 10, 100_000, 1 << 20, 12_345_678, 64 << 20, MaxSegment} {
		limit := dataLimit(size)
		if limit > HeaderSize && SealedSize(size, limit) > int64(size) {
			t.Errorf("size %d: sealed at %d has %d", size, limit, SealedSize(size, limit))
		}
		if SealedSize(size, limit+8) <= int64(size) {
			t.Errorf("size %d: the limit %d could be larger", size, limit)
		}
		// Whatever order the search relies on must be there.
		for end, last := int64(HeaderSize), int64(0); end < 3*int64(size); end += 8 + int64(size)/4096*8 {
			s := SealedSize(size, end)
			if s < last || s%8 != 0 {
				t.Fatalf("size %d: sealed at %d has %d, before %d", size, end, s, last)
			}
			last = s
		}
	}
	if got, want := 64<<20-dataLimit(64<<20), int64(64<<20)/32; got < want || got > want+64<<10 {
		t.Errorf("a segment of 64 MiB spends %d bytes on its seal", got)
	}
}

func TestWriteSealRead(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	if w.Header() != h || w.Name() != h.Name() || w.End() != HeaderSize || w.Room() < MaxFrame {
		t.Fatalf("new: end %d, room %d", w.End(), w.Room())
	}
	runs := []Run{lines("a", "one", "two"), lines("b", "three")}
	d1, b1 := dataFrame(1000, 500, None, runs...)
	gap := FrameHeader{Type: Gap, First: 1003, Count: 7, Time: 1}
	bg := EncodeFrame(nil, &gap, nil, []byte("full"), None)
	d2, b2 := dataFrame(1010, 400, Snappy, Run{Form: Records, Count: 30, Raw: 9000, Body: text(1, 9000)})
	marker := FrameHeader{Type: Marker, First: 1040, Mark: 1039, Time: 9999}
	bm := EncodeFrame(nil, &marker, nil, nil, None)

	offset := w.End()
	frames, bufs := []FrameHeader{d1, gap, d2, marker}, [][]byte{b1, bg, b2, bm}
	for i := range frames {
		frames[i].Put(bufs[i], h.Salt, offset)
		offset += frames[i].Size()
	}
	if err := w.Write(frames[:2], bufs[:2]); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(frames[2:], bufs[2:]); err != nil {
		t.Fatal(err)
	}
	if w.End() != offset || w.Sync() != nil {
		t.Fatalf("end %d, want %d", w.End(), offset)
	}
	tr, err := w.Seal(1039)
	if err != nil {
		t.Fatal(err)
	}
	file := content(t, w)
	if int64(len(file)) != SealedSize(h.Size, offset) || len(file) > int(h.Size) {
		t.Errorf("sealed file has %d bytes, SealedSize says %d", len(file), SealedSize(h.Size, offset))
	}
	f := bytes.NewReader(file)
	got, err := ReadTrailer(f, int64(len(file)))
	if err != nil || got != tr {
		t.Fatalf("%+v read as %+v, %v", tr, got, err)
	}
	if tr.Header != h || tr.Frames != 4 || tr.Records != 33 || tr.Last != 1039 || tr.Mark != 1039 || tr.DataEnd != offset ||
		tr.MinTime != 400 || tr.MaxTime != 500 || tr.Recovered || tr.Stripe != 64 {
		t.Errorf("trailer %+v", tr)
	}
	x, err := ReadIndex(f, tr)
	if err != nil || x.MinTime != 400 || x.MaxTime != 500 || len(x.Parity) != Groups {
		t.Fatalf("%+v, %v", x, err)
	}
	if bad, err := BadStripes(f, tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
	if bad, err := BadParity(f, tr, x); err != nil || bad != nil {
		t.Errorf("bad parity %v, %v", bad, err)
	}
	parts := scanAll(t, f, h.Salt, HeaderSize, tr.DataEnd)
	if len(parts) != 4 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, p := range parts {
		if p.Bad || p.Header != frames[i] || !bytes.Equal(p.Payload, bufs[i][FrameHeaderSize:FrameHeaderSize+frames[i].payload()]) {
			t.Errorf("part %d: %+v", i, p)
		}
	}
	for seq, want := range map[uint64]int64{
		0: HeaderSize, 1000: HeaderSize, 1002: HeaderSize,
		1010: parts[2].Offset, 1039: parts[2].Offset, 1040: parts[3].Offset, 5000: parts[3].Offset,
	} {
		if got := x.Seek(seq); got != want {
			t.Errorf("seek %d: offset %d, want %d", seq, got, want)
		}
	}
	if err := w.Write(nil, nil); err == nil {
		t.Error("a sealed segment can be written")
	}
	if _, err := w.Seal(1); err == nil {
		t.Error("a sealed segment can be sealed")
	}
}

// From where Seek points, one stripe and a frame lead to any sequence.
func TestSeekIsCloseBefore(t *testing.T) {
	w := newWriter(t, testHeader())
	offsets := fill(t, w, 900, 30_000)
	tr, err := w.Seal(0)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(w.File(), tr)
	if err != nil {
		t.Fatal(err)
	}
	for i, offset := range offsets {
		got := x.Seek(testHeader().First + uint64(i))
		if got > offset || offset-got > int64(tr.Stripe) {
			t.Errorf("frame %d stands at %d, Seek says %d", i, offset, got)
		}
	}
}

func TestEmptySegment(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	tr, err := w.Seal(0)
	if err != nil || tr.Last != h.First-1 || tr.Frames != 0 || tr.MinTime != 0 {
		t.Fatalf("%+v, %v", tr, err)
	}
	f := w.File()
	x, err := ReadIndex(f, tr)
	if err != nil || x.Seek(h.First) != HeaderSize {
		t.Errorf("%+v, %v", x, err)
	}
	if size, _ := f.Size(); size != SealedSize(h.Size, HeaderSize) {
		t.Errorf("%d bytes", size)
	}
	// A quiet segment of the default size costs its content twice, not 2 MiB of parity.
	if size := SealedSize(64<<20, 8192); size > 32<<10 {
		t.Errorf("two blocks of content seal to %d bytes", size)
	}
}

// Frames are written while there is Room; the sealed file must keep its size whatever the frames are.
func TestRoomKeepsTheSize(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		h := testHeader()
		h.Size = 64<<10 + uint64(r.IntN(1<<20))
		w := newWriter(t, h)
		for first := h.First; ; first++ {
			fh, b := dataFrame(first, 1, None, blob(first, 1+r.IntN(9000)))
			if w.Room() < int64(len(b)) {
				break
			}
			writeFrame(t, w, &fh, b)
		}
		tr, err := w.Seal(0)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := w.File().Size()
		if size > int64(h.Size) || size < int64(h.Size)-20_000 {
			t.Errorf("configured %d, sealed %d", h.Size, size)
		}
		if tr.DataEnd+w.Room() < tr.DataEnd || size != SealedSize(h.Size, tr.DataEnd) {
			t.Errorf("SealedSize %d, file %d", SealedSize(h.Size, tr.DataEnd), size)
		}
	}
}

// The first record fits whatever its size, also after frames without records; then the segment is full.
func TestOneLargeFrame(t *testing.T) {
	w := newWriter(t, testHeader())
	p := FrameHeader{Type: PositionsFrame, First: 1000}
	pb := EncodeFrame(nil, &p, nil, AppendPositions(nil, Positions{Full: true, Parts: 1}), None)
	writeFrame(t, w, &p, pb)
	if w.Room() < MaxFrame {
		t.Fatalf("room %d before the first record", w.Room())
	}
	h, b := dataFrame(1000, 1, Snappy, blob(1, MaxRecord))
	writeFrame(t, w, &h, b)
	if w.Room() != 0 {
		t.Errorf("room %d after a frame larger than the segment", w.Room())
	}
	tr, err := w.Seal(1000)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(w.File(), tr)
	if err != nil || len(x.Stripes) != int(tr.DataEnd+63)/64 {
		t.Fatalf("%d stripes, %v", len(x.Stripes), err)
	}
	if bad, err := BadStripes(w.File(), tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
}

func TestWriteRefusesWhatCannotBeRead(t *testing.T) {
	w := newWriter(t, testHeader())
	salt := w.Header().Salt
	build := func(salt uint64, offset int64) (FrameHeader, []byte) {
		h, b := dataFrame(1000, 1, None, lines("a", "x"))
		h.Put(b, salt, offset)
		return h, b
	}
	h, b := build(salt, HeaderSize)
	other := h
	other.First++
	wrongOffset, wb := build(salt, HeaderSize+8)
	wrongSalt, sb := build(salt+1, HeaderSize)
	for name, c := range map[string]struct {
		frames []FrameHeader
		bufs   [][]byte
	}{
		"offset":           {[]FrameHeader{wrongOffset}, [][]byte{wb}},
		"salt":             {[]FrameHeader{wrongSalt}, [][]byte{sb}},
		"not announced":    {[]FrameHeader{other}, [][]byte{b}},
		"padding missing":  {[]FrameHeader{h}, [][]byte{b[:len(b)-8]}},
		"too long":         {[]FrameHeader{h}, [][]byte{append(bytes.Clone(b), make([]byte, 8)...)}},
		"header only":      {[]FrameHeader{h}, nil},
		"twice one offset": {[]FrameHeader{h, h}, [][]byte{b, b}},
	} {
		if err := w.Write(c.frames, c.bufs); err == nil || w.End() != HeaderSize {
			t.Errorf("%s: %v, end %d", name, err, w.End())
		}
	}
	if size, _ := w.File().Size(); size != HeaderSize {
		t.Errorf("%d bytes were written", size)
	}
	if err := w.Write([]FrameHeader{h}, [][]byte{b}); err != nil {
		t.Error(err)
	}
}

// flaky is a file that fails on demand.
type flaky struct {
	vfs.File
	write, sync, truncate error
}

func (f *flaky) WriteVec(bufs [][]byte, offset int64) (int64, error) {
	if f.write != nil {
		n, _ := f.WriteAt(bufs[0][:1], offset) // a short write
		return int64(n), f.write
	}
	n, err := f.File.WriteVec(bufs, offset)
	clear(bufs) // as WriteVec is allowed to
	return n, err
}

func (f *flaky) Sync() error {
	if f.sync != nil {
		return f.sync
	}
	return f.File.Sync()
}

func (f *flaky) Truncate(size int64) error {
	if f.truncate != nil {
		return f.truncate
	}
	return f.File.Truncate(size)
}

var errDisk = errors.New("disk on fire")

func TestFailedWriteMayBeRepeated(t *testing.T) {
	w := newWriter(t, testHeader())
	f := &flaky{File: w.file, write: errDisk}
	w.file = f
	h, b := dataFrame(1000, 1, None, blob(1, 500))
	h.Put(b, w.Header().Salt, w.End())
	frames, bufs := []FrameHeader{h}, [][]byte{b}
	if err := w.Write(frames, bufs); !errors.Is(err, errDisk) || w.End() != HeaderSize {
		t.Fatalf("%v, end %d", err, w.End())
	}
	f.write = nil
	if err := w.Write(frames, bufs); err != nil || bufs[0] == nil {
		t.Fatalf("%v; the caller's buffers: %v", err, bufs)
	}
	f.truncate = errDisk
	if _, err := w.Seal(1000); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	f.truncate = nil
	tr, err := w.Seal(1000)
	if err != nil || tr.Frames != 1 {
		t.Fatalf("%+v, %v", tr, err)
	}
	x, err := ReadIndex(w.File(), tr)
	if err != nil {
		t.Fatal(err)
	}
	if bad, err := BadStripes(w.File(), tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	for _, seal := range []bool{false, true} {
		w := newWriter(t, testHeader())
		f := &flaky{File: w.file}
		w.file = f
		h, b := dataFrame(1000, 1, None, blob(1, 500))
		writeFrame(t, w, &h, b)
		f.sync = errDisk
		var err error
		if seal {
			_, err = w.Seal(1)
		} else {
			err = w.Sync()
		}
		if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		f.sync = nil
		_, serr := w.Seal(1)
		if !errors.Is(w.Sync(), errDisk) || !errors.Is(w.Write(nil, nil), errDisk) || !errors.Is(serr, errDisk) {
			t.Error("the file is used again after a failed sync")
		}
		size, _ := w.File().Size()
		if _, err := ReadTrailer(w.File(), size); !errors.Is(err, ErrNoTrailer) {
			t.Errorf("a trailer stands after frames that may not be durable: %v", err)
		}
	}
}

// flakyFS fails to sync a directory or hands out flaky files.
type flakyFS struct {
	vfs.FS
	file flaky
	dir  error
}

func (s *flakyFS) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	if err != nil {
		return nil, err
	}
	s.file.File = f
	return &s.file, nil
}

func (s *flakyFS) SyncDir(name string) error {
	if s.dir != nil {
		return s.dir
	}
	return s.FS.SyncDir(name)
}

func TestCreateLeavesNothingBehind(t *testing.T) {
	for name, fsys := range map[string]*flakyFS{
		"sync":      {FS: vfs.OS(), file: flaky{sync: errDisk}},
		"directory": {FS: vfs.OS(), dir: errDisk},
	} {
		dir := t.TempDir()
		if _, err := Create(fsys, dir, testHeader()); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", name, err)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Errorf("%s: left %v, %v", name, names, err)
		}
	}
	dir := t.TempDir()
	w, err := Create(vfs.OS(), dir, testHeader())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := Create(vfs.OS(), dir, testHeader()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second segment of that name: %v", err)
	}
	if got, err := ReadHeader(w.File(), HeaderSize, w.Name()); err != nil || !reflect.DeepEqual(got, testHeader()) {
		t.Errorf("%+v, %v", got, err)
	}
	bad := testHeader()
	bad.First = 0
	if _, err := Create(vfs.OS(), dir, bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("first sequence 0: %v", err)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	h := testHeader()
	h.Size = 64 << 20
	w := newWriter(t, h)
	runs := []Run{{Form: Lines, Count: 2000, Raw: 200_000, Key: []byte("k"), Body: text(1, 200_000)}}
	buf := make([]byte, 0, FrameBound(runs, 200_000))
	frames, bufs := make([]FrameHeader, 1), make([][]byte, 1)
	first := h.First
	for name, codec := range map[string]Codec{"none": None, "snappy": Snappy} {
		if n := testing.AllocsPerRun(50, func() {
			fh := &frames[0]
			*fh = FrameHeader{Type: Data, First: first}
			buf = EncodeFrame(buf, fh, runs, runs[0].Body, codec)
			fh.Put(buf, h.Salt, w.End())
			bufs[0] = buf
			if err := w.Write(frames, bufs); err != nil {
				t.Fatal(err)
			}
			first = fh.Last() + 1
		}); n != 0 {
			t.Errorf("%s: encoding and writing a frame allocates %v times", name, n)
		}
		var f Frame
		payload := buf[FrameHeaderSize : FrameHeaderSize+frames[0].payload()]
		if n := testing.AllocsPerRun(50, func() {
			if err := f.Decode(frames[0], 0, payload); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: decoding a frame allocates %v times", name, n)
		}
		if n := testing.AllocsPerRun(50, func() {
			if err := f.SetRaw(frames[0], 0, payload[:frames[0].Meta], runs[0].Body); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: setting a frame allocates %v times", name, n)
		}
	}
	scan := NewScanner(w.File(), h.Salt, HeaderSize, w.End())
	if n := testing.AllocsPerRun(80, func() {
		if p, err := scan.Next(); err != nil || p.Bad {
			t.Fatalf("%+v, %v", p, err)
		}
	}); n != 0 {
		t.Errorf("scanning a frame allocates %v times", n)
	}
}
