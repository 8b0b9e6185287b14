package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type common struct {
	Listen   string `toml:"listen"`
	Insecure bool   `toml:"insecure"`
}

type nested struct {
	CA string `toml:"ca"`
}

type options struct {
	common
	MaxRecord Bytes             `toml:"max_record"`
	Timeout   Duration          `toml:"timeout,omitempty"`
	Plain     time.Duration     `toml:"plain"`
	Count     int16             `toml:"count"`
	Paths     []string          `toml:"paths"`
	Headers   map[string]string `toml:"headers"`
	TLS       nested            `toml:"tls"`
	Ignored   int
	Off       int `toml:"-"`
}

func preset() options {
	return options{common: common{Listen: "127.0.0.1:1"}, MaxRecord: 1 << 20, Timeout: Duration(time.Second), Paths: []string{"x"}}
}

// section parses the body of [input.app], which begins on line 3.
func section(t *testing.T, body string) Section {
	t.Helper()
	c, err := Parse("f", []byte("data_dir = '/x'\n[input.app]\n"+body+"\ntype = 'tcp'"))
	if err != nil && strings.Contains(body, "${") {
		t.Log(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if len(c.Inputs) != 1 {
		t.Fatalf("inputs %+v", c.Inputs)
	}
	return c.Inputs[0]
}

func TestDecode(t *testing.T) {
	o := preset()
	if err := section(t, "").Decode(&o); err != nil || !reflect.DeepEqual(o, preset()) {
		t.Errorf("without keys: %+v, %v; want the defaults", o, err)
	}
	err := section(t, `listen = "127.0.0.1:2"
insecure = true
max_record = "8MiB"
timeout = "200ms"
plain = "2s"
count = -3
paths = ["a", "b"]
headers = { X-A = "1", "x.y" = "2" }
tls.ca = "/ca"`).Decode(&o)
	want := options{
		common: common{"127.0.0.1:2", true}, MaxRecord: 8 << 20, Timeout: Duration(200 * time.Millisecond), Plain: 2 * time.Second,
		Count: -3, Paths: []string{"a", "b"}, Headers: map[string]string{"X-A": "1", "x.y": "2"}, TLS: nested{"/ca"},
	}
	if err != nil || !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v, %v\nwant %+v", o, err, want)
	}
	if err := (Section{Name: "made up"}).Decode(&o); err != nil {
		t.Errorf("a section that was not read: %v", err)
	}
}

func TestDecodeErrors(t *testing.T) {
	const keys = "the keys are listen, insecure, max_record, timeout, plain, count, paths, headers, tls and type"
	for body, want := range map[string]string{
		"lisen = 'x'":         `f:3: unknown key "lisen" in [input.app] (did you mean "listen"?); ` + keys,
		"\nTLS = 'x'":         `f:4: unknown key "TLS" in [input.app] (did you mean "tls"?); ` + keys,
		"Ignored = 1":         `f:3: unknown key "Ignored" in [input.app]; ` + keys,
		"listen = 1":          "f:3: listen is the number 1; it must be a string in quotes",
		"listen = []":         "f:3: listen is a list; it must be a string in quotes",
		"listen = 1979-05-27": "f:3: listen is a date or time; it must be a string in quotes",
		"insecure = 1":        "f:3: insecure is the number 1; it must be true or false, without quotes",
		"max_record = 1000":   `f:3: max_record is the number 1000; it must be a string with a unit, such as "64MiB"`,
		"max_record = '9X'":   `f:3: max_record = "9X" has an unknown unit "X"; units are B, KiB, MiB, GiB, TiB and KB, MB, GB, TB`,
		"timeout = true":      `f:3: timeout is true; it must be a string with a unit, such as "10s"`,
		"plain = 5":           `f:3: plain is the number 5; it must be a string with a unit, such as "10s"`,
		"count = '5'":         `f:3: count is the string "5"; it must be a whole number, without quotes`,
		"count = 40000":       "f:3: count is the number 40000; it must be a whole number, without quotes",
		"count = 1.5":         "f:3: count is the number 1.5; it must be a whole number, without quotes",
		"paths = 'a'":         `f:3: paths is the string "a"; it must be a list, such as ["a", "b"]`,
		"paths = [\n'a',\n1]": "f:3: paths is the number 1; it must be a string in quotes",
		"headers = 'a'":       `f:3: headers is the string "a"; it must be a section or a table { ... }`,
		"headers = {a = 1}":   "f:3: a is the number 1; it must be a string in quotes",
		"tls = true":          "f:3: tls is true; it must be a section or a table { ... }",
		"tls = {cb = 'x'}":    `f:3: unknown key "cb" in [input.app.tls] (did you mean "ca"?); the keys are ca`,
		"tls.ca = 1\n\ncount = ''": "f:3: ca is the number 1; it must be a string in quotes\n" +
			`f:5: count is the string ""; it must be a whole number, without quotes`,
	} {
		o := preset()
		if err := section(t, body).Decode(&o); err == nil || err.Error() != want {
			t.Errorf("%q: got\n%v\nwant\n%s", body, err, want)
		}
	}
}

func TestDecodeAll(t *testing.T) {
	var one struct {
		A string `toml:"a"`
	}
	var two struct {
		Beta int `toml:"beta"`
	}
	s := section(t, "a = 'x'\nbeta = 2")
	if err := s.DecodeAll(&one, &two); err != nil || one.A != "x" || two.Beta != 2 {
		t.Errorf("got %+v and %+v, %v", one, two, err)
	}
	const want = `f:3: unknown key "bata" in [input.app] (did you mean "beta"?); the keys are a, beta and type`
	if err := section(t, "bata = 3").DecodeAll(&one, &two); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := s.DecodeAll(&one, two); err == nil || !strings.Contains(err.Error(), "is not a pointer to a struct") {
		t.Errorf("into a struct by itself: error %v", err)
	}
}

func TestDecodeIntoTheWrongThing(t *testing.T) {
	s := section(t, "x = 1\ny = 2")
	for _, into := range []any{nil, 5, options{}, new(int)} {
		if err := s.Decode(into); err == nil || !strings.Contains(err.Error(), "is not a pointer to a struct") {
			t.Errorf("into %T: error %v", into, err)
		}
	}
	var strange struct {
		X chan int    `toml:"x"`
		Y map[int]int `toml:"y"`
	}
	if err := s.Decode(&strange); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("into a struct that cannot hold values: %v", err)
	}
}

func TestDecodeKeepsQuietAboutAMissingVariable(t *testing.T) {
	var o options
	s := section(t, "max_record = \"${LM_NONE}\"\ncount = ''")
	if err := s.Decode(&o); err == nil || strings.Contains(err.Error(), "max_record") || !strings.Contains(err.Error(), "f:4: count") {
		t.Errorf("error %v, want only the one about count", err)
	}
	if err := s.Place(errors.New("max_record is too small")); err != nil {
		t.Errorf("error %v about a value that was never there", err)
	}
}

func TestPlace(t *testing.T) {
	s := section(t, "\nlisten = 'x'\npaths = []\ntls.cert = ''\nmultiline.start = '('")
	for text, want := range map[string]string{
		"listen = \"x\" is no address; write HOST:PORT": "f:4: listen = \"x\" is no address; write HOST:PORT",
		"url is missing; add it":                        "f:2: [input.app]: url is missing; add it",
		"paths: \"x\" is not absolute":                  "f:5: paths: \"x\" is not absolute",
		"tls.cert is not alone; add tls.key":            "f:6: tls.cert is not alone; add tls.key",
		"multiline.start = \"(\" is no expression":      "f:7: multiline.start = \"(\" is no expression",
		"tls.key is missing":                            "f:2: [input.app]: tls.key is missing",
		"listen.cert is strange":                        "f:2: [input.app]: listen.cert is strange",
	} {
		if got := s.Place(errors.New(text)); got == nil || got.Error() != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
	}
	placed := fmt.Errorf("build: %w", &Error{File: "f", Line: 9, What: "x"})
	if got := s.Place(placed); got != placed {
		t.Errorf("got %v, want the error as it was", got)
	}
	if s.Place(nil) != nil {
		t.Error("an error out of nothing")
	}
	if got := (Section{Line: 3}).Place(errors.New("x")); got == nil {
		t.Error("no error")
	}
}

func TestJoin(t *testing.T) {
	a, b, c := &Error{File: "f", Line: 1, What: "a"}, &Error{File: "f", Line: 2, What: "b"}, errors.New("c")
	err := Join(nil, errors.Join(b, errors.Join(a, b)), c, nil)
	if err == nil || err.Error() != "c\nf:1: a\nf:2: b" {
		t.Errorf("got %v", err)
	}
	if Join() != nil || Join(nil, nil) != nil {
		t.Error("an error out of nothing")
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"listen", "max_record", "type"}
	for word, want := range map[string]string{
		"listne": "listen", "LISTEN": "listen", "lisen": "listen", "maxrecord": "max_record", "max-record": "max_record",
		"tpye": "type", "t": "", "zzzzzz": "", "": "", "listener": "listen",
	} {
		got := Suggest(word, known)
		if want != "" {
			want = fmt.Sprintf(" (did you mean %q?)", want)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
