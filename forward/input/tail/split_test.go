package tail

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"logmule/forward/pack"
)

// splitAll cuts raw into records as a reader would that sees block bytes at a time, and more only where it has to.
func splitAll(t *testing.T, s *splitter, raw []byte, block int, big bool) (records []string, cut int) {
	t.Helper()
	offset, skip := 0, uint8(0)
	for size := block; ; {
		end := min(len(raw), offset+size)
		at := situation{big: big, begin: offset == 0, final: end == len(raw), skip: skip}
		c := s.next(raw[offset:end], at)
		if c.upto == 0 {
			if end == len(raw) {
				if offset != end && !(s.encoding.wide() && end-offset == 1) {
					t.Fatalf("%d bytes are left at the end: %q", end-offset, raw[offset:])
				}
				return records, cut
			}
			if size > 4*(s.rawMax()+64) {
				t.Fatalf("%d bytes are not enough for a record of %d", size, s.max)
			}
			size *= 2
			continue
		}
		if (c.count == 0) != (len(c.body) == 0) {
			t.Fatalf("%d records in a body of %d bytes", c.count, len(c.body))
		}
		n := 0
		if err := pack.Each(c.form, c.body, func(own []byte) error {
			var r pack.Record
			if err := r.Decode(nil, own, c.form); err != nil {
				return err
			}
			records = append(records, string(r.Payload))
			n++
			return nil
		}); err != nil || n != c.count {
			t.Fatalf("%d records of %d: %v", n, c.count, err)
		}
		cut += c.cuts
		offset += c.upto
		skip, size = c.skip, block
	}
}

func newTestSplitter(e Encoding, most int, m *Multiline) (*splitter, *int) {
	bad := new(int)
	return &splitter{limit: 300, max: most, encoding: e, multiline: m, invalid: func(n int) { *bad += n }}, bad
}

func wide(text string, big, mark bool) []byte {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var b []byte
	for _, u := range units {
		if big {
			b = append(b, byte(u>>8), byte(u))
		} else {
			b = append(b, byte(u), byte(u>>8))
		}
	}
	return b
}

func TestEncodings(t *testing.T) {
	const text = "first\n\nzw\u00f6lf\r\n\U0001f600 \u0a0a \u000aend"
	want := strings.Split(text, "\n")
	for _, block := range []int{4, 7, 16, 1000} {
		for name, c := range map[string]struct {
			e    Encoding
			raw  []byte
			big  bool
			want []string
			bad  int
		}{
			"utf-8":              {UTF8, []byte(text), false, want, 0},
			"utf-8 that is none": {UTF8, []byte("a\xff\n"), false, []string{"a\xff"}, 0},
			"little":             {UTF16LE, wide(text, false, false), false, want, 0},
			"little with a mark": {UTF16LE, wide(text, false, true), false, want, 0},
			"big":                {UTF16BE, wide(text, true, true), true, want, 0},
			"lone surrogate":     {UTF16LE, []byte{0, 0xd8, 'a', 0, '\n', 0}, false, []string{"\ufffda"}, 1},
			"half a unit":        {UTF16LE, []byte{'a', 0, 'b'}, false, []string{"a\ufffd"}, 1},
			"latin-1":            {Latin1, []byte("zw\xf6lf\nb"), false, []string{"zw\u00f6lf", "b"}, 0},
		} {
			s, bad := newTestSplitter(c.e, 100, nil)
			if got, _ := splitAll(t, s, c.raw, block, c.big); !slices.Equal(got, c.want) || *bad != c.bad {
				t.Errorf("%s by %d: %q with %d faults, want %q with %d", name, block, got, *bad, c.want, c.bad)
			}
		}
	}
}

func TestCutRecords(t *testing.T) {
	long := strings.Repeat("x", 25)
	for _, block := range []int{1, 5, 11, 12, 30, 1000} {
		for _, e := range []Encoding{UTF8, Latin1, UTF16LE} {
			text := "0123456789\n" + long + "\nshort\n" + long
			raw := []byte(text)
			if e == UTF16LE {
				raw = wide(text, false, false)
			}
			s, _ := newTestSplitter(e, 10, nil)
			want := []string{"0123456789", long[:10], "short", long[:10]}
			if got, cut := splitAll(t, s, raw, max(block, 2), false); !slices.Equal(got, want) || cut != 2 {
				t.Errorf("%s by %d: %q, %d cut, want %q", e, block, got, cut, want)
			}
		}
	}
}

func TestMultiline(t *testing.T) {
	start := &Multiline{Start: regexp.MustCompile(`^\d`), MaxLines: 4}
	indent := &Multiline{Continuation: regexp.MustCompile(`^\s`), MaxLines: 4}
	for _, block := range []int{1, 3, 9, 50, 1000} {
		for name, c := range map[string]struct {
			m    *Multiline
			text string
			want []string
			cuts int
		}{
			"start":             {start, "1 a\n b\n\n c\n2 d\n", []string{"1 a\n b\n\n c", "2 d"}, 0},
			"start, before it":  {start, "x\ny\n1 a\n", []string{"x\ny", "1 a"}, 0},
			"start, unfinished": {start, "1 a\n b", []string{"1 a\n b"}, 0},
			"continuation":      {indent, "a\n b\nc\nd\n e\n\tf\n", []string{"a\n b", "c", "d\n e\n\tf"}, 0},
			"many lines":        {indent, "a\n 1\n 2\n 3\n 4\n 5\nb\n", []string{"a\n 1\n 2\n 3", " 4\n 5", "b"}, 0},
			"too long":          {start, "1 " + strings.Repeat("y", 30) + "\n z\n2 b\n", []string{"1 " + strings.Repeat("y", 18), "2 b"}, 1},
			"too long, goes on": {start, "1 " + strings.Repeat("y", 30) + "\n" + strings.Repeat("z", 100) + " 3" + strings.Repeat("4", 50) + "\n5 b\n",
				[]string{"1 " + strings.Repeat("y", 18), "5 b"}, 1},
			"too long together": {start, "1 abcdefgh\n" + strings.Repeat("z", 12) + "\n q\n2 b\n", []string{"1 abcdefgh\nzzzzzzzzz", "2 b"}, 1},
		} {
			s, _ := newTestSplitter(UTF8, 20, c.m)
			if got, cut := splitAll(t, s, []byte(c.text), block, false); !slices.Equal(got, c.want) || cut != c.cuts {
				t.Errorf("%s by %d: %q, %d cut, want %q, %d", name, block, got, cut, c.want, c.cuts)
			}
		}
	}
}

// FuzzSplit: whatever the bytes and however they come, the records are those of the whole, and nothing is left over.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("one\ntwo\n\nlonger than that it is\nend"), 7, uint8(0), 10)
	f.Add(wide("a\nb\n\u0a00\u000a", false, true), 5, uint8(1), 3)
	f.Add(wide("a\nb", true, true), 9, uint8(2), 30)
	f.Add([]byte("1 a\n b\n2 c\n d\n"), 4, uint8(4), 12)
	f.Add([]byte("\x30\xdb\x05\xdca\x00\n\x00"), 2, uint8(1), 2) // a pair of surrogates, of which the block has the first
	f.Fuzz(func(t *testing.T, raw []byte, block int, kind uint8, most int) {
		if block < 1 || block > 1<<16 || most < 1 || most > 1<<16 || len(raw) > 1<<16 {
			return
		}
		e := []Encoding{UTF8, UTF16LE, UTF16BE, Latin1}[kind%4]
		var m *Multiline
		if kind/4%2 == 1 {
			m = &Multiline{Start: regexp.MustCompile(`^[0-9]`), MaxLines: 5}
		}
		s, _ := newTestSplitter(e, most, m)
		s.most = int(kind) / 8 % 4
		got, cut := splitAll(t, s, raw, max(block, 2), e == UTF16BE)
		for _, r := range got {
			if len(r) > most {
				t.Fatalf("a record of %d bytes, at most %d are allowed", len(r), most)
			}
			if e != UTF8 && !utf8.ValidString(r) && cut == 0 {
				t.Fatalf("%q is not UTF-8", r)
			}
		}
		whole, _ := splitAll(t, s, raw, len(raw)+2, e == UTF16BE)
		if !slices.Equal(got, whole) {
			t.Fatalf("by %d: %q, at once: %q", block, got, whole)
		}
		if e == UTF8 && m == nil && cut == 0 {
			if joined := strings.Join(got, "\n"); joined != strings.TrimSuffix(string(raw), "\n") {
				t.Fatalf("%q became %q", raw, got)
			}
		}
	})
}

// FuzzPosition: any bytes decode or are refused, and what decodes encodes to the same bytes.
func FuzzPosition(f *testing.F) {
	p := position{flags: flagGzip, id: fileID{1, 2}, offset: 5000, head: fingerprintOf([]byte("a")), tail: fingerprintOf([]byte("bc")),
		marks: []mark{{3, fingerprintOf([]byte("x"))}}, gen: 7, mtime: -1, name: "/var/log/a", base: "/b"}
	f.Add(p.append(nil))
	f.Add((&position{}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePosition(b)
		if err != nil {
			return
		}
		if again := p.append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func TestPosition(t *testing.T) {
	long := strings.Repeat("x", maxName)
	p := position{flags: flagAll, id: fileID{1 << 63, 1<<64 - 1}, offset: 1<<63 - 1, gen: 1<<64 - 1, mtime: -1 << 63, name: long, base: long,
		head: fingerprint{headSize, 1<<64 - 1}, tail: fingerprint{tailSize, 1<<64 - 1}}
	for range maxMarks {
		p.marks = append(p.marks, mark{1<<63 - 1, p.tail})
	}
	b := p.append(nil)
	if len(b) >= 1<<10 {
		t.Errorf("the largest position has %d bytes", len(b))
	}
	got, err := decodePosition(b)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(p) {
		t.Errorf("%+v became %+v: %v", p, got, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		if _, err := decodePosition(bad); err == nil {
			t.Errorf("with byte %d altered it still decodes", i)
		}
		if _, err := decodePosition(b[:i]); err == nil {
			t.Errorf("%d bytes of it still decode", i)
		}
	}
	p.name = long + "x"
	if got, err := decodePosition(p.append(nil)); err != nil || got.name != "" {
		t.Errorf("a name that is too long: %q, %v", got.name, err)
	}
}
