// Package vfs is the seam between a queue directory and the file system under it.
//
// Everything that queue, recovery and segment do to a disk goes through FS and File, so that faultfs can fail, fill or
// lose power at any single operation. The interface holds just what a queue needs, with the durability rules that the
// queue relies on spelled out, because they are the contract that faultfs plays by:
//
//   - bytes written are durable after File.Sync returned nil, not before; before that any subset of their sectors may survive
//   - a name created, renamed, linked or removed is durable after SyncDir of its directory, not before
//   - a failed Sync says nothing about the bytes it covered, then or later
package vfs

import (
	"fmt"
	"io"
	"io/fs"
)

// FS is a file system as a queue directory uses it. Names are paths in the form of package path/filepath.
// All methods may be called from several goroutines. Errors wrap those of package fs and the errno, so that
// errors.Is(err, fs.ErrNotExist) and errors.Is(err, syscall.ENOSPC) work.
type FS interface {
	// Open opens an existing regular file for reading. A symbolic link or anything but a regular file is an error.
	Open(name string) (File, error)
	// OpenWrite is Open for reading and writing.
	OpenWrite(name string) (File, error)
	// Create makes a new file of mode 0600 for reading and writing; fs.ErrExist where the name is taken.
	Create(name string) (File, error)
	// MkdirAll makes the directory and its missing parents, mode 0700, each durable in its parent before it returns. One
	// that exists may be a symbolic link, and is made durable too: who made it may have crashed before.
	MkdirAll(name string) error
	// ReadDir lists a directory sorted by name, without following symbolic links. A file that vanishes meanwhile is left out.
	ReadDir(name string) ([]fs.FileInfo, error)
	// Stat describes the name itself, not what a link points to.
	Stat(name string) (fs.FileInfo, error)
	// Rename moves a file within a file system, replacing the target.
	Rename(from, to string) error
	// Link gives a file a second name.
	Link(from, to string) error
	// Remove deletes a name.
	Remove(name string) error
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
	// Space tells how much room the file system of name has.
	Space(name string) (Space, error)
	// Lock takes the exclusive lock on a file, which it creates if needed, without waiting, and writes holder (a short
	// line that names this process) into it. The error is a *LockedError where another process holds it.
	// Closing the Closer releases the lock; the end of the process does too.
	Lock(name, holder string) (io.Closer, error)
}

// File is an open file. ReadAt may be called from several goroutines, also beside one writer.
type File interface {
	io.ReaderAt
	io.WriterAt
	// WriteVec writes the buffers one after the other from offset on, in one system call where the system has one.
	// It returns the bytes written, all of them where err is nil. It may change the elements of bufs.
	WriteVec(bufs [][]byte, offset int64) (int64, error)
	// Allocate reserves disk space for [offset, offset+size) and extends the file over it with zeros.
	// errors.ErrUnsupported where the file system cannot; then writing extends the file.
	Allocate(offset, size int64) error
	// Truncate sets the size.
	Truncate(size int64) error
	// Sync makes the bytes and the size durable. After an error the file must not be trusted again.
	Sync() error
	// Size is the current size in bytes.
	Size() (int64, error)
	Close() error
}

// Space is the room on a file system, in bytes.
type Space struct {
	Free  int64 // what may still be written without the reserve of the superuser; quotas are not counted
	Total int64
}

// LockedError says that another process holds a lock.
type LockedError struct {
	Name   string // the lock file
	Holder string // the line the holder wrote there, empty where unreadable
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is locked by another process", e.Name)
	}
	return fmt.Sprintf("%s is locked by %s", e.Name, e.Holder)
}
