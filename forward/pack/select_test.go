package pack

import (
	"bytes"
	"reflect"
	"testing"
)

func TestSelect(t *testing.T) {
	r := Record{Payload: []byte("text"), Attributes: Attributes{
		UUID: bytes.Repeat([]byte{1}, 16), Timestamp: 5, Type: "t", Logger: "l", Severity: 3, EnvVersion: "e", Pid: 9, Hostname: "h",
		Fields: []Field{{Name: "a", Value: "x"}, {Name: "b", Value: int64(2)}},
	}}
	encoded := r.Append(nil)
	for which, want := range map[Parts]Record{
		0:                   {Attributes: Attributes{Severity: DefaultSeverity}},
		OfType:              {Attributes: Attributes{Severity: DefaultSeverity, Type: "t"}},
		OfTimestamp | OfPid: {Attributes: Attributes{Severity: DefaultSeverity, Timestamp: 5, Pid: 9}},
		OfLogger | OfFields: {Attributes: Attributes{Severity: DefaultSeverity, Logger: "l", Fields: r.Fields}},
		OfPayload:           {Attributes: Attributes{Severity: DefaultSeverity}, Payload: r.Payload},
		OfSeverity:          {Attributes: Attributes{Severity: 3}},
		OfHostname:          {Attributes: Attributes{Severity: DefaultSeverity, Hostname: "h"}},
	} {
		selected, ok := Select([]byte("front"), encoded, which)
		rest, had := bytes.CutPrefix(selected, []byte("front"))
		var got Record
		if err := got.Decode(nil, rest, Records); err != nil || !ok || !had {
			t.Fatalf("%b: %v, %v, %v", which, err, ok, had)
		}
		if len(got.Fields) == 0 {
			got.Fields = nil
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%b: got %+v, want %+v", which, got, want)
		}
	}
	for _, bad := range []string{"\xff", "\x22\x05abc", "\x10"} {
		if _, ok := Select(nil, []byte(bad), OfType); ok {
			t.Errorf("%q counts as a record", bad)
		}
	}
	shared := r.Attributes.Append(nil)
	key := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(10, func() { key, _ = Select(key[:0], shared, OfType|OfHostname) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzSelect: whatever a record decodes to, selecting all of its parts keeps it.
func FuzzSelect(f *testing.F) {
	f.Add((&Record{Payload: []byte("p"), Attributes: Attributes{Timestamp: 1, Type: "t", Severity: 7, Fields: []Field{{Name: "a", Value: "x"}}}}).Append(nil))
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var was, is Record
		err := was.Decode(nil, b, Records)
		all, ok := Select(nil, b, ^Parts(0))
		if err == nil && !ok {
			t.Fatal("a record that can be decoded is malformed to Select")
		}
		if err != nil || !ok {
			return
		}
		if err := is.Decode(nil, all, Records); err != nil || !bytes.Equal(was.Append(nil), is.Append(nil)) {
			t.Fatalf("%+v became %+v, %v", was, is, err)
		}
	})
}
