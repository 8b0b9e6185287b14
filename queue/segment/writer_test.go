package segment

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
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
	marker := FrameHeader{Type: Marker, Mark: 1039, Time: 9999} // First means nothing
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
	if bad, err := badStripes(f, tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
	}
	if bad, err := badParity(f, tr, x); err != nil || bad != nil {
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
	h := testHeader()
	h.Size = 4 << 20 // several frames start in a stripe of 4096
	w := newWriter(t, h)
	offsets := fill(t, w, 900, 60_000)
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
	for i, s := range x.Stripes {
		want := slices.IndexFunc(offsets, func(o int64) bool { return o >= int64(i)*int64(tr.Stripe) })
		if i == 0 && s != (Stripe{Sum: s.Sum}) {
			t.Errorf("stripe 0 is the header and says %+v", s)
		}
		if i > 0 && want >= 0 && (int64(s.Frame) != offsets[want] || s.First != h.First+uint64(want)) {
			t.Errorf("stripe %d says %+v, its first frame is %d at %d", i, s, want, offsets[want])
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
	if bad, err := badStripes(w.File(), tr, x); err != nil || bad != nil {
		t.Errorf("bad stripes %v, %v", bad, err)
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
