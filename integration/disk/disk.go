// Package disk gives a test a file system that fails on command: integration/faultdisk, mounted with FUSE and served by a
// process of its own. It loses power, at a chosen operation too, fills up, refuses, stalls, lies about syncing and flips
// bits; and it carries loop images with ext4 or xfs.
//
// What is durable there follows the rules of package queue/vfs, and nothing kinder: bytes after fsync of the file, names
// after fsync of the directory. The system call syncfs does not reach a FUSE file system, so sync(1) makes nothing durable.
//
// A power loss in a test goes so: Freeze, or FreezeAt and <-Frozen(); SIGKILL to every process that uses the disk, which
// ends it even where it waits for the disk; Crash; start again.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Options says where a disk is.
type Options struct {
	Mount   string // the mount point
	Backing string // holds the durable bytes: a directory of the server's own
	Free    int64  // room in bytes; 0: unlimited
	Output  string // file that takes what the server prints; empty: none
}

// Mode says what a power loss leaves of what was not synced.
type Mode string

// The modes.
const (
	Drop Mode = "drop" // nothing
	Keep Mode = "keep" // everything
	Mix  Mode = "mix"  // each sector of 512 bytes and each change of names as the seed decides
)

// Op is a kind of operation.
type Op string

// The kinds of operations. Those that change or sync something are numbered: all but Read, Open, Lookup and Statfs.
const (
	Write    Op = "write"
	Sync     Op = "sync" // fsync and fdatasync of a file
	SyncDir  Op = "syncdir"
	Read     Op = "read" // what comes out of the kernel's page cache never gets here; Fail empties it
	Create   Op = "create"
	Rename   Op = "rename"
	Link     Op = "link"   // symbolic links too
	Unlink   Op = "unlink" // rmdir too
	Mkdir    Op = "mkdir"
	Truncate Op = "truncate"
	Allocate Op = "allocate"
	Open     Op = "open"
	Lookup   Op = "lookup"
	Statfs   Op = "statfs"
)

// Match picks operations.
type Match struct {
	Op   Op     `json:"op,omitempty"`   // empty: any
	Name string `json:"name,omitempty"` // glob of package path over the path below the mount, over its last part where the glob has no slash; empty: any
	Nth  int    `json:"nth,omitempty"`  // from the n-th that matches on; 0: from the first
}

// Rule makes operations go wrong. A rule with Delay only is slow and then right.
type Rule struct {
	Match
	Err   syscall.Errno `json:"err,omitempty"`   // the answer; on Sync the dirty bytes then are as Linux leaves them: readable, clean, and perhaps on the disk
	Delay time.Duration `json:"delay,omitempty"` // before anything else
	Short int           `json:"short,omitempty"` // so many bytes of a write get through, and the answer says so
	Flip  bool          `json:"flip,omitempty"`  // one bit of what a read gives is wrong
	Lie   bool          `json:"lie,omitempty"`   // a sync answers that all is well and does nothing
	Count int           `json:"count,omitempty"` // so often; 0: for ever. The kernel tries a Read or Lookup that failed once more: 2 for a program to see one error
}

// patience bounds the wait for the server, which answers in milliseconds unless it copies much.
const patience = 60 * time.Second

// Disk is one mounted fault disk. Its methods may be called from several goroutines, but not while Crash or Close runs.
type Disk struct {
	options Options

	mu     sync.Mutex    // guards what follows
	server *server       // of now
	frozen chan struct{} // closed when that is frozen
}

// Start mounts a fault disk. Mount and Backing are made where they are missing; a Backing that was used before is found as
// its server left it. The server ends with this process, and what earlier tests left mounted when they were killed is undone.
func Start(o Options) (*Disk, error) {
	if err := Undo(); err != nil {
		return nil, err
	}
	for _, dir := range []*string{&o.Mount, &o.Backing} {
		if err := os.MkdirAll(*dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory of fault disk: %w", err)
		}
		whole, err := filepath.Abs(*dir)
		if err != nil {
			return nil, err
		}
		*dir = whole
	}
	d := &Disk{options: o}
	return d, d.start()
}

// start starts the server. d.mu may be held or not yet be needed.
func (d *Disk) start() error {
	s, err := startServer(d.options)
	if err != nil {
		return err
	}
	d.server, d.frozen = s, s.frozen
	return nil
}

// current is the server of now.
func (d *Disk) current() *server {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.server
}

// Path is the mount point.
func (d *Disk) Path() string { return d.options.Mount }

// Server is the process id of the server of now. To kill it is a power loss in mode Drop; Crash(Drop, 0) then mounts again.
func (d *Disk) Server() int { return d.current().pid() }

// Ops is the number of operations since the mount that could change or sync something.
func (d *Disk) Ops() (uint64, error) {
	return d.current().ask(command{Do: "ops"})
}

// Freeze takes the power away: from now on every operation waits, reads too, and nothing is answered.
func (d *Disk) Freeze() error { return d.do(command{Do: "freeze"}) }

// FreezeAt is Freeze exactly before the n-th numbered operation from now, n at least 1.
func (d *Disk) FreezeAt(n uint64) error { return d.do(command{Do: "freezeat", N: int64(n)}) }

// FreezeOn is Freeze exactly before the m.Nth-th operation that matches.
func (d *Disk) FreezeOn(m Match) error { return d.do(command{Do: "freezeon", Rule: &Rule{Match: m}}) }

// Frozen is closed when the disk is frozen. After Crash there is a new one.
func (d *Disk) Frozen() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.frozen
}

// Crash is what comes after the power loss: what was not synced is dropped, kept or mixed by seed, and the disk is
// unmounted and mounted again at the same path, without rules, with empty caches. Every user has to be killed before;
// an operation that waits is answered EIO, and whatever still has a file open there gets errors from then on.
// Where the server was killed, mode can only be Drop.
func (d *Disk) Crash(mode Mode, seed uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.server.do(command{Do: "crash", Mode: mode, Seed: seed})
	if errors.Is(err, errEnded) && mode == Drop {
		err = nil
	}
	d.server.end()
	if err := errors.Join(err, detach(d.options.Mount)); err != nil {
		return err
	}
	return d.start()
}

// Fail adds a rule. Of several rules that match an operation each counts it, and the oldest decides. The kernel's caches of
// the disk are emptied, so that reads reach it.
func (d *Disk) Fail(r Rule) (id int, err error) {
	n, err := d.current().ask(command{Do: "fail", Rule: &r})
	return int(n), err
}

// Clear removes rules, all where none is named. Operations that a rule delays go on.
func (d *Disk) Clear(ids ...int) error { return d.do(command{Do: "clear", IDs: ids}) }

// Hits says how many operations a rule made go wrong.
func (d *Disk) Hits(id int) (int, error) {
	n, err := d.current().ask(command{Do: "hits", N: int64(id)})
	return int(n), err
}

// SetFree sets the room that is left, in bytes: writing takes it by 4 KiB. A negative number means unlimited again.
func (d *Disk) SetFree(bytes int64) error { return d.do(command{Do: "free", N: bytes}) }

// SetInodes sets the number of files that can still be made. A negative number means unlimited again.
func (d *Disk) SetInodes(n int64) error { return d.do(command{Do: "inodes", N: n}) }

// ReadOnly makes everything that changes or syncs fail with EROFS.
func (d *Disk) ReadOnly(on bool) error {
	n := int64(0)
	if on {
		n = 1
	}
	return d.do(command{Do: "readonly", N: n})
}

// Snapshot copies one file of the disk, name is its path below the mount, to the new file to: as a power loss at this
// moment would leave it, at one moment while it is in use. The disk goes on.
func (d *Disk) Snapshot(name, to string, mode Mode, seed uint64) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	return d.do(command{Do: "snapshot", Name: name, To: to, Mode: mode, Seed: seed})
}

// Close ends the server and unmounts, whoever still uses the disk: they get errors. The backing directory stays.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.server.end()
	return detach(d.options.Mount)
}

func (d *Disk) do(c command) error { return d.current().do(c) }

// Available says why there can be no fault disk here: fs.ErrPermission without root, fs.ErrNotExist without /dev/fuse.
func Available() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a fault disk needs root: %w", fs.ErrPermission)
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("a fault disk needs FUSE: %w; load the kernel's module fuse, or give the container /dev/fuse", err)
	}
	return nil
}
