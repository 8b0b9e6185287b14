package input

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/input/tail"
	"logmule/forward/pack"
)

// file follows files, over rotations and restarts: see package tail, which does the work.
type file struct {
	env  Env
	keys fileKeys
	opt  tail.Options

	refused sparing
}

type fileKeys struct {
	Paths        []string        `toml:"paths" doc:"globs of the files to follow, absolute: *, ?, [a-z], {a,b}, and ** for any number of directories; required"`
	Exclude      []string        `toml:"exclude" doc:"globs of files that are not read though paths matches them: file names such as \"*.gz\", or paths"`
	StartAt      string          `toml:"start_at" doc:"where a file is begun that is there when its glob is used for the first time: \"end\" or \"beginning\"; any that appears later is read from its beginning"`
	PartialAfter config.Duration `toml:"partial_after" doc:"silence after which bytes behind the last line feed are a record"`
	MaxRecord    config.Bytes    `toml:"max_record" doc:"longest record in bytes; of a longer one the head is kept, marked with the field truncated"`
	Encoding     string          `toml:"encoding" doc:"of the files: \"utf-8\" (bytes are taken as they are), \"utf-16\" (by its byte order mark), \"utf-16le\", \"utf-16be\" or \"latin-1\"; records are UTF-8"`
	Multiline    multilineKeys   `toml:"multiline" doc:"how several lines make one record; without it each line is one"`
	Poll         config.Duration `toml:"poll" doc:"how often files are looked at where the system does not tell of changes: network file systems, and when its watches are used up"`
	MaxOpenFiles int64           `toml:"max_open_files" doc:"files that are open at a time; more are followed all the same"`
	codecKeys
}

type multilineKeys struct {
	Start        string          `toml:"start" doc:"regular expression (RE2) of a line that begins a record"`
	Continuation string          `toml:"continuation" doc:"regular expression of a line that belongs to the record before it; instead of start"`
	Timeout      config.Duration `toml:"timeout" doc:"silence after which a record is complete"`
	MaxLines     int64           `toml:"max_lines" doc:"lines after which a record is complete"`
}

func defaultFileKeys() fileKeys {
	return fileKeys{
		StartAt: "end", PartialAfter: config.Duration(5 * time.Second), MaxRecord: defaultMaxRecord, Encoding: string(tail.UTF8),
		Multiline: multilineKeys{Timeout: config.Duration(5 * time.Second), MaxLines: 500},
		Poll:      config.Duration(time.Second), MaxOpenFiles: 512, codecKeys: codecKeys{codec.Plain},
	}
}

func newFile(decode func(into any) error, env Env) (Input, error) {
	keys := defaultFileKeys()
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := keys.check(); err != nil {
		return nil, err
	}
	lines, err := keys.Multiline.build()
	if err != nil {
		return nil, err
	}
	f := &file{env: env, keys: keys}
	f.opt = tail.Options{
		Paths: keys.Paths, Exclude: keys.Exclude, FromEnd: keys.StartAt == "end", PartialAfter: time.Duration(keys.PartialAfter),
		MaxRecord: int(keys.MaxRecord), Encoding: tail.Encoding(keys.Encoding), Multiline: lines,
		GroupAfter: time.Duration(keys.Multiline.Timeout), Poll: time.Duration(keys.Poll), MaxOpen: int(keys.MaxOpenFiles),
		Grows: keys.Codec != codec.Plain,
	}
	return f, nil
}

func (k *fileKeys) check() error {
	if len(k.Paths) == 0 {
		return errors.New(`paths is missing; write the files to follow, such as paths = ["/var/log/nginx/*.log"]`)
	}
	for _, g := range k.Paths {
		if err := tail.CheckPattern(g); err != nil {
			return fmt.Errorf("paths: %w", err)
		}
	}
	for _, g := range k.Exclude {
		if err := tail.CheckExclude(g); err != nil {
			return fmt.Errorf("exclude: %w", err)
		}
	}
	if err := checkWord("start_at", k.StartAt, []string{"beginning", "end"}); err != nil {
		return err
	}
	if err := checkWord("encoding", k.Encoding, tail.Encodings()); err != nil {
		return err
	}
	if k.PartialAfter < config.Duration(time.Millisecond) {
		return fmt.Errorf(`partial_after = "%s" is too short; use a duration from "1ms" on, such as "5s"`, k.PartialAfter)
	}
	if k.Poll < config.Duration(10*time.Millisecond) {
		return fmt.Errorf(`poll = "%s" is too short; use a duration from "10ms" on, such as "1s"`, k.Poll)
	}
	if k.MaxOpenFiles < 8 || k.MaxOpenFiles > 1e6 {
		return fmt.Errorf("max_open_files = %d is out of range; use a number from 8 to 1000000", k.MaxOpenFiles)
	}
	if err := checkMaxRecord(k.MaxRecord); err != nil {
		return err
	}
	return k.codecKeys.check()
}

// build returns nil where no record has several lines.
func (k *multilineKeys) build() (*tail.Multiline, error) {
	if k.Start == "" && k.Continuation == "" {
		return nil, nil
	}
	if k.Start != "" && k.Continuation != "" {
		return nil, errors.New("multiline.start and multiline.continuation exclude each other; keep the one that is easier to say")
	}
	if k.Timeout < config.Duration(time.Millisecond) {
		return nil, fmt.Errorf(`multiline.timeout = "%s" is too short; use a duration from "1ms" on, such as "5s"`, k.Timeout)
	}
	if k.MaxLines < 1 || k.MaxLines > 1e6 {
		return nil, fmt.Errorf("multiline.max_lines = %d is out of range; use a number from 1 to 1000000", k.MaxLines)
	}
	m := &tail.Multiline{MaxLines: int(k.MaxLines)}
	var err error
	if k.Start != "" {
		if m.Start, err = regexp.Compile(k.Start); err != nil {
			return nil, badExpression("start", k.Start, err)
		}
		return m, nil
	}
	if m.Continuation, err = regexp.Compile(k.Continuation); err != nil {
		return nil, badExpression("continuation", k.Continuation, err)
	}
	return m, nil
}

func badExpression(key, text string, err error) error {
	why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
	return fmt.Errorf("multiline.%s = %q is not a regular expression: %s; write it as for RE2, in single quotes so that backslashes stay", key, text, why)
}

// Run follows the files until ctx ends. The queue says how far each was read.
func (f *file) Run(ctx context.Context, emit Emit) error {
	taken, err := f.env.decoding(f.keys.Codec, emit)
	if err != nil {
		return err
	}
	env := f.tailEnv()
	env.Ready = func() { f.env.Ready("") }
	env.Emit = func(ctx context.Context, p *pack.Pack) (bool, error) {
		_, err := taken(ctx, p)
		switch {
		case errors.Is(err, ErrTooLarge) && p.Count > 1:
			return false, tail.ErrTooLarge
		case errors.Is(err, ErrTooLarge): // it would only be read again
			f.env.Counters.TooLarge.Add(uint64(p.Count))
			if f.refused.allow(time.Now()) {
				f.env.Log.Error("records refused and lost", "input", f.env.Name, "from", p.Shared.Logger, "records", p.Count, "error", err,
					"so_far", f.env.Counters.TooLarge.Load())
			}
			return false, nil
		case errors.Is(err, ErrDropped):
			return false, nil
		}
		return err == nil, err
	}
	if err := tail.Run(ctx, f.opt, env); err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow the files of input %s: %w; what was not handed over is read again", f.env.Name, err)
	}
	return nil
}

func (f *file) tailEnv() tail.Env {
	env := tail.Env{
		Name: f.env.Name, Source: f.env.source() + "/", Attributes: f.env.attributes(""), Log: f.env.Log,
		Counters: &f.env.Counters.Files, Truncated: &f.env.Counters.Truncated, Positions: f.env.Positions, Kept: f.env.Kept, Memory: f.env.Memory,
	}
	if env.Positions == nil {
		env.Positions = new(memoryPositions)
	}
	return env
}

// memoryPositions are positions that nobody keeps.
type memoryPositions struct {
	mu sync.Mutex // guards:
	at map[string][]byte
}

func (m *memoryPositions) Load() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.at)
}

func (m *memoryPositions) Set(key string, value []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at == nil {
		m.at = map[string][]byte{}
	}
	m.at[key] = slices.Clone(value)
}

func (m *memoryPositions) Forget(keys ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		delete(m.at, key)
	}
}

// FilePlanner is an input that can say which files it would read, and from where.
type FilePlanner interface {
	Plan(positions map[string][]byte) []tail.Planned
}

// Plan is that of FilePlanner.
func (f *file) Plan(positions map[string][]byte) []tail.Planned { return tail.Plan(f.opt, positions) }
