// Package faultfs is a file system in memory that fails, fills up and loses power on demand: the disk under the tests of
// queue, checkpoint and recovery. It plays by the durability rules in package vfs, and by nothing kinder:
//
//   - Writing changes what readers see at once. Sync makes the written sectors (512 bytes) and the size durable.
//   - Creating, renaming, linking and removing change what ReadDir sees at once. SyncDir makes the names durable, those of
//     its directory only. A rename is one step: the old name is never durably gone before the new one is durably there.
//   - Sync of a file does not make its name durable, and SyncDir does not make its bytes durable.
//   - A failed Sync leaves the sectors readable and no longer in line for writing, as Linux does: a Sync after it
//     succeeds and does not write them. Whether they reached the disk shows at the crash.
//   - Nothing else that fails changes anything, except that a write which runs out of space has written what there was
//     room for.
//
// Crash makes a new file system that holds what a power loss would leave. Sectors and steps are kept or lost as a whole.
// Record keeps what happens, so that every state that a power loss at any moment would leave can be had from one run.
//
// Every call that could change or sync something is one numbered operation, from 1 on, whether it succeeds or not, so
// that a test walks through all of them:
//
//	for n := 1; ; n++ {
//		fsys := faultfs.New()
//		fsys.CrashAt(n)
//		acknowledged := work(fsys)
//		check(fsys.Crash(faultfs.Reorder, seed), acknowledged)
//		if fsys.Ops() < n {
//			break
//		}
//	}
//
// All of it is deterministic: the same calls and the same seed give the same bytes.
package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"logmule/queue/vfs"
)

// ErrCrashed is the error of every operation from the crash point on.
var ErrCrashed = errors.New("the machine has lost power")

// Kind says what an operation does.
type Kind string

// The kinds of operations. Lock is one since it makes and writes its file. MkdirAll is several: Mkdir for each level
// that it makes, SyncDir for each parent that it syncs.
const (
	Create   Kind = "create"
	Mkdir    Kind = "mkdir"
	Rename   Kind = "rename"
	Link     Kind = "link"
	Remove   Kind = "remove"
	Lock     Kind = "lock"
	SyncDir  Kind = "syncdir"
	Write    Kind = "write" // WriteAt and WriteVec
	Allocate Kind = "allocate"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
)

// Op is one operation that could change or sync something.
type Op struct {
	N            int    // from 1
	Kind         Kind   // what it does
	Name         string // to what, as the caller gave it; for a File, the name it was opened by
	To           string // the second name of Rename and Link
	Offset, Size int64  // of Write and Allocate; of Truncate only Size
}

func (o Op) String() string {
	s := fmt.Sprintf("op %d: %s %s", o.N, o.Kind, o.Name)
	switch o.Kind {
	case Rename, Link:
		s += " to " + o.To
	case Write, Allocate:
		s += fmt.Sprintf(" [%d, %d)", o.Offset, o.Offset+o.Size)
	case Truncate:
		s += fmt.Sprintf(" to %d", o.Size)
	}
	return s
}

// FS is the file system. It starts with an empty root directory, which is the working directory too, and 1 TiB of room.
// It may be used by several goroutines; then the numbers of the operations are as they happen to come.
type FS struct {
	mu     sync.Mutex // guards all below, and all nodes, files and locks of this file system
	root   *node
	steps  []*step // changes of names that are not durable yet, oldest first
	limit  int64   // bytes of sectors that may be allocated
	used   int64   // bytes of sectors that are
	trace  []Op
	failAt map[int]error
	from   fault
	match  func(Op) error
	reads  func(name string, offset int64, size int) error
	crash  int // operation from which on nothing works; 0: none
	pause  func()

	record   *Recording // nil: none
	recorded int        // operations before it
}

// fault is an error for all operations from a number on.
type fault struct {
	n   int
	err error
}

var _ vfs.FS = (*FS)(nil)

// New is an empty file system.
func New() *FS {
	return &FS{root: newDir(), limit: 1 << 40, failAt: make(map[int]error)}
}

// Ops is the number of operations so far, failed ones included.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.trace)
}

// Trace is all operations so far: Trace()[n-1] is operation n.
func (f *FS) Trace() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trace)
}

// FailAt makes operation n, and only that one, fail with err.
func (f *FS) FailAt(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt[n] = err
}

// FailFrom makes all operations from n on fail with err; a nil err ends it.
func (f *FS) FailFrom(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.from = fault{n, err}
}

// FailMatching makes the operations fail for which match returns an error; a nil match ends it. It is called once for
// each operation, in order, and must not use the file system.
func (f *FS) FailMatching(match func(op Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.match = match
}

// FailReads makes ReadAt fail where match returns an error; a nil match ends it. Reads are no operations and have no
// number.
func (f *FS) FailReads(match func(name string, offset int64, size int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = match
}

// CrashAt makes everything, reading too, fail with ErrCrashed from operation n on, which is not applied. Only Close
// goes on working. What the disk holds then can be had by Crash.
func (f *FS) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash = n
}

// SetFree sets the room that is left, in bytes. Writing takes it by the sector where nothing was allocated, Allocate too.
func (f *FS) SetFree(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = f.used + bytes
}

// PauseBefore calls pause before each operation, outside of all locks: there a test lets other goroutines get on first.
func (f *FS) PauseBefore(pause func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = pause
}

// opLocked numbers an operation and says whether it may go on. It comes before all that depends on the state.
func (f *FS) opLocked(op Op) error {
	if pause := f.pause; pause != nil {
		f.mu.Unlock()
		pause()
		f.mu.Lock()
	}
	op.N = len(f.trace) + 1
	f.trace = append(f.trace, op)
	f.recordOpLocked(op)
	if err := f.aliveLocked(string(op.Kind), op.Name); err != nil {
		return err
	}
	err := f.failAt[op.N]
	if err == nil && f.from.err != nil && op.N >= f.from.n {
		err = f.from.err
	}
	if err == nil && f.match != nil {
		err = f.match(op)
	}
	if err != nil {
		return &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: err}
	}
	return nil
}

// aliveLocked is the error of a machine without power, which it is as soon as the operation of the crash was asked for.
func (f *FS) aliveLocked(op, name string) error {
	if f.crash > 0 && len(f.trace) >= f.crash {
		return &fs.PathError{Op: op, Path: name, Err: ErrCrashed}
	}
	return nil
}
