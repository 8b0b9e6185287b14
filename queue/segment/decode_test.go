package segment

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/golang/snappy"
	"pgregory.net/rapid"
)

// encoded builds a data frame and returns its header and payload.
func encoded(codec Codec, runs ...Run) (FrameHeader, []byte) {
	h, b := dataFrame(50, 60, codec, runs...)
	return h, b[FrameHeaderSize : FrameHeaderSize+h.payload()]
}

func TestFrameRoundTrip(t *testing.T) {
	var f, g Frame
	rapid.Check(t, func(t *rapid.T) {
		runs := drawRuns(t)
		h, payload := encoded(Codec(rapid.IntRange(0, 1).Draw(t, "codec")), runs...)
		if err := f.Decode(h, 4096, payload); err != nil {
			t.Fatal(err)
		}
		clear(payload[h.Meta:]) // the frame must not refer to it
		if f.FrameHeader != h || f.Offset != 4096 || !bytes.Equal(f.Body(), raw(runs)) {
			t.Fatalf("%+v decoded as %+v", h, f.FrameHeader)
		}
		for i, r := range f.Runs {
			if len(r.Body) == 0 {
				r.Body = nil
			}
			if !reflect.DeepEqual(r, runs[i]) {
				t.Fatalf("run %d: %+v became %+v", i, runs[i], r)
			}
		}
		if err := g.SetRaw(h, 4096, payload[:h.Meta], f.Body()); err != nil {
			t.Fatal(err)
		}
		if g.FrameHeader != h || !reflect.DeepEqual(f.Runs, g.Runs) || !bytes.Equal(f.Body(), g.Body()) {
			t.Fatalf("SetRaw made %+v of it", g)
		}
	})
}

func TestFrameOfOtherTypes(t *testing.T) {
	var f Frame
	h, payload := encoded(Snappy, lines("a", "left from before"))
	if err := f.Decode(h, 0, payload); err != nil {
		t.Fatal(err)
	}
	h = FrameHeader{Type: Gap, First: 9, Count: 4}
	b := EncodeFrame(nil, &h, nil, []byte("reason"), None)
	if err := f.Decode(h, 8, b[FrameHeaderSize:FrameHeaderSize+h.payload()]); err != nil || len(f.Runs) != 0 || string(f.Body()) != "reason" {
		t.Errorf("gap: %+v, %v", f, err)
	}
	h = FrameHeader{Type: PositionsFrame, First: 9}
	p := Positions{Pairs: []Pair{{Key: "k", Value: bytes.Repeat([]byte("v"), 1000)}}}
	b = EncodeFrame(nil, &h, nil, AppendPositions(nil, p), Snappy)
	if err := f.Decode(h, 8, b[FrameHeaderSize:FrameHeaderSize+h.payload()]); err != nil || h.Codec != Snappy {
		t.Fatal(err)
	}
	if got, err := DecodePositions(f.Body()); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("positions: %+v, %v", got, err)
	}
}

// Frames whose checksums hold and whose contents lie.
func TestFrameDecodeRejects(t *testing.T) {
	body := text(3, 4000)
	run := Run{Form: Lines, Count: 10, Raw: 4000, Body: body}
	meta := AppendMeta(nil, []Run{run})
	data := func(meta, stored []byte, count, rawSize uint32, codec Codec) (FrameHeader, []byte) {
		h := FrameHeader{Type: Data, Codec: codec, First: 1, Count: count, Stored: uint32(len(stored)), Raw: rawSize, Meta: uint32(len(meta))}
		return h, append(bytes.Clone(meta), stored...)
	}
	packed := snappy.Encode(nil, body)
	for name, build := range map[string]func() (FrameHeader, []byte){
		"payload short":         func() (FrameHeader, []byte) { h, p := data(meta, body, 10, 4000, None); return h, p[1:] },
		"payload long":          func() (FrameHeader, []byte) { h, p := data(meta, body, 10, 4000, None); return h, append(p, 0) },
		"record count":          func() (FrameHeader, []byte) { return data(meta, body, 11, 4000, None) },
		"raw length":            func() (FrameHeader, []byte) { return data(meta, body[:3999], 10, 3999, None) },
		"decoded length larger": func() (FrameHeader, []byte) { return data(meta, snappy.Encode(nil, text(3, 4001)), 10, 4000, Snappy) },
		"decoded length less":   func() (FrameHeader, []byte) { return data(meta, snappy.Encode(nil, body[:3999]), 10, 4000, Snappy) },
		"snappy cut":            func() (FrameHeader, []byte) { return data(meta, packed[:len(packed)-1], 10, 4000, Snappy) },
		"snappy garbage": func() (FrameHeader, []byte) {
			return data(meta, append([]byte{0xa0, 0x1f}, noise(1, 900)...), 10, 4000, Snappy)
		},
		"snappy empty": func() (FrameHeader, []byte) { return data(meta, nil, 10, 4000, Snappy) },
		"bomb": func() (FrameHeader, []byte) {
			lie := AppendMeta(nil, []Run{{Form: Lines, Count: 1, Raw: math.MaxUint32}})
			return data(lie, packed, 1, math.MaxUint32, Snappy)
		},
		"unknown codec":   func() (FrameHeader, []byte) { return data(meta, body, 10, 4000, 9) },
		"stored not raw":  func() (FrameHeader, []byte) { return data(meta, body[:3000], 10, 4000, None) },
		"meta garbage":    func() (FrameHeader, []byte) { return data(noise(2, 30), body, 10, 4000, None) },
		"meta with spare": func() (FrameHeader, []byte) { return data(append(bytes.Clone(meta), 0), body, 10, 4000, None) },
		"run counts wrap": func() (FrameHeader, []byte) {
			wrap := make([]Run, 3)
			for i := range wrap {
				wrap[i] = Run{Form: Lines, Count: 1, Raw: math.MaxUint32}
			}
			wrap[2].Raw = 4002
			return data(AppendMeta(nil, wrap), body, 3, 4000, None)
		},
	} {
		h, payload := build()
		f := Frame{}
		if err := f.Decode(h, 4096, payload); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if f.FrameHeader != (FrameHeader{}) || len(f.Runs) != 0 || f.Body() != nil || cap(f.buf) > 8000 {
			t.Errorf("%s: the frame holds %+v, %d bytes", name, f.FrameHeader, cap(f.buf))
		}
	}
	h, payload := data(meta, body, 10, 4000, None)
	var f Frame
	if err := f.SetRaw(h, 0, payload[:h.Meta-1], body); !errors.Is(err, ErrMalformed) {
		t.Errorf("short meta: %v", err)
	}
	if err := f.SetRaw(h, 0, meta, body[1:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("short body: %v", err)
	}
}

// Appending to a body must not reach into the next.
func TestRunBodiesAreSeparate(t *testing.T) {
	h, payload := encoded(None, lines("a", "first"), lines("b", "second"))
	var f Frame
	if err := f.Decode(h, 0, payload); err != nil {
		t.Fatal(err)
	}
	_ = append(f.Runs[0].Body, "XXXX"...)
	_ = append(f.Runs[0].Key, "XXXX"...)
	if string(f.Runs[1].Body) != "second\n" || string(f.Runs[0].Position) != "\x01\x02\x03" {
		t.Errorf("overwritten: %q %q", f.Runs[1].Body, f.Runs[0].Position)
	}
}
