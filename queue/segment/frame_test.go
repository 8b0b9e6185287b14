package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"github.com/golang/snappy"
	"pgregory.net/rapid"
)

func TestFrameHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := FrameHeader{
			Type:   Data,
			First:  rapid.Uint64Range(1, MaxSequence-math.MaxUint32).Draw(t, "first"),
			Stored: rapid.Uint32Range(1, MaxFrame/2).Draw(t, "stored"),
			Meta:   rapid.Uint32Range(1, MaxFrame/4).Draw(t, "meta"),
			Time:   rapid.Int64().Draw(t, "time"),
			Mark:   rapid.Uint64Range(0, MaxSequence).Draw(t, "mark"),
			Sum:    rapid.Uint32().Draw(t, "sum"),
		}
		h.Raw = h.Stored
		if rapid.Bool().Draw(t, "snappy") {
			h.Codec = Snappy
			h.Raw = rapid.Uint32Range(1, min(MaxFrame, maxRatio*h.Stored)).Draw(t, "raw")
		}
		h.Count = rapid.Uint32Range(1, h.Raw).Draw(t, "count")
		salt, offset := rapid.Uint64().Draw(t, "salt"), rapid.Int64Range(0, 1<<40).Draw(t, "offset")
		b := make([]byte, FrameHeaderSize)
		h.Put(b, salt, offset)
		if got, err := DecodeFrameHeader(b, salt, offset); err != nil || got != h {
			t.Fatalf("%+v became %+v, %v", h, got, err)
		}
	})
}

// The seed by hand is what crc32 makes of the sixteen bytes.
func TestFrameHeaderChecksum(t *testing.T) {
	h, b := dataFrame(5, 6, None, lines("a", "x"))
	const salt, offset = 0x0102030405060708, 4096
	h.Put(b, salt, offset)
	seed := binary.LittleEndian.AppendUint64(nil, salt)
	seed = binary.LittleEndian.AppendUint64(seed, offset)
	if want := crc32.Checksum(append(seed, b[:52]...), crcTable); le.Uint32(b[52:]) != want {
		t.Errorf("checksum %#x, want %#x", le.Uint32(b[52:]), want)
	}
}

// A frame is good in one segment and at one offset only.
func TestFrameHeaderIsBoundToItsPlace(t *testing.T) {
	h, b := dataFrame(5, 6, None, lines("a", "x"))
	const salt, offset = 77, 8192
	h.Put(b, salt, offset)
	if _, err := DecodeFrameHeader(b, salt, offset); err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := DecodeFrameHeader(b, NewSalt(), offset); err != ErrChecksum {
			t.Errorf("other salt: %v", err)
		}
	}
	for o := int64(0); o < 1<<16; o += 8 {
		if _, err := DecodeFrameHeader(b, salt, o); o != offset && err != ErrChecksum {
			t.Errorf("offset %d: %v", o, err)
		}
	}
}

// TestLastSequence: a frame that has no sequence, which a type to come may have, is not taken for one beyond all numbers.
func TestLastSequence(t *testing.T) {
	for _, c := range []struct {
		h    FrameHeader
		want uint64
	}{{FrameHeader{First: 5, Count: 3}, 7}, {FrameHeader{First: 5}, 4}, {FrameHeader{}, 0}, {FrameHeader{Type: 200, Count: 9}, 0}} {
		if got := c.h.Last(); got != c.want {
			t.Errorf("%+v ends with %d, want %d", c.h, got, c.want)
		}
	}
}

func TestFrameHeaderRules(t *testing.T) {
	good := FrameHeader{Type: Data, First: 1, Count: 2, Stored: 100, Raw: 100, Meta: 10}
	bodiless := FrameHeader{Type: Marker, First: 1}
	for name, c := range map[string]struct {
		base   FrameHeader
		change func(h *FrameHeader)
		ok     bool
	}{
		"data":                    {good, func(h *FrameHeader) {}, true},
		"first zero":              {good, func(h *FrameHeader) { h.First = 0 }, false},
		"count zero":              {good, func(h *FrameHeader) { h.Count = 0 }, false},
		"more records than bytes": {good, func(h *FrameHeader) { h.Count = 101 }, false},
		"no meta":                 {good, func(h *FrameHeader) { h.Meta = 0 }, false},
		"raw is not stored":       {good, func(h *FrameHeader) { h.Raw = 99 }, false},
		"unknown codec":           {good, func(h *FrameHeader) { h.Codec = 2 }, false},
		"dense":                   {good, func(h *FrameHeader) { h.Codec, h.Raw = Snappy, 100*maxRatio }, true},
		"impossibly dense":        {good, func(h *FrameHeader) { h.Codec, h.Raw = Snappy, 100*maxRatio+1 }, false},
		"stored 4 GiB":            {good, func(h *FrameHeader) { h.Stored, h.Raw = math.MaxUint32, math.MaxUint32 }, false},
		"raw 4 GiB":               {good, func(h *FrameHeader) { h.Codec, h.Stored, h.Raw = Snappy, 1<<23, math.MaxUint32 }, false},
		"meta 4 GiB":              {good, func(h *FrameHeader) { h.Meta = math.MaxUint32 }, false},
		"largest":                 {good, func(h *FrameHeader) { h.Stored, h.Raw = MaxFrame-66, MaxFrame-66 }, true},
		"one more":                {good, func(h *FrameHeader) { h.Stored, h.Raw = MaxFrame-65, MaxFrame-65 }, false},
		"last sequence":           {good, func(h *FrameHeader) { h.First = MaxSequence - 1 }, true},
		"beyond it":               {good, func(h *FrameHeader) { h.First = MaxSequence }, false},
		"first wraps":             {good, func(h *FrameHeader) { h.First = math.MaxUint64 }, false},
		"mark too large":          {good, func(h *FrameHeader) { h.Mark = MaxSequence + 1 }, false},
		"marker":                  {bodiless, func(h *FrameHeader) {}, true},
		"marker with a count":     {bodiless, func(h *FrameHeader) { h.Count = 1 }, false},
		"marker with a body":      {bodiless, func(h *FrameHeader) { h.Stored, h.Raw = 1, 1 }, false},
		"close":                   {bodiless, func(h *FrameHeader) { h.Type = Close }, true},
		"gap":                     {bodiless, func(h *FrameHeader) { h.Type, h.Count, h.Stored, h.Raw = Gap, math.MaxUint32, 9, 9 }, true},
		"empty gap":               {bodiless, func(h *FrameHeader) { h.Type = Gap }, false},
		"gap with a meta":         {bodiless, func(h *FrameHeader) { h.Type, h.Count, h.Meta = Gap, 1, 1 }, false},
		"positions":               {bodiless, func(h *FrameHeader) { h.Type, h.Stored, h.Raw = PositionsFrame, 9, 9 }, true},
		"positions with a count":  {bodiless, func(h *FrameHeader) { h.Type, h.Count = PositionsFrame, 1 }, false},
		"type to come":            {good, func(h *FrameHeader) { h.Type, h.Codec, h.Count, h.Raw = 200, 200, 900, 1 }, true},
		"type to come, too large": {good, func(h *FrameHeader) { h.Type, h.Stored = 200, MaxFrame }, false},
	} {
		h := c.base
		c.change(&h)
		b := make([]byte, FrameHeaderSize)
		h.Put(b, 1, 2)
		got, err := DecodeFrameHeader(b, 1, 2)
		if c.ok && (err != nil || got != h) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if !c.ok && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: decoded as %+v, %v", name, got, err)
		}
	}
	b := make([]byte, FrameHeaderSize)
	good.Put(b, 1, 2)
	b[7] = 1
	le.PutUint32(b[52:], headerSum(b, 1, 2))
	if _, err := DecodeFrameHeader(b, 1, 2); !errors.Is(err, ErrMalformed) {
		t.Errorf("reserved bytes in use: %v", err)
	}
	if _, err := DecodeFrameHeader(b[:FrameHeaderSize-1], 1, 2); err != ErrMagic {
		t.Errorf("short: %v", err)
	}
}

func TestEncodeFrame(t *testing.T) {
	compressible := Run{Form: Lines, Count: 50, Body: text(1, 5000)}
	compressible.Raw = 5000
	for name, c := range map[string]struct {
		run   Run
		codec Codec
		want  Codec
	}{
		"none":           {compressible, None, None},
		"snappy":         {compressible, Snappy, Snappy},
		"incompressible": {blob(1, 5000), Snappy, None},
		"tiny":           {lines("a", ""), Snappy, None},
	} {
		h := FrameHeader{Type: Data, First: 9, Count: 77}
		b := EncodeFrame(nil, &h, []Run{c.run, lines("b", "1", "2")}, append(bytes.Clone(c.run.Body), "1\n2\n"...), c.codec)
		if h.Codec != c.want || int64(len(b)) != h.Size() || len(b)%8 != 0 || h.Count != c.run.Count+2 || h.Last() != 9+uint64(c.run.Count)+1 {
			t.Errorf("%s: %d bytes for %+v", name, len(b), h)
		}
		if !zero(b[:FrameHeaderSize]) || !zero(b[FrameHeaderSize+h.payload():]) {
			t.Errorf("%s: header or padding is not blank", name)
		}
		if !VerifyPayload(h, b[FrameHeaderSize:FrameHeaderSize+h.payload()]) || !h.valid() {
			t.Errorf("%s: %+v does not fit its payload", name, h)
		}
		if h.Codec == Snappy && h.Stored > h.Raw-h.Raw/16 {
			t.Errorf("%s: compressed to %d of %d for nothing", name, h.Stored, h.Raw)
		}
	}
}

// The rule says at least a sixteenth, not about.
func TestEncodeFrameSavesASixteenth(t *testing.T) {
	for n := range 2000 {
		body := append(bytes.Repeat([]byte{'a'}, n%40), noise(uint64(n), 100+n/40)...)
		run := Run{Form: Lines, Count: 1, Raw: uint32(len(body)), Body: body}
		h := FrameHeader{Type: Data, First: 1}
		EncodeFrame(nil, &h, []Run{run}, body, Snappy)
		saved := len(body) - len(snappy.Encode(nil, body))
		if (h.Codec == Snappy) != (16*saved >= len(body)) {
			t.Fatalf("%d bytes, %d saved: codec %d", len(body), saved, h.Codec)
		}
	}
}

func TestEncodeFrameOfOtherTypes(t *testing.T) {
	h := FrameHeader{Type: Gap, First: 3, Count: 40}
	b := EncodeFrame(nil, &h, []Run{lines("a", "x")}, []byte("disk full"), Snappy)
	if h.Meta != 0 || h.Count != 40 || h.Raw != 9 || string(b[FrameHeaderSize:FrameHeaderSize+9]) != "disk full" {
		t.Errorf("gap: %+v %q", h, b)
	}
	h = FrameHeader{Type: Close, First: 3, Mark: 2}
	if b = EncodeFrame(b, &h, nil, nil, Snappy); len(b) != FrameHeaderSize || !h.valid() {
		t.Errorf("close: %+v, %d bytes", h, len(b))
	}
}

func TestFrameBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		runs := drawRuns(t)
		body := raw(runs)
		dst := make([]byte, 0, FrameBound(runs, len(body)))
		h := FrameHeader{Type: Data, First: 1}
		b := EncodeFrame(dst, &h, runs, body, Snappy)
		if &b[0] != &dst[:1][0] {
			t.Fatal("the capacity of FrameBound did not suffice")
		}
	})
}

func TestVerifyPayload(t *testing.T) {
	h, b := dataFrame(1, 1, None, lines("a", "some record"))
	payload := b[FrameHeaderSize : FrameHeaderSize+h.payload()]
	if !VerifyPayload(h, payload) {
		t.Fatal("good payload refused")
	}
	if VerifyPayload(h, payload[1:]) || VerifyPayload(h, append(bytes.Clone(payload), 0)) || VerifyPayload(h, nil) {
		t.Error("payload of another length accepted")
	}
	for i := range payload {
		payload[i] ^= 4
		if VerifyPayload(h, payload) {
			t.Fatalf("change of byte %d not seen", i)
		}
		payload[i] ^= 4
	}
}

func TestTypeNames(t *testing.T) {
	want := map[Type]string{0: "type 0", Data: "data", PositionsFrame: "positions", Gap: "gap", Marker: "marker", Close: "close", 99: "type 99"}
	for typ, name := range want {
		if typ.String() != name {
			t.Errorf("type %d is called %s", uint8(typ), typ)
		}
	}
}
