package segment

import (
	"bytes"
	"hash/crc32"
	"reflect"
	"slices"
	"testing"
)

// The fuzzers make checksums right before they decode, or they would never get past them.

func FuzzFrame(f *testing.F) {
	for _, codec := range []Codec{None, Snappy} {
		h, b := dataFrame(3, 4, codec, lines("a", "one", "two"), Run{Form: Records, Count: 9, Raw: 900, Body: text(1, 900)})
		h.Put(b, imageSalt, HeaderSize)
		f.Add(b)
	}
	for _, typ := range []Type{PositionsFrame, Gap, Marker, 99} {
		h := FrameHeader{Type: typ, First: 1, Count: 1}
		b := EncodeFrame(nil, &h, nil, []byte("body"), None)
		h.Put(b, imageSalt, HeaderSize)
		f.Add(b)
	}
	bomb := make([]byte, FrameHeaderSize)
	FrameHeader{Type: 0, Raw: MaxFrame}.Put(bomb, imageSalt, HeaderSize)
	f.Add(bomb)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < FrameHeaderSize {
			b = append(b, make([]byte, FrameHeaderSize)...)
		}
		le.PutUint32(b, frameMagic)
		payload := b[FrameHeaderSize:]
		if n := int64(le.Uint32(b[20:])) + int64(le.Uint32(b[28:])); n < int64(len(payload)) {
			payload = payload[:n]
		}
		le.PutUint32(b[48:], crc32.Checksum(payload, crcTable))
		le.PutUint32(b[52:], headerSum(b, imageSalt, HeaderSize))
		h, err := DecodeFrameHeader(b, imageSalt, HeaderSize)
		if err != nil {
			return
		}
		again := make([]byte, FrameHeaderSize)
		h.Put(again, imageSalt, HeaderSize)
		if !bytes.Equal(again, b[:FrameHeaderSize]) || h.Size() > MaxFrame {
			t.Fatalf("%+v encodes differently", h)
		}
		if !VerifyPayload(h, payload) {
			return
		}
		var frame Frame
		err = frame.Decode(h, HeaderSize, payload)
		if limit := int(h.Meta) + maxRatio*int(h.Stored); cap(frame.buf) > limit {
			t.Fatalf("%d bytes of memory for a payload of %d", cap(frame.buf), len(payload))
		}
		if err != nil {
			return
		}
		var other Frame
		if err := other.SetRaw(h, HeaderSize, payload[:h.Meta], frame.Body()); err != nil || !reflect.DeepEqual(frame.Runs, other.Runs) {
			t.Fatalf("SetRaw: %v", err)
		}
		if h.Type == Data && !bytes.Equal(raw(frame.Runs), frame.Body()) {
			t.Fatal("the bodies of the runs are not the body")
		}
		if h.Codec == None && (h.Meta == 0 || h.Type == Data) { // a type to come may have a meta of another kind
			same := h
			if e := EncodeFrame(nil, &same, frame.Runs, frame.Body(), None); same != h || !bytes.Equal(e[FrameHeaderSize:FrameHeaderSize+h.payload()], payload) {
				t.Fatalf("%+v encodes as %+v", h, same)
			}
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(AppendMeta(nil, []Run{lines("a", "x"), {Form: Records, Count: 300, Raw: 70000}}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		runs, err := DecodeMeta(b, nil)
		if len(runs)*minRun > len(b) {
			t.Fatalf("%d runs out of %d bytes", len(runs), len(b))
		}
		if err == nil && !bytes.Equal(AppendMeta(nil, runs), b) {
			t.Fatalf("%+v encodes differently", runs)
		}
	})
}

func FuzzPositions(f *testing.F) {
	f.Add(AppendPositions(nil, Positions{Full: true, Part: 1, Parts: 3, Pairs: []Pair{{"a", []byte("b")}, {"c", nil}, {"", []byte{}}}}))
	f.Add(AppendPositions(nil, Positions{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePositions(b)
		if cap(p.Pairs)*minPair > len(b) {
			t.Fatalf("room for %d pairs out of %d bytes", cap(p.Pairs), len(b))
		}
		if err == nil && !bytes.Equal(AppendPositions(nil, p), b) {
			t.Fatalf("%+v encodes differently", p)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(testHeader().Encode()[:headerFields])
	f.Fuzz(func(t *testing.T, fields []byte) {
		b := reseal(append(fields, make([]byte, HeaderSize)...)[:HeaderSize])
		h, err := DecodeHeader(b)
		if err == nil && !bytes.Equal(h.Encode(), b) {
			t.Fatalf("%+v encodes differently", h)
		}
	})
}

func FuzzTrailer(f *testing.F) {
	h := testHeader()
	h.Size = 64 << 20 // a single stripe: small inputs
	sum := newTally(h)
	sum.bytes(h.Encode())
	tr, pieces := sum.seal(h, 999, false)
	f.Add(tr.Encode()[:trailerFields], slices.Concat(pieces...))
	f.Fuzz(func(t *testing.T, fields, rest []byte) {
		block := reseal(append(fields, make([]byte, TrailerSize)...)[:TrailerSize])
		tr, err := DecodeTrailer(block)
		if err == nil && !bytes.Equal(tr.Encode(), block) {
			t.Fatalf("%+v encodes differently", tr)
		}
		file := slices.Concat(make([]byte, HeaderSize), rest, block)
		r := bytes.NewReader(file)
		if tr, err = ReadTrailer(r, int64(len(file))); err != nil {
			return
		}
		x, err := ReadIndex(r, tr)
		if err != nil {
			return
		}
		l := layOut(tr.Header.Size, tr.DataEnd)
		if e := x.encode(tr.Header.Salt, l); !bytes.Equal(e, file[tr.IndexA:tr.Parity]) && !bytes.Equal(e, file[tr.IndexB:][:l.index]) {
			t.Fatalf("%+v encodes differently", x)
		}
		if _, err := badStripes(r, tr, x); err != nil {
			t.Fatal(err)
		}
		if offset := x.Seek(tr.Header.First); offset < HeaderSize || offset > tr.DataEnd {
			t.Fatalf("Seek leads to %d", offset)
		}
	})
}

// Input: pieces, each a kind, a length and bytes. Kind 0 is bytes as they are, 1 a good frame with them as its record, 2
// a good header over them, 3 the last good frame again.
func FuzzScan(f *testing.F) {
	f.Add([]byte("\x01\x05hello\x00\x03abc\x01\x02ok\x02\x10abcdefgh\x03\x00\x00\x40"))
	f.Add([]byte{0, 200})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newImage()
		for len(b) >= 2 {
			if len(m.b) > 1<<20 {
				return // what is doubled a few times would not fit into memory
			}
			kind, n := b[0], min(int(b[1])+1, len(b)-2)
			piece := b[2 : 2+n]
			b = b[2+n:]
			for len(m.b)%8 != 0 {
				m.b = append(m.b, 0)
			}
			switch {
			case kind%4 == 1 && n > 0:
				m.add(piece)
			case kind%4 == 2:
				h := FrameHeader{Type: Data, First: 1, Count: 1, Stored: uint32(n) + 1, Raw: uint32(n) + 1, Meta: 7, Sum: 1}
				header := make([]byte, FrameHeaderSize)
				h.Put(header, imageSalt, int64(len(m.b)))
				m.b = append(append(m.b, header...), piece...)
			case kind%4 == 3 && len(m.offsets) > 0:
				m.b = append(m.b, m.b[m.offsets[len(m.offsets)-1]:]...)
			default:
				m.b = append(m.b, piece...)
			}
		}
		parts := m.scan(t)
		good := parts[:0:0]
		for i, p := range parts {
			if !p.Bad {
				good = append(good, p)
			} else if i > 0 && parts[i-1].Bad && !p.Zero {
				t.Fatalf("bad ranges touch: %s", describe(parts))
			}
		}
		if len(good) != len(m.offsets) {
			t.Fatalf("%d frames, %d written: %s", len(good), len(m.offsets), describe(parts))
		}
		for i, p := range good {
			if p.Offset != m.offsets[i] || p.Header.First != uint64(i+1) || !VerifyPayload(p.Header, p.Payload) {
				t.Fatalf("frame %d: %+v", i, p)
			}
		}
	})
}
