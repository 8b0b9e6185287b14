package faultfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"logmule/queue/vfs"
)

// Create implements vfs.FS.
func (f *FS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Create, Name: name}); err != nil {
		return nil, err
	}
	p, err := f.vacant(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n := &node{}
	f.take(p.becomes(n))
	n.opens++
	return &file{fs: f, node: n, name: name, writable: true}, nil
}

// Open implements vfs.FS.
func (f *FS) Open(name string) (vfs.File, error) { return f.open(name, false) }

// OpenWrite implements vfs.FS.
func (f *FS) OpenWrite(name string) (vfs.File, error) { return f.open(name, true) }

func (f *FS) open(name string, writable bool) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.aliveLocked("open", name); err != nil {
		return nil, err
	}
	p, err := f.existing(name)
	if err == nil && p.node.isDir() {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	p.node.opens++
	return &file{fs: f, node: p.node, name: name, writable: writable}, nil
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string) error {
	name = filepath.Clean(name)
	parent := filepath.Dir(name)
	f.mu.Lock()
	n, err := f.lookup(split(name)), f.aliveLocked("mkdir", name)
	f.mu.Unlock()
	switch {
	case err != nil:
		return err
	case n != nil && !n.isDir():
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
	case n == nil:
		if err := f.MkdirAll(parent); err != nil {
			return err
		}
		if err := f.mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return f.SyncDir(parent)
}

func (f *FS) mkdir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Mkdir, Name: name}); err != nil {
		return err
	}
	p, err := f.vacant(name)
	if err != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	f.take(p.becomes(newDir()))
	return nil
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: SyncDir, Name: name}); err != nil {
		return err
	}
	n, err := f.directory("sync", name)
	if err != nil {
		return err
	}
	f.settle(n)
	return nil
}

// directory finds a directory for the operation op.
func (f *FS) directory(op, name string) (*node, error) {
	n := f.lookup(split(name))
	switch {
	case n == nil:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	case !n.isDir():
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return n, nil
}

// Rename implements vfs.FS.
func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Rename, Name: from, To: to}); err != nil {
		return err
	}
	source, err := f.existing(from)
	if err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: err}
	}
	target, err := f.place(to)
	switch {
	case err != nil:
		return &fs.PathError{Op: "rename", Path: to, Err: err}
	case target.node == source.node:
		return nil // two names of one file: rename(2) does nothing then
	case target.node != nil && (target.node.isDir() || source.node.isDir()):
		return &fs.PathError{Op: "rename", Path: to, Err: syscall.EEXIST}
	}
	f.take(target.becomes(source.node), source.becomes(nil))
	return nil
}

// Link implements vfs.FS.
func (f *FS) Link(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Link, Name: from, To: to}); err != nil {
		return err
	}
	source, err := f.existing(from)
	if err == nil && source.node.isDir() {
		err = syscall.EPERM
	}
	if err != nil {
		return &fs.PathError{Op: "link", Path: from, Err: err}
	}
	target, err := f.vacant(to)
	if err != nil {
		return &fs.PathError{Op: "link", Path: to, Err: err}
	}
	f.take(target.becomes(source.node))
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Remove, Name: name}); err != nil {
		return err
	}
	p, err := f.existing(name)
	if err == nil && len(p.node.names) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	f.take(p.becomes(nil))
	return nil
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.aliveLocked("readdir", name); err != nil {
		return nil, err
	}
	n, err := f.directory("readdir", name)
	if err != nil {
		return nil, err
	}
	infos := make([]fs.FileInfo, 0, len(n.names))
	for _, base := range slices.Sorted(maps.Keys(n.names)) {
		infos = append(infos, n.names[base].info(base))
	}
	return infos, nil
}

// Stat implements vfs.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.aliveLocked("stat", name); err != nil {
		return nil, err
	}
	n := f.lookup(split(name))
	if n == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: syscall.ENOENT}
	}
	return n.info(filepath.Base(name)), nil
}

// Space implements vfs.FS.
func (f *FS) Space(name string) (vfs.Space, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.aliveLocked("statfs", name); err != nil {
		return vfs.Space{}, err
	}
	if f.lookup(split(name)) == nil {
		return vfs.Space{}, &fs.PathError{Op: "statfs", Path: name, Err: syscall.ENOENT}
	}
	return vfs.Space{Free: max(f.limit-f.used, 0), Total: f.limit}, nil
}

// Lock implements vfs.FS. The holder's line is durable at once and takes no room: nobody relies on it.
func (f *FS) Lock(name, holder string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.opLocked(Op{Kind: Lock, Name: name}); err != nil {
		return nil, err
	}
	p, err := f.place(name)
	if err == nil && p.node != nil && p.node.isDir() {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	n := p.node
	if n == nil {
		n = &node{}
		f.take(p.becomes(n))
	}
	if n.locked {
		return nil, &vfs.LockedError{Name: name, Holder: strings.TrimSuffix(string(n.data), "\n")}
	}
	f.used -= n.allocated() * sectorSize
	line := []byte(holder + "\n")
	n.content = durableContent(line)
	f.recordLocked(effect{kind: bytesLocked, node: n, data: line})
	n.locked = true
	return &lock{fs: f, node: n}, nil
}

// lock is the Closer of a Lock.
type lock struct {
	fs       *FS
	node     *node
	released bool
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.released {
		return fs.ErrClosed
	}
	l.released, l.node.locked = true, false
	return nil
}

// info describes a node under one of its names.
func (n *node) info(base string) fs.FileInfo {
	return info{base, int64(len(n.data)), n.isDir(), vfs.Node{ID: n, Room: roundUp(int64(len(n.data))) * sectorSize}}
}

type info struct {
	name string
	size int64
	dir  bool
	node vfs.Node // it has no clock
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return i.node }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
