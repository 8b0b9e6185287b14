package segment

import (
	"crypto/subtle"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// Span is a range of bytes of a file.
type Span struct{ Offset, Size int64 }

// End is the offset behind it.
func (s Span) End() int64 { return s.Offset + s.Size }

// Overlaps tells whether two ranges have a byte in common.
func (s Span) Overlaps(o Span) bool { return s.Offset < o.End() && o.Offset < s.End() }

// Healing is what a sealed segment can be made into again by what it keeps twice: bad stripes from the parity, an index
// from the other one, the header from the trailer, a trailer from header, index and frames. It holds the bytes that differ
// from those of the file, at most about 1/16 of it, so that it can be read over the file, without any room on a disk.
type Healing struct {
	Trailer Trailer // of the segment
	Size    int64   // bytes of the file as it was sealed

	Healed []Span // header and frames that are as they were, neighbours put together
	Bad    []Span // what of them stays bad: stripes, neighbours put together

	BadParity            []Span // blocks that cannot be made again, because stripes of their group are bad too
	Header               bool   // the header block is made again
	IndexA, IndexB, Seal bool   // index or trailer is made again
	Parity               []Span // parity blocks that are
	Unread               bool   // bytes that stay bad, or of BadParity, could not be read: the disk may yet give them

	was     int64 // bytes of the damaged file
	patches []patch
	dropped bool // there were some
}

// patch is what stands at an offset in place of what the file has there.
type patch struct {
	at   int64
	data []byte
}

func (p patch) end() int64 { return p.at + int64(len(p.data)) }

// Won tells whether the healed segment differs from the file.
func (h *Healing) Won() bool { return len(h.patches) > 0 || h.dropped || h.was != h.Size }

// Held is how many bytes it holds.
func (h *Healing) Held() (n int64) {
	for _, p := range h.patches {
		n += int64(len(p.data))
	}
	return n
}

// Drop gives these bytes back. What it says of the segment stays; whoever wants to read it over the file has to Diagnose again.
func (h *Healing) Drop() { h.dropped, h.patches = h.dropped || len(h.patches) > 0, nil }

// Dropped tells whether bytes were given back.
func (h *Healing) Dropped() bool { return h.dropped }

// Whole tells whether the healed segment is as it was sealed, to the last bit.
func (h *Healing) Whole() bool { return len(h.Bad) == 0 && len(h.BadParity) == 0 }

// Diagnose finds out what a segment's file of this size and name was when it was sealed, and which of its bad bytes can be
// made again. It reads header, frames and parity once, and once more those stripes whose group has a bad one. The error
// wraps ErrNoTrailer where nothing shows that the segment was ever sealed, or where both copies of the index are gone and
// the frames do not give it back; *UnknownFeatureError where a newer logmule wrote it; and fs.ErrClosed.
func Diagnose(f io.ReaderAt, size int64, name Name) (*Healing, error) {
	d := diagnosis{f: f, size: size, name: name}
	if err := d.run(); err != nil {
		return nil, fmt.Errorf("diagnose segment %s: %w", name, err)
	}
	return &d.Healing, nil
}

// diagnosis is one Diagnose under way.
type diagnosis struct {
	Healing
	f    io.ReaderAt
	size int64
	name Name

	header Header
	layout layout
	index  Index
	raw    []byte // of the index

	badHeader bool
	headless  bool // nor is the header known
	sealed    bool // there is a good trailer
	bad       map[int]bool
	unread    map[int]bool // of bad
	lost      map[int]bool // groups whose parity is bad
	noBlock   map[int]bool // of lost: it could not be read
}

func (d *diagnosis) run() error {
	d.was = d.size
	if err := d.locate(); err != nil {
		return err
	}
	d.Size = d.layout.end
	if err := d.compare(); err != nil {
		return err
	}
	if len(d.bad) > 0 || len(d.lost) > 0 {
		if err := d.restore(); err != nil {
			return err
		}
	}
	if d.headless {
		if err := d.revive(); err != nil {
			return err
		}
	}
	d.rest()
	d.indexes()
	return d.seal()
}

// compare finds the bad stripes and the bad blocks of the parity. Where the header block is bad in a stripe that is good
// with the header that is known, that is what it was.
func (d *diagnosis) compare() error {
	sums := make([]uint32, len(d.index.Stripes))
	for i, s := range d.index.Stripes {
		sums[i] = s.Sum
	}
	var err error
	d.bad, d.unread, err = badPieces(d.f, 0, d.layout.indexA, d.layout.stripe, sums)
	if err != nil {
		return err
	}
	d.lost, d.noBlock, err = badPieces(d.f, d.layout.parity, d.layout.indexB, d.layout.block, d.index.Parity)
	if err != nil {
		return err
	}
	if d.headless {
		return nil
	}
	block := d.header.Encode()
	for i := 0; int64(i)*d.layout.stripe < HeaderSize; i++ {
		if !d.bad[i] {
			continue
		}
		b := make([]byte, d.stripe(i).Size)
		if n := copy(b, block[int64(i)*d.layout.stripe:]); n < len(b) {
			if _, err := readFull(d.f, b[n:], d.stripe(i).Offset+int64(n)); err != nil {
				continue
			}
		}
		d.accept(i, b)
	}
	return nil
}

// stripe is where a stripe stands.
func (d *diagnosis) stripe(i int) Span {
	at := int64(i) * d.layout.stripe
	return Span{at, min(d.layout.stripe, d.layout.indexA-at)}
}

// block is where the parity of a group stands.
func (d *diagnosis) block(group int) Span {
	return Span{d.layout.parity + int64(group)*d.layout.block, d.layout.block}
}

// accept takes these bytes for a bad stripe, if its checksum is theirs.
func (d *diagnosis) accept(i int, b []byte) {
	if crc32.Checksum(b, crcTable) != d.index.Stripes[i].Sum {
		return
	}
	delete(d.bad, i)
	delete(d.unread, i)
	d.Healed = join(d.Healed, d.stripe(i))
	d.patch(d.stripe(i).Offset, b)
}

// patch keeps the patches in order.
func (d *diagnosis) patch(at int64, b []byte) {
	i, _ := slices.BinarySearchFunc(d.patches, at, func(p patch, at int64) int { return int(min(1, max(-1, p.at-at))) })
	d.patches = slices.Insert(d.patches, i, patch{at, b})
}

// join adds a range to those that are there, in order, and puts neighbours together.
func join(spans []Span, s Span) []Span {
	i := len(spans)
	for i > 0 && spans[i-1].Offset > s.Offset {
		i--
	}
	spans = slices.Insert(spans, i, s)
	if i+1 < len(spans) && spans[i].End() == spans[i+1].Offset {
		spans[i].Size += spans[i+1].Size
		spans = slices.Delete(spans, i+1, i+2)
	}
	if i > 0 && spans[i-1].End() == spans[i].Offset {
		spans[i-1].Size += spans[i].Size
		spans = slices.Delete(spans, i, i+1)
	}
	return spans
}

// restore XORs together what is good of each group with one bad member: the result is the bad one, if its checksum says so.
func (d *diagnosis) restore() error {
	alone := make(map[int]int) // by group: its only bad stripe, or -1 where only the parity is bad
	for i := range d.bad {
		if _, more := alone[i%d.layout.groups]; more || d.lost[i%d.layout.groups] {
			alone[i%d.layout.groups] = -2
			continue
		}
		alone[i%d.layout.groups] = i
	}
	blocks := make(map[int][]byte)
	for g := range d.lost {
		if _, also := alone[g]; !also {
			alone[g], blocks[g] = -1, make([]byte, d.layout.block)
		}
	}
	for g, i := range alone {
		if i < 0 {
			continue
		}
		b := make([]byte, d.layout.block)
		if _, err := readFull(d.f, b, d.block(g).Offset); err == nil {
			blocks[g] = b // else it was readable a moment ago, and the group stays as it is
		}
	}
	if err := d.gather(blocks); err != nil {
		return err
	}
	for g, b := range blocks {
		if i := alone[g]; i >= 0 {
			d.accept(i, b[:d.stripe(i).Size])
		} else if crc32.Checksum(b, crcTable) == d.index.Parity[g] {
			delete(d.lost, g)
			d.Parity = join(d.Parity, d.block(g))
			d.patch(d.block(g).Offset, b)
		}
	}
	return nil
}

// gather XORs the good stripes of groups into their blocks, in the order of the file.
func (d *diagnosis) gather(blocks map[int][]byte) error {
	image, b := d.Over(d.f), make([]byte, d.layout.block)
	for i := range d.index.Stripes {
		block := blocks[i%d.layout.groups]
		if block == nil || d.bad[i] {
			continue
		}
		b = b[:d.stripe(i).Size]
		// One that cannot be read this time spoils the result, which shows in its checksum.
		if _, err := readSparing(image, b, d.stripe(i).Offset, func(_, _ int64, _ error) {}); err != nil {
			return err
		}
		subtle.XORBytes(block, block[:len(b)], b)
	}
	return nil
}

// rest notes what stays bad.
func (d *diagnosis) rest() {
	for i := range d.bad {
		d.Bad = join(d.Bad, d.stripe(i))
		d.Unread = d.Unread || d.unread[i]
	}
	for g := range d.lost {
		d.BadParity = join(d.BadParity, d.block(g))
		d.Unread = d.Unread || d.noBlock[g]
	}
}

// indexes makes a copy of the index that differs from the good one like it.
func (d *diagnosis) indexes() {
	b := make([]byte, len(d.raw))
	again := func(at int64) bool {
		_, err := readFull(d.f, b, at)
		if err == nil && slices.Equal(b, d.raw) {
			return false
		}
		d.patch(at, d.raw)
		return true
	}
	d.IndexA, d.IndexB = again(d.layout.indexA), again(d.layout.indexB)
}

// seal makes the trailer again where there is none, from the frames as they are after all else is healed.
func (d *diagnosis) seal() error {
	if d.badHeader {
		b := make([]byte, HeaderSize)
		_, err := readFull(d.Over(d.f), b, 0)
		d.Header = err == nil && slices.Equal(b, d.header.Encode())
	}
	if d.sealed {
		return nil
	}
	t := newTally(d.header)
	mark, err := t.recountFrames(d.Over(d.f), d.header.Salt, d.layout.indexA)
	if err != nil {
		return err
	}
	t.end, t.minTime, t.maxTime = d.layout.indexA, d.index.MinTime, d.index.MaxTime
	// Frames are durable before a seal is begun, so its mark is the last of them or a later one.
	d.Trailer = t.trailer(d.header, d.layout, max(mark, t.last), false)
	d.Trailer.Sum = sealSum(d.header, d.raw)
	d.Seal = true
	d.patch(d.layout.trailer, d.Trailer.Encode())
	return nil
}
