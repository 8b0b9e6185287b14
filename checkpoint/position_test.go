package checkpoint

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"logmule/queue/segment"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// full is a position with something in every field.
func full() Position {
	return Position{
		Stream:  3,
		Floor:   1000,
		Epoch:   segment.Epoch{Starts: 7, Random: 0x1122334455667788},
		Segment: segment.Name{First: 900, Salt: 0xaabbccddeeff0011},
		Offset:  65536,
		Done:    []Range{{1000, 1000}, {1001, 1300}, {5000, 5000}},
		State:   []byte("state"),
		Step:    9,
		Planned: 1400,
	}
}

// anyPosition draws positions from the whole range of valid ones.
func anyPosition(t *rapid.T) Position {
	p := Position{
		Stream:  rapid.Uint32().Draw(t, "stream"),
		Floor:   rapid.Uint64Max(1<<63).Draw(t, "floor"),
		Epoch:   segment.Epoch{Starts: rapid.Uint64().Draw(t, "starts"), Random: rapid.Uint64().Draw(t, "random")},
		Segment: segment.Name{First: rapid.Uint64().Draw(t, "first"), Salt: rapid.Uint64().Draw(t, "salt")},
		Offset:  rapid.Int64Min(0).Draw(t, "offset"),
	}
	from := p.Floor
	for range rapid.IntRange(0, 30).Draw(t, "ranges") {
		r := Range{First: from + rapid.Uint64Max(1<<40).Draw(t, "skip")}
		r.Last = r.First + rapid.Uint64Max(1<<40).Draw(t, "length")
		p.Done = append(p.Done, r)
		from = r.Last + 1
	}
	if state := rapid.SliceOfN(rapid.Byte(), 0, MaxState).Draw(t, "state"); len(state) > 0 {
		p.State = state
	}
	return p
}

func TestPositionRoundTrip(t *testing.T) {
	check := func(t interface{ Fatalf(string, ...any) }, p Position) {
		b, err := p.Encode()
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Fatalf("decoded %+v, %v, want %+v", got, err, p)
		}
	}
	rapid.Check(t, func(t *rapid.T) { check(t, anyPosition(t)) })
	check(t, Position{})
	check(t, Position{Floor: math.MaxUint64})
	check(t, Position{Done: []Range{{0, math.MaxUint64 - 1}}})
	many := Position{State: bytes.Repeat([]byte("s"), MaxState)}
	for i := range uint64(MaxDone) {
		many.Done = append(many.Done, Range{2 * i, 2 * i})
	}
	check(t, many)
}

// TestPositionBytes holds the encoding against bytes written down by hand: files of today are read tomorrow.
func TestPositionBytes(t *testing.T) {
	want := "01" + "03000000" + "e803000000000000" + "0700000000000000" + "8877665544332211" +
		"8403000000000000" + "1100ffeeddccbbaa" + "0000010000000000" + "0300" + "0500" + "0900000000000000" + "7805000000000000" +
		"0000" + "00ab02" + "f31c00" + hex.EncodeToString([]byte("state"))
	b, err := full().Encode()
	must(t, err)
	if got := hex.EncodeToString(b[:len(b)-4]); got != want {
		t.Fatalf("encoded\n%s, want\n%s", got, want)
	}
	if got, want := hex.EncodeToString(b[len(b)-4:]), "ec67e63d"; got != want {
		t.Fatalf("checksum %s, want %s", got, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	cases := map[string]Position{
		"too many ranges": {Done: make([]Range, MaxDone+1)},
		"too much state":  {State: make([]byte, MaxState+1)},
		"negative offset": {Offset: -1},
		"below the floor": {Floor: 10, Done: []Range{{9, 12}}},
		"upside down":     {Floor: 10, Done: []Range{{12, 11}}},
		"unsorted":        {Done: []Range{{20, 30}, {1, 2}}},
		"overlapping":     {Done: []Range{{20, 30}, {30, 31}}},
		"the last number": {Done: []Range{{20, math.MaxUint64}}},
	}
	for name, p := range cases {
		if b, err := p.Encode(); err == nil {
			t.Errorf("%s: encoded as %x", name, b)
		}
	}
}

func TestDecodeFindsEveryDamage(t *testing.T) {
	good, err := full().Encode()
	must(t, err)
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if p, err := Decode(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d flipped: %+v, %v", bit, i, p, err)
			}
		}
		if p, err := Decode(good[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %+v, %v", i, p, err)
		}
	}
	if _, err := Decode(append(bytes.Clone(good), 0)); !errors.Is(err, ErrDamaged) {
		t.Fatalf("with a byte more: %v", err)
	}
}

// TestDecodeIsStrict: the checksum is right, what it covers is not what Encode writes.
func TestDecodeIsStrict(t *testing.T) {
	good, err := full().Encode()
	must(t, err)
	good = good[:len(good)-sumSize]
	ranges := func(count byte, tail ...byte) []byte {
		b := bytes.Clone(good[:positionFixed])
		b[53], b[54], b[55], b[56] = count, 0, 0, 0
		return append(b, tail...)
	}
	overflow := bytes.Repeat([]byte{0xff}, 9)
	cases := map[string][]byte{
		"other version":         append([]byte{positionVersion + 1}, good[1:]...),
		"a byte more":           append(bytes.Clone(good), 0),
		"a byte less":           good[:len(good)-1],
		"more ranges than fit":  ranges(3, 0, 0),
		"more ranges than may":  ranges(0, 0, 0)[:positionFixed],
		"number without an end": ranges(1, 0x80, 0x80),
		"number in long form":   ranges(1, 0x80, 0x00, 0x00),
		"range beyond the end":  ranges(1, append(overflow, 1, 0)...),
		"length beyond the end": ranges(1, append([]byte{0}, append(overflow, 1)...)...),
		"number too long":       ranges(1, append(overflow, 0xff, 0xff, 1, 0)...),
	}
	cases["more ranges than may"][54] = 0xff
	if _, err := Decode(sealValue("", ranges(1, 5, 6))); err != nil {
		t.Fatalf("the cases start from something bad: %v", err)
	}
	for name, body := range cases {
		if p, err := Decode(sealValue("", bytes.Clone(body))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// FuzzDecode also puts the right checksum behind the bytes, so that the code behind it is reached.
func FuzzDecode(f *testing.F) {
	for _, p := range []Position{{}, full(), {Done: []Range{{0, math.MaxUint64 - 1}}}} {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-sumSize])
	}
	long := bytes.Repeat([]byte{0xff}, 200)
	long[0] = positionVersion
	f.Add(long)
	f.Fuzz(func(t *testing.T, body []byte) {
		b := sealValue("", bytes.Clone(body)) // the checksum of a value without a key is that of a position
		p, err := Decode(b)
		if err != nil {
			return
		}
		again, err := p.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which encodes to %x, %v", b, p, again, err)
		}
	})
}

func TestNewer(t *testing.T) {
	cases := []struct {
		p, q Position
		want bool
	}{
		{Position{}, Position{}, false},
		{Position{Floor: 2}, Position{Floor: 1}, true},
		{Position{Floor: 1}, Position{Floor: 2}, false},
		{Position{Floor: 1}, Position{Floor: 1, Done: []Range{{5, 6}}}, false},
		{Position{Stream: 1}, Position{Floor: 9}, true},
		{Position{Floor: 9}, Position{Stream: 1}, false},
	}
	for _, c := range cases {
		if got := c.p.Newer(c.q); got != c.want {
			t.Errorf("%+v newer than %+v: %v", c.p, c.q, got)
		}
	}
}

func TestKey(t *testing.T) {
	if Key("hq") != "out/hq" {
		t.Fatal(Key("hq"))
	}
	if name, ok := OutputName(Key("a/b")); name != "a/b" || !ok {
		t.Fatalf("%q, %v", name, ok)
	}
	if name, ok := OutputName("src/hq"); ok {
		t.Fatalf("%q is taken for an output", name)
	}
	if strings.HasPrefix(string(sumKey), keyPrefix) {
		t.Fatal("the sum looks like a position")
	}
}
