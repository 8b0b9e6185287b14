package pack

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendHead(t *testing.T) {
	shared := Attributes{Type: "app", Logger: "peer", Severity: 3}
	for _, payload := range []string{"", "p", "two\nlines", strings.Repeat("x", 127), strings.Repeat("x", 20_000)} {
		for _, logger := range []string{"", "other"} {
			body := append(AppendHead([]byte{0}, logger, len(payload)), payload...)
			all, err := collect(Records, body)
			if err != nil || len(all) != 2 {
				t.Fatalf("records %q, error %v", all, err)
			}
			var got Record
			if err := got.Decode(shared.Append(nil), []byte(all[1]), Records); err != nil {
				t.Fatal(err)
			}
			want := shared
			if logger != "" {
				want.Logger = logger
			}
			got.Fields = nil
			if string(got.Payload) != payload || !reflect.DeepEqual(got.Attributes, want) {
				t.Errorf("%d bytes, logger %q: decoded %+v", len(payload), logger, got.Attributes)
			}
		}
	}
}

// TestAppendBeside holds any record beside any shared attributes against the record that both make.
func TestAppendBeside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "a", "bc"})
		attributes := func(what string) Attributes {
			return Attributes{
				UUID: []byte(text.Draw(t, what+" uuid")), Timestamp: rapid.Int64Range(-1, 1).Draw(t, what+" timestamp"), Type: text.Draw(t, what+" type"),
				Logger: text.Draw(t, what+" logger"), Severity: rapid.Int32Range(-1, 2).Draw(t, what+" severity"), EnvVersion: text.Draw(t, what+" version"),
				Pid: rapid.Int32Range(-1, 1).Draw(t, what+" pid"), Hostname: text.Draw(t, what+" hostname"),
			}
		}
		shared := attributes("shared")
		shared.Fields = []Field{{Name: "s", Value: "1"}}
		want := Record{Attributes: attributes("own"), Payload: []byte(text.Draw(t, "payload"))}
		want.Fields = []Field{{Name: "o", Value: int64(1)}}
		own := want.AppendBeside([]byte("x"), &shared)[1:]
		var got Record
		if err := got.Decode(shared.Append(nil), own, Records); err != nil {
			t.Fatal(err)
		}
		want.Fields = []Field{{Name: "s", Value: "1"}, {Name: "o", Value: int64(1)}}
		if !bytes.Equal(got.Append(nil), want.Append(nil)) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	})
}

func TestAppendBesideSaysOnlyWhatDiffers(t *testing.T) {
	shared := Attributes{Timestamp: 5, Type: "app", Severity: 7, Hostname: "h"}
	r := Record{Attributes: shared, Payload: []byte("p")}
	if got := r.AppendBeside(nil, &shared); !bytes.Equal(got, []byte("\x32\x01p")) {
		t.Errorf("encoded %x, want the payload alone", got)
	}
}

// TestCutOwn cuts a record at every byte.
func TestCutOwn(t *testing.T) {
	r := full()
	whole := r.Append(nil)
	for n := range len(whole) + 1 {
		own, ok := CutOwn(bytes.Clone(whole[:n]))
		var got Record
		if err := got.Decode(nil, own, Records); !ok || err != nil {
			t.Fatalf("cut to %d of %d bytes: %v, %v", n, len(whole), ok, err)
		}
		if !bytes.HasPrefix(r.Payload, got.Payload) {
			t.Fatalf("payload %q, want the head of %q", got.Payload, r.Payload)
		}
	}
	if got, _ := CutOwn([]byte("\x32\x80\x01abc")); string(got) != "\x32\x83\x00abc" {
		t.Errorf("a payload of 128 bytes with 3 there becomes %x", got)
	}
	for _, bad := range []string{"\x00\x01", "\x34\x01", strings.Repeat("\xff", 30)} {
		if _, ok := CutOwn([]byte(bad)); ok {
			t.Errorf("%x passes as the beginning of a record", bad)
		}
	}
}

func FuzzCutOwn(f *testing.F) {
	r := full()
	f.Add(r.Append(nil))
	f.Add([]byte("\x32\x80\x01abc"))
	f.Fuzz(func(t *testing.T, own []byte) {
		size := len(own)
		if got, ok := CutOwn(own); ok && len(got) > size {
			t.Fatalf("%d bytes become %d", size, len(got))
		}
	})
}
