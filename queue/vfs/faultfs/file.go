package faultfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// maxFile is the size that no file may pass, in bytes.
const maxFile = 4 << 30

// file is an open node. It goes on working when the name is gone.
type file struct {
	fs       *FS
	node     *node
	name     string
	writable bool
	closed   bool
}

// changeLocked begins an operation that writes or syncs.
func (f *file) changeLocked(op Op) error {
	if f.closed {
		return f.fail(op.Kind, fs.ErrClosed)
	}
	op.Name = f.name
	if err := f.fs.opLocked(op); err != nil {
		return err
	}
	switch {
	case !f.writable && op.Kind != Sync:
		return f.fail(op.Kind, syscall.EBADF)
	case op.Offset < 0 || op.Size < 0:
		return f.fail(op.Kind, syscall.EINVAL)
	case op.Offset > maxFile-op.Size:
		return f.fail(op.Kind, syscall.EFBIG)
	}
	return nil
}

func (f *file) fail(kind Kind, err error) error {
	return &fs.PathError{Op: string(kind), Path: f.name, Err: err}
}

// Unlinked is for vfs.Unlinked.
func (f *file) Unlinked() bool {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.node.links == 0
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(b []byte, offset int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.readLocked(); err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, f.fail("read", syscall.EINVAL)
	}
	if f.fs.reads != nil {
		if err := f.fs.reads(f.name, offset, len(b)); err != nil {
			return 0, f.fail("read", err)
		}
	}
	n := copy(b, f.node.data[min(offset, int64(len(f.node.data))):])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// readLocked says whether the file can be read.
func (f *file) readLocked() error {
	if f.closed {
		return f.fail("read", fs.ErrClosed)
	}
	return f.fs.aliveLocked("read", f.name)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(b []byte, offset int64) (int, error) {
	n, err := f.WriteVec([][]byte{b}, offset)
	return int(n), err
}

// WriteVec implements vfs.File: one operation.
func (f *file) WriteVec(bufs [][]byte, offset int64) (int64, error) {
	var size int64
	for _, b := range bufs {
		size += int64(len(b))
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.changeLocked(Op{Kind: Write, Offset: offset, Size: size}); err != nil {
		return 0, err
	}
	room := f.allocateLocked(offset, size)
	f.node.age(offset, offset+room)
	var written int64
	for _, b := range bufs {
		b = b[:min(int64(len(b)), room-written)]
		f.node.write(b, offset+written)
		written += int64(len(b))
	}
	if f.fs.record != nil && written > 0 {
		f.fs.recordLocked(effect{kind: bytesWritten, node: f.node, data: bytes.Clone(f.node.data[offset : offset+written]), offset: offset})
	}
	if written < size {
		return written, f.fail(Write, syscall.ENOSPC)
	}
	return written, nil
}

// allocateLocked takes room for [offset, offset+size) and returns for how many of these bytes, from the first on, there
// was any.
func (f *file) allocateLocked(offset, size int64) int64 {
	if size == 0 {
		return 0
	}
	n, end := f.node, roundUp(offset+size)
	n.grow(end)
	for s := offset / sectorSize; s < end; s++ {
		if n.sectors[s]&isAllocated != 0 {
			continue
		}
		if f.fs.used+sectorSize > f.fs.limit {
			return max(s*sectorSize-offset, 0)
		}
		n.sectors[s] |= isAllocated
		f.fs.used += sectorSize
	}
	return size
}

// Allocate implements vfs.File. Where there is not enough room it takes none.
func (f *file) Allocate(offset, size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.changeLocked(Op{Kind: Allocate, Offset: offset, Size: size}); err != nil {
		return err
	}
	var missing int64
	for s := offset / sectorSize; s < roundUp(offset+size); s++ {
		if s >= int64(len(f.node.sectors)) || f.node.sectors[s]&isAllocated == 0 {
			missing++
		}
	}
	if f.fs.used+missing*sectorSize > f.fs.limit {
		return f.fail(Allocate, syscall.ENOSPC)
	}
	f.allocateLocked(offset, size)
	f.node.extend(offset + size)
	f.fs.recordLocked(effect{kind: bytesExtended, node: f.node, offset: offset + size})
	return nil
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.changeLocked(Op{Kind: Truncate, Size: size}); err != nil {
		return err
	}
	f.fs.used -= f.node.truncate(size) * sectorSize
	f.fs.recordLocked(effect{kind: bytesTruncated, node: f.node, offset: size})
	return nil
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.changeLocked(Op{Kind: Sync})
	switch {
	case err == nil:
		f.node.sync()
		f.fs.recordLocked(effect{kind: bytesSynced, node: f.node})
	case !errors.Is(err, ErrCrashed) && !errors.Is(err, fs.ErrClosed):
		f.node.failSync()
		f.fs.recordLocked(effect{kind: bytesUnsynced, node: f.node})
	}
	return err
}

// Size implements vfs.File.
func (f *file) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.readLocked(); err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

// Close implements vfs.File.
func (f *file) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	f.node.opens--
	f.fs.reclaim(f.node)
	return nil
}
