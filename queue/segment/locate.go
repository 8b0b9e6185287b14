package segment

import (
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"logmule/queue/vfs"
)

// locate finds header, layout and index of a segment that was sealed. Its trailer tells them; where that is gone, header
// and index do: the index stands right after the frames, so that its place is their end, and its own checksum proves it.
func (d *diagnosis) locate() error {
	block := make([]byte, HeaderSize)
	_, err := readFull(d.f, block, 0)
	h, herr := Header{}, err
	if err == nil {
		h, herr = DecodeHeader(block)
	}
	d.badHeader = herr != nil
	t, terr := ReadTrailer(d.f, d.size)
	switch {
	case unknown(herr):
		return herr
	case unknown(terr):
		return terr
	case terr == nil && (herr != nil || t.Header.Salt == h.Salt || t.Header.Name() == d.name):
		d.badHeader = d.badHeader || t.Header != h
		d.header, d.Trailer, d.sealed = t.Header, t, true
		d.layout = layOut(t.Header.Size, t.DataEnd)
		return d.findIndex()
	case herr != nil:
		if d.headless = true; d.searchPair() {
			return nil
		}
		return fmt.Errorf("neither header nor trailer is left: %w: %w", ErrNoTrailer, herr)
	}
	d.header = h
	if d.findEnd() || d.search() {
		t, err = ReadTrailer(d.f, d.layout.end) // good where the file has grown behind it
		d.sealed = err == nil && d.size > d.layout.end && t.Header == h && t.DataEnd == d.layout.indexA && sealSum(h, d.raw) == t.Sum
		if d.sealed {
			d.Trailer = t
		}
		return nil
	}
	return fmt.Errorf("no index follows the frames: %w", ErrNoTrailer)
}

// findIndex takes the copy that the trailer vouches for. Where both are gone the index is made again from stripes, and
// proven by the trailer's hash; where they are sound and alike, it is the trailer that is wrong.
func (d *diagnosis) findIndex() error {
	sound := 0
	for _, at := range []int64{d.layout.indexA, d.layout.indexB} {
		x, raw, ok := d.indexAt(at)
		if !ok {
			continue
		}
		if sealSum(d.header, raw) == d.Trailer.Sum {
			d.index, d.raw = x, raw
			return nil
		}
		if sound++; sound == 2 && string(raw) == string(d.raw) {
			d.Trailer.Sum, d.Seal = sealSum(d.header, raw), true
			d.patch(d.layout.trailer, d.Trailer.Encode())
			return nil
		}
		d.index, d.raw = x, raw
	}
	tally := newTally(d.header)
	d.Size = d.layout.end
	d.patch(0, d.header.Encode())
	err := tally.recount(d.Over(d.f), d.header.Salt, d.layout.indexA)
	d.patches = nil
	if err != nil && err != io.ErrUnexpectedEOF {
		return err
	}
	if err == nil {
		d.index = tally.index(d.layout)
		d.raw = d.index.encode(d.header.Salt, d.layout)
		if sealSum(d.header, d.raw) == d.Trailer.Sum {
			return nil
		}
	}
	return fmt.Errorf("both copies of the index are damaged, and stripes too: %w", ErrNoTrailer)
}

// indexAt reads the index at an offset.
func (d *diagnosis) indexAt(at int64) (Index, []byte, bool) {
	raw := make([]byte, d.layout.index)
	if _, err := readFull(d.f, raw, at); err != nil {
		return Index{}, nil, false
	}
	x, err := decodeIndex(raw, d.header.Salt, d.layout)
	return x, raw, err == nil
}

// findEnd takes the end of frames from the size of the file: there is at most one that gives it.
func (d *diagnosis) findEnd() bool {
	words := sort.Search(int(min(d.size, MaxDataEnd)/8), func(n int) bool { return SealedSize(d.header.Size, int64(n)*8) >= d.size })
	end := int64(words) * 8
	return end >= HeaderSize && SealedSize(d.header.Size, end) == d.size && d.indexBehind(end)
}

// indexBehind tells whether there is a good index where one must be if the frames end there.
func (d *diagnosis) indexBehind(end int64) bool {
	d.layout = layOut(d.header.Size, end)
	for _, at := range []int64{d.layout.indexA, d.layout.indexB} {
		var ok bool
		if d.index, d.raw, ok = d.indexAt(at); ok {
			return true
		}
	}
	return false
}

// search looks for an index anywhere, for a file that was cut or has grown.
func (d *diagnosis) search() bool { return d.eachIndex(d.header.Salt, d.endOf) }

// searchPair looks for both copies of the index where neither header nor trailer is left: the parity between them tells the
// size of a stripe, and with that the parity can give back the header.
func (d *diagnosis) searchPair() bool {
	var first []byte
	var end int64
	return d.eachIndex(d.name.Salt, func(at int64, b []byte) bool {
		length := int64(le.Uint32(b[4:]))
		if length < indexFields || length > d.size-at {
			return false
		}
		raw := make([]byte, length)
		if _, err := readFull(d.f, raw, at); err != nil || le.Uint32(raw[length-4:]) != crc32.Checksum(raw[:length-4], crcTable) {
			return false
		}
		if first == nil {
			first, end = raw, at
			return false
		}
		groups := int64(le.Uint32(raw[20:]))
		if string(raw) != string(first) || groups == 0 {
			return false
		}
		block := (at - end - length) / groups
		if block <= 0 {
			return false
		}
		d.layout, d.raw = layOutStripes(block, end), raw
		x, err := decodeIndex(raw, d.name.Salt, d.layout)
		d.index = x
		return err == nil && d.layout.indexB == at
	})
}

// revive takes the header that the parity has given back, if it is that of a segment laid out like this one.
func (d *diagnosis) revive() error {
	b := make([]byte, HeaderSize)
	_, err := readFull(d.Over(d.f), b, 0)
	if err == nil {
		d.header, err = DecodeHeader(b)
	}
	if err == nil && (d.header.Salt != d.name.Salt || layOut(d.header.Size, d.layout.indexA).end != d.layout.end) {
		err = ErrMalformed
	}
	if err != nil && !unknown(err) {
		err = fmt.Errorf("neither header nor trailer is left: %w: %w", ErrNoTrailer, err)
	}
	d.layout.stripe = stripeSize(d.header.Size)
	return err
}

// eachIndex calls try for what looks like the beginning of an index, until it says true. The salt keeps an index of another
// segment out. A file may be far larger than a segment can be, and most of it a hole.
func (d *diagnosis) eachIndex(salt uint64, try func(at int64, b []byte) bool) bool {
	const step = window / 2
	b := make([]byte, step+indexFields)
	end := min(d.size, SealedSize(MaxSegment, MaxDataEnd))
	for base := int64(HeaderSize); base < end; base += step {
		if data := vfs.NextData(d.f, base) &^ 7; data > base {
			if base = data; base >= end {
				return false
			}
		}
		n, err := readSparing(d.f, b, base, func(_, _ int64, _ error) {})
		if err != nil {
			return false
		}
		for at := 0; at < step && at+indexFields <= n; at += 8 {
			if le.Uint32(b[at:]) == indexMagic && le.Uint64(b[at+8:]) == salt && try(base+int64(at), b[at:at+indexFields]) {
				return true
			}
		}
	}
	return false
}

// endOf tries an index that begins with b at this offset as the first copy, and as the second one.
func (d *diagnosis) endOf(at int64, b []byte) bool {
	if d.indexBehind(at) {
		return true
	}
	length, stripes, groups := int64(le.Uint32(b[4:])), le.Uint32(b[16:]), int64(le.Uint32(b[20:]))
	end := at - length - groups*stripeSize(d.header.Size)
	if stripes == 1 {
		end = (at - length) / 2
	}
	return end >= HeaderSize && end%8 == 0 && d.indexBehind(end)
}
