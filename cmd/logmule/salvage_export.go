package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"logmule/forward"
	"logmule/forward/pack"
	"logmule/recovery/hekaqueue"
)

// exportFormat is the value of --format of a salvage.
type exportFormat string

const (
	exportRaw  exportFormat = "raw"
	exportJSON exportFormat = "json"
	exportHeka exportFormat = "heka"
)

// String, Set and Type make a flag of it.
func (f *exportFormat) String() string { return string(*f) }

func (f *exportFormat) Set(s string) error {
	switch exportFormat(s) {
	case exportRaw, exportJSON, exportHeka:
		*f = exportFormat(s)
		return nil
	}
	return errors.New("use raw, json or heka")
}

func (f *exportFormat) Type() string { return "FORMAT" }

// exporter writes the records of a Heka queue.
type exporter struct {
	q      *hekaqueue.Queue
	all    bool
	format exportFormat

	out     *bufio.Writer
	record  pack.Record
	records uint64 // that are written
}

// export writes to a file that is there as a whole at the end or not at all, or to the standard output.
func (e *exporter) export(ctx context.Context, tell hekaqueue.Visitor, file string, stdout io.Writer) (found hekaqueue.Report, err error) {
	if file == "-" {
		return e.write(ctx, tell, stdout)
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return found, err
	case info.Mode().IsRegular() && info.Size() > 0:
		return found, fmt.Errorf("%s exists already; remove it, or name another file", file)
	case info.IsDir():
		return found, fmt.Errorf("%s is a directory; name a file", file)
	case !info.Mode().IsRegular(): // a pipe, a terminal
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return found, err
		}
		found, err = e.write(ctx, tell, f)
		return found, errors.Join(err, f.Close())
	}
	temp := file + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return found, err
	}
	found, err = e.write(ctx, tell, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		return found, errors.Join(err, os.Remove(temp))
	}
	return found, nil
}

func (e *exporter) write(ctx context.Context, tell hekaqueue.Visitor, w io.Writer) (hekaqueue.Report, error) {
	e.out = bufio.NewWriterSize(w, 256<<10)
	tell.Record = e.one
	found, err := e.q.Scan(ctx, tell)
	return found, errors.Join(err, e.out.Flush())
}

// one writes a record.
func (e *exporter) one(r *hekaqueue.Record) (err error) {
	if r.Delivered && !e.all {
		return nil
	}
	e.records++
	if e.format == exportHeka {
		_, err = e.out.Write(r.Frame)
		return err
	}
	if r.Plain {
		e.record = forward.SalvagedPlain(e.q, r)
	} else if err := e.record.Decode(nil, r.Message, pack.Records); err != nil {
		return fmt.Errorf("record at %d of %s: %w", r.Offset, r.File.Name, err)
	}
	if e.format == exportJSON {
		line, err := jsonLine(e.records, &e.record)
		if err == nil {
			_, err = e.out.Write(line)
		}
		return err
	}
	if _, err = e.out.Write(e.record.Payload); err == nil {
		err = e.out.WriteByte('\n')
	}
	return err
}

// line says what was exported.
func (e *exporter) line(file string) string {
	if file == "-" {
		file = "standard output"
	}
	return fmt.Sprintf("\n%s written to %s\n", count(e.records, "record"), clean(file))
}
