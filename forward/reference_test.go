package forward_test

import (
	"encoding"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"logmule/forward"
	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const reference = "../docs/configuration.md"

// The text around the tables of docs/configuration.md. The tables come from the structs that the configuration is
// decoded into.
const referenceHead = `# Configuration

Made from the program by ` + "`make docs`" + `: every key that it knows, with its default. ` + "`logmule check -c FILE`" + ` says what is wrong with a
file and on which line; ` + "`kill -HUP`" + ` makes a running daemon take it over, and touches only what has changed.

- The file is [TOML](https://toml.io). Unknown keys are errors.
- Sizes and durations are strings with a unit: ` + "`\"64MiB\"`, `\"1MB\"`, `\"200ms\"`, `\"1h30m\"`" + `.
- ` + "`${NAME}` and `${NAME:-default}`" + ` take environment variables, anywhere; a ` + "`$`" + ` in any other form stays as it is.
- A key such as ` + "`tls.cert`" + ` may be written so, or in a table ` + "`tls = { cert = ... }`" + `.
- NAME in ` + "`[input.NAME]` and `[output.NAME]`" + ` is 1 to 64 letters, digits, _ and -. It is a part of the durable state: an output with
  another name is a new output, a file input with another name reads its files as never seen.
`

// kindTexts say what a kind is for. A kind without one is a mistake.
var inputTexts = map[string]string{
	"file":     "Reads log files as they grow, through every kind of rotation: see [file input](file-input.md).",
	"generate": "Makes records up, to try and to measure.",
	"http":     "Takes newline-delimited records by POST or PUT to any path. 200 means stored; after any other status nothing of the request is.",
	"stdin":    "Reads the standard input to its end. When every other input has ended too and all is delivered, logmule stops with status 0.",
	"tcp":      "Takes records from any number of connections. The protocol has no acknowledgement: what the kernels held when a machine crashed is lost. See [sockets](sockets.md).",
	"udp":      "Takes datagrams. What the kernel had no room for is lost, and counted: see [sockets](sockets.md).",
	"unix":     "Takes records on a unix socket, by connections or datagrams: see [sockets](sockets.md).",
}

var outputTexts = map[string]string{
	"file":   "Appends to a file, and syncs it before the records count as delivered. After a crash it compares what stands beyond its last known end with the records that come again: no torn and no doubled line. Bytes there that are not theirs, such as lines that somebody appended meanwhile, are moved to a file beside, PATH.surplus-OFFSET, with a line in the log. The path may not be in data_dir.",
	"http":   "Posts batches. 2xx accepts; 400, 413, 415 and 422 are bisected down to the single records, which become dead letters; everything else is tried again for ever.",
	"stdout": "Writes to the standard output.",
	"tcp":    "Writes to a connection. Accepted is what the peer's kernel has acknowledged; after a broken connection the last `resend` bytes go out again.",
	"udp":    "Sends datagrams. Nothing tells whether they arrive.",
	"unix":   "Writes to a unix socket.",
}

// errCaptured ends a constructor when it has shown what it decodes into.
var errCaptured = errors.New("captured")

// docs/configuration.md has every key that the program reads, and no other.
func TestConfigurationReference(t *testing.T) {
	var page strings.Builder
	page.WriteString(referenceHead)
	file, err := config.Parse("defaults", []byte(`data_dir = "needed"`))
	if err != nil {
		t.Fatal(err)
	}
	file.DataDir = ""
	section := func(title, text string, keys ...any) {
		fmt.Fprintf(&page, "\n## %s\n\n", title)
		if text != "" {
			fmt.Fprintf(&page, "%s\n\n", text)
		}
		page.WriteString("| key | default | what it does |\n|---|---|---|\n")
		for _, k := range keys {
			writeKeys(t, &page, title, "", reflect.ValueOf(k).Elem())
		}
	}
	section("At the top", "Before the first section.", file)
	for _, name := range []string{"log", "admin", "queue"} {
		v := tagged(reflect.ValueOf(file).Elem(), name)
		fmt.Fprintf(&page, "\n## [%s]\n\n| key | default | what it does |\n|---|---|---|\n", name)
		writeKeys(t, &page, name, "", v)
	}
	for _, kind := range input.Kinds() {
		section(fmt.Sprintf("[input.NAME] with type = %q", kind), textOf(t, inputTexts, kind), captured(t, func(decode func(any) error) error {
			_, err := input.New(kind, decode, input.Env{})
			return err
		})...)
	}
	section("[output.NAME] of every type", "Beside the keys of its type.", forward.NewOutputKeys())
	for _, kind := range output.Kinds() {
		section(fmt.Sprintf("[output.NAME] with type = %q", kind), textOf(t, outputTexts, kind), captured(t, func(decode func(any) error) error {
			_, err := output.New(kind, decode, output.Env{})
			return err
		})...)
	}
	if *update {
		if err := os.WriteFile(reference, []byte(page.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != page.String() {
		t.Errorf("%s is not what the program makes of its keys; run make docs", reference)
	}
}

func textOf(t *testing.T, texts map[string]string, kind string) string {
	t.Helper()
	if texts[kind] == "" {
		t.Errorf("there is no text about %s", kind)
	}
	return texts[kind]
}

// captured is what a constructor decodes into, with its defaults.
func captured(t *testing.T, build func(decode func(any) error) error) (keys []any) {
	t.Helper()
	err := build(func(into any) error { keys = append(keys, into); return errCaptured })
	if len(keys) == 0 || !errors.Is(err, errCaptured) {
		t.Errorf("a constructor returned %v before it decoded its keys", err)
	}
	return keys
}

// tagged is the field of a struct with that key.
func tagged(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("toml"), ","); name == key {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// writeKeys writes a row for each key of a struct; those of a table in it follow with its name before them.
func writeKeys(t *testing.T, page *strings.Builder, where, prefix string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch _, text := reflect.New(f.Type).Interface().(encoding.TextUnmarshaler); {
		case f.Anonymous && key == "":
			writeKeys(t, page, where, prefix, v.Field(i))
			continue
		case key == "" || key == "-" || prefix == "" && where == "At the top" && f.Type.Kind() == reflect.Struct && !text:
			continue // sections of their own
		case f.Type.Kind() == reflect.Struct && !text:
			writeKeys(t, page, where, prefix+key+".", v.Field(i))
			continue
		}
		doc := f.Tag.Get("doc")
		if doc == "" {
			t.Errorf("%s: the key %s has no doc tag", where, prefix+key)
		}
		fmt.Fprintf(page, "| `%s%s` | %s | %s |\n", prefix, key, defaultOf(v.Field(i)), strings.ReplaceAll(doc, "|", "\\|"))
	}
}

// defaultOf writes a value as it may stand in a configuration; empty where there is none.
func defaultOf(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case config.Sync:
		return "`\"always\"`"
	case fmt.Stringer:
		return fmt.Sprintf("`\"%s\"`", value)
	case string:
		if value == "" {
			return ""
		}
		return fmt.Sprintf("`%q`", value)
	case []string:
		if len(value) == 0 {
			return ""
		}
		return fmt.Sprintf("`%s`", strings.ReplaceAll(fmt.Sprintf("%q", value), "\" \"", "\", \""))
	}
	if s, ok := v.Addr().Interface().(fmt.Stringer); ok {
		return fmt.Sprintf("`\"%s\"`", s)
	}
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return ""
	default:
		return fmt.Sprintf("`%v`", v.Interface())
	}
}
