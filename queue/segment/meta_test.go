package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawRuns draws runs with their bodies.
func drawRuns(t *rapid.T) []Run {
	optional := func(name string) []byte {
		if b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name); len(b) > 0 {
			return b
		}
		return nil
	}
	runs := make([]Run, rapid.IntRange(1, 5).Draw(t, "runs"))
	for i := range runs {
		r := &runs[i]
		r.Form = Form(rapid.Byte().Draw(t, "form"))
		r.Key, r.Position, r.Attributes = optional("key"), optional("position"), optional("attributes")
		r.Body = optional("body")
		r.Raw = uint32(len(r.Body))
		if r.Raw > 0 {
			r.Count = rapid.Uint32Range(1, r.Raw).Draw(t, "count")
		}
	}
	if runs[0].Count == 0 {
		runs[0].Count, runs[0].Raw, runs[0].Body = 1, 1, []byte("\n")
	}
	return runs
}

func TestMetaRoundTrip(t *testing.T) {
	var reused []Run
	rapid.Check(t, func(t *rapid.T) {
		runs := drawRuns(t)
		b := AppendMeta(nil, runs)
		if len(b) > metaBound(runs) {
			t.Fatalf("%d bytes, bound %d", len(b), metaBound(runs))
		}
		got, err := DecodeMeta(b, reused)
		if err != nil {
			t.Fatal(err)
		}
		for i := range runs {
			runs[i].Body = nil
		}
		if !reflect.DeepEqual(got, runs) {
			t.Fatalf("%+v became %+v", runs, got)
		}
		if !bytes.Equal(AppendMeta(nil, got), b) {
			t.Fatal("encoded differently the second time")
		}
		reused = got
	})
}

func TestDecodeMetaKeepsNoOldBody(t *testing.T) {
	old := []Run{{Body: []byte("old"), Attributes: []byte("old")}}
	got, err := DecodeMeta(AppendMeta(nil, []Run{{Form: Lines, Count: 1, Raw: 2}}), old)
	if err != nil || got[0].Body != nil || got[0].Attributes != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDecodeMetaRejects(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":                   {},
		"count not minimal":       {0x81, 0x00, 1, 1, 1, 0, 0, 0},
		"number not minimal":      {1, 1, 0x81, 0x00, 1, 0, 0, 0},
		"length not minimal":      {1, 1, 1, 1, 0x80, 0x00, 0, 0},
		"trailing byte":           {1, 1, 1, 1, 0, 0, 0, 0},
		"trailing byte, no runs":  {0, 0},
		"cut in a run":            {1, 1, 1, 1, 0, 0},
		"cut in a number":         {1, 1, 0x80},
		"fewer runs than said":    {2, 1, 1, 1, 0, 0, 0},
		"absurd number of runs":   append(binary.AppendUvarint(nil, math.MaxUint64), 1, 1, 1, 0, 0, 0),
		"key longer than input":   {1, 1, 1, 1, 4, 0, 0},
		"key of 2^63 bytes":       append(binary.AppendUvarint([]byte{1, 1, 1, 1}, 1<<63), 0, 0),
		"count above 32 bits":     append(binary.AppendUvarint([]byte{1, 1}, 1<<32), 1, 0, 0, 0),
		"number above 64 bits":    append([]byte{1, 1}, []byte(strings.Repeat("\xff", 12))...),
		"more records than bytes": {1, 1, 2, 1, 0, 0, 0},
		"bytes without a record":  {1, 1, 0, 1, 0, 0, 0},
	} {
		if runs, err := DecodeMeta(b, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: decoded as %+v, %v", name, runs, err)
		}
	}
	for name, b := range map[string][]byte{
		"no runs":             {0},
		"smallest run":        {1, 1, 1, 1, 0, 0, 0},
		"run without records": {1, 1, 0, 0, 0, 1, 'p', 0},
		"form to come":        {1, 200, 1, 1, 0, 0, 0},
	} {
		if _, err := DecodeMeta(b, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func drawPositions(t *rapid.T) Positions {
	p := Positions{Full: rapid.Bool().Draw(t, "full")}
	p.Parts = rapid.Uint32Range(1, math.MaxUint32).Draw(t, "parts")
	p.Part = rapid.Uint32Range(0, p.Parts-1).Draw(t, "part")
	for range rapid.IntRange(0, 4).Draw(t, "pairs") {
		pair := Pair{Key: rapid.String().Draw(t, "key")}
		if rapid.Bool().Draw(t, "kept") {
			pair.Value = append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value")...)
		}
		p.Pairs = append(p.Pairs, pair)
	}
	return p
}

func TestPositionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPositions(t)
		b := AppendPositions(nil, p)
		got, err := DecodePositions(b)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("%+v became %+v, %v", p, got, err)
		}
		for i := range b { // the result must not share memory with b
			b[i] = 0xaa
		}
		if !reflect.DeepEqual(got, p) {
			t.Fatal("the result changed with the bytes it was read from")
		}
	})
}

// The zero Positions, without Parts, is what a writer of changes uses.
func TestPositionsOfChanges(t *testing.T) {
	p := Positions{Pairs: []Pair{{Key: "out/a", Value: []byte{}}, {Key: "out/b"}}}
	got, err := DecodePositions(AppendPositions(nil, p))
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v became %+v, %v", p, got, err)
	}
	if got.Pairs[0].Value == nil || got.Pairs[1].Value != nil {
		t.Error("an empty value and a removed key are not told apart")
	}
}

func TestDecodePositionsRejects(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":                  {},
		"kind":                   {2, 0, 1, 0},
		"part not below parts":   {1, 1, 1, 0},
		"no parts":               {1, 0, 0, 0},
		"part not minimal":       {0, 0x80, 0, 1, 0},
		"trailing byte":          {0, 0, 0, 0, 0},
		"fewer pairs than said":  {0, 0, 0, 2, 0, 0},
		"absurd number of pairs": append(binary.AppendUvarint([]byte{0, 0, 0}, math.MaxUint64), 0, 0),
		"key longer than input":  {0, 0, 0, 1, 9, 0},
		"value longer":           {0, 0, 0, 1, 0, 3, 'x'},
		"value of 2^64-1 bytes":  binary.AppendUvarint([]byte{0, 0, 0, 1, 0}, math.MaxUint64),
		"value cut":              {0, 0, 0, 1, 0},
	} {
		if p, err := DecodePositions(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: decoded as %+v, %v", name, p, err)
		}
	}
}
