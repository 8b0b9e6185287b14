package vfs

import (
	"io"
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxVec is the number of buffers that one pwritev takes (UIO_MAXIOV).
const maxVec = 1024

// WriteVec is pwritev, called again after a short write with what is left.
func (f *osFile) WriteVec(bufs [][]byte, offset int64) (int64, error) {
	bufs = skip(bufs, 0)
	var written int64
	err := f.use("pwritev", func(fd int) error {
		for len(bufs) > 0 {
			n, err := unix.Pwritev(fd, bufs[:min(len(bufs), maxVec)], offset+written)
			if err != nil {
				return err
			}
			if n == 0 {
				return io.ErrShortWrite // would go on for ever
			}
			written += int64(n)
			bufs = skip(bufs, n)
		}
		return nil
	})
	return written, err
}

// skip drops the first n bytes of the buffers.
func skip(bufs [][]byte, n int) [][]byte {
	for len(bufs) > 0 && n >= len(bufs[0]) {
		n -= len(bufs[0])
		bufs = bufs[1:]
	}
	if n > 0 {
		bufs[0] = bufs[0][n:]
	}
	return bufs
}

// Allocate is fallocate, whose ENOSYS and EOPNOTSUPP are errors.ErrUnsupported.
func (f *osFile) Allocate(offset, size int64) error {
	return f.use("fallocate", func(fd int) error { return unix.Fallocate(fd, 0, offset, size) })
}

// Sync is fdatasync: bytes and size, without the times.
func (f *osFile) Sync() error { return f.use("fdatasync", unix.Fdatasync) }

func (f *osFile) forget(offset, size int64) error {
	return f.use("fadvise", func(fd int) error { return unix.Fadvise(fd, offset, size, unix.FADV_DONTNEED) })
}

// nextData is lseek for data. Nothing here goes by the position of the descriptor, which that moves.
func (f *osFile) nextData(offset int64) (at int64, err error) {
	err = f.use("lseek", func(fd int) (err error) {
		at, err = unix.Seek(fd, offset, unix.SEEK_DATA)
		if err == unix.ENXIO { // none follows
			at, err = unix.Seek(fd, 0, io.SeekEnd)
		}
		return err
	})
	return at, err
}

// space counts in fragments, the unit of the block counts; an old file system that leaves it out means its block size.
func space(st *unix.Statfs_t) Space {
	unit := uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	return Space{Free: bytesOf(uint64(st.Bavail), unit), Total: bytesOf(uint64(st.Blocks), unit)}
}

// bytesOf multiplies, up to the largest int64: network file systems are known to claim more.
func bytesOf(blocks, unit uint64) int64 {
	if unit != 0 && blocks > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return int64(blocks * unit)
}

func changed(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }
