package segment

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const imageSalt = 0xfeedfacecafebeef

// image is a segment in memory, built frame by frame.
type image struct {
	b       []byte
	offsets []int64
	next    uint64
}

// newImage starts a segment whose data frames get the sequences from 1 on, one record each.
func newImage() *image {
	h := testHeader()
	h.First = 1
	return &image{b: h.Encode(), next: 1}
}

// add appends a frame with one record of these bytes.
func (m *image) add(body []byte) *image {
	run := Run{Form: Records, Count: 1, Raw: uint32(len(body)), Body: body}
	h, b := dataFrame(m.next, 1, None, run)
	h.Put(b, imageSalt, int64(len(m.b)))
	m.offsets = append(m.offsets, int64(len(m.b)))
	m.b = append(m.b, b...)
	m.next++
	return m
}

// tenFrames is a segment of ten frames of 401 incompressible bytes, and so with padding.
func tenFrames() *image {
	m := newImage()
	for i := range uint64(10) {
		m.add(noise(i, 401))
	}
	return m
}

func (m *image) scan(t testing.TB) []Part {
	t.Helper()
	return scanAll(t, bytes.NewReader(m.b), imageSalt, HeaderSize, int64(len(m.b)))
}

// all is 1..10, but for some.
func all(but ...uint64) []uint64 {
	var s []uint64
	for i := uint64(1); i <= 10; i++ {
		if !slices.Contains(but, i) {
			s = append(s, i)
		}
	}
	return s
}

// describe writes parts in short: good frames by sequence, bad ranges as [offset+size], zeros as (offset+size).
func describe(parts []Part) string {
	s := ""
	for _, p := range parts {
		switch {
		case !p.Bad:
			s += fmt.Sprintf("%d ", p.Header.First)
		case p.Zero:
			s += fmt.Sprintf("(%d+%d) ", p.Offset, p.Size)
		default:
			s += fmt.Sprintf("[%d+%d] ", p.Offset, p.Size)
		}
	}
	return s
}

func TestScanSurvivesDamage(t *testing.T) {
	type at = []int64
	for name, c := range map[string]struct {
		damage    func(m *image, at at)
		survivors []uint64
		bad       int // bad parts
		zero      int // of them all zero
	}{
		"none":                      {func(m *image, at at) {}, all(), 0, 0},
		"magic":                     {func(m *image, at at) { m.b[at[3]] ^= 1 }, all(4), 1, 0},
		"header":                    {func(m *image, at at) { m.b[at[3]+16] ^= 1 }, all(4), 1, 0},
		"first frame":               {func(m *image, at at) { m.b[at[0]+16] ^= 1 }, all(1), 1, 0},
		"last frame":                {func(m *image, at at) { m.b[at[9]+16] ^= 1 }, all(10), 1, 0},
		"length beyond the file":    {func(m *image, at at) { le.PutUint32(m.b[at[3]+20:], 1<<31) }, all(4), 1, 0},
		"length into the next":      {func(m *image, at at) { le.PutUint32(m.b[at[3]+20:], 500) }, all(4), 1, 0},
		"body":                      {func(m *image, at at) { m.b[at[3]+200] ^= 1 }, all(4), 1, 0},
		"padding":                   {func(m *image, at at) { m.b[at[4]-1] ^= 1 }, all(), 0, 0},
		"two neighbours":            {func(m *image, at at) { m.b[at[3]+200] ^= 1; m.b[at[4]+200] ^= 1 }, all(4, 5), 1, 0},
		"two apart":                 {func(m *image, at at) { m.b[at[3]+200] ^= 1; m.b[at[5]+200] ^= 1 }, all(4, 6), 2, 0},
		"zeroed frame":              {func(m *image, at at) { clear(m.b[at[3]:at[4]]) }, all(4), 1, 1},
		"zeroed middle":             {func(m *image, at at) { clear(m.b[at[3]+100 : at[6]+100]) }, all(4, 5, 6, 7), 1, 0},
		"everything zeroed":         {func(m *image, at at) { clear(m.b) }, nil, 1, 1},
		"zeros follow":              {func(m *image, at at) { m.b = append(m.b, make([]byte, 5000)...) }, all(), 1, 1},
		"odd zeros follow":          {func(m *image, at at) { m.b = append(m.b, make([]byte, 5001)...) }, all(), 1, 1},
		"few zeros follow":          {func(m *image, at at) { m.b = append(m.b, make([]byte, 3)...) }, all(), 1, 1},
		"noise follows":             {func(m *image, at at) { m.b = append(m.b, noise(1, 5003)...) }, all(), 1, 0},
		"a byte follows":            {func(m *image, at at) { m.b = append(m.b, 1) }, all(), 1, 0},
		"a byte and zeros follow":   {func(m *image, at at) { m.b = append(append(m.b, 1), make([]byte, 4095)...) }, all(), 2, 1},
		"torn in the header":        {func(m *image, at at) { m.b = m.b[:at[9]+30] }, all(10), 1, 0},
		"torn in the body":          {func(m *image, at at) { m.b = m.b[:at[9]+300] }, all(10), 1, 0},
		"torn in the padding":       {func(m *image, at at) { m.b = m.b[:len(m.b)-1] }, all(), 0, 0},
		"torn before the padding":   {func(m *image, at at) { m.b = m.b[:len(m.b)-padded(m.b, at[9])] }, all(), 0, 0},
		"torn before the last byte": {func(m *image, at at) { m.b = m.b[:len(m.b)-padded(m.b, at[9])-1] }, all(10), 1, 0},
		"torn, zeros to a sector":   {func(m *image, at at) { clear(m.b[at[9]+104:]) }, all(10), 2, 1},
		"hole, then a good frame":   {func(m *image, at at) { clear(m.b[at[8]+8 : at[9]]) }, all(9), 1, 0},
		"frame moved":               {func(m *image, at at) { copy(m.b[at[5]:at[6]], m.b[at[2]:at[3]]) }, all(6), 1, 0},
		"frame of another segment":  {func(m *image, at at) { copy(m.b[at[5]:], foreign(at[5])) }, all(6), 1, 0},
		"frame of another, at end":  {func(m *image, at at) { m.b = append(m.b, foreign(int64(len(m.b)))...) }, all(), 1, 0},
		"bytes inserted":            {func(m *image, at at) { m.b = slices.Insert(m.b, int(at[5]), make([]byte, 8)...) }, all(6, 7, 8, 9, 10), 1, 0},
		"header full of magic":      {func(m *image, at at) { copy(m.b[at[3]:], bytes.Repeat(m.b[at[0]:at[0]+4], 30)) }, all(4), 1, 0},
		"good headers in a bad one": {func(m *image, at at) { copy(m.b[at[3]+8:], m.b[at[2]:at[2]+56]) }, all(4), 1, 0},
	} {
		m := tenFrames()
		c.damage(m, m.offsets)
		parts := m.scan(t)
		var bad, zeros int
		for i, p := range parts {
			if p.Bad {
				bad++
			}
			if p.Zero {
				zeros++
			}
			if p.Err != nil {
				t.Errorf("%s: %v", name, p.Err)
			}
			if p.Bad && i > 0 && parts[i-1].Bad && !(p.Zero && !parts[i-1].Zero && i == len(parts)-1) {
				t.Errorf("%s: bad ranges touch", name)
			}
			if p.Zero != (p.Bad && zero(m.b[p.Offset:p.Offset+p.Size])) {
				t.Errorf("%s: part at %d says Zero %v", name, p.Offset, p.Zero)
			}
		}
		if got := survivors(parts); !slices.Equal(got, c.survivors) || bad != c.bad || zeros != c.zero {
			t.Errorf("%s: %s", name, describe(parts))
		}
	}
}

// foreign is a good frame of another segment, for this offset.
func foreign(offset int64) []byte {
	h, b := dataFrame(6, 1, None, blob(1, 400))
	h.Put(b, imageSalt+1, offset)
	return b
}

// A tail of zeros is told apart from what was torn before it, at the next multiple of 8.
func TestScanSplitsTrailingZeros(t *testing.T) {
	m := tenFrames()
	end := int64(len(m.b))
	m.b = append(m.b, make([]byte, 1000)...)
	m.b[end+13] = 7
	parts := m.scan(t)[10:]
	want := []Part{{Offset: end, Size: 16, Bad: true}, {Offset: end + 16, Size: 984, Bad: true, Zero: true}}
	if len(parts) != 2 || parts[0].Offset != want[0].Offset || parts[0].Size != want[0].Size || parts[0].Zero ||
		parts[1].Offset != want[1].Offset || parts[1].Size != want[1].Size || !parts[1].Zero {
		t.Errorf("got %s", describe(parts))
	}
}

// A record whose payload is a whole segment, even this one, gives up none of its frames when the header over it is lost.
func TestScanIgnoresEmbeddedSegments(t *testing.T) {
	inner := tenFrames()
	m := newImage().add(noise(1, 100)).add(inner.b).add(noise(2, 100))
	for i := range int64(8) { // at every alignment
		m.add(append(make([]byte, i), inner.b...))
	}
	for _, o := range m.offsets[1:] {
		m.b[o+9] ^= 0xff
	}
	if got := survivors(m.scan(t)); !slices.Equal(got, []uint64{1}) {
		t.Errorf("survivors %v", got)
	}
}

// Each bit of header and frames, flipped: only the frame it lies in is lost, and nothing else ever appears.
func TestEachBitFlipped(t *testing.T) {
	m := newImage()
	for i := range uint64(4) {
		m.add(noise(i, 60+int(i)*3))
	}
	lost := make(map[string]int) // what was lost, and how many bits did that
	for at := range int64(len(m.b)) {
		for bit := range 8 {
			m.b[at] ^= 1 << bit
			parts := m.scan(t)
			var want []uint64
			hit := 0
			for i, o := range m.offsets {
				h, err := DecodeFrameHeader(m.b[o:], imageSalt, o)
				if end := o + FrameHeaderSize + h.payload(); at >= o && (err != nil || at < end) {
					if next := i + 1; next == len(m.offsets) || at < m.offsets[next] {
						hit = i + 1
						continue
					}
				}
				want = append(want, uint64(i+1))
			}
			if got := survivors(parts); !slices.Equal(got, want) {
				t.Fatalf("bit %d of byte %d: %s", bit, at, describe(parts))
			}
			lost[fmt.Sprint(hit)]++
			m.b[at] ^= 1 << bit
		}
	}
	// The header block and the padding between frames belong to no frame.
	padding := 0
	for i, o := range m.offsets {
		h, _ := DecodeFrameHeader(m.b[o:], imageSalt, o)
		used := int(FrameHeaderSize + h.payload())
		padding += int(h.Size()) - used
		if n := lost[fmt.Sprint(i+1)]; n != 8*used {
			t.Errorf("%d bits cost frame %d, it has %d", n, i+1, 8*used)
		}
	}
	if n := lost["0"]; n != 8*(HeaderSize+padding) || padding == 0 {
		t.Errorf("%d bits cost nothing, want those of the header block and of %d bytes of padding", n, padding)
	}
}

// The model: frames that no damage touched survive, bit for bit, and nothing else does.
func TestScanModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newImage()
		for range rapid.IntRange(0, 12).Draw(rt, "frames") {
			m.add(noise(m.next, rapid.IntRange(1, 3000).Draw(rt, "size")))
		}
		if rapid.Bool().Draw(rt, "preallocated") {
			m.b = append(m.b, make([]byte, rapid.IntRange(0, 9000).Draw(rt, "zeros"))...)
		}
		whole := bytes.Clone(m.b)
		for range rapid.IntRange(0, 4).Draw(rt, "damages") {
			from := rapid.IntRange(HeaderSize, len(m.b)).Draw(rt, "from")
			to := min(len(m.b), from+rapid.IntRange(0, 4000).Draw(rt, "length"))
			if rapid.Bool().Draw(rt, "zero") {
				clear(m.b[from:to])
			} else {
				copy(m.b[from:to], noise(uint64(from), to-from))
			}
		}
		if len(m.b) > HeaderSize && rapid.Bool().Draw(rt, "cut") {
			m.b = m.b[:rapid.IntRange(HeaderSize, len(m.b)).Draw(rt, "end")]
		}
		var want []uint64
		for i, o := range m.offsets {
			h, err := DecodeFrameHeader(whole[o:], imageSalt, o)
			if err != nil {
				rt.Fatal(err)
			}
			used := o + FrameHeaderSize + h.payload()
			if used <= int64(len(m.b)) && bytes.Equal(m.b[o:used], whole[o:used]) {
				want = append(want, uint64(i+1))
			}
		}
		parts := m.scan(t)
		if got := survivors(parts); !slices.Equal(got, want) {
			rt.Fatalf("survivors %v, want %v: %s", got, want, describe(parts))
		}
	})
}

// Frames of every size relative to the window, and what follows a damaged large one.
func TestScanLargeFrames(t *testing.T) {
	m := newImage()
	for _, n := range []int{window - 200, window, 3 * window, 10, MaxFrame - 100, 10, window / 2, 5 * window, 10} {
		m.add(noise(m.next, n))
	}
	if got := len(survivors(m.scan(t))); got != 9 {
		t.Fatalf("%d of 9 frames", got)
	}
	m.b[m.offsets[4]+MaxFrame/2] ^= 1 // in the body of the largest
	s := NewScanner(bytes.NewReader(m.b), imageSalt, HeaderSize, int64(len(m.b)))
	var got []uint64
	for {
		p, err := s.Next()
		if err != nil {
			break
		}
		if !p.Bad {
			got = append(got, p.Header.First)
		}
	}
	if !slices.Equal(got, []uint64{1, 2, 3, 4, 6, 7, 8, 9}) {
		t.Errorf("survivors %v", got)
	}
	if cap(s.buf) > MaxFrame+2*window {
		t.Errorf("a buffer of %d bytes", cap(s.buf))
	}
}

// counting counts what is read.
type counting struct {
	io.ReaderAt
	bytes int64
}

func (c *counting) ReadAt(b []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, offset)
	c.bytes += int64(n)
	return n, err
}

// Someone who knows the salt fills a file with good headers over large payloads that are not good. The work stays in
// proportion: every byte is read once, and payload checksums cover little more than the file.
func TestScanHostileHeaders(t *testing.T) {
	b := make([]byte, HeaderSize, 6<<20)
	for len(b)+FrameHeaderSize <= cap(b) {
		h := FrameHeader{Type: Data, First: 1, Count: 1, Stored: window, Raw: window, Meta: 8}
		b = append(b, make([]byte, FrameHeaderSize)...)
		h.Put(b[len(b)-FrameHeaderSize:], imageSalt, int64(len(b)-FrameHeaderSize))
	}
	f := &counting{ReaderAt: bytes.NewReader(b)}
	s := NewScanner(f, imageSalt, HeaderSize, int64(len(b)))
	p, err := s.Next()
	if err != nil || !p.Bad || p.Size != int64(len(b))-HeaderSize {
		t.Fatalf("%d bytes, %v, %v", p.Size, p.Bad, err)
	}
	if f.bytes != int64(len(b))-HeaderSize {
		t.Errorf("%d bytes read of %d", f.bytes, len(b)-HeaderSize)
	}
	if s.spent > int64(len(b))+2*MaxFrame || s.spent < MaxFrame {
		t.Errorf("%d bytes of payload checked in a file of %d", s.spent, len(b))
	}
	if cap(s.buf) > MaxFrame+2*window {
		t.Errorf("a buffer of %d bytes", cap(s.buf))
	}
}

// What bounds the work must not cost a good frame: every payload is bad but the last.
func TestScanManyBadPayloads(t *testing.T) {
	m := newImage()
	for i := range uint64(30) {
		m.add(noise(i, 700_000))
	}
	for _, o := range m.offsets[:29] {
		m.b[o+100_000] ^= 1
	}
	if got := survivors(m.scan(t)); !slices.Equal(got, []uint64{30}) {
		t.Errorf("survivors %v", got)
	}
}
