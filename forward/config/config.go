// Package config reads the configuration file: strictly, with the line of everything that is wrong.
//
// It knows the keys of the daemon, of [admin] and of [queue]. What stands in [input.NAME] and [output.NAME] the kinds
// know; they read it with Section.Decode.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Config is a configuration, with the defaults where the file says nothing.
type Config struct {
	DataDir         string   `toml:"data_dir" doc:"directory of the queue, made if it is missing; no two processes share one; required"`
	ShutdownTimeout Duration `toml:"shutdown_timeout" doc:"how long requests in flight may take to finish at a stop; 0: they are given up at once"`
	MemoryLimit     Bytes    `toml:"memory_limit" doc:"memory that all connections share for what is more than 4 KiB each, 1MiB to 1TiB"`
	Admin           Admin    `toml:"admin" doc:"the status pages"`
	Queue           Queue    `toml:"queue" doc:"the queue on the disk"`
	Log             Log      `toml:"log" doc:"what the daemon says of itself, on standard error"`

	Inputs   []Section // in the order of the file
	Outputs  []Section // in the order of the file
	Warnings []*Error  // what is allowed and probably not meant
	named    []string  // inputs, whatever is wrong with them

	doc *document
}

// Admin is the section [admin].
type Admin struct {
	Listen   string `toml:"listen" doc:"host:port of /metrics, /healthz, /readyz, /status and /debug/pprof; they ask for no password"`
	Insecure bool   `toml:"insecure" doc:"listen may be an address that other machines reach"`
}

// Log is the section [log]: what the daemon says of itself, on standard error.
type Log struct {
	Level  string `toml:"level" doc:"the least that is said: debug, info, warn or error"`
	Format string `toml:"format" doc:"text, or json: one object a line"`
}

// Least is the level of the lines that are written.
func (l Log) Least() slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // check has seen it; without one it is info
	return level
}

// Queue is the section [queue].
type Queue struct {
	SegmentSize Bytes    `toml:"segment_size" doc:"bytes of one queue file, 64KiB to 1GiB; at most a sixteenth of max_size and of the file system is used"`
	MaxSize     Bytes    `toml:"max_size" doc:"bytes of all queue files together and of what is in quarantine, at least 256KiB; then the queue is full; the dead-letter queue in data_dir/deadletter may have as much again"`
	MinFree     Bytes    `toml:"min_free" doc:"bytes to leave free on the file system, at most a tenth of it; then the queue is full; dead letters may use them; 0: none"`
	WhenFull    string   `toml:"when_full" doc:"what a full queue does: block lets the inputs wait, drop_oldest deletes the oldest file, drop_newest refuses records; what is dropped is counted and stands in losses.jsonl; a full dead-letter queue drops the oldest, or lets its outputs wait"`
	Sync        Sync     `toml:"sync" doc:"when a record counts as stored: always, after an fdatasync; a duration such as 200ms, when it is written, with an fdatasync that often; never, when it is written, and a power failure can cost records"`
	Compression string   `toml:"compression" doc:"snappy or none"`
	KeepFor     Duration `toml:"keep_for" doc:"how long delivered files are kept, while new records have room; in running time; 0: not at all"`
	KeepSize    Bytes    `toml:"keep_size" doc:"how many bytes of delivered files are kept, while new records have room; a file stays while keep_for or keep_size wants it; 0: none"`
	ForgetAfter Duration `toml:"forget_after" doc:"how long an output that is not configured any more holds its records, in running time; 0: until it is configured again"`
	ScrubRate   Bytes    `toml:"scrub_rate" doc:"how many bytes of finished queue files are read again each second, past the page cache, to heal bad ones from their parity before anybody needs them; the dead-letter queue has as much again; 0: none"`
}

func defaults() *Config {
	return &Config{
		ShutdownTimeout: Duration(10 * time.Second),
		MemoryLimit:     64 << 20,
		Admin:           Admin{Listen: "127.0.0.1:8686"},
		Log:             Log{Level: "info", Format: "text"},
		Queue: Queue{
			SegmentSize: 64 << 20, MaxSize: 10 << 30, MinFree: 256 << 20, WhenFull: "block", Compression: "snappy",
			ForgetAfter: Duration(24 * time.Hour), ScrubRate: 8 << 20,
		},
	}
}

// Load reads a configuration file. See Parse.
func Load(file string) (*Config, error) {
	text, err := readFile(file)
	if err != nil {
		var cause *os.PathError
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, &Error{
			File: file, What: fmt.Sprintf("cannot read the configuration: %v", err), Hint: "name another file with -c FILE, or correct this one",
		}
	}
	return Parse(file, text)
}

// Parse reads the text of a configuration; name stands for the file in errors. Every error is an *Error, several are
// joined in the order of lines: all that is wrong is reported at once. Beside an error the configuration is what could be
// read, without the inputs and outputs that could not, so that a check can go on; it must not be run. It is nil where
// the text is no TOML.
func Parse(name string, text []byte) (*Config, error) {
	expanded, problems := expand(name, strings.TrimPrefix(string(text), "\ufeff"), os.LookupEnv)
	d := decoder{doc: &document{name: name, bad: make(map[int]bool)}}
	for _, e := range problems {
		d.errs = append(d.errs, e)
		d.doc.bad[e.Line] = true
	}
	var table map[string]any
	if _, err := toml.Decode(expanded, &table); err != nil {
		return nil, Join(append(d.errs, syntaxError(name, expanded, err))...)
	}
	d.doc.lines = keyLines(expanded)

	c := defaults()
	c.doc = d.doc
	d.table(table, nil, reflect.ValueOf(c).Elem(), "input", "output")
	c.Inputs = d.sections(table, "input", InputKinds)
	c.Outputs = d.sections(table, "output", OutputKinds)
	if inputs, ok := table["input"].(map[string]any); ok {
		c.named = sortedKeys(inputs)
	}
	d.check(table, c)
	if none(table["input"]) {
		c.warn(name, "no input is configured, so nothing comes in", "add a section [input.NAME]")
	}
	if none(table["output"]) {
		c.warn(name, "no output is configured, so records are only stored, until the queue is full", "add a section [output.NAME]")
	}
	return c, Join(d.errs...)
}

// none tells whether there is no section, wrong ones included.
func none(value any) bool {
	named, ok := value.(map[string]any)
	return value == nil || ok && len(named) == 0
}

// InputNames are the names of the inputs, those included that have something wrong with them.
func (c *Config) InputNames() []string {
	names := slices.Clone(c.named)
	for _, s := range c.Inputs {
		if !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (c *Config) warn(file, what, hint string) {
	c.Warnings = append(c.Warnings, &Error{File: file, What: what, Hint: hint})
}

// syntaxError translates what the TOML parser says.
func syntaxError(name, text string, err error) *Error {
	e := &Error{File: name, Line: 1, What: err.Error(), Hint: `strings need quotes, sections are written [like.this]`}
	var parse toml.ParseError
	if errors.As(err, &parse) {
		// The parser's own line is one too far where it found the end of a line.
		e.Line = 1 + strings.Count(text[:max(0, min(parse.Position.Start, len(text)))], "\n")
		e.What = "this is not TOML: " + strings.TrimSuffix(parse.Message, ".")
	}
	if strings.Contains(e.What, "already") {
		e.What = strings.TrimPrefix(e.What, "this is not TOML: ")
		e.Hint = "keep one of the two"
	}
	return e
}

// check judges the values of the keys that are the daemon's own.
func (d *decoder) check(table map[string]any, c *Config) {
	const hint = `add data_dir = "/var/lib/logmule" above the first [section]: the directory for the queue`
	if len(table) == 0 {
		d.add([]string{"data_dir"}, "there is nothing in this file, so that data_dir is missing", hint)
	} else if value, there := table["data_dir"]; !there {
		d.add([]string{"data_dir"}, "data_dir is missing", hint)
	} else if value == "" {
		d.add([]string{"data_dir"}, "data_dir is empty", `name the directory for the queue, such as "/var/lib/logmule"`)
	}
	d.size([]string{"memory_limit"}, c.MemoryLimit, 1<<20, 1<<40)
	d.size([]string{"queue", "segment_size"}, c.Queue.SegmentSize, 64<<10, 1<<30)
	d.size([]string{"queue", "max_size"}, c.Queue.MaxSize, 256<<10, 1<<60)
	d.size([]string{"queue", "keep_size"}, c.Queue.KeepSize, 0, 1<<60)
	d.size([]string{"queue", "scrub_rate"}, c.Queue.ScrubRate, 0, 1<<40)
	d.oneOf([]string{"queue", "when_full"}, c.Queue.WhenFull, "block", "drop_oldest", "drop_newest")
	d.oneOf([]string{"queue", "compression"}, c.Queue.Compression, "snappy", "none")
	d.oneOf([]string{"log", "level"}, c.Log.Level, "debug", "info", "warn", "error")
	d.oneOf([]string{"log", "format"}, c.Log.Format, "text", "json")
	d.listen([]string{"admin", "listen"}, c.Admin)
}

// size checks that a size is from low to high.
func (d *decoder) size(path []string, v, low, high Bytes) {
	if v < low || v > high {
		d.add(path, fmt.Sprintf("%s = %q is out of range", path[len(path)-1], v), fmt.Sprintf("use %v to %v", low, high))
	}
}

// oneOf checks that a string is one of those known.
func (d *decoder) oneOf(path []string, v string, known ...string) {
	for _, k := range known {
		if v == k {
			return
		}
	}
	d.add(path, fmt.Sprintf("%s = %q is not known%s", path[len(path)-1], v, Suggest(v, known)), "use "+list(quoted(known), "or"))
}

// listen checks the address of the status pages. They need no password, so beyond loopback that must be meant.
func (d *decoder) listen(path []string, a Admin) {
	host, port, err := net.SplitHostPort(a.Listen)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		d.add(path, fmt.Sprintf("listen = %q is not an address", a.Listen), `write host:port, such as "127.0.0.1:8686"`)
		return
	}
	ip, err := netip.ParseAddr(host)
	if local := host == "localhost" || err == nil && ip.Unmap().IsLoopback(); !local && !a.Insecure {
		d.add(path, fmt.Sprintf("listen = %q lets anyone on the network see the status pages", a.Listen),
			"listen on 127.0.0.1, or add insecure = true to [admin]")
	}
}
