package main

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"logmule/forward/pack"
	"logmule/queue/segment"
	"logmule/recovery"
)

// frame makes a data frame of a lines run, sequences 10 to 12, and a records run, 13 and 14.
func frame(t *testing.T) *segment.Frame {
	t.Helper()
	lines := []byte("plain\n\x1b[31m\r\t\xff\\\n\n")
	full := pack.Record{
		Attributes: pack.Attributes{
			UUID: []byte{0xab}, Timestamp: 1, Type: "t", Severity: 3, Pid: 9, EnvVersion: "1", Fields: []pack.Field{
				{Name: "s", Value: "<v>", Representation: "r"},
				{Name: "b", Value: []byte{0xff}},
				{Name: "bad", Value: "\xff"},
				{Name: "bads", Value: []string{"a", "\xff"}},
				{Name: "good", Value: []string{"a", "b"}},
				{Name: "n", Value: math.NaN()},
				{Name: "ns", Value: []float64{1.5, math.Inf(1)}},
				{Name: "none", Value: []float64{}},
				{Name: "f", Value: false},
				{Name: "i", Value: []int64{1, 2}},
			},
		},
		Payload: []byte("<full>"),
	}
	records := pack.AppendOwn(pack.AppendOwn(nil, full.Append(nil)), []byte{0xff})
	shared := (&pack.Attributes{Timestamp: 1_700_000_000_123_456_789, Type: "app", Logger: "a b", Severity: 7, Hostname: "h"}).Append(nil)
	runs := []segment.Run{
		{Form: segment.Form(pack.Lines), Count: 3, Raw: uint32(len(lines)), Attributes: shared},
		{Form: segment.Form(pack.Records), Count: 2, Raw: uint32(len(records)), Attributes: nil},
	}
	h := segment.FrameHeader{Type: segment.Data, First: 10, Time: 2_000_000_000}
	encoded := segment.EncodeFrame(nil, &h, runs, append(lines, records...), segment.None)
	f := new(segment.Frame)
	if err := f.Decode(h, 0, encoded[segment.FrameHeaderSize:segment.FrameHeaderSize+int(h.Meta+h.Stored)]); err != nil {
		t.Fatal(err)
	}
	return f
}

func printed(t *testing.T, f format, opt recovery.WalkOptions) (out, notes string) {
	t.Helper()
	var b, n bytes.Buffer
	opt.Note = func(text string) { n.WriteString(text + "\n") }
	p := newPrinter(&b, f, opt)
	if err := errors.Join(p.frame(frame(t)), p.out.Flush()); err != nil {
		t.Fatal(err)
	}
	return b.String(), n.String()
}

func TestPrintFormats(t *testing.T) {
	for f, want := range map[format]string{
		formatRaw: "plain\n\x1b[31m\r\t\xff\\\n\n<full>\n",
		formatText: "10 2023-11-14T22:13:20.123Z app a b plain\n" +
			`11 2023-11-14T22:13:20.123Z app a b \x1b[31m\r\t\xff\` + "\n" +
			"12 2023-11-14T22:13:20.123Z app a b \n" +
			"13 1970-01-01T00:00:00.000Z t - <full>\n",
		formatJSON: `{"sequence":10,"time":"2023-11-14T22:13:20.123456789Z","type":"app","logger":"a b","severity":7,"hostname":"h","payload":"plain"}` + "\n" +
			`{"sequence":11,"time":"2023-11-14T22:13:20.123456789Z","type":"app","logger":"a b","severity":7,"hostname":"h","payload_base64":"G1szMW0NCf9c"}` + "\n" +
			`{"sequence":12,"time":"2023-11-14T22:13:20.123456789Z","type":"app","logger":"a b","severity":7,"hostname":"h","payload":""}` + "\n" +
			`{"sequence":13,"time":"1970-01-01T00:00:00.000000001Z","type":"t","logger":"","severity":3,"pid":9,"env_version":"1","uuid":"ab","fields":[` +
			`{"name":"s","representation":"r","value":"<v>"},{"name":"b","value_base64":"/w=="},{"name":"bad","value_base64":"/w=="},` +
			`{"name":"bads","value_base64":["YQ==","/w=="]},{"name":"good","value":["a","b"]},{"name":"n","value":"NaN"},` +
			`{"name":"ns","value":[1.5,"+Inf"]},{"name":"none","value":[]},{"name":"f","value":false},{"name":"i","value":[1,2]}],"payload":"<full>"}` + "\n",
	} {
		out, notes := printed(t, f, recovery.WalkOptions{})
		if out != want {
			t.Errorf("%s: got\n%q\nwant\n%q", f, out, want)
		}
		if notes != "record 14 is left out: decode record: unexpected EOF\n" {
			t.Errorf("%s: notes %q", f, notes)
		}
	}
}

func TestTextSaysWhyARecordIsADeadLetter(t *testing.T) {
	r := pack.Record{Attributes: pack.Attributes{Timestamp: 1, Type: "t", Fields: []pack.Field{
		{Name: "deadletter_output", Value: "api"}, {Name: "deadletter_reason", Value: "400: \x1b"},
		{Name: "deadletter_time", Value: "2026-11-20T08:00:00Z"}, {Name: "deadletter_sequence", Value: int64(7)}, {Name: "own", Value: "x"},
	}}, Payload: []byte("p")}
	want := `3 1970-01-01T00:00:00.000Z t - [api refused record 7 at 2026-11-20T08:00:00Z: 400: \x1b] p` + "\n"
	if got := string(appendText(nil, 3, &r)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrintWithinBounds(t *testing.T) {
	for _, c := range []struct {
		from, to uint64
		want     string
	}{
		{0, 0, "plain|\x1b[31m\r\t\xff\\||<full>"}, {11, 0, "\x1b[31m\r\t\xff\\||<full>"}, {0, 10, "plain"}, {12, 13, "|<full>"}, {13, 13, "<full>"}, {99, 0, ""}, {0, 9, ""},
	} {
		opt := recovery.WalkOptions{From: recovery.Bound{Sequence: c.from}, To: recovery.Bound{Sequence: c.to}}
		out, _ := printed(t, formatRaw, opt)
		want := strings.ReplaceAll(c.want, "|", "\n")
		if c.want != "" {
			want += "\n"
		}
		if out != want {
			t.Errorf("%d to %d: got %q, want %q", c.from, c.to, out, want)
		}
	}
}

func TestRecordWithoutTimestampShowsTheArrival(t *testing.T) {
	var b bytes.Buffer
	p := newPrinter(&b, formatText, recovery.WalkOptions{})
	if err := errors.Join(p.one(5, 2_000_000_000, nil, []byte("x"), pack.Lines), p.out.Flush()); err != nil {
		t.Fatal(err)
	}
	if want := "5 1970-01-01T00:00:02.000Z - - x\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestWhatCannotBeReadIsNoted(t *testing.T) {
	var b bytes.Buffer
	var notes []string
	p := newPrinter(&b, formatText, recovery.WalkOptions{Note: func(s string) { notes = append(notes, s) }})
	f := &segment.Frame{FrameHeader: segment.FrameHeader{First: 7}, Runs: []segment.Run{
		{Form: segment.Form(pack.Records), Count: 2, Body: []byte{0x05}}, {Form: segment.Form(pack.Lines), Count: 1, Body: []byte("x\n")},
		{Form: 9, Count: 2, Body: []byte("x\n")},
	}}
	if err := errors.Join(p.frame(f), p.out.Flush()); err != nil {
		t.Fatal(err)
	}
	if len(notes) != 2 || !strings.HasPrefix(notes[0], "records 7 to 8: ") || !strings.HasPrefix(b.String(), "9 ") ||
		notes[1] != "records 10 to 11 are of a form that this version does not know" {
		t.Errorf("notes %q, printed %q", notes, b.String())
	}
}

// failing fails every write.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestPrintStopsWhenItCannotWrite(t *testing.T) {
	broken := errors.New("no room")
	for _, f := range []format{formatRaw, formatText, formatJSON} {
		p := newPrinter(failing{broken}, f, recovery.WalkOptions{Note: func(string) {}})
		err := errors.Join(p.frame(frame(t)), p.out.Flush())
		if !errors.Is(err, broken) {
			t.Errorf("%s: error %v", f, err)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a ä €": "a ä €", "\x00\x7f\x1b": `\x00\x7f\x1b`, "\u009b\u202e\ufeff": `\u009b\u202e\ufeff`, "\xff\xc3": `\xff\xc3`,
		"a\nb\tc\rd": `a\nb\tc\rd`, `\`: `\`, "\ufffd": "\ufffd",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
