package pack

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"
)

// full has every attribute and every kind of value.
func full() Record {
	return Record{
		Attributes: Attributes{
			UUID: []byte("0123456789abcdef"), Timestamp: 1_700_000_000_123_456_789, Type: "nginx", Logger: "/var/log/x",
			Severity: 3, EnvVersion: "1", Pid: -5, Hostname: "h\xff\x00",
			Fields: []Field{
				{Name: "text", Representation: "uri", Value: "a\xffb"},
				{Name: "texts", Value: []string{"", "b"}},
				{Name: "none", Value: []string{}},
				{Name: "bytes", Value: []byte{0, 255}},
				{Name: "bytess", Value: [][]byte{{1}, {2, 3}}},
				{Name: "integer", Value: int64(-1)},
				{Name: "integers", Value: []int64{0, 1, math.MaxInt64, math.MinInt64}},
				{Name: "double", Value: math.Inf(-1)},
				{Name: "doubles", Value: []float64{0, 1.5}},
				{Name: "bool", Value: true},
				{Name: "bools", Value: []bool{false, true}},
				{Name: "no doubles", Value: []float64{}},
				{Name: "text", Value: "the name may come twice"},
			},
		},
		Payload: []byte("pay\xffload"),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	want := full()
	b := want.Append(nil)
	var got Record
	if err := got.Decode(nil, b, Records); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v, want\n%+v", got, want)
	}
	if again := got.Append(nil); !bytes.Equal(again, b) {
		t.Errorf("encoded again\n%x, want\n%x", again, b)
	}
}

// The bytes that Heka itself writes for this record: the example of its wire format.
func TestHekaBytes(t *testing.T) {
	want, err := hex.DecodeString("0a10000102030405060708090a0b0c0d0e0f" + "1080809783f7e3d5db13" + "1a0174" + "2807" + "32026869")
	if err != nil {
		t.Fatal(err)
	}
	r := Record{Attributes: Attributes{Timestamp: 1420700000000000000, Type: "t", Severity: 7}, Payload: []byte("hi")}
	for i := range byte(16) {
		r.UUID = append(r.UUID, i)
	}
	var got Record
	if err := got.Decode(nil, want, Records); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("decoded %+v, want %+v", got, r)
	}
	if b := got.Append(nil); !bytes.Equal(b, want) {
		t.Errorf("encoded %x, want %x", b, want)
	}
}

func TestDecodeLines(t *testing.T) {
	a := Attributes{Timestamp: 5, Type: "app", Logger: "peer", Severity: 7, Hostname: "h"}
	var r Record
	if err := r.Decode(a.Append(nil), []byte("line\r"), Lines); err != nil {
		t.Fatal(err)
	}
	a.Fields = r.Fields
	if !reflect.DeepEqual(r.Attributes, a) || string(r.Payload) != "line\r" {
		t.Errorf("got %+v, want %+v and the line", r, a)
	}
}

func TestOwnWinsOverShared(t *testing.T) {
	shared := Attributes{Timestamp: 5, Type: "app", Logger: "peer", Severity: 7, Fields: []Field{{Name: "f", Value: "1"}}}
	own := Record{
		Attributes: Attributes{Timestamp: 6, Severity: 2, Fields: []Field{{Name: "truncated", Value: true}}},
		Payload:    []byte("p"),
	}
	var r Record
	if err := r.Decode(shared.Append(nil), own.Append(nil), Records); err != nil {
		t.Fatal(err)
	}
	want := Record{
		Attributes: Attributes{Timestamp: 6, Type: "app", Logger: "peer", Severity: 2, Fields: []Field{
			{Name: "f", Value: "1"}, {Name: "truncated", Value: true},
		}},
		Payload: []byte("p"),
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestDecodeForgetsTheRecordBefore(t *testing.T) {
	r := full()
	if err := r.Decode(nil, nil, Records); err != nil {
		t.Fatal(err)
	}
	if len(r.Fields) != 0 {
		t.Errorf("fields %v are left", r.Fields)
	}
	r.Fields = nil
	if want := (Record{Attributes: Attributes{Severity: DefaultSeverity}}); !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestSeverityIsAlwaysWritten(t *testing.T) {
	if got := (&Attributes{}).Append(nil); !bytes.Equal(got, []byte{0x28, 0}) {
		t.Errorf("encoded %x, want 2800", got)
	}
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	unknown := protowire.AppendTag(nil, 11, protowire.VarintType)
	unknown = protowire.AppendVarint(unknown, 1<<63)
	unknown = protowire.AppendTag(unknown, 12, protowire.StartGroupType)
	unknown = protowire.AppendTag(unknown, 1, protowire.Fixed32Type)
	unknown = protowire.AppendFixed32(unknown, 9)
	unknown = protowire.AppendTag(unknown, 12, protowire.EndGroupType)
	unknown = protowire.AppendTag(unknown, protowire.MaxValidNumber, protowire.Fixed64Type)
	unknown = protowire.AppendFixed64(unknown, 9)
	unknown = protowire.AppendTag(unknown, 20, protowire.BytesType)
	unknown = protowire.AppendString(unknown, "text")

	inside := protowire.AppendTag(nil, numName, protowire.BytesType)
	inside = protowire.AppendString(inside, "n")
	inside = append(inside, unknown...)
	inside = protowire.AppendTag(inside, numValue, protowire.BytesType)
	inside = protowire.AppendString(inside, "v")

	b := append(unknown, (&Record{Payload: []byte("p")}).Append(nil)...)
	b = protowire.AppendTag(b, numFields, protowire.BytesType)
	b = protowire.AppendBytes(b, inside)
	b = append(b, unknown...)
	var r Record
	if err := r.Decode(nil, b, Records); err != nil {
		t.Fatal(err)
	}
	want := Record{Attributes: Attributes{Fields: []Field{{Name: "n", Value: "v"}}}, Payload: []byte("p")}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got %+v, want %+v", r, want)
	}
}

func TestTolerantFields(t *testing.T) {
	field := func(parts ...[]byte) []byte {
		inside := bytes.Join(parts, nil)
		return protowire.AppendBytes(protowire.AppendTag(nil, numFields, protowire.BytesType), inside)
	}
	name := []byte{0x0a, 1, 'n'}
	for what, c := range map[string]struct {
		own  []byte
		want any
	}{
		"unpacked integers":      {field(name, []byte{0x10, 2, 0x30, 1, 0x30, 2}), []int64{1, 2}},
		"packed and unpacked":    {field(name, []byte{0x10, 2, 0x30, 1, 0x32, 2, 2, 3}), []int64{1, 2, 3}},
		"value type at the end":  {field([]byte{0x30, 5, 0x10, 2}, name), int64(5)},
		"unpacked bool":          {field(name, []byte{0x10, 4, 0x40, 1}), true},
		"unpacked double":        {field(name, []byte{0x10, 3, 0x39, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f}), 1.5},
		"no value type":          {field(name, []byte{0x22, 1, 'v'}), "v"},
		"value type of tomorrow": {field(name, []byte{0x10, 9, 0x22, 1, 'v'}), "v"},
		"values of another type": {field(name, []byte{0x10, 2, 0x22, 1, 'v'}), []int64{}},
	} {
		var r Record
		if err := r.Decode(nil, c.own, Records); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if want := []Field{{Name: "n", Value: c.want}}; !reflect.DeepEqual(r.Fields, want) {
			t.Errorf("%s: got %#v, want %#v", what, r.Fields, want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for what, c := range map[string]struct {
		own  string
		want string
	}{
		"payload as a group":   {"\x34\x01", "decode record: field 6 has wire type 4 instead of 2"},
		"timestamp as bytes":   {"\x12\x01a", "field 2 has wire type 2 instead of 0"},
		"payload cut":          {"\x32\x05ab", "field 6: unexpected EOF"},
		"length out of range":  {"\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "field 6"},
		"field number 0":       {"\x00\x00", "invalid field number"},
		"tag cut":              {"\x80", "unexpected EOF"},
		"unknown field cut":    {"\x5d\x00", "field 11: unexpected EOF"},
		"lone end of a group":  {"\x5c", "field 11"},
		"name as a number":     {"\x52\x02\x08\x01", "field 10: field 1 inside it has wire type 0"},
		"value as 32 bits":     {"\x52\x05\x25\x00\x00\x00\x00", "field 10: value has wire type 5 instead of 2"},
		"packed values cut":    {"\x52\x05\x10\x02\x32\x01\x80", "field 10: packed values"},
		"field inside cut":     {"\x52\x02\x22\x05", "field 10: field 4 inside it: unexpected EOF"},
		"tag inside of it cut": {"\x52\x01\x80", "field 10: unexpected EOF"},
	} {
		var r Record
		err := r.Decode(nil, []byte(c.own), Records)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", what, err, c.want)
		}
		if err := r.Decode([]byte(c.own), nil, Lines); err == nil || !strings.Contains(err.Error(), "decode shared attributes") {
			t.Errorf("%s as shared attributes: error %v", what, err)
		}
	}
}

func TestValueOfAnotherTypeIsWrittenAsText(t *testing.T) {
	a := Attributes{Fields: []Field{{Name: "n", Value: 5}, {Name: "nil"}}}
	var r Record
	if err := r.Decode(a.Append(nil), nil, Records); err != nil {
		t.Fatal(err)
	}
	if want := []Field{{Name: "n", Value: "5"}, {Name: "nil", Value: []string{}}}; !reflect.DeepEqual(r.Fields, want) {
		t.Errorf("got %#v, want %#v", r.Fields, want)
	}
}

func TestAttributesAppendAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.Rune(), 0, 20, -1)
		a := Attributes{
			Timestamp: rapid.Int64().Draw(t, "timestamp"), Type: text.Draw(t, "type"), Logger: text.Draw(t, "logger"),
			Severity: rapid.Int32().Draw(t, "severity"), EnvVersion: text.Draw(t, "version"), Pid: rapid.Int32().Draw(t, "pid"),
			Hostname: text.Draw(t, "hostname"), Fields: []Field{
				{Name: text.Draw(t, "name"), Representation: text.Draw(t, "representation"), Value: text.Draw(t, "text")},
				{Name: "i", Value: rapid.SliceOfN(rapid.Int64(), 2, 9).Draw(t, "integers")},
				{Name: "b", Value: rapid.Bool().Draw(t, "bool")},
			},
		}
		prefix := []byte("before")
		b := a.Append(prefix)
		if !bytes.HasPrefix(b, prefix) {
			t.Fatalf("what was before is gone: %q", b)
		}
		var r Record
		if err := r.Decode(b[len(prefix):], []byte("line"), Lines); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(r.Attributes, a) {
			t.Fatalf("got %+v, want %+v", r.Attributes, a)
		}
	})
}

// FuzzRecord: any bytes decode or give an error, never a panic; what decodes encodes to a canonical message, which means
// the same record and encodes to itself.
func FuzzRecord(f *testing.F) {
	r := full()
	f.Add(r.Attributes.Append(nil), r.Append(nil), false)
	f.Add((&Attributes{Severity: 7, Type: "app"}).Append(nil), []byte("line"), true)
	f.Add([]byte(nil), []byte("\x52\x0b\x0a\x01n\x10\x02\x30\x01\x32\x02\x02\x03\x5b\x5c"), false)
	f.Fuzz(func(t *testing.T, shared, own []byte, lines bool) {
		form := Records
		if lines {
			form = Lines
		}
		var r Record
		if err := r.Decode(shared, own, form); err != nil {
			return
		}
		if lines && !bytes.Equal(r.Payload, own) {
			t.Fatalf("payload %q, want %q", r.Payload, own)
		}
		b := r.Append(nil)
		again := full()
		if err := again.Decode(nil, b, Records); err != nil {
			t.Fatalf("decode what was encoded: %v", err)
		}
		if c := again.Append(nil); !bytes.Equal(b, c) {
			t.Fatalf("encodes to\n%x, then to\n%x", b, c)
		}
		if !bytes.Equal(again.Payload, r.Payload) || len(again.Fields) != len(r.Fields) || again.Timestamp != r.Timestamp ||
			again.Severity != r.Severity || again.Pid != r.Pid || again.Hostname != r.Hostname || again.Type != r.Type {
			t.Fatalf("got %+v, want %+v", again, r)
		}
	})
}
