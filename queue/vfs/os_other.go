//go:build unix && !linux

package vfs

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// WriteVec writes the buffers one by one.
func (f *osFile) WriteVec(bufs [][]byte, offset int64) (int64, error) {
	var written int64
	for _, b := range bufs {
		n, err := f.file.WriteAt(b, offset+written)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Allocate is not offered here.
func (f *osFile) Allocate(offset, size int64) error {
	return &fs.PathError{Op: "allocate", Path: f.file.Name(), Err: errors.ErrUnsupported}
}

// Sync is os.File.Sync, which on darwin flushes the drive too.
func (f *osFile) Sync() error { return f.file.Sync() }

func space(st *unix.Statfs_t) Space {
	unit := int64(st.Bsize)
	return Space{Free: int64(st.Bavail) * unit, Total: int64(st.Blocks) * unit}
}

func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctimespec.Unix()) }
