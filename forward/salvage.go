package forward

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"logmule/forward/config"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
	"logmule/recovery/hekaqueue"
)

// keyOfSalvage begins the source keys of records that come from a Heka queue.
const keyOfSalvage = "salvage/heka/"

const salvageRest = "salvage the rest"

// SalvageOptions say what a salvage takes, and where it puts that.
type SalvageOptions struct {
	From   *hekaqueue.Queue
	All    bool              // also what Heka has delivered
	Tell   hekaqueue.Visitor // is told what is found; its Record is not called
	Into   string            // a data directory; made if it is missing or empty
	Config *config.Config    // its [queue] bounds Into
	Holder string            // names this process in the lock file
	Log    *slog.Logger      // nil: silent

	fsys vfs.FS // nil: the operating system's
	open func(queue.Options) (*queue.Queue, error)
}

// Salvaged is what a salvage has put into a data directory.
type Salvaged struct {
	Records     uint64
	First, Last uint64 // their sequences
	Before      uint64 // records that an earlier salvage had put there
	TooLarge    uint64 // records that are too large for a queue
	Largest     int64  // bytes of the largest of them
}

// Salvage puts the records of a Heka queue into a data directory that no process has open, as they are: a Heka message is
// what a record is. Each is put there once, over any number of salvages of that queue, however they end: with the records the
// data directory stores which part of the queue they are. After an error Salvaged says how far it came; the next one goes on
// there.
func Salvage(ctx context.Context, opt SalvageOptions) (done Salvaged, found hekaqueue.Report, err error) {
	if opt.open == nil {
		opt.fsys, opt.open = vfs.OS(), queue.Open
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if err := takesRecords(opt.fsys, opt.Into); err != nil {
		return done, found, err
	}
	s := salvage{ctx: ctx, from: opt.From, all: opt.All, prints: map[string]string{}}
	if s.into, err = opt.open(backOptions(opt.Config, opt.Into, opt.Holder, opt.Log)); err != nil {
		return done, found, fmt.Errorf("open %s: %w", opt.Into, err)
	}
	defer func() { err = errors.Join(err, s.into.Close()) }()
	if err = s.findStretches(); err != nil {
		return done, found, err
	}
	opt.Tell.Record, opt.Tell.Skipped = s.take, s.passing(opt.Tell.Skipped)
	found, err = opt.From.Scan(ctx, opt.Tell)
	if err == nil {
		err = s.finish()
	}
	return s.done, found, err
}

// takesRecords is an error for a directory that is something else than a data directory, or the place for one.
func takesRecords(fsys vfs.FS, dir string) error {
	infos, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(infos) == 0 {
		return nil
	}
	return recovery.IsDataDir(fsys, dir)
}

// salvage is one Salvage under way.
type salvage struct {
	ctx    context.Context
	from   *hekaqueue.Queue
	into   *queue.Queue
	all    bool
	prints map[string]string // fingerprints of files

	stretches []*stretch // of earlier salvages
	now       *stretch   // that grows
	refused   bool       // what stands before the next record could not be read
	body      []byte     // records that are not appended yet; now ends behind them
	count     uint32
	tail      []byte // the last bytes of the file before the end of now
	message   pack.Record
	own       []byte
	done      Salvaged
}

// findStretches finds what earlier salvages of this queue have put.
func (s *salvage) findStretches() error {
	for key, value := range s.into.Sources(keyOfSalvage) {
		queue, old, err := parseStretch(key, string(value))
		if err != nil {
			return fmt.Errorf("read how far %s has been salvaged: %w", s.from.Path, err)
		}
		if queue != s.from.Name() {
			continue
		}
		known, err := s.knows(old)
		if err != nil {
			return err
		}
		if known {
			s.stretches = append(s.stretches, old)
		}
	}
	return nil
}

// knows tells whether a stretch of a queue with the same name is one of this queue.
func (s *salvage) knows(old *stretch) (bool, error) {
	print, err := s.print(old.end.File)
	if err != nil || print == "" || print != old.print {
		return false, err
	}
	return s.from.Sum(old.end.File, old.end.Offset-old.tailSize, old.end.Offset) == old.tail, nil
}

// print is the fingerprint of a file, empty where there is no such file.
func (s *salvage) print(file string) (string, error) {
	if known, ok := s.prints[file]; ok {
		return known, nil
	}
	print, err := s.from.Fingerprint(s.ctx, file)
	if err != nil && s.ctx.Err() == nil {
		return "", nil // it cannot be opened, and so nothing of it comes
	}
	clear(s.prints) // files come one after the other
	s.prints[file] = print
	return print, err
}

// take is given every record of the queue, in order.
func (s *salvage) take(r *hekaqueue.Record) error {
	if r.Delivered && !s.all {
		return nil
	}
	if err := s.part(r); err != nil {
		return err
	}
	message := s.messageOf(r)
	if len(message) > segment.MaxRecord {
		s.done.TooLarge++
		s.done.Largest = max(s.done.Largest, int64(len(message)))
		return nil
	}
	for _, old := range s.stretches {
		if old.has(r) {
			s.done.Before++
			if s.now == old {
				return nil
			}
			err := s.flush()
			s.now = old // which grows by what follows
			return err
		}
	}
	if len(s.body)+len(message)+maxLength > segment.FrameTarget {
		if err := s.flush(); err != nil {
			return err
		}
	}
	print, err := s.print(r.File.Name)
	if err != nil {
		return err
	}
	if s.now == nil {
		s.now = &stretch{key: s.freeKey(print, r.Position()), start: r.Position()}
	}
	s.now.end, s.now.print = hekaqueue.Position{File: r.File.Name, Offset: r.End}, print
	s.tail = append(s.tail[:0], r.Message...)
	s.body = pack.AppendOwn(s.body, message)
	s.count++
	return nil
}

// passing notes what cannot be read now, before told is told of it.
func (s *salvage) passing(told func(hekaqueue.Skip)) func(hekaqueue.Skip) {
	return func(k hekaqueue.Skip) {
		s.refused = s.refused || k.Refused
		if told != nil {
			told(k)
		}
	}
}

// part ends the stretch that grows where what lies before r may be there another time: a part of a file that the disk does
// not give, or a file that is missing. If it comes, it is not taken for salvaged.
func (s *salvage) part(r *hekaqueue.Record) error {
	refused := s.refused
	s.refused = false
	if s.now == nil || !refused && hekaqueue.Adjoins(s.now.end.File, r.File.Name) {
		return nil
	}
	err := s.flush()
	s.now = nil
	return err
}

// freeKey is one for a stretch that begins at start. The same may have begun in a queue that is not this one.
func (s *salvage) freeKey(print string, start hekaqueue.Position) string {
	used := s.into.Sources(keyOfSalvage)
	for twin := uint64(0); ; twin++ {
		key := startKey(s.from.Name(), print, start, twin)
		if _, ok := used[key]; !ok {
			return key
		}
	}
}

// maxLength is the most that stands in front of a record in a body.
const maxLength = 5

// messageOf is the Heka message of a record. One that version 0.9 has stored as its output's encoder made it becomes the
// payload of one; the file says when that was, at the latest.
func (s *salvage) messageOf(r *hekaqueue.Record) []byte {
	if !r.Plain {
		return r.Message
	}
	s.message = SalvagedPlain(s.from, r)
	s.own = s.message.Append(s.own[:0])
	return s.own
}

// SalvagedPlain is the record for what version 0.9 of Heka has stored as its output's encoder made it.
func SalvagedPlain(q *hekaqueue.Queue, r *hekaqueue.Record) pack.Record {
	return pack.Record{Payload: r.Message, Attributes: pack.Attributes{
		Timestamp: r.File.Changed.UnixNano(), Type: "heka-0.9", Logger: q.Name(), Severity: pack.DefaultSeverity,
	}}
}

// flush appends what is gathered, with the place in the queue that it reaches to.
func (s *salvage) flush() error {
	if s.count == 0 {
		return nil
	}
	s.now.tail, s.now.tailSize = hekaqueue.SumOf(s.tail), int64(len(s.tail))
	runs := []segment.Run{{
		Form: segment.Records, Count: s.count, Raw: uint32(len(s.body)), Body: s.body,
		Key: []byte(keyOfSalvage + s.now.key), Position: []byte(s.now.value()),
	}}
	var last uint64
	err := patiently(s.ctx, s.into, salvageRest, func(ctx context.Context) (err error) {
		last, err = s.into.Append(ctx, runs)
		return err
	})
	if err != nil {
		return fmt.Errorf("put records into the queue, after %d: %w", s.done.Records, err)
	}
	if s.done.Records == 0 {
		s.done.First = last + 1 - uint64(s.count)
	}
	s.done.Records += uint64(s.count)
	s.done.Last = last
	s.body, s.count = s.body[:0], 0
	return nil
}

// finish makes all of it durable.
func (s *salvage) finish() error {
	err := s.flush()
	if err == nil && s.done.Records > 0 {
		err = patiently(s.ctx, s.into, salvageRest, func(ctx context.Context) error { return s.into.WaitDurable(ctx, s.done.Last) })
	}
	if err != nil {
		return fmt.Errorf("store records in the queue: %w", err)
	}
	return nil
}
