package main

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// status is the answer that an error of the backing file system stands for.
func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	return fuse.EIO
}

// Open implements fuse.RawFileSystem.
func (d *disk) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if _, errno := d.begin(opOpen, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	if d.readOnly && in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EROFS
	}
	n := d.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	n.opens++
	d.lastFh++
	out.Fh = d.lastFh
	return fuse.OK
}

// Release implements fuse.RawFileSystem. It never waits: nobody is told of the end.
func (d *disk) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.nodes[in.NodeId]; n != nil {
		n.opens--
		d.reclaim(n)
	}
}

// Read implements fuse.RawFileSystem.
func (d *disk) Read(_ <-chan struct{}, in *fuse.ReadIn, b []byte) (fuse.ReadResult, fuse.Status) {
	verdict, errno := d.begin(opRead, in.Pid, place{id: in.NodeId})
	if errno != 0 {
		return nil, fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n, err := d.nodes[in.NodeId].content.read(b, int64(in.Offset))
	if err != nil {
		return nil, status(err)
	}
	if verdict.Flip && n > 0 {
		rng := rand.New(rand.NewPCG(uint64(verdict.id), uint64(verdict.hits)))
		b[rng.IntN(n)] ^= 1 << rng.IntN(8)
	}
	return fuse.ReadResultData(b[:n]), fuse.OK
}

// Write implements fuse.RawFileSystem.
func (d *disk) Write(_ <-chan struct{}, in *fuse.WriteIn, b []byte) (uint32, fuse.Status) {
	verdict, errno := d.begin(opWrite, in.Pid, place{id: in.NodeId})
	if errno != 0 {
		return 0, fuse.Status(errno)
	}
	defer d.mu.Unlock()
	switch {
	case verdict.Short > 0:
		b = b[:min(len(b), verdict.Short)]
	case verdict.Err != 0:
		return 0, fuse.Status(verdict.Err)
	}
	n := d.nodes[in.NodeId]
	took, fits := n.content.blocks.take(int64(in.Offset), int64(len(b)), d.room())
	d.used += took
	if fits == 0 && len(b) > 0 {
		return 0, fuse.Status(syscall.ENOSPC)
	}
	if err := n.content.write(b[:fits], int64(in.Offset)); err != nil {
		return 0, status(err)
	}
	n.mtime = time.Now()
	n.ctime, n.stamped = n.mtime, false
	return uint32(fits), fuse.Status(verdict.Err)
}

// Fsync implements fuse.RawFileSystem.
func (d *disk) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	verdict, errno := d.begin(opSync, in.Pid, place{id: in.NodeId})
	if errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	if verdict.Err == 0 && d.readOnly && n.content.isDirty() {
		verdict.Err = syscall.EROFS
	}
	switch {
	case verdict.Err != 0:
		n.content.failSync()
		return fuse.Status(verdict.Err)
	case verdict.Lie:
		return fuse.OK
	}
	return status(d.syncNode(n))
}

// Fallocate implements fuse.RawFileSystem.
func (d *disk) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	if _, errno := d.begin(opAllocate, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	const keepSize, punch, zero = unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE, unix.FALLOC_FL_ZERO_RANGE
	n, offset, size := d.nodes[in.NodeId], int64(in.Offset), int64(in.Length)
	c := &n.content
	switch in.Mode {
	case punch | keepSize:
		d.used -= c.blocks.give(offset, size)
		return status(c.zero(offset, size))
	case 0, keepSize, zero, zero | keepSize:
	default:
		return fuse.Status(syscall.EOPNOTSUPP)
	}
	if c.blocks.missing(offset, size) > d.room() {
		return fuse.Status(syscall.ENOSPC)
	}
	took, _ := c.blocks.take(offset, size, d.room())
	d.used += took
	if in.Mode&zero != 0 {
		if err := c.zero(offset, size); err != nil {
			return status(err)
		}
	}
	if in.Mode&keepSize == 0 && c.size < offset+size {
		c.truncate(offset + size)
	}
	n.mtime = time.Now()
	return fuse.OK
}

// Flush implements fuse.RawFileSystem: the kernel asks at the first close, and never again. There is nothing to flush, and a
// process that was killed must be able to end while the disk is frozen.
func (d *disk) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// GetAttr implements fuse.RawFileSystem.
func (d *disk) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	if _, errno := d.begin(opOther, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	n.describe(&out.Attr)
	out.SetTimeout(attributesLast)
	return fuse.OK
}

// SetAttr implements fuse.RawFileSystem.
func (d *disk) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	k := opOther
	size, sized := in.GetSize()
	if sized {
		k = opTruncate
	}
	if _, errno := d.begin(k, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	switch {
	case n == nil:
		return fuse.ENOENT
	case d.readOnly:
		return fuse.EROFS
	}
	n.ctime = time.Now()
	if sized {
		n.content.truncate(int64(size))
		d.used -= n.content.blocks.giveFrom(int64(size))
		n.mtime, n.stamped = n.ctime, false
	}
	if mode, ok := in.GetMode(); ok {
		n.mode, n.listed = n.mode&syscall.S_IFMT|mode, false
	}
	if uid, ok := in.GetUID(); ok {
		n.uid, n.listed = uid, false
	}
	if gid, ok := in.GetGID(); ok {
		n.gid, n.listed = gid, false
	}
	if t, ok := in.GetMTime(); ok {
		n.mtime, n.stamped = t, true
	}
	n.describe(&out.Attr)
	out.SetTimeout(attributesLast)
	return fuse.OK
}

// attributesLast is for how long the kernel may believe attributes: it knows of every change, since it makes them all.
const attributesLast = time.Hour

// describe fills in the attributes.
func (n *node) describe(a *fuse.Attr) {
	a.Ino, a.Size, a.Mode, a.Nlink = n.id, uint64(n.content.size), n.mode, uint32(n.links)
	a.Blocks = uint64(n.content.blocks.count * pageSize / sectorSize)
	a.Blksize = pageSize
	a.Uid, a.Gid = n.uid, n.gid
	if n.isDir() {
		a.Nlink = 2
	}
	if n.target != "" {
		a.Size = uint64(len(n.target))
	}
	a.SetTimes(&n.mtime, &n.mtime, &n.ctime)
}
