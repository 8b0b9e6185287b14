package hekaqueue

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Visitor is told what a scan finds. Its functions are called in the order of the bytes, by the caller's goroutine; each
// may be nil. An error of Record ends the scan and is returned as it is.
type Visitor struct {
	Record   func(*Record) error
	Skipped  func(Skip)
	File     func(FileReport) // behind all that is in it
	Progress func(done, total int64)
}

// Counts are numbers of records.
type Counts struct {
	Records  uint64
	Intact   uint64
	Probable uint64
	Suspect  uint64
	Plain    uint64 // those of all classes that version 0.9 wrote
	Bytes    int64  // of all frames

	byDoubt [8]uint64
}

// ByDoubt calls fn for each doubt that there is, with what it is and how many records have it. One may have several.
func (c *Counts) ByDoubt(fn func(text string, records uint64)) {
	for i, d := range doubts {
		if n := c.byDoubt[i]; n > 0 {
			fn(d.text, n)
		}
	}
}

func (c *Counts) add(r *Record) {
	c.Records++
	c.Bytes += r.End - r.Offset
	if r.Plain {
		c.Plain++
	}
	switch r.Class {
	case Intact:
		c.Intact++
	case Probable:
		c.Probable++
	default:
		c.Suspect++
		for i, d := range doubts {
			if r.Doubts&d.doubt != 0 {
				c.byDoubt[i]++
			}
		}
	}
}

func (c *Counts) sum(other *Counts) {
	c.Records += other.Records
	c.Intact += other.Intact
	c.Probable += other.Probable
	c.Suspect += other.Suspect
	c.Plain += other.Plain
	c.Bytes += other.Bytes
	for i, n := range other.byDoubt {
		c.byDoubt[i] += n
	}
}

// FileReport is what is in a file.
type FileReport struct {
	File         File
	Size         int64  // that was read
	Waiting      Counts // records that are not delivered
	Delivered    Counts // those before the checkpoint
	Skips        int    // ranges that could not be read
	SkippedBytes int64
	ZeroBytes    int64 // of them
	BadFrames    int   // frames in them whose content is no message
	Torn         bool  // the file ends in the middle of a frame
	Err          error // it could not be opened
}

// All are the records that are delivered, and those that are not.
func (f *FileReport) All() Counts {
	all := f.Waiting
	all.sum(&f.Delivered)
	return all
}

// Report is what is in a queue: the sum over its files.
type Report struct {
	FileReport
	Files  int
	Failed []error // files that could not be opened
}

// Scan reads the queue from its first byte to its last. What is damaged is no error.
func (q *Queue) Scan(ctx context.Context, v Visitor) (sum Report, err error) {
	s := scanner{fsys: q.fsys, skipped: v.Skipped}
	s.uuids.seen = make([][16]byte, 1<<uuidBits)
	var done int64
	for _, f := range q.Files {
		report := FileReport{File: f}
		s.passed = func(offset int64) {
			if v.Progress != nil {
				v.Progress(done+offset, q.Bytes)
			}
		}
		s.found = func(r *Record) error {
			counts := &report.Waiting
			if r.Delivered = q.delivered(r); r.Delivered {
				counts = &report.Delivered
			}
			counts.add(r)
			if v.Record == nil {
				return nil
			}
			return v.Record(r)
		}
		ended, failed := q.scanFile(ctx, &s, &report)
		if ended != nil {
			return sum, ended
		}
		if failed != nil {
			report.Err = fmt.Errorf("open %s: %w", q.path(f), failed)
			sum.Failed = append(sum.Failed, report.Err)
		}
		sum.add(&report)
		done += f.Size
		s.passed(0)
		if v.File != nil {
			v.File(report)
		}
	}
	return sum, nil
}

// scanFile fills in the report of a file. ended is an error that ends all, failed that it could not be opened.
func (q *Queue) scanFile(ctx context.Context, s *scanner, report *FileReport) (ended, failed error) {
	var err error
	if s.plain, err = s.probe(ctx, q.path(report.File), report.File); err != nil {
		return ctx.Err(), err
	}
	found := s.found
	s.found = func(r *Record) error {
		if err := found(r); err != nil {
			return &stop{err}
		}
		return nil
	}
	sum, size, err := s.file(ctx, q.path(report.File), report.File)
	report.Size = size
	report.Skips, report.SkippedBytes, report.ZeroBytes, report.BadFrames, report.Torn = sum.skips, sum.bytes, sum.zeros, sum.badFrames, sum.torn
	var asked *stop
	if errors.As(err, &asked) {
		return asked.err, nil
	}
	return ctx.Err(), err
}

// stop is an error of a visitor on its way out.
type stop struct{ err error }

func (s *stop) Error() string { return s.err.Error() }

func (q *Queue) delivered(r *Record) bool {
	return q.Checkpoint.Believed && r.Position().Compare(q.Checkpoint.Position) < 0
}

func (r *Report) add(f *FileReport) {
	r.Files++
	r.Size += f.Size
	r.Waiting.sum(&f.Waiting)
	r.Delivered.sum(&f.Delivered)
	r.Skips += f.Skips
	r.SkippedBytes += f.SkippedBytes
	r.ZeroBytes += f.ZeroBytes
	r.BadFrames += f.BadFrames
	r.Torn = r.Torn || f.Torn
}

// Sum is SumOf for a range of a file, empty where the range is not there.
func (q *Queue) Sum(name string, from, to int64) string {
	for _, f := range q.Files {
		if f.Name != name || from < 0 || to < from || to-from > maxFrame {
			continue
		}
		file, err := q.fsys.Open(q.path(f))
		if err != nil {
			return ""
		}
		defer file.Close()
		b := make([]byte, to-from)
		if n, _ := file.ReadAt(b, from); n < len(b) {
			return ""
		}
		return SumOf(b)
	}
	return ""
}

// SumOf names bytes.
func SumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:16])
}

// plainPrint is how many bytes of records make the fingerprint of a file of version 0.9, whose records have no uuid.
const plainPrint = 64 << 10

// Fingerprint is made of the first records of a file, so that one which was moved, repaired or copied is known again. It
// is empty where the file has no record.
func (q *Queue) Fingerprint(ctx context.Context, name string) (string, error) {
	for _, f := range q.Files {
		if f.Name != name {
			continue
		}
		sum, left := sha256.New(), plainPrint
		s := scanner{fsys: q.fsys}
		var err error
		if s.plain, err = s.probe(ctx, q.path(f), f); err != nil {
			return "", err
		}
		s.found = func(r *Record) error {
			sum.Write(r.Frame)
			if left -= len(r.Frame); !r.Plain || left <= 0 {
				return errEnough
			}
			return nil
		}
		_, _, err = s.file(ctx, q.path(f), f)
		if err != nil && err != errEnough {
			return "", err
		}
		if left == plainPrint {
			return "", nil
		}
		return fmt.Sprintf("%x", sum.Sum(nil)[:16]), nil
	}
	return "", nil
}
