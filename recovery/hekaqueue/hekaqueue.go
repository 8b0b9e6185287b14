// Package hekaqueue reads the queue directories of Mozilla's Heka, broken ones first of all: versions 0.9 to 0.11.
//
// Such a directory holds files N.log, frames one behind the other without a checksum, and checkpoint.txt, the place of
// the next record to deliver:
//
//	+------+--------+----------------------------------------------+------+---------+
//	| 0x1E | u8 h   | header of h bytes: 0x08, uvarint L, mostly   | 0x1F | L bytes |
//	+------+--------+----------------------------------------------+------+---------+
//
// From 0.10 on the L bytes are a Heka message, a protobuf; before, they are whatever the output's encoder had made.
//
// What is read is judged strictly, because nothing else tells a record from noise: every byte of frame and message has
// to be as Heka writes it. Where that fails the search goes on one byte further, never a whole record, since the length
// that would say how far is what may be wrong. Nothing is carried from one file into the next; doing that is what stops
// Heka itself for ever. A checkpoint that is in doubt is not believed: repeats are better than losses.
//
// The package changes nothing, and knows of messages only what tells a whole one from a broken one.
package hekaqueue

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"logmule/queue/vfs"
)

// Queue is a Heka queue directory, or one file of Heka frames.
type Queue struct {
	Path       string
	Files      []File     // in the order in which they were written
	Missing    []Gap      // between them
	Strangers  []string   // names in the directory that are no part of a queue
	Checkpoint Checkpoint // of a single file: none
	Bytes      int64      // of all files

	fsys   vfs.FS
	single bool
}

// Name is that of the directory, which is how Heka calls the output that the queue belongs to.
func (q *Queue) Name() string {
	if path, err := filepath.Abs(q.Path); err == nil {
		return filepath.Base(path)
	}
	return filepath.Base(q.Path)
}

func (q *Queue) path(f File) string {
	if q.single {
		return q.Path
	}
	return filepath.Join(q.Path, f.Name)
}

// File is a file of frames.
type File struct {
	Name    string
	Size    int64
	Changed time.Time
}

// Gap is a range of numbers that no file has.
type Gap struct{ First, Last uint64 }

// String names the files that are missing.
func (g Gap) String() string {
	if g.First == g.Last {
		return fmt.Sprintf("%d.log", g.First)
	}
	return fmt.Sprintf("%d.log to %d.log", g.First, g.Last)
}

// Position is a place in a queue.
type Position struct {
	File   string
	Offset int64
}

// Compare orders positions as Heka writes: by the number in the name of the file, then by offset.
func (p Position) Compare(other Position) int {
	return cmp.Or(compareNames(p.File, other.File), cmp.Compare(p.Offset, other.Offset))
}

// compareNames puts 9.log before 10.log, and names without a number behind the others.
func compareNames(a, b string) int {
	x, okA := numberOf(a)
	y, okB := numberOf(b)
	if okA != okB {
		if okA {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(x, y), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// Adjoins tells whether no file can be between the first and the second: the second is the first, or the next in number.
func Adjoins(first, second string) bool {
	x, okX := numberOf(first)
	y, okY := numberOf(second)
	return first == second || okX && okY && y == x+1
}

// numberOf is the number of a queue file, false for any other name.
func numberOf(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".log")
	if !ok || !decimal(digits) {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// decimal tells whether s is digits and nothing else.
func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Class says how sure it is that a record is as Heka wrote it. Without checksums it is never certain.
type Class uint8

// The classes of what can be read.
const (
	Intact   Class = iota // frame and message are right, and so is what follows: a frame, or the end
	Probable              // frame and message are right, what follows is not
	Suspect               // frame and message are right, and something in them is as damage leaves it: see Doubts
)

// Doubts say why a record is suspect.
type Doubts uint8

// The doubts.
const (
	Zeros       Doubts = 1 << iota // 16 or more NUL bytes in a row in a text, or as the uuid
	NotUTF8                        // a text is not UTF-8
	NoTimestamp                    // there is no timestamp, or it is 0
	Repeated                       // the uuid is that of an earlier record
	Twice                          // a field that a message has once is there twice
	Unknown                        // a field, or a type of value, that Heka does not have
	NoValue                        // a field has no value of its type
)

// doubts are all of them, in order.
var doubts = []struct {
	doubt Doubts
	text  string
}{
	{Zeros, "16 or more NUL bytes in a row"},
	{NotUTF8, "text that is not UTF-8"},
	{NoTimestamp, "no timestamp"},
	{Repeated, "the uuid of an earlier record"},
	{Twice, "an attribute twice"},
	{Unknown, "something that Heka does not have"},
	{NoValue, "a field without a value of its type"},
}

// Record is what stands in one frame. It is valid until the function that was given it returns.
type Record struct {
	File      File
	Offset    int64  // of the frame
	End       int64  // behind it
	Frame     []byte // a frame with Message in it, as it was read
	Message   []byte // a Heka message, or if Plain what the output's encoder had made
	Plain     bool
	Delivered bool // it lies before the checkpoint
	Class     Class
	Doubts    Doubts

	followed bool // by a frame, or by the end of the file
}

// Position is where the record begins.
func (r *Record) Position() Position { return Position{r.File.Name, r.Offset} }

// Skip is a range of a file in which nothing can be read.
type Skip struct {
	File      string
	From, To  int64
	Why       string // no record begins at From
	BadFrames int    // frames in it whose content is no message; a wrong length shows as one
	Zeros     int64  // bytes in it that are NUL
	Torn      bool   // it is the end of the file, in the middle of a frame: what a crash leaves
	Refused   bool   // the disk does not give it: it may another time
}
