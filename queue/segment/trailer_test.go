package segment

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func drawTrailer(t *rapid.T) Trailer {
	h := drawHeader(t)
	end := rapid.Int64Range(HeaderSize/8, MaxDataEnd/8).Draw(t, "end") * 8
	l := layOut(h.Size, end)
	tr := Trailer{
		Header: h, DataEnd: end, Stripe: uint32(l.stripe), IndexA: l.indexA, Parity: l.parity, IndexB: l.indexB,
		Frames:    rapid.Uint64().Draw(t, "frames"),
		Records:   rapid.Uint64().Draw(t, "records"),
		Last:      rapid.Uint64Range(h.First-1, MaxSequence).Draw(t, "last"),
		Mark:      rapid.Uint64Range(0, MaxSequence).Draw(t, "mark"),
		MinTime:   rapid.Int64().Draw(t, "min"),
		MaxTime:   rapid.Int64().Draw(t, "max"),
		Recovered: rapid.Bool().Draw(t, "recovered"),
	}
	copy(tr.Sum[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "sum"))
	return tr
}

func TestTrailerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tr := drawTrailer(t)
		b := tr.Encode()
		if got, err := DecodeTrailer(b); err != nil || got != tr || len(b) != TrailerSize {
			t.Fatalf("%+v became %+v, %v", tr, got, err)
		}
	})
}

func TestDecodeTrailerRejects(t *testing.T) {
	file, _, _ := sealedFile(t, 64<<10, 2000)
	good := file[len(file)-TrailerSize:]
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"empty":          {func(b []byte) []byte { return nil }, ErrMagic},
		"short":          {func(b []byte) []byte { return b[1:] }, ErrMagic},
		"bit":            {func(b []byte) []byte { b[1000] ^= 1; return b }, ErrChecksum},
		"flags":          {func(b []byte) []byte { b[8] = 2; return reseal(b) }, ErrMalformed},
		"stripe":         {func(b []byte) []byte { b[12]++; return reseal(b) }, ErrMalformed},
		"last below":     {func(b []byte) []byte { le.PutUint64(b[32:], testHeader().First-2); return reseal(b) }, ErrMalformed},
		"last too large": {func(b []byte) []byte { b[39] = 0xff; return reseal(b) }, ErrMalformed},
		"mark too large": {func(b []byte) []byte { b[47] = 0xff; return reseal(b) }, ErrMalformed},
		"end":            {func(b []byte) []byte { b[48] ^= 8; return reseal(b) }, ErrMalformed},
		"end negative":   {func(b []byte) []byte { b[55] = 0xff; return reseal(b) }, ErrMalformed},
		"end in header":  {func(b []byte) []byte { le.PutUint64(b[48:], 4088); return reseal(b) }, ErrMalformed},
		"index A":        {func(b []byte) []byte { b[56] ^= 8; return reseal(b) }, ErrMalformed},
		"parity":         {func(b []byte) []byte { b[64] ^= 8; return reseal(b) }, ErrMalformed},
		"index B":        {func(b []byte) []byte { b[72] ^= 8; return reseal(b) }, ErrMalformed},
		"header magic":   {func(b []byte) []byte { b[128] ^= 8; return reseal(b) }, ErrMalformed},
		"header first":   {func(b []byte) []byte { clear(b[128+72 : 128+80]); return reseal(b) }, ErrMalformed},
		"reserved":       {func(b []byte) []byte { b[3000] = 1; return reseal(b) }, ErrMalformed},
	} {
		if tr, err := DecodeTrailer(c.change(bytes.Clone(good))); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, tr, err)
		}
	}
	end := int64(8196) // not a multiple of 8, and all offsets to match
	l := layOut(64<<10, end)
	odd := Trailer{Header: testHeader(), Last: 999, DataEnd: end, Stripe: 64, IndexA: l.indexA, Parity: l.parity, IndexB: l.indexB}
	if tr, err := DecodeTrailer(odd.Encode()); !errors.Is(err, ErrMalformed) {
		t.Errorf("unaligned end: %+v, %v", tr, err)
	}
	b := bytes.Clone(good)
	b[128+24] = 4
	reseal(b)
	var u *UnknownFeatureError
	if _, err := DecodeTrailer(b); !errors.As(err, &u) || u.Incompat != 4 {
		t.Errorf("incompat bit: %v", err)
	}
}

func TestReadTrailer(t *testing.T) {
	file, _, dataEnd := sealedFile(t, 64<<10, 2000)
	for name, c := range map[string]struct {
		file []byte
		want []error
	}{
		"open":            {file[:dataEnd], []error{ErrNoTrailer}},
		"preallocated":    {append(bytes.Clone(file[:dataEnd]), make([]byte, 9000)...), []error{ErrNoTrailer}},
		"empty":           {nil, []error{ErrNoTrailer}},
		"tiny":            {file[len(file)-TrailerSize:], []error{ErrNoTrailer}},
		"cut":             {file[:len(file)-1], []error{ErrNoTrailer}},
		"extended":        {append(bytes.Clone(file), 0), []error{ErrNoTrailer}},
		"damaged":         {append(bytes.Clone(file[:len(file)-1]), 77), []error{ErrNoTrailer, ErrChecksum}},
		"of a longer one": {append(bytes.Clone(file[:dataEnd]), file[len(file)-TrailerSize:]...), []error{ErrNoTrailer, ErrMalformed}},
	} {
		tr, err := ReadTrailer(bytes.NewReader(c.file), int64(len(c.file)))
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %+v, %v, want %v", name, tr, err, want)
			}
		}
	}
	// That a file cannot be read does not make it one without a seal.
	w := newWriter(t, testHeader())
	f := &unreadable{File: w.File(), to: 1 << 40}
	if _, err := ReadTrailer(f, 1<<20); !errors.Is(err, errDisk) || errors.Is(err, ErrNoTrailer) {
		t.Errorf("unreadable: %v", err)
	}
}

func TestReadIndexTakesTheGoodCopy(t *testing.T) {
	file, _, _ := sealedFile(t, 64<<10, 2000)
	tr, err := ReadTrailer(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReadIndex(bytes.NewReader(file), tr)
	if err != nil {
		t.Fatal(err)
	}
	length := tr.Parity - tr.IndexA
	for name, c := range map[string]struct {
		change func(b []byte)
		good   bool
	}{
		"A zeroed":    {func(b []byte) { clear(b[tr.IndexA:tr.Parity]) }, true},
		"A bit":       {func(b []byte) { b[tr.IndexA+length/2] ^= 1 }, true},
		"B zeroed":    {func(b []byte) { clear(b[tr.IndexB : tr.IndexB+length]) }, true},
		"both zeroed": {func(b []byte) { clear(b[tr.IndexA : tr.IndexB+length]) }, false},
		"both of another segment": {func(b []byte) {
			other := testHeader()
			other.Salt++
			l := layOut(tr.Header.Size, tr.DataEnd)
			copy(b[tr.IndexA:], want.encode(other.Salt, l))
			copy(b[tr.IndexB:], want.encode(other.Salt, l))
		}, false},
		"both replaced": {func(b []byte) { // only the hash in the trailer tells
			x := want
			x.Stripes = slices.Clone(want.Stripes)
			x.Stripes[0].Sum++
			l := layOut(tr.Header.Size, tr.DataEnd)
			copy(b[tr.IndexA:], x.encode(tr.Header.Salt, l))
			copy(b[tr.IndexB:], x.encode(tr.Header.Salt, l))
		}, false},
	} {
		b := bytes.Clone(file)
		c.change(b)
		x, err := ReadIndex(bytes.NewReader(b), tr)
		if c.good && (err != nil || !slices.Equal(x.Stripes, want.Stripes) || !slices.Equal(x.Parity, want.Parity)) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.good && err == nil {
			t.Errorf("%s: read without an error", name)
		}
	}
}

func TestDecodeIndexRejects(t *testing.T) {
	l := layOut(64<<10, 8200)
	good := Index{MinTime: 1, MaxTime: 2, Stripes: make([]Stripe, l.stripes), Parity: make([]uint32, l.groups)}
	good.Stripes[HeaderSize/l.stripe] = Stripe{Sum: 1, Frame: HeaderSize, First: 7}
	stripe := func(i int, s Stripe) func(b []byte) []byte {
		return func(b []byte) []byte {
			x := good
			x.Stripes = slices.Clone(good.Stripes)
			x.Stripes[i] = s
			return x.encode(5, l)
		}
	}
	last := l.stripes - 1
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"empty":             {func(b []byte) []byte { return nil }, ErrMagic},
		"short":             {func(b []byte) []byte { return b[:len(b)-8] }, ErrMagic},
		"magic":             {func(b []byte) []byte { b[0]++; return b }, ErrMagic},
		"bit":               {func(b []byte) []byte { b[100]++; return b }, ErrChecksum},
		"length":            {func(b []byte) []byte { b[4]++; return reseal(b) }, ErrMalformed},
		"salt":              {func(b []byte) []byte { b[8]++; return reseal(b) }, ErrMalformed},
		"stripes":           {func(b []byte) []byte { b[16]++; return reseal(b) }, ErrMalformed},
		"groups":            {func(b []byte) []byte { b[20]++; return reseal(b) }, ErrMalformed},
		"padding":           {func(b []byte) []byte { b[len(b)-8]++; return reseal(b) }, ErrMalformed},
		"frame elsewhere":   {stripe(last, Stripe{Frame: HeaderSize}), ErrMalformed},
		"frame unaligned":   {stripe(last, Stripe{Frame: uint32(int64(last)*l.stripe) + 4}), ErrMalformed},
		"frame in header":   {stripe(1, Stripe{Frame: uint32(l.stripe)}), ErrMalformed},
		"frame beyond end":  {stripe(last, Stripe{Frame: 8200}), ErrMalformed},
		"frame in last one": {stripe(last, Stripe{Frame: uint32(int64(last) * l.stripe)}), nil},
	} {
		if x, err := decodeIndex(c.change(good.encode(5, l)), 5, l); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, x, err)
		}
	}
}
