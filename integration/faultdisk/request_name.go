package main

import (
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// enter answers with a node that the kernel from now on knows. Names are not cached: every lookup is asked for.
func (n *node) enter(out *fuse.EntryOut) {
	n.lookups++
	out.NodeId, out.Generation = n.id, 1
	n.describe(&out.Attr)
	out.SetAttrTimeout(attributesLast)
}

// Lookup implements fuse.RawFileSystem.
func (d *disk) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if _, errno := d.begin(opLookup, in.Pid, place{in.NodeId, name}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	_, n, errno := d.place(in.NodeId, name)
	switch {
	case errno != 0:
		return fuse.Status(errno)
	case n == nil:
		return fuse.ENOENT
	}
	n.enter(out)
	return fuse.OK
}

// Forget implements fuse.RawFileSystem.
func (d *disk) Forget(id, lookups uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.nodes[id]; n != nil && id != rootID {
		n.lookups -= min(lookups, n.lookups)
		d.reclaim(n)
	}
}

// vacant finds the directory in which a name can be made.
func (d *disk) vacant(dir uint64, name string) (*node, syscall.Errno) {
	parent, n, errno := d.place(dir, name)
	switch {
	case errno != 0:
		return nil, errno
	case n != nil:
		return nil, syscall.EEXIST
	case d.inodesLeft() == 0:
		return nil, syscall.ENOSPC
	case parent.freed:
		return nil, syscall.ENOENT
	}
	return parent, 0
}

// make makes a node for an operation of that kind.
func (d *disk) make(k kind, in *fuse.InHeader, name string, n *node, out *fuse.EntryOut) fuse.Status {
	if _, errno := d.begin(k, in.Pid, place{in.NodeId, name}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	parent, errno := d.vacant(in.NodeId, name)
	if errno != 0 {
		return fuse.Status(errno)
	}
	n.uid, n.gid = in.Uid, in.Gid
	d.add(parent, name, n)
	n.enter(out)
	return fuse.OK
}

// Create implements fuse.RawFileSystem.
func (d *disk) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	n := newNode(0, syscall.S_IFREG|in.Mode&07777)
	n.opens = 1
	st := d.make(opCreate, &in.InHeader, name, n, &out.EntryOut)
	if st == fuse.OK {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.lastFh++
		out.Fh = d.lastFh
	}
	return st
}

// Mknod implements fuse.RawFileSystem.
func (d *disk) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.make(opCreate, &in.InHeader, name, newNode(0, in.Mode), out)
}

// Mkdir implements fuse.RawFileSystem.
func (d *disk) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return d.make(opMkdir, &in.InHeader, name, newNode(0, syscall.S_IFDIR|in.Mode&07777), out)
}

// Symlink implements fuse.RawFileSystem.
func (d *disk) Symlink(_ <-chan struct{}, in *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	n := newNode(0, syscall.S_IFLNK|0o777)
	n.target = to
	return d.make(opLink, in, name, n, out)
}

// Readlink implements fuse.RawFileSystem.
func (d *disk) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	if _, errno := d.begin(opOther, in.Pid); errno != 0 {
		return nil, fuse.Status(errno)
	}
	defer d.mu.Unlock()
	return []byte(d.nodes[in.NodeId].target), fuse.OK
}

// Link implements fuse.RawFileSystem.
func (d *disk) Link(_ <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if _, errno := d.begin(opLink, in.Pid, place{in.NodeId, name}, place{id: in.Oldnodeid}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	parent, old, errno := d.place(in.NodeId, name)
	n := d.nodes[in.Oldnodeid]
	switch {
	case errno != 0:
		return fuse.Status(errno)
	case old != nil:
		return fuse.Status(syscall.EEXIST)
	case n.freed || parent.freed:
		return fuse.ENOENT
	}
	d.take(change{parent, name, n})
	n.enter(out)
	return fuse.OK
}

// Unlink implements fuse.RawFileSystem.
func (d *disk) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return d.remove(in, name)
}

// Rmdir implements fuse.RawFileSystem.
func (d *disk) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return d.remove(in, name)
}

func (d *disk) remove(in *fuse.InHeader, name string) fuse.Status {
	if _, errno := d.begin(opUnlink, in.Pid, place{in.NodeId, name}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	parent, n, errno := d.place(in.NodeId, name)
	switch {
	case errno != 0:
		return fuse.Status(errno)
	case n == nil:
		return fuse.ENOENT
	case len(n.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	d.take(change{parent, name, nil})
	return fuse.OK
}

// Rename implements fuse.RawFileSystem.
func (d *disk) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if _, errno := d.begin(opRename, in.Pid, place{in.NodeId, from}, place{in.Newdir, to}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	const noReplace = 1
	source, n, errno := d.place(in.NodeId, from)
	target, old, errnoTo := d.place(in.Newdir, to)
	switch {
	case errno != 0 || errnoTo != 0:
		return fuse.Status(max(errno, errnoTo))
	case in.Flags&^noReplace != 0:
		return fuse.EINVAL
	case n == nil || target.freed:
		return fuse.ENOENT
	case in.Flags&noReplace != 0 && old != nil:
		return fuse.Status(syscall.EEXIST)
	case n == old:
		return fuse.OK // two names of one file: nothing happens then
	case old != nil && len(old.names) > 0:
		return fuse.Status(syscall.ENOTEMPTY)
	}
	d.take(change{target, to, n}, change{source, from, nil})
	return fuse.OK
}

// OpenDir implements fuse.RawFileSystem: what the directory holds now is what the descriptor lists.
func (d *disk) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if _, errno := d.begin(opOpen, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	if n == nil {
		return fuse.ENOENT
	}
	d.lastFh++
	out.Fh = d.lastFh
	n.opens++
	d.lists[out.Fh] = nil
	return fuse.OK
}

// ReadDir implements fuse.RawFileSystem.
func (d *disk) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	if _, errno := d.begin(opRead, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	if in.Offset == 0 { // from the beginning, perhaps again
		dir := d.nodes[in.NodeId]
		list := []fuse.DirEntry{{Name: ".", Mode: syscall.S_IFDIR, Ino: dir.id}, {Name: "..", Mode: syscall.S_IFDIR}}
		for _, name := range sorted(dir.names) {
			n := dir.names[name]
			list = append(list, fuse.DirEntry{Name: name, Mode: n.mode, Ino: n.id})
		}
		d.lists[in.Fh] = list
	}
	list := d.lists[in.Fh]
	for i := in.Offset; i < uint64(len(list)); i++ {
		list[i].Off = i + 1
		if !out.AddDirEntry(list[i]) {
			break
		}
	}
	return fuse.OK
}

// ReleaseDir implements fuse.RawFileSystem. It never waits.
func (d *disk) ReleaseDir(in *fuse.ReleaseIn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lists, in.Fh)
	if n := d.nodes[in.NodeId]; n != nil {
		n.opens--
		d.reclaim(n)
	}
}

// FsyncDir implements fuse.RawFileSystem.
func (d *disk) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	verdict, errno := d.begin(opSyncDir, in.Pid, place{id: in.NodeId})
	if errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	n := d.nodes[in.NodeId]
	switch {
	case d.readOnly && d.isUnsettled(n):
		return fuse.EROFS
	case verdict.Lie:
		return fuse.OK
	}
	return status(d.settle(n))
}

// StatFs implements fuse.RawFileSystem.
func (d *disk) StatFs(_ <-chan struct{}, in *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	if _, errno := d.begin(opStatfs, in.Pid, place{id: in.NodeId}); errno != 0 {
		return fuse.Status(errno)
	}
	defer d.mu.Unlock()
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	out.Bfree = uint64(d.room())
	out.Blocks = uint64(max(d.limits.Total, d.used+d.room()))
	out.Bavail = out.Bfree
	out.Ffree = uint64(d.inodesLeft())
	out.Files = out.Ffree + uint64(d.inodes)
	return fuse.OK
}
