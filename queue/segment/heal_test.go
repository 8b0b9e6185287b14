package segment

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

// healedBytes is what a healing makes of a file: as it is read over it, and as it is written.
func healedBytes(t testing.TB, h *Healing, f io.ReaderAt) []byte {
	t.Helper()
	var out file
	if err := h.Write(&out, f); err != nil {
		t.Fatal(err)
	}
	over := make([]byte, h.Size)
	if n, err := h.Over(f).ReadAt(over, 0); int64(n) < h.Size && len(h.Bad) == 0 {
		t.Fatalf("read %d bytes of %d: %v", n, h.Size, err)
	} else if int64(n) == h.Size && !bytes.Equal(over, out.data) {
		t.Fatal("what is read over the file is not what is written")
	}
	return out.data
}

// file is one in memory of which ranges may be unreadable.
type file struct {
	data   []byte
	broken []Span
}

func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.data = append(f.data, make([]byte, max(0, at+int64(len(b))-int64(len(f.data))))...)
	return copy(f.data[at:], b), nil
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	if slices.ContainsFunc(f.broken, Span{at, int64(len(b))}.Overlaps) {
		return 0, syscall.EIO
	}
	return bytes.NewReader(f.data).ReadAt(b, at)
}

// geometry is a sealed segment of any shape that a writer, or a recovery, can make.
type geometry struct {
	file []byte
	t    Trailer
}

func drawGeometry(rt *rapid.T, t *testing.T) geometry {
	h := testHeader()
	h.Size = rapid.SampledFrom([]uint64{0, 64 << 10, 100_000, 256 << 10, 1 << 20, 6 << 20}).Draw(rt, "size")
	w := newWriter(t, h)
	limit := rapid.Int64Range(0, 150_000).Draw(rt, "bytes")
	for first := h.First; w.End() < limit; {
		n := rapid.SampledFrom([]int{1, 8, 70, 700, 5000, 40_000}).Draw(rt, "record")
		fh, b := dataFrame(first, int64(first), None, blob(first, n))
		writeFrame(t, w, &fh, b)
		first++
	}
	mark := max(w.tally.last, 0)
	if rapid.Bool().Draw(rt, "recovered") {
		if w.End() > HeaderSize+200 && rapid.Bool().Draw(rt, "hole") { // torn frames before the crash
			at := rapid.Int64Range(HeaderSize, w.End()-100).Draw(rt, "torn")
			if _, err := w.File().WriteAt(noise(3, 90), at); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := SealRecovered(w.File(), h, w.End(), mark); err != nil {
			t.Fatal(err)
		}
	} else if _, err := w.Seal(mark); err != nil {
		t.Fatal(err)
	}
	all := content(t, w)
	tr, err := ReadTrailer(bytes.NewReader(all), int64(len(all)))
	if err != nil {
		t.Fatal(err)
	}
	return geometry{all, tr}
}

// promise is the longest burst that heals wherever it lies: all stripes but the edges of one round of the groups.
func (g geometry) promise() int64 {
	l := layOut(g.t.Header.Size, g.t.DataEnd)
	if l.groups == 1 {
		return l.block
	}
	return int64(l.groups-1)*l.block + 1
}

// Every burst that the geometry promises to heal is healed bit for bit, wherever in the file it lies: over the header,
// frames, either index, the parity and the trailer.
func TestHealsEveryPromisedBurst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := drawGeometry(rt, t)
		length := rapid.Int64Range(1, g.promise()).Draw(rt, "length")
		if rapid.Bool().Draw(rt, "longest") {
			length = g.promise()
		}
		at := rapid.Int64Range(0, int64(len(g.file))-1).Draw(rt, "at")
		edges := []int64{0, HeaderSize, g.t.DataEnd, g.t.Parity, g.t.IndexB, int64(len(g.file)) - TrailerSize, int64(len(g.file))}
		if i := rapid.IntRange(0, len(edges)).Draw(rt, "edge"); i < len(edges) {
			at = max(0, min(int64(len(g.file))-1, edges[i]-rapid.Int64Range(0, length).Draw(rt, "before")))
		}
		end := min(at+length, int64(len(g.file)))
		f := &file{data: bytes.Clone(g.file)}
		switch rapid.SampledFrom([]string{"zeros", "noise", "unreadable", "bit"}).Draw(rt, "damage") {
		case "zeros":
			clear(f.data[at:end])
		case "noise":
			copy(f.data[at:end], noise(uint64(at), int(end-at)))
		case "unreadable":
			clear(f.data[at:end])
			f.broken = append(f.broken, Span{at, end - at})
			f.broken[0].Offset -= at % blockSize // as disks do
			f.broken[0].Size = (end - f.broken[0].Offset + blockSize - 1) / blockSize * blockSize
			if f.broken[0].Size > g.promise() {
				f.broken = nil
			}
		case "bit":
			f.data[at] ^= 4
		}
		h, err := Diagnose(f, int64(len(f.data)), testHeader().Name())
		if err != nil {
			// Header and trailer are copies of each other, and a small file is hit at both ends by what is promised for its
			// frames only.
			if at < HeaderSize && end > int64(len(g.file))-TrailerSize {
				return
			}
			rt.Fatalf("%d bytes at %d of %d: %v", end-at, at, len(g.file), err)
		}
		if hit := g.twice(Span{at, end - at}, f.broken); len(hit) > 0 {
			if end <= g.t.DataEnd && f.broken == nil {
				rt.Fatalf("the promise is broken: %d bytes at %d hit %v", end-at, at, hit)
			}
			for _, s := range h.Bad {
				if !slices.ContainsFunc(hit, s.Overlaps) {
					rt.Fatalf("stays bad: %v, could not: %v", h.Bad, hit)
				}
			}
			return
		}
		g.same(rt, h, f)
	})
}

// twice are the stripes that damage leaves bad because it hits their group more than once: a burst over the end of the
// frames can take the last stripes and the parity of theirs.
func (g geometry) twice(burst Span, broken []Span) (stripes []Span) {
	l := layOut(g.t.Header.Size, g.t.DataEnd)
	hit := func(s Span) bool { return burst.Overlaps(s) || slices.ContainsFunc(broken, s.Overlaps) }
	count := map[int]int{}
	for i := range l.groups {
		if hit(Span{l.parity + int64(i)*l.block, l.block}) {
			count[i]++
		}
	}
	for pass := range 2 {
		for i := range l.stripes {
			s := Span{int64(i) * l.stripe, min(l.stripe, l.indexA-int64(i)*l.stripe)}
			switch {
			case !hit(s):
			case pass == 0:
				count[i%l.groups]++
			case count[i%l.groups] > 1:
				stripes = append(stripes, s)
			}
		}
	}
	return stripes
}

// same compares all that a lost trailer lets be known.
func (g geometry) same(rt *rapid.T, h *Healing, f io.ReaderAt) {
	if !h.Whole() || h.Unread {
		rt.Fatalf("stays bad: %v, parity %v", h.Bad, h.BadParity)
	}
	var out file
	if err := h.Write(&out, f); err != nil {
		rt.Fatal(err)
	}
	want := bytes.Clone(g.file)
	if h.Seal { // how it was sealed is not known
		tr := g.t
		tr.Recovered, tr.Mark = false, h.Trailer.Mark
		copy(want[len(want)-TrailerSize:], tr.Encode())
		if h.Trailer.Mark < g.t.Last {
			rt.Fatalf("mark %d, last %d", h.Trailer.Mark, g.t.Last)
		}
	}
	if !bytes.Equal(out.data, want) {
		rt.Fatalf("healed is another file: %d bytes, %d", len(out.data), len(want))
	}
	again, err := Diagnose(&out, h.Size, testHeader().Name())
	if err != nil || again.Won() || !again.Whole() {
		rt.Fatalf("healed does not stay: %+v, %v", again, err)
	}
}

// Several damages: what a group with two bad members, or a bad stripe and bad parity, holds stays bad, to the stripe, and
// all else is as it was.
func TestHealsAllThatCanBe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := drawGeometry(rt, t)
		l := layOut(g.t.Header.Size, g.t.DataEnd)
		f := &file{data: bytes.Clone(g.file)}
		stripes, groups := map[int]bool{}, map[int]bool{}
		hurt := func(at int64) {
			f.data[at] ^= 0x40
			switch {
			case at < HeaderSize: // the trailer has it
			case at < l.indexA:
				stripes[int(at/l.stripe)] = true
			case at >= l.parity && at < l.indexB:
				groups[int((at-l.parity)/l.block)] = true
			}
		}
		var offsets []int64
		for range rapid.IntRange(1, 60).Draw(rt, "damages") {
			offsets = append(offsets, rapid.Int64Range(0, l.indexB-1).Draw(rt, "at"))
		}
		slices.Sort(offsets)
		for _, at := range slices.Compact(offsets) {
			hurt(at)
		}
		var want []Span
		in := map[int]int{}
		for i := range stripes {
			in[i%l.groups]++
		}
		for i := range l.stripes {
			at := int64(i) * l.stripe
			if g := i % l.groups; stripes[i] && (in[g] > 1 || groups[g]) {
				want = join(want, Span{at, min(l.stripe, l.indexA-at)})
			}
		}
		h, err := Diagnose(f, int64(len(f.data)), testHeader().Name())
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(h.Bad, want) {
			rt.Fatalf("stays bad: %v, want %v", h.Bad, want)
		}
		var out file
		if err := h.Write(&out, f); err != nil {
			rt.Fatal(err)
		}
		for at, c := range out.data {
			here := Span{int64(at), 1}
			stays := slices.ContainsFunc(h.Bad, here.Overlaps) || slices.ContainsFunc(h.BadParity, here.Overlaps)
			if was := f.data[at]; stays && c != was || !stays && c != g.file[at] {
				rt.Fatalf("byte %d is %#x, was %#x, should be %#x; stays bad: %t", at, c, was, g.file[at], stays)
			}
		}
	})
}

func BenchmarkDiagnose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	data := large(b)
	for name, burst := range map[string]int{"sound": 0, "bit": 1, "burst": 1900 << 10} {
		b.Run(name, func(b *testing.B) {
			f := &file{data: bytes.Clone(data)}
			at := r.IntN(len(data) - 4<<20)
			for i := range burst {
				f.data[at+i] ^= 0xff
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				h, err := Diagnose(f, int64(len(data)), testHeader().Name())
				if err != nil || !h.Whole() || h.Won() != (burst > 0) {
					b.Fatal(h, err)
				}
			}
		})
	}
}

// large is a full segment of the default size.
func large(b *testing.B) []byte {
	h := testHeader()
	h.Size = 64 << 20
	w := newWriter(b, h)
	fill(b, w, 250_000, 60<<20)
	if _, err := w.Seal(w.tally.last); err != nil {
		b.Fatal(err)
	}
	return content(b, w)
}
