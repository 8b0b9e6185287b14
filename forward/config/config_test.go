package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// valid is a start for tables of what is wrong after it: two lines and nothing to complain about.
const valid = "data_dir = \"/x\"\n\n"

const (
	topKeys   = "the keys are data_dir, shutdown_timeout, memory_limit, admin, queue, log, input and output"
	queueKeys = "the keys are segment_size, max_size, min_free, when_full, sync, compression, keep_for, keep_size, forget_after and scrub_rate"
	inKinds   = `"file", "generate", "http", "stdin", "tcp", "udp" or "unix"`
	outKinds  = `"file", "http", "stdout", "tcp", "udp" or "unix"`
	dataHint  = `add data_dir = "/var/lib/logmule" above the first [section]: the directory for the queue`
	tomlHint  = "strings need quotes, sections are written [like.this]"
	sizeHint  = `it must be a string with a unit, such as "64MiB"`
)

func TestBadConfigurations(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":                 {"", "f:1: there is nothing in this file, so that data_dir is missing; " + dataHint},
		"only remarks":          {"\n# no more\n", "f:1: there is nothing in this file, so that data_dir is missing; " + dataHint},
		"data_dir empty":        {`data_dir = ""`, `f:1: data_dir is empty; name the directory for the queue, such as "/var/lib/logmule"`},
		"data_dir a number":     {"data_dir = 5", "f:1: data_dir is the number 5; it must be a string in quotes"},
		"data_dir in a section": {valid + "[queue]\ndata_dir = '/y'", `f:4: unknown key "data_dir" in [queue]; it belongs to the top: move it above the first [section]`},
		"syntax: no value":      {valid + "a =", "f:3: this is not TOML: unexpected EOF; expected value; " + tomlHint},
		"syntax: no quotes":     {valid + "a = b", `f:3: this is not TOML: expected value but found "b" instead; ` + tomlHint},
		"syntax: section open":  {"\n[queue\n\n", `f:2: this is not TOML: expected '.' or ']' to end table name, but got '\n' instead; ` + tomlHint},
		"syntax: string open":   {"\na = \"x\n[queue]\n", "f:2: this is not TOML: strings cannot contain newlines; " + tomlHint},
		"not UTF-8":             {"\na = \"\xff\"", "f:2: this is not TOML: invalid UTF-8 byte: 0xff; " + tomlHint},
		"key twice":             {valid + "data_dir = 'y'", "f:3: Key 'data_dir' has already been defined; keep one of the two"},
		"section twice":         {valid + "[input.a]\n[input.a]", "f:4: Key 'input.a' has already been defined; keep one of the two"},
		"unknown key":           {valid + "data_dri = 1", `f:3: unknown key "data_dri" (did you mean "data_dir"?); ` + topKeys},
		"unknown key, not near": {valid + "zzz = 1", `f:3: unknown key "zzz"; ` + topKeys},
		"unknown section":       {valid + "[imput.a]\ntype = 'tcp'", `f:3: unknown section [imput] (did you mean "input"?); ` + topKeys},
		"unknown list of tables": {valid + "[[outptu]]\ntype = 'tcp'",
			`f:3: unknown section [outptu] (did you mean "output"?); ` + topKeys},
		"unknown key in a section": {valid + "[queue]\n\n  segment_szie = '1MiB'", `f:5: unknown key "segment_szie" in [queue] (did you mean "segment_size"?); ` + queueKeys},
		"unknown dotted key":       {valid + "queue.max = '1MiB'", `f:3: unknown key "max" in [queue]; ` + queueKeys},
		"unknown key inline":       {valid + "queue = { sync = 'never', wenn_full = 'block' }", `f:3: unknown key "wenn_full" in [queue] (did you mean "when_full"?); ` + queueKeys},
		"unknown case":             {valid + "[queue]\nSync = 'never'", `f:4: unknown key "Sync" in [queue] (did you mean "sync"?); ` + queueKeys},
		"section a value":          {valid + "queue = 5", "f:3: queue is the number 5; it must be a section or a table { ... }"},
		"section a list":           {valid + "[[queue]]", "f:3: queue is a list of tables [[...]]; it must be a section or a table { ... }"},
		"size a number":            {valid + "[queue]\nmax_size = 1048576", "f:4: max_size is the number 1048576; " + sizeHint},
		"size a float":             {valid + "memory_limit = 1.5", "f:3: memory_limit is the number 1.5; " + sizeHint},
		"size without unit":        {valid + "[queue]\nmin_free = '5'", `f:4: min_free = "5" has no unit; write "5B" for bytes, or a unit such as KiB, MiB or GiB`},
		"size of unknown unit":     {valid + "[queue]\nmin_free = '5mib'", `f:4: min_free = "5mib" has an unknown unit "mib"; units are B, KiB, MiB, GiB, TiB and KB, MB, GB, TB (did you mean "MiB"?)`},
		"size with a short unit":   {valid + "[queue]\nmin_free = '5G'", `f:4: min_free = "5G" has an unknown unit "G"; units are B, KiB, MiB, GiB, TiB and KB, MB, GB, TB (did you mean "GiB"?)`},
		"size with a fraction":     {valid + "[queue]\nmax_size = '1.5GiB'", `f:4: max_size = "1.5GiB" is not a size; write a whole number and a unit, such as "64MiB"`},
		"size negative":            {valid + "[queue]\nmax_size = '-1GiB'", `f:4: max_size = "-1GiB" is not a size; write a whole number and a unit, such as "64MiB"`},
		"size huge":                {valid + "[queue]\nmax_size = '9999999999GiB'", `f:4: max_size = "9999999999GiB" is too large; write a size such as "64MiB"`},
		"segment_size low":         {valid + "[queue]\nsegment_size = '65535B'", `f:4: segment_size = "65535B" is out of range; use 64KiB to 1GiB`},
		"segment_size high":        {valid + "[queue]\nsegment_size = '2GiB'", `f:4: segment_size = "2GiB" is out of range; use 64KiB to 1GiB`},
		"max_size low":             {valid + "queue.max_size = '0B'", `f:3: max_size = "0B" is out of range; use 256KiB to 1048576TiB`},
		"memory_limit low":         {valid + "memory_limit = '1KB'", `f:3: memory_limit = "1000B" is out of range; use 1MiB to 1TiB`},
		"duration a number":        {valid + "shutdown_timeout = 10", `f:3: shutdown_timeout is the number 10; it must be a string with a unit, such as "10s"`},
		"duration without unit":    {valid + "shutdown_timeout = '10'", `f:3: shutdown_timeout = "10" is not a duration; write a duration such as "10s", "200ms" or "1h30m"`},
		"duration in days":         {valid + "[queue]\nkeep_for = '7d'", `f:4: keep_for = "7d" is not a duration; write a duration such as "10s", "200ms" or "1h30m"; a day is "24h"`},
		"duration negative":        {valid + "[queue]\nkeep_for = '-1s'", `f:4: keep_for = "-1s" is negative; write a duration such as "10s"`},
		"when_full unknown":        {valid + "[queue]\nwhen_full = 'drop_oldes'", `f:4: when_full = "drop_oldes" is not known (did you mean "drop_oldest"?); use "block", "drop_oldest" or "drop_newest"`},
		"when_full a bool":         {valid + "[queue]\nwhen_full = true", "f:4: when_full is true; it must be a string in quotes"},
		"compression unknown":      {valid + "[queue]\ncompression = 'gzip'", `f:4: compression = "gzip" is not known; use "snappy" or "none"`},
		"sync unknown":             {valid + "[queue]\nsync = 'alway'", `f:4: sync = "alway" is not a sync policy (did you mean "always"?); write "always", "never" or a duration from 1ms to 1m such as "200ms"`},
		"sync too rare":            {valid + "[queue]\nsync = '2m'", `f:4: sync = "2m" is more than a minute, for which a power failure would cost every record; use 1ms to 1m, such as "200ms", or "never"`},
		"sync too often":           {valid + "[queue]\nsync = '0s'", `f:4: sync = "0s" is less than a millisecond; use 1ms to 1m, such as "200ms", or "always", which syncs before it acknowledges`},
		"sync below zero":          {valid + "[queue]\nsync = '-5s'", `f:4: sync = "-5s" is less than a millisecond; use 1ms to 1m, such as "200ms", or "always", which syncs before it acknowledges`},
		"sync without a unit":      {valid + "[queue]\nsync = '200'", `f:4: sync = "200" is not a sync policy; write "always", "never" or a duration from 1ms to 1m such as "200ms"`},
		"sync a number":            {valid + "[queue]\nsync = 200", "f:4: sync is the number 200; it must be a string in quotes"},
		"admin beyond loopback":    {valid + "[admin]\nlisten = ':8686'", `f:4: listen = ":8686" lets anyone on the network see the status pages; listen on 127.0.0.1, or add insecure = true to [admin]`},
		"admin without a port":     {valid + "[admin]\nlisten = '127.0.0.1'", `f:4: listen = "127.0.0.1" is not an address; write host:port, such as "127.0.0.1:8686"`},
		"admin with a wrong port":  {valid + "[admin]\nlisten = '127.0.0.1:65536'", `f:4: listen = "127.0.0.1:65536" is not an address; write host:port, such as "127.0.0.1:8686"`},
		"insecure a string":        {valid + "[admin]\ninsecure = 'yes'", `f:4: insecure is the string "yes"; it must be true or false, without quotes`},
		"input without a type":     {valid + "[input.a]\nlisten = 'x'", "f:3: [input.a] has no type; add type = " + inKinds},
		"output without a type":    {valid + "[output.a]", "f:3: [output.a] has no type; add type = " + outKinds},
		"type unknown":             {valid + "[input.a]\n\ntype = 'htpp'", `f:5: type = "htpp" is not known (did you mean "http"?); use ` + inKinds},
		"type of an output":        {valid + "[input.a]\ntype = 'stdout'", `f:4: type = "stdout" is not known; use ` + inKinds},
		"type a number":            {valid + "[output.a]\ntype = 1", "f:4: type is the number 1; it must be " + outKinds},
		"name with a blank":        {valid + "[input.\"a b\"]\ntype = 'tcp'", `f:3: "a b" cannot be the name of an input; use 1 to 64 letters, digits, _ and -`},
		"name too long":            {valid + "[output." + strings.Repeat("x", 65) + "]\ntype = 'tcp'", `f:3: "` + strings.Repeat("x", 65) + `" cannot be the name of an output; use 1 to 64 letters, digits, _ and -`},
		"no name":                  {valid + "[input]\ntype = 'tcp'", "f:4: type stands in [input], which has no name; write [input.NAME] above it"},
		"double brackets":          {valid + "[[input.a]]\ntype = 'tcp'", "f:3: [[input.a]] is a list of tables; write [input.a]"},
		"inputs as a list":         {valid + "[[input]]\ntype = 'tcp'", "f:3: input is a list of tables [[...]]; write a section [input.NAME] for each input"},
		"input a value":            {valid + "output = 'stdout'", `f:3: output is the string "stdout"; write a section [output.NAME] for each output`},
		"variable not set":         {"data_dir = '${LM_NONE}'", "f:1: the environment variable LM_NONE is not set; set it, or write ${LM_NONE:-default}"},
		"variable not set in a size": {valid + "[queue]\nmax_size = \"${LM_NONE}MiB\"",
			"f:4: the environment variable LM_NONE is not set; set it, or write ${LM_NONE:-default}"},
		"variable outside a string": {valid + "[admin]\ninsecure = ${LM_TEXT}",
			`f:4: the value of the environment variable LM_TEXT is neither a number nor true or false; put it in quotes: "${LM_TEXT}"`},
		"several, in order": {
			"[queue]\nsync = 5\n[input.a]\n[output.b]\ntype = \"tpc\"\nfoo = '${LM_NONE}'\n[nothing]\n",
			"f:1: data_dir is missing; " + dataHint + "\n" +
				"f:2: sync is the number 5; it must be a string in quotes\n" +
				"f:3: [input.a] has no type; add type = " + inKinds + "\n" +
				`f:5: type = "tpc" is not known (did you mean "tcp"?); use ` + outKinds + "\n" +
				"f:6: the environment variable LM_NONE is not set; set it, or write ${LM_NONE:-default}\n" +
				"f:7: unknown section [nothing]; " + topKeys,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LM_TEXT", "text")
			_, err := Parse("f", []byte(c.text))
			if err == nil {
				t.Fatal("no error")
			}
			if err.Error() != c.want {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
			var e *Error
			if !errors.As(err, &e) || e.File != "f" || e.Line == 0 {
				t.Errorf("no *Error with a place in %#v", err)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	c, err := Parse("f", []byte("data_dir = '/x'"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		DataDir: "/x", ShutdownTimeout: Duration(10 * time.Second), MemoryLimit: 64 << 20,
		Admin: Admin{Listen: "127.0.0.1:8686"},
		Log:   Log{Level: "info", Format: "text"},
		Queue: Queue{
			SegmentSize: 64 << 20, MaxSize: 10 << 30, MinFree: 256 << 20,
			WhenFull: "block", Sync: Sync{Mode: SyncAlways}, Compression: "snappy", ForgetAfter: Duration(24 * time.Hour), ScrubRate: 8 << 20,
		},
		Warnings: c.Warnings, doc: c.doc,
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
}

func TestEverythingSet(t *testing.T) {
	c, err := Parse("f", []byte("\ufeff"+`# a comment with ${LM_NONE}
data_dir = "/y"
shutdown_timeout = "1m30s"
memory_limit = "1MB"
memory_limit_is_not_a_key.x = 1
`))
	if err == nil || !strings.Contains(err.Error(), "f:4: memory_limit") || !strings.Contains(err.Error(), "f:5: unknown section") {
		t.Fatalf("error %v, want one about line 4 and one about line 5", err)
	}
	if c == nil || c.DataDir != "/y" {
		t.Errorf("beside the error there is %+v, want what could be read", c)
	}
	c, err = Parse("f", []byte(strings.ReplaceAll(`data_dir = "/y"
shutdown_timeout = "1m30s"
memory_limit = "2MB"
admin = { listen = "[::]:1", insecure = true }
[queue]
segment_size = "64KiB"
max_size = "1 GiB"
min_free = "0B"
when_full = "drop_oldest"
sync = "200ms"
compression = "none"
keep_for = "24h"
keep_size = "2GiB"
forget_after = "0s"
scrub_rate = "0B"
[output.b]
type = "stdout"
[input.z]
type = "tcp"
[input.a]
type = "http"
`, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := Queue{
		SegmentSize: 64 << 10, MaxSize: 1 << 30, WhenFull: "drop_oldest",
		Sync: Sync{SyncInterval, Duration(200 * time.Millisecond)}, Compression: "none", KeepFor: Duration(24 * time.Hour), KeepSize: 2 << 30,
	}
	if c.Queue != want {
		t.Errorf("queue %+v, want %+v", c.Queue, want)
	}
	if want := (Admin{Listen: "[::]:1", Insecure: true}); c.Admin != want || c.MemoryLimit != 2_000_000 || c.ShutdownTimeout != Duration(90*time.Second) {
		t.Errorf("got %+v", c)
	}
	if len(c.Inputs) != 2 || c.Inputs[0].Name != "z" || c.Inputs[0].Line != 18 || c.Inputs[1].Name != "a" || c.Inputs[1].Type != "http" {
		t.Errorf("inputs %+v, want z and a in the order of the file", c.Inputs)
	}
	if len(c.Outputs) != 1 || c.Outputs[0].Type != "stdout" || len(c.Warnings) != 0 {
		t.Errorf("outputs %+v, warnings %v", c.Outputs, c.Warnings)
	}
}

func TestWarnings(t *testing.T) {
	for text, want := range map[string]int{
		"":                                2,
		"[input.a]\ntype = 'tcp'":         1,
		"[output.a]\ntype = 'stdout'":     1,
		"[input.a]\n[output.a]":           0,
		"input.a.type = 'tcp'\noutput={}": 1,
	} {
		c, _ := Parse("f", []byte(text))
		if len(c.Warnings) != want {
			t.Errorf("%q: warnings %v, want %d", text, c.Warnings, want)
		}
		for _, w := range c.Warnings {
			if !strings.HasPrefix(w.Error(), "f: no ") {
				t.Errorf("%q: warning %q does not begin with the file", text, w)
			}
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "logmule.toml")
	_, err := Load(file)
	want := file + ": cannot read the configuration: no such file or directory; name another file with -c FILE, or correct this one"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := os.WriteFile(file, []byte("data_dir = '/x'\noops = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file); err == nil || !strings.HasPrefix(err.Error(), file+":2: unknown key") {
		t.Errorf("error %v, want one that names %s:2", err, file)
	}
	if err := os.WriteFile(file, []byte("data_dir = '/x'"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.DataDir != "/x" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestQuickStart(t *testing.T) {
	if _, err := Parse("quick start", []byte(quickStart)); err != nil {
		t.Fatal(err)
	}
	c := QuickStart(`/a "${dir}"`)
	if c.DataDir != `/a "${dir}"` || len(c.Inputs) != 1 || len(c.Outputs) != 1 || c.Admin.Listen != "127.0.0.1:8686" || len(c.Warnings) != 0 {
		t.Errorf("got %+v", c)
	}
}

// FuzzParse: any text gives a configuration or errors with a place, never a panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(quickStart))
	f.Add([]byte("\r"))
	f.Add([]byte("a.b = {c=[{d=1}], 'e' = \"\"\"x${HOME}\"\"\"}\n[[input.x]]\n[queue]\nsync='${X:-y}'"))
	f.Add([]byte("[input.a]\ntype='tcp'\nx = 2020-01-01T10:10:10Z # ${Y}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("f", text)
		if err == nil && (c == nil || c.DataDir == "") {
			t.Fatalf("no error, and %+v", c)
		}
		if err == nil {
			return
		}
		for _, err := range flatten(nil, []error{err}) {
			e, ok := err.(*Error)
			if !ok || e.Line < 1 || e.Line > strings.Count(string(text), "\n")+1 {
				t.Fatalf("error without a place: %v", err)
			}
		}
	})
}

// TestEveryKeyIsExplained: the page of all keys is made from these.
func TestEveryKeyIsExplained(t *testing.T) {
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			key := f.Tag.Get("toml")
			if key == "" {
				continue
			}
			if f.Tag.Get("doc") == "" {
				t.Errorf("%s has no doc tag", path+key)
			}
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Sync]() {
				walk(path+key+".", f.Type)
			}
		}
	}
	walk("", reflect.TypeFor[Config]())
}
