package segment

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The page that describes the format, held against what the code does.
const docFile = "../../docs/format.md"

// docTable returns the rows of the table that the page marks with this name, cells trimmed.
func docTable(t *testing.T, name string) [][]string {
	t.Helper()
	page, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- table: "+name+" -->\n")
	if !found {
		t.Fatalf("%s has no table %q", docFile, name)
	}
	var rows [][]string
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, cells)
	}
	if len(rows) < 3 {
		t.Fatalf("table %q has no rows", name)
	}
	return rows[2:]
}

// all ones in any number
const ones = ^uint64(0)

// structure is what the code says about one of the page's structures.
type structure struct {
	table  string
	size   int                      // bytes that the rows must cover; 0: as far as they go
	magic  string                   // bytes of the row "magic"
	encode map[string]func() []byte // the structure with all ones in the field of this name
	zero   func() []byte            // the structure with zero in all fields
	within map[string]bool          // fields that cannot have all ones in every byte
}

func headerWith(set func(h *Header)) func() []byte {
	return func() []byte { h := Header{}; set(&h); return h.Encode() }
}

func trailerWith(set func(t *Trailer)) func() []byte {
	return func() []byte { t := Trailer{}; set(&t); return t.Encode() }
}

func frameWith(set func(h *FrameHeader)) func() []byte {
	return func() []byte {
		h, b := FrameHeader{}, make([]byte, FrameHeaderSize)
		set(&h)
		h.Put(b, 0, 0)
		return b
	}
}

func indexWith(salt uint64, set func(x *Index)) func() []byte {
	return func() []byte {
		x := Index{Stripes: make([]Stripe, 1)}
		set(&x)
		b := Index.encode(x, salt, layout{index: 1 << 13})
		return b[:indexFields+stripeFields]
	}
}

func structures() []structure {
	allOnes := ID(bytes.Repeat([]byte{0xff}, 16))
	return []structure{
		{table: "header", size: HeaderSize, magic: headerMagic, zero: headerWith(func(h *Header) {}), encode: map[string]func() []byte{
			"compat":        headerWith(func(h *Header) { h.Compat = ones }),
			"incompat":      headerWith(func(h *Header) { h.Incompat = ones }),
			"queue id":      headerWith(func(h *Header) { h.Queue = allOnes }),
			"starts":        headerWith(func(h *Header) { h.Epoch.Starts = ones }),
			"random":        headerWith(func(h *Header) { h.Epoch.Random = ones }),
			"salt":          headerWith(func(h *Header) { h.Salt = ones }),
			"first":         headerWith(func(h *Header) { h.First = ones }),
			"previous last": headerWith(func(h *Header) { h.Previous.Last = ones }),
			"previous salt": headerWith(func(h *Header) { h.Previous.Salt = ones }),
			"created":       headerWith(func(h *Header) { h.Created = -1 }),
			"size":          headerWith(func(h *Header) { h.Size = ones }),
		}},
		{table: "frame", size: FrameHeaderSize, magic: "\xf7LMF", zero: frameWith(func(h *FrameHeader) {}), encode: map[string]func() []byte{
			"type":   frameWith(func(h *FrameHeader) { h.Type = 0xff }),
			"codec":  frameWith(func(h *FrameHeader) { h.Codec = 0xff }),
			"first":  frameWith(func(h *FrameHeader) { h.First = ones }),
			"count":  frameWith(func(h *FrameHeader) { h.Count = 1<<32 - 1 }),
			"stored": frameWith(func(h *FrameHeader) { h.Stored = 1<<32 - 1 }),
			"raw":    frameWith(func(h *FrameHeader) { h.Raw = 1<<32 - 1 }),
			"meta":   frameWith(func(h *FrameHeader) { h.Meta = 1<<32 - 1 }),
			"time":   frameWith(func(h *FrameHeader) { h.Time = -1 }),
			"mark":   frameWith(func(h *FrameHeader) { h.Mark = ones }),
			"sum":    frameWith(func(h *FrameHeader) { h.Sum = 1<<32 - 1 }),
		}},
		{table: "index", size: indexFields, magic: "\xf7LMX", zero: indexWith(0, func(x *Index) {}), encode: map[string]func() []byte{
			"salt":     indexWith(ones, func(x *Index) {}),
			"stripes":  indexWith(0, func(x *Index) { x.Stripes = make([]Stripe, 100) }),
			"groups":   indexWith(0, func(x *Index) { x.Parity = make([]uint32, 32) }),
			"min time": indexWith(0, func(x *Index) { x.MinTime = -1 }),
			"max time": indexWith(0, func(x *Index) { x.MaxTime = -1 }),
		}, within: map[string]bool{"stripes": true, "groups": true}},
		{table: "trailer", size: TrailerSize, magic: trailerMagic, zero: trailerWith(func(t *Trailer) {}), encode: map[string]func() []byte{
			"flags":    trailerWith(func(t *Trailer) { t.Recovered = true }),
			"stripe":   trailerWith(func(t *Trailer) { t.Stripe = 1<<32 - 1 }),
			"frames":   trailerWith(func(t *Trailer) { t.Frames = ones }),
			"records":  trailerWith(func(t *Trailer) { t.Records = ones }),
			"last":     trailerWith(func(t *Trailer) { t.Last = ones }),
			"mark":     trailerWith(func(t *Trailer) { t.Mark = ones }),
			"data end": trailerWith(func(t *Trailer) { t.DataEnd = -1 }),
			"index A":  trailerWith(func(t *Trailer) { t.IndexA = -1 }),
			"parity":   trailerWith(func(t *Trailer) { t.Parity = -1 }),
			"index B":  trailerWith(func(t *Trailer) { t.IndexB = -1 }),
			"min time": trailerWith(func(t *Trailer) { t.MinTime = -1 }),
			"max time": trailerWith(func(t *Trailer) { t.MaxTime = -1 }),
			"hash":     trailerWith(func(t *Trailer) { t.Sum = [32]byte(bytes.Repeat([]byte{0xff}, 32)) }),
			"header":   trailerWith(func(t *Trailer) { t.Header = Header{Compat: ones, Size: ones} }),
		}, within: map[string]bool{"flags": true, "header": true}},
	}
}

// Each field is set in the code and looked for in the bytes: it must be where the page says, and nowhere else.
func TestDocStructures(t *testing.T) {
	for _, s := range structures() {
		zeros, at := s.zero(), 0
		rows := docTable(t, s.table)
		var sum [2]int // the checksum changes with every field
		for _, row := range rows {
			if row[3] == "checksum" {
				sum[0], _ = strconv.Atoi(row[0])
				sum[1] = sum[0] + 4
			}
		}
		seen := make(map[string]bool)
		for _, row := range rows {
			offset, err1 := strconv.Atoi(row[0])
			width, err2 := strconv.Atoi(row[1])
			name := row[3]
			if err1 != nil || err2 != nil || offset != at {
				t.Fatalf("%s: row %q does not start at %d", s.table, row, at)
			}
			at += width
			if kind := map[string]int{"u8": 1, "u32": 4, "u64": 8, "i64": 8}[row[2]]; kind != 0 && kind != width {
				t.Errorf("%s, %s: %s of %d bytes", s.table, name, row[2], width)
			}
			seen[name] = true
			field := zeros[offset : offset+width]
			switch {
			case name == "magic":
				said, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(row[4], "`"), " ", ""))
				if err != nil || string(said) != s.magic || !bytes.Equal(field, said) {
					t.Errorf("%s: the page says %q, the file % x", s.table, row[4], field)
				}
			case name == "version":
				if le.Uint32(field) != Version || row[4] != strconv.Itoa(Version) {
					t.Errorf("%s: version %d, the page says %s", s.table, le.Uint32(field), row[4])
				}
			case name == "reserved":
				if !zero(field) {
					t.Errorf("%s: reserved bytes at %d are in use", s.table, offset)
				}
			case name == "checksum" || name == "length":
			default:
				encode := s.encode[name]
				if encode == nil {
					t.Errorf("%s: the code has no field %q", s.table, name)
					continue
				}
				for i, c := range encode() {
					changed := c != zeros[i]
					inside := i >= offset && i < offset+width
					if changed && !inside && (i < sum[0] || i >= sum[1]) {
						t.Errorf("%s: %q is also at byte %d", s.table, name, i)
					}
					if inside && !changed && !s.within[name] {
						t.Errorf("%s: %q is not at byte %d", s.table, name, i)
					}
				}
			}
		}
		for name := range s.encode {
			if !seen[name] {
				t.Errorf("%s: the page does not know %q", s.table, name)
			}
		}
		if at != s.size {
			t.Errorf("%s: the rows cover %d bytes of %d", s.table, at, s.size)
		}
	}
}

func TestDocStripe(t *testing.T) {
	fields := map[string]Stripe{"sum": {Sum: 1<<32 - 1}, "frame": {Frame: 1<<32 - 1}, "first": {First: ones}}
	at := 0
	for _, row := range docTable(t, "stripe") {
		b := indexWith(0, func(x *Index) { x.Stripes[0] = fields[row[3]] })()[indexFields:]
		first := bytes.IndexByte(b, 0xff)
		if fmt.Sprint(first) != row[0] || fmt.Sprint(bytes.Count(b, []byte{0xff})) != row[1] || first != at {
			t.Errorf("%q: % x", row, b)
		}
		at += bytes.Count(b, []byte{0xff})
	}
	if at != stripeFields {
		t.Errorf("a stripe has %d bytes, the page says %d", stripeFields, at)
	}
}

func TestDocConstants(t *testing.T) {
	want := map[string]uint64{
		"Version": Version, "HeaderSize": HeaderSize, "TrailerSize": TrailerSize, "FrameHeaderSize": FrameHeaderSize,
		"MaxFrame": MaxFrame, "MaxSegment": MaxSegment, "MaxSequence": MaxSequence, "Groups": Groups,
		"FrameTarget": FrameTarget, "MaxRecord": MaxRecord,
	}
	rows := docTable(t, "constants")
	for _, row := range rows {
		if v, ok := want[row[0]]; !ok || strconv.FormatUint(v, 10) != row[1] {
			t.Errorf("%s: the page says %s, the code %d", row[0], row[1], v)
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d constants, the page has %d", len(want), len(rows))
	}
	for table, names := range map[string][]string{
		"types":  {Data.String(), PositionsFrame.String(), Gap.String(), Marker.String(), Close.String()},
		"codecs": {None: "none", Snappy: "snappy"},
		"forms":  {Lines - 1: "lines", Records - 1: "records"},
	} {
		base := 1
		if table == "codecs" {
			base = 0
		}
		rows := docTable(t, table)
		for i, row := range rows {
			if i >= len(names) || row[0] != strconv.Itoa(i+base) || row[1] != names[i] {
				t.Errorf("%s: %q", table, row)
			}
		}
		if len(rows) != len(names) {
			t.Errorf("%s: %d rows for %q", table, len(rows), names)
		}
	}
	page, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"`" + namePattern + "`", "`" + testHeader().Name().String() + "`", fmt.Sprintf("at most %d times `stored`", maxRatio)} {
		if !strings.Contains(string(page), s) {
			t.Errorf("the page does not say %s", s)
		}
	}
}

// The example on the page is the golden file.
func TestDocExample(t *testing.T) {
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := ReadTrailer(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, what := goldenFrames()
	var want []string
	for i, p := range scanAll(t, bytes.NewReader(file), tr.Header.Salt, HeaderSize, tr.DataEnd) {
		h := p.Header
		want = append(want, fmt.Sprintf("| %d | %s | %d | %d | %d | %d | %d | %s |", p.Offset, h.Type, h.Codec, h.First, h.Count, h.Stored, h.Raw, what[i]))
	}
	var got []string
	for _, row := range docTable(t, "example") {
		got = append(got, "| "+strings.Join(row, " | ")+" |")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the page should say:\n%s", strings.Join(want, "\n"))
	}
	page, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	layout := fmt.Sprintf("frames end at %d, index A is at %d, the parity at %d, index B at %d, the trailer at %d, and the file has %d bytes",
		tr.DataEnd, tr.IndexA, tr.Parity, tr.IndexB, len(file)-TrailerSize, len(file))
	if !strings.Contains(strings.Join(strings.Fields(string(page)), " "), layout) {
		t.Errorf("the page should say: %s", layout)
	}
}
