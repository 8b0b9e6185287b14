package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	fileMode = 0o640
	dirMode  = 0o750
)

// unchanged tells whether the open file is the one that its path names, and as long as it was left.
func (o *file) unchanged() bool {
	named, err := os.Stat(o.mark.path)
	if err != nil {
		return false
	}
	open, err := o.f.Stat()
	return err == nil && os.SameFile(named, open) && open.Size() == o.mark.size+o.ahead
}

// known returns what is known about the file at path: up to where it was accepted, and whether what is beyond that can
// only be the remains of this output's own writes.
func (o *file) known(path string) (m fileMark, remains bool) {
	if o.mark.path == path {
		return o.mark, o.f == nil || o.ahead > 0
	}
	if o.restored.path == path && !o.hashed || o.hashed && o.restored.path == hashPath(path) {
		return o.restored, true
	}
	return fileMark{}, false
}

// open opens the file at path and sets the mark to its end, or to where it was left if what is beyond that may be what comes
// again.
func (o *file) open(path string) error {
	if path != o.mark.path {
		if err := o.leave(); err != nil {
			return err
		}
	}
	known, remains := o.known(path)
	f, err := openAppend(path)
	if err != nil {
		return err
	}
	mark, ahead, torn, err := o.inspect(f, path, known, remains)
	if err != nil {
		_ = f.Close() // nothing was written to it
		return err
	}
	if o.f != nil {
		_ = o.f.Close() // synced, or it would be nil
	}
	if o.used {
		o.env.Counters.Reconnects.Add(1)
	}
	if known == o.restored {
		o.restored = fileMark{}
	}
	o.f, o.mark, o.ahead, o.torn, o.told, o.used = f, mark, ahead, torn, false, true
	return nil
}

// inspect compares the file with what is known about it.
func (o *file) inspect(f *os.File, path string, known fileMark, remains bool) (mark fileMark, ahead int64, torn bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return mark, 0, false, err
	}
	if !info.Mode().IsRegular() {
		return mark, 0, false, errors.New("it is not a regular file; change path, or use the output type stdout for a pipe")
	}
	mark = fileMark{path: path, inode: info.Sys().(*syscall.Stat_t).Ino, size: info.Size()}
	log := o.env.Log.With("output", o.env.Name, "path", path)
	switch {
	case known.path == "":
	case known.inode != mark.inode:
		log.Warn("file was moved or removed, the one at its path now is appended to")
	case mark.size < known.size:
		log.Warn("file is shorter than it was left, it is appended to as it is", "size", mark.size, "was", known.size)
	case mark.size > known.size && !remains:
		log.Warn("file is longer than it was left, somebody else writes to it", "size", mark.size, "was", known.size)
	case mark.size > known.size:
		ahead, mark.size = mark.size-known.size, known.size
	}
	if mark.size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], mark.size-1); err != nil {
			return mark, 0, false, fmt.Errorf("read its last byte: %w", err)
		}
		torn = last[0] != '\n'
	}
	return mark, ahead, torn, nil
}

func (o *file) cut(f *os.File, size int64) error {
	if err := o.ops.truncate(f, size); err != nil {
		return err
	}
	return o.ops.sync(f)
}

// openAppend opens a file, made with its directories where it is missing, so that its name is durable too.
func openAppend(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_APPEND | os.O_CREATE // reading is for its last byte
	f, err := os.OpenFile(path, flags, fileMode)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(filepath.Dir(path)); err == nil {
			f, err = os.OpenFile(path, flags, fileMode)
		}
	}
	if err != nil {
		return nil, err
	}
	// Even where the file was there already: the sync may be what failed the last time.
	if err := syncDir(filepath.Dir(path)); err != nil {
		_ = f.Close() // nothing was written to it
		return nil, err
	}
	return f, nil
}

// makeDir makes a directory and those above it, durably.
func makeDir(dir string) error {
	err := os.Mkdir(dir, dirMode)
	switch parent := filepath.Dir(dir); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist) && parent != dir:
		if err := makeDir(parent); err != nil {
			return err
		}
		return makeDir(dir)
	case err != nil:
		return err
	default:
		if err := syncDir(parent); err != nil {
			_ = os.Remove(dir) // so that the next attempt makes and syncs it again
			return err
		}
		return nil
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) {
		err = nil // a file system whose directories have no sync
	}
	return errors.Join(err, d.Close())
}
