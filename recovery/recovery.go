// Package recovery reads a queue directory as a crash or a failing disk has left it: it scans, heals, classifies,
// quarantines, keeps the loss ledger and says what is there. Start does it when a queue is opened, Check for fsck on the same scan and
// the same judgement, Survey and Walk for those who only look.
//
// What decides is the durable mark: every frame carries the last sequence known to be on stable storage when it was
// written, and an output's floor proves that what lies before it was. Bad bytes where a sequence up to the mark should
// be are damage; beyond the mark they are what a crash leaves, a torn tail. Nothing damaged stops a start. Bytes are
// copied to quarantine, and lost sequences written to the ledger, both durable, before anything in the directory
// changes, and what is in the ledger already is not written again: a start that is cut short at any point is repeated
// by the next one with the same outcome.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

const (
	// SegmentDir is where the segments are, in the data directory.
	SegmentDir = "segments"
	// LockFile is the lock that a running daemon and a repair hold on the data directory.
	LockFile = "LOCK"
	// CheckpointFile is the checkpoint database in the data directory.
	CheckpointFile = "checkpoints.db"
	// RecentFile is the file beside it that every step of an output is written to.
	RecentFile = "checkpoints.recent"
)

// Options of Start. The zero value works.
type Options struct {
	Now    func() time.Time        // the clock of the ledger; nil: time.Now
	Source func(key string) string // what a person calls the source with this key; nil: the key
	Until  context.Context         // Start ends its reading with it, with its cause, and has changed no segment then; nil: it never does
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Until == nil {
		o.Until = context.Background()
	}
	return o
}

// State is what a start found, and where the queue goes on.
type State struct {
	Queue     segment.ID
	Epoch     segment.Epoch                  // of this start; its number is durable
	Next      uint64                         // the next sequence to give: above everything that was ever seen
	Previous  segment.Link                   // for the header of the first segment of this start
	Segments  []Segment                      // those that hold records, in order; nothing is to be appended to them
	Empty     []segment.Name                 // hold none: to be deleted once the new segment has all positions durable
	Positions map[string][]byte              // newest value of every key that is not an output's
	Outputs   map[string]checkpoint.Position // by the name of the output: the newer of store and log
	End       checkpoint.Position            // of checkpoint.EndKey, as stored
	Report    Report
}

// Segment is one file of the queue.
type Segment struct {
	Name    segment.Name
	Size    int64  // bytes of the file
	Last    uint64 // last sequence in it; of a segment that was not read the one before the next begins
	DataEnd int64  // where its frames end; 0: not read, ask the trailer
	Sealed  bool   // it has its trailer; of a segment that was not read nothing is known
	MaxTime int64  // arrival of its newest record, unix nanoseconds; 0: unknown
}

// UnknownFormatError says that a file of the data directory was written by a newer logmule. It is not damage; the file
// was left alone.
type UnknownFormatError struct {
	File string
	Err  error
}

func (e *UnknownFormatError) Error() string {
	return fmt.Sprintf("read %s: %v; run the logmule that wrote it, or a newer one", e.File, e.Err)
}

func (e *UnknownFormatError) Unwrap() error { return e.Err }

// operational tells whether an error is one that the operator has to settle, rather than damage to be lived with.
func operational(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

func segmentPath(dir string, name segment.Name) string {
	return filepath.Join(dir, SegmentDir, name.String())
}
