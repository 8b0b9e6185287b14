package output

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"logmule/forward/codec"
	"logmule/forward/pack"
)

type fileKeys struct {
	Path  string `toml:"path" doc:"file to append to, which nobody else writes: a start cuts what is behind the end that the output knows, also what another output has written there meanwhile; strftime conversions such as %Y stand for the time at which a record arrived"`
	Codec string `toml:"codec" doc:"what is written of a record: \"plain\": its payload; \"syslog\": RFC 5424; \"syslog-3164\": RFC 3164"`
}

// fileOps are the operations that tests make fail.
type fileOps struct {
	write    func(f *os.File, p []byte) (int, error)
	sync     func(f *os.File) error
	truncate func(f *os.File, size int64) error
}

// file appends lines to files and syncs them before they count. What it wrote beyond its mark is compared with the records that
// come again when the file is opened again, and cut off from where it is not theirs: so no line is torn or doubled by a crash
// or a failed write (file_surplus.go). One process writes to a file; others may rename, remove or truncate it at any time,
// and what they append is not destroyed.
type file struct {
	env     Env
	pattern pathPattern
	format  format
	ops     fileOps

	given    []byte   // the restored state, which stays the state until a file is opened
	restored fileMark // the same decoded, until its path is opened; path "": nowhere
	hashed   bool     // restored.path is a hash

	f     *os.File // nil: the file at mark.path has to be opened, again if mark.path is not empty
	mark  fileMark
	ahead int64 // bytes of f beyond the mark, which may be what comes again
	kept  int64 // of these, what is in a file beside
	tried int64 // bytes that the latest append may have written
	torn  bool  // the last line of f up to the mark has no LF
	told  bool  // the engine has the state of f, or Send would not have been called
	used  bool  // a file was opened before

	lines  net.Buffers
	record pack.Record
}

func newFile(decode func(into any) error, env Env) (Output, error) {
	c := fileKeys{Codec: codec.Plain}
	if err := decode(&c); err != nil {
		return nil, err
	}
	pattern, err := parsePath(c.Path)
	if err != nil {
		return nil, err
	}
	if pattern.isIn(env.DataDir) {
		return nil, fmt.Errorf("path = %q is in data_dir, %s, which belongs to the queue alone; write to another directory", c.Path, env.DataDir)
	}
	encoder, err := codec.NewEncoder(c.Codec)
	if err != nil {
		return nil, err
	}
	ops := fileOps{write: (*os.File).Write, sync: (*os.File).Sync, truncate: (*os.File).Truncate}
	return &file{env: env, pattern: pattern, format: lineFormat(encoder), ops: ops}, nil
}

// Restore takes the mark of the last checkpoint.
func (o *file) Restore(state []byte) (err error) {
	if o.restored, o.hashed, err = decodeMark(state); err != nil {
		return fmt.Errorf("restore where the file ended: %w; it is appended to as it is", err)
	}
	o.given = bytes.Clone(state)
	return nil
}

// State returns the mark: the file of the last Prepare, and its size after the last Send.
func (o *file) State() []byte {
	if o.mark.path == "" {
		return o.given
	}
	return o.mark.encode()
}

// Prepare opens the file that the first pending record goes to, unless it is open and still what its path names. The
// state it returns is the mark in that file before anything of the batch is in it. It returns it again until Send is
// called, since storing it may fail.
func (o *file) Prepare(b *Batch) ([]byte, error) {
	if b.Pending() == 0 {
		return nil, nil
	}
	path := o.pathOf(b, b.runOf(b.firstPending()))
	if o.f == nil || o.mark.path != path || !o.unchanged() {
		if err := o.open(path); err != nil {
			o.env.Counters.Errors.Add(1)
			return nil, fmt.Errorf("open %s to append: %w", path, err)
		}
	}
	if o.told {
		return nil, nil
	}
	return o.mark.encode(), nil
}

// Send appends the pending records of every run that belongs into the prepared file, and syncs it. ErrAgain when there
// are others.
func (o *file) Send(ctx context.Context, b *Batch) error {
	if b.Pending() == 0 {
		return ctx.Err()
	}
	path := o.pathOf(b, b.runOf(b.firstPending()))
	if o.f == nil || path != o.mark.path {
		return fmt.Errorf("append to %s: Prepare has to open it first", path)
	}
	o.told = true
	parts := o.parts(b, path)
	o.env.Counters.Requests.Add(1)
	size, err := o.append(ctx, b, parts)
	if err != nil {
		o.env.Counters.Errors.Add(1)
		o.takeBack()
		return fmt.Errorf("append to %s: %w", path, err)
	}
	o.env.Counters.BytesSent.Add(uint64(size))
	if parts[0] == (span{0, b.Len()}) {
		return nil
	}
	for _, p := range parts {
		b.acceptIn(p.from, p.to)
	}
	if b.Pending() > 0 {
		return ErrAgain
	}
	return nil
}

// pathOf returns the path for run n: that of the time at which its records arrived, so that a replay finds it again. A
// run that does not tell the time counts as of 1970.
func (o *file) pathOf(b *Batch, n int) string {
	if o.pattern.fixed {
		return o.pattern.at(time.Time{})
	}
	if err := o.record.Decode(b.runs[n].Attributes, nil, pack.Lines); err != nil {
		o.record.Timestamp = 0
	}
	return o.pattern.at(time.Unix(0, o.record.Timestamp))
}

// parts returns the ranges of records that go to path.
func (o *file) parts(b *Batch, path string) []span {
	if o.pattern.fixed {
		return []span{{0, b.Len()}}
	}
	var parts []span
	for n := range b.runs {
		from, to := b.starts[n], b.starts[n]+b.runs[n].Count
		if o.pathOf(b, n) != path {
			continue
		}
		if last := len(parts) - 1; last >= 0 && parts[last].to == from {
			parts[last].to = to
		} else {
			parts = append(parts, span{from, to})
		}
	}
	return parts
}

// append writes and syncs the pending records of the parts, and moves the mark behind them.
func (o *file) append(ctx context.Context, b *Batch, parts []span) (size int, err error) {
	o.tried = 0
	if o.ahead > 0 {
		want := o.expected(b, parts)
		if there, err := o.reconcile(ctx, want); there || err != nil {
			return len(want), err
		}
	}
	if o.torn {
		// Somebody left half a line at the end. A record must not become the rest of it.
		o.tried++
		if _, err := o.ops.write(o.f, newline); err != nil {
			return 0, err
		}
	}
	for _, p := range parts {
		o.lines = b.appendFramed(o.lines[:0], p.from, p.to, &o.format)
		for _, line := range o.lines {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			o.tried += int64(len(line))
			n, err := o.ops.write(o.f, line)
			size += n
			if err != nil {
				return 0, err
			}
		}
	}
	if err := o.ops.sync(o.f); err != nil {
		return 0, err
	}
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	o.mark.size, o.torn = info.Size(), false
	return size, nil
}

// takeBack undoes a failed append as well as it can at once, for those who read the file. The next open makes sure of
// it: a file with which something went wrong is not trusted any further. Where there is more than this output has written,
// that is left to it too.
func (o *file) takeBack() {
	if info, err := o.f.Stat(); err == nil && o.ahead == 0 && info.Size() <= o.mark.size+o.tried {
		_ = o.ops.truncate(o.f, o.mark.size)
	}
	_ = o.f.Close() // nothing on it counts that was not synced
	o.f = nil
}

// Close closes the file.
func (o *file) Close() error {
	if o.f == nil {
		return nil
	}
	err := o.f.Close()
	o.f = nil
	return err
}

// Claim is the path, which no other output may write: each would cut what the other has appended.
func (o *file) Claim() string {
	path, err := filepath.Abs(o.pattern.text)
	if err != nil {
		path = filepath.Clean(o.pattern.text)
	}
	return "file " + path
}
