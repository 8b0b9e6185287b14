package main

import (
	"slices"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// rootID is what FUSE calls the root.
const rootID = fuse.FUSE_ROOT_ID

// noLimit stands for room without limit.
const noLimit = -1

// terabyte, in blocks, is what a disk without limit says it has.
const terabyte = 1 << 40 / pageSize

// disk is the file system.
type disk struct {
	fuse.RawFileSystem // answers ENOSYS to all that is not here

	mu      sync.Mutex // guards what follows, with all nodes
	journal journal
	nodes   map[uint64]*node // that the kernel knows or that have a name
	newest  uint64           // the highest id
	steps   []*step          // changes of names that are not durable yet, oldest first
	lists   map[uint64][]fuse.DirEntry
	lastFh  uint64

	limits limits
	used   int64 // blocks
	inodes int64

	faults
	server *fuse.Server
}

// openDisk finds the disk of a backing directory; free is the room of a new one in bytes, 0 for no limit.
func openDisk(backing string, free int64, frozen func()) (*disk, error) {
	d := &disk{RawFileSystem: fuse.NewDefaultRawFileSystem(), newest: rootID, lists: make(map[uint64][]fuse.DirEntry)}
	d.faults = faults{tell: frozen, released: make(chan struct{})}
	d.limits = limits{Blocks: noLimit, Total: terabyte, Inodes: noLimit}
	if free > 0 {
		d.limits.Blocks, d.limits.Total = free/pageSize, free/pageSize
	}
	return d, d.openJournal(backing)
}

// room is how many blocks are left.
func (d *disk) room() int64 {
	if d.limits.Blocks == noLimit {
		return max(0, terabyte-d.used)
	}
	return max(0, d.limits.Blocks-d.used)
}

// inodesLeft is how many files can still be made.
func (d *disk) inodesLeft() int64 {
	if d.limits.Inodes == noLimit {
		return 1 << 30
	}
	return max(0, d.limits.Inodes-d.inodes)
}

// setFree sets the room that is left.
func (d *disk) setFree(bytes int64) error {
	d.limits.Blocks = noLimit
	if bytes >= 0 {
		d.limits.Blocks = d.used + bytes/pageSize
		d.limits.Total = max(d.limits.Total, d.limits.Blocks)
	}
	return d.journal.append(line{Limits: &d.limits})
}

func (d *disk) setInodes(n int64) error {
	d.limits.Inodes = noLimit
	if n >= 0 {
		d.limits.Inodes = d.inodes + n
	}
	return d.journal.append(line{Limits: &d.limits})
}

// everything lists all nodes that the disk or a change of names knows, in order.
func (d *disk) everything() []*node {
	seen := make(map[*node]bool)
	add := func(n *node) {
		if n != nil {
			seen[n] = true
		}
	}
	for _, n := range d.nodes {
		add(n)
		for _, m := range n.durable {
			add(m)
		}
	}
	for _, s := range d.steps {
		for _, c := range s.changes {
			add(c.target)
		}
	}
	list := make([]*node, 0, len(seen))
	for n := range seen {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *node) int { return int(int64(a.id) - int64(b.id)) })
	return list
}

// syncNode makes the bytes, the size and the attributes of a file durable.
func (d *disk) syncNode(n *node) error {
	if n.freed && n.lasting == 0 && n.pending == 0 {
		return nil // nobody can ever see it again
	}
	if err := n.content.sync(); err != nil {
		return err
	}
	if n.stamped {
		file, err := n.content.backing()
		if err != nil {
			return err
		}
		t := syscall.NsecToTimeval(n.mtime.UnixNano())
		if err := syscall.Futimes(int(file.Fd()), []syscall.Timeval{t, t}); err != nil {
			return err
		}
		n.stamped = false
	}
	return d.last(nil, n)
}
