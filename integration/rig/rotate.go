package rig

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Rotation is a way in which logs are put aside.
type Rotation int

// The four ways.
const (
	Rename       Rotation = iota // NAME becomes NAME.1; the program goes on writing to it for a while
	CopyTruncate                 // NAME is copied to NAME.1 and cut to nothing
	NewName                      // NAME-00001, then NAME-00002
	Compress                     // as Rename, and NAME.1 is then compressed to NAME.1.gz
)

func (r Rotation) String() string {
	return [...]string{"rename", "copytruncate", "new name", "compress"}[r]
}

// LogWriter is a program that writes a log, and what rotates that log. The test's goroutine uses it.
type LogWriter struct {
	Name  string // path of the live file; for NewName without the number
	Style Rotation

	file   *os.File
	number int // of the live file for NewName
	kept   int // rotated files
	late   int // lines that still go to the file that was renamed
}

// Path is the live file.
func (w *LogWriter) Path() string {
	if w.Style == NewName {
		return fmt.Sprintf("%s-%05d", w.Name, w.number)
	}
	return w.Name
}

// Write writes bytes that may end in the middle of a line. Rotate is called between lines only.
func (w *LogWriter) Write(p []byte) (int, error) {
	if w.file == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	n, err := w.file.Write(p)
	if err == nil && w.late > 0 && len(p) > 0 && p[len(p)-1] == '\n' {
		if w.late -= min(w.late, bytes.Count(p, []byte{'\n'})); w.late == 0 {
			err = w.reopen()
		}
	}
	return n, err
}

// Rotate puts the live file aside. It does nothing while the program has not left the one before.
func (w *LogWriter) Rotate() error {
	if w.file == nil || w.late > 0 {
		return nil
	}
	switch w.Style {
	case NewName:
		if err := w.file.Close(); err != nil {
			return err
		}
		w.number++
		return w.open()
	case CopyTruncate:
		if err := w.shift(""); err != nil {
			return err
		}
		if err := duplicate(w.Name, w.Name+".1", func(to io.Writer) io.WriteCloser { return nopCloser{to} }); err != nil {
			return err
		}
		w.kept++
		return os.Truncate(w.Name, 0)
	case Compress:
		if err := w.shift(".gz"); err != nil {
			return err
		}
	default:
		if err := w.shift(""); err != nil {
			return err
		}
	}
	w.kept++
	w.late = 3
	return os.Rename(w.Name, w.Name+".1")
}

// Close closes the live file.
func (w *LogWriter) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

func (w *LogWriter) open() (err error) {
	w.file, err = os.OpenFile(w.Path(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return err
}

// reopen is the program's answer to a rename.
func (w *LogWriter) reopen() error {
	if err := errors.Join(w.file.Close(), w.open()); err != nil || w.Style != Compress {
		return err
	}
	old := w.Name + ".1"
	if err := duplicate(old, old+".gz", func(to io.Writer) io.WriteCloser { return gzip.NewWriter(to) }); err != nil {
		return err
	}
	return os.Remove(old)
}

// shift renames NAME.n to NAME.n+1.
func (w *LogWriter) shift(suffix string) error {
	for n := w.kept; n > 0; n-- {
		if err := os.Rename(fmt.Sprintf("%s.%d%s", w.Name, n, suffix), fmt.Sprintf("%s.%d%s", w.Name, n+1, suffix)); err != nil {
			return err
		}
	}
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// duplicate copies a file through wrap, with the times of the original, as cp -p and gzip do.
func duplicate(from, to string, wrap func(io.Writer) io.WriteCloser) error {
	source, err := os.Open(filepath.Clean(from))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := wrap(target)
	_, err = io.Copy(w, source)
	info, statErr := source.Stat()
	if err = errors.Join(err, w.Close(), target.Close(), statErr); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
