package segment

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// reseal makes the checksum at the end of a header, trailer or index right again.
func reseal(b []byte) []byte {
	le.PutUint32(b[len(b)-4:], crc32.Checksum(b[:len(b)-4], crcTable))
	return b
}

func drawHeader(t *rapid.T) Header {
	var h Header
	copy(h.Queue[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "queue"))
	h.Compat = rapid.Uint64().Draw(t, "compat")
	h.Epoch = Epoch{rapid.Uint64().Draw(t, "starts"), rapid.Uint64().Draw(t, "random")}
	h.Salt = rapid.Uint64().Draw(t, "salt")
	h.First = rapid.Uint64Range(1, MaxSequence).Draw(t, "first")
	h.Previous = Link{rapid.Uint64Range(0, MaxSequence).Draw(t, "last"), rapid.Uint64().Draw(t, "previous")}
	h.Created = rapid.Int64().Draw(t, "created")
	h.Size = rapid.Uint64Range(0, MaxSegment).Draw(t, "size")
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		b := h.Encode()
		got, err := DecodeHeader(b)
		if err != nil || got != h || len(b) != HeaderSize {
			t.Fatalf("%+v became %+v, %v", h, got, err)
		}
	})
}

func TestHeaderEveryBitCounts(t *testing.T) {
	good := testHeader().Encode()
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			if _, err := DecodeHeader(b); !errors.Is(err, ErrMagic) && !errors.Is(err, ErrChecksum) {
				t.Fatalf("bit %d of byte %d flipped: %v", bit, i, err)
			}
		}
	}
}

func TestDecodeHeaderRejects(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"empty":            {func(b []byte) []byte { return nil }, ErrMagic},
		"short":            {func(b []byte) []byte { return b[:HeaderSize-1] }, ErrMagic},
		"zeros":            {func(b []byte) []byte { clear(b); return b }, ErrMagic},
		"magic":            {func(b []byte) []byte { b[1] = 'X'; return reseal(b) }, ErrMagic},
		"version zero":     {func(b []byte) []byte { b[8] = 0; return reseal(b) }, ErrMalformed},
		"reserved field":   {func(b []byte) []byte { b[12] = 1; return reseal(b) }, ErrMalformed},
		"reserved rest":    {func(b []byte) []byte { b[4000] = 1; return reseal(b) }, ErrMalformed},
		"first zero":       {func(b []byte) []byte { clear(b[72:80]); return reseal(b) }, ErrMalformed},
		"first too large":  {func(b []byte) []byte { b[79] = 0x80; return reseal(b) }, ErrMalformed},
		"linked too large": {func(b []byte) []byte { b[87] = 0x80; return reseal(b) }, ErrMalformed},
		"size too large":   {func(b []byte) []byte { b[107] = 0xff; return reseal(b) }, ErrMalformed},
	} {
		if h, err := DecodeHeader(c.change(testHeader().Encode())); !errors.Is(err, c.want) || h != (Header{}) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

func TestUnknownFeatures(t *testing.T) {
	h := testHeader()
	h.Incompat = 1 << 9
	got, err := DecodeHeader(h.Encode())
	var u *UnknownFeatureError
	if !errors.As(err, &u) || u.Incompat != 1<<9 || u.Version != Version || got.First != h.First {
		t.Errorf("incompat bit: %+v, %v", got, err)
	}
	b := testHeader().Encode()
	b[8] = Version + 1
	reseal(b)
	if _, err = DecodeHeader(b); !errors.As(err, &u) || u.Version != Version+1 {
		t.Errorf("newer version: %v", err)
	}
	// Damage is damage first: only a header whose checksum holds can ask for a newer reader.
	b[8]++
	if _, err = DecodeHeader(b); !errors.Is(err, ErrChecksum) {
		t.Errorf("damaged version: %v", err)
	}
	h = testHeader()
	h.Compat = ^uint64(0)
	if got, err := DecodeHeader(h.Encode()); err != nil || got != h {
		t.Errorf("compat bits: %+v, %v", got, err)
	}
}

func TestReadHeader(t *testing.T) {
	h := testHeader()
	w := newWriter(t, h)
	fill(t, w, 1000, 20_000)
	if _, err := w.Seal(w.tally.last); err != nil {
		t.Fatal(err)
	}
	sealed := content(t, w)
	end := w.End()
	name := Name{First: 5, Salt: 6} // as if renamed
	newer := h
	newer.Incompat = 2

	for what, c := range map[string]struct {
		file []byte
		want Header
		err  error
	}{
		"good":                       {sealed, h, nil},
		"open":                       {sealed[:end], h, nil},
		"header lost, sealed":        {append(make([]byte, HeaderSize), sealed[HeaderSize:]...), h, nil},
		"header lost, open":          {append(make([]byte, HeaderSize), sealed[HeaderSize:end]...), Header{First: 5, Salt: 6, Size: 64 << 10}, ErrChecksum},
		"header lost, trailer newer": {append(make([]byte, HeaderSize), Trailer{Header: newer}.Encode()...), newer, &UnknownFeatureError{}},
		"newer":                      {append(newer.Encode(), sealed[HeaderSize:]...), newer, &UnknownFeatureError{}},
		"empty":                      {nil, Header{First: 5, Salt: 6, Size: 64 << 10}, io.ErrUnexpectedEOF},
		"cut in the header":          {sealed[:4095], Header{First: 5, Salt: 6, Size: 64 << 10}, ErrChecksum},
		"large and lost":             {make([]byte, 100_000), Header{First: 5, Salt: 6, Size: 128 << 10}, ErrChecksum},
	} {
		got, err := ReadHeader(bytes.NewReader(c.file), int64(len(c.file)), name)
		var u *UnknownFeatureError
		if _, newer := c.err.(*UnknownFeatureError); newer {
			if !errors.As(err, &u) {
				t.Errorf("%s: %v", what, err)
			}
		} else if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", what, err, c.err)
		}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", what, got, c.want)
		}
	}
}
