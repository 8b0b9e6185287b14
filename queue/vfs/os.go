//go:build unix

package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the file system of the machine.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string) (File, error)      { return open(name, os.O_RDONLY) }
func (osFS) OpenWrite(name string) (File, error) { return open(name, os.O_RDWR) }
func (osFS) Create(name string) (File, error)    { return open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL) }

func open(name string, flag int) (File, error) {
	f, err := openRegular(name, flag)
	if err != nil {
		return nil, err
	}
	return &osFile{file: f, fd: int(f.Fd())}, nil
}

// openRegular opens a regular file. Opening a FIFO without O_NONBLOCK would wait for its other end, and opening a
// device can act on it, so the kind is looked at before the open and again, on what was really opened, after it.
func openRegular(name string, flag int) (*os.File, error) {
	if info, err := os.Lstat(name); err == nil && flag&os.O_EXCL == 0 {
		if err := regular(name, info); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(name, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = regular(name, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func regular(name string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("not a regular file (%v): %w", info.Mode().Type(), fs.ErrInvalid)}
}

func (s osFS) MkdirAll(name string) error {
	name = filepath.Clean(name)
	parent := filepath.Dir(name)
	info, err := os.Stat(name)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
	case err == nil:
		// An earlier process may have ended between making this level and syncing it. Where the parent may not even be
		// read, it was not us who made it.
		if err := s.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if parent != name {
		if err := s.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
		if info, err := os.Stat(name); err != nil || !info.IsDir() { // a link that leads nowhere
			return &fs.PathError{Op: "mkdir", Path: name, Err: unix.ENOTDIR}
		}
	} else if err != nil {
		return err
	}
	return s.SyncDir(parent)
}

func (osFS) ReadDir(name string) ([]fs.FileInfo, error) {
	names, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	infos := make([]fs.FileInfo, 0, len(names))
	for _, n := range names {
		info, err := n.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Lstat(name) }
func (osFS) Rename(from, to string) error          { return os.Rename(from, to) }
func (osFS) Link(from, to string) error            { return os.Link(from, to) }
func (osFS) Remove(name string) error              { return os.Remove(name) }

// blockUnit is what a Stat_t counts blocks in, whatever the file system's are.
const blockUnit = 512

func nodeOf(info fs.FileInfo) Node {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Node{ID: info, Room: info.Size(), Changed: info.ModTime()}
	}
	return Node{ID: [2]uint64{uint64(st.Dev), st.Ino}, Room: int64(st.Blocks) * blockUnit, Changed: changed(st)}
}

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) {
		err = nil // this file system has no such thing as syncing a directory
	}
	return errors.Join(err, d.Close())
}

func (osFS) Space(name string) (Space, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(name, &st) }); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	return space(&st), nil
}

func (osFS) Lock(name, holder string) (io.Closer, error) {
	f, err := openRegular(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	err = flock(f)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &LockedError{Name: name, Holder: readHolder(f)}
		return nil, errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: name, Err: err}, f.Close())
	}
	// The line only serves the message of the next one who comes, so a full disk must not refuse the lock for its sake.
	// Overwriting before cutting needs no new block where there was a line before.
	line := holder + "\n"
	if _, err := f.WriteAt([]byte(line), 0); err == nil {
		_ = f.Truncate(int64(len(line)))
	}
	return f, nil
}

func (osFS) lockDir(name string) (io.Closer, error) {
	d, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if err = flock(d); err == nil {
		return d, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &LockedError{Name: name}
	}
	return nil, errors.Join(err, d.Close())
}

func flock(f *os.File) error {
	return retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

// readHolder is the first line of a lock file.
func readHolder(f *os.File) string {
	line := make([]byte, 256)
	n, _ := f.ReadAt(line, 0) // empty where it cannot be read
	line, _, _ = bytes.Cut(line[:n], []byte("\n"))
	return string(bytes.ToValidUTF8(line, nil))
}

// retry calls again what a signal interrupted; nothing else is ever tried twice.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// osFile adds to os.File what it lacks.
type osFile struct {
	file *os.File

	// The system calls made here take the number of the descriptor, which must not be closed, and given to another file,
	// while it is in use: mu is held for reading then, for writing by Close.
	mu sync.RWMutex
	fd int // -1 once closed
}

// use calls the system with the descriptor, again where a signal interrupted it.
func (f *osFile) use(op string, call func(fd int) error) error {
	f.mu.RLock()
	defer f.mu.RUnlock()
	err := fs.ErrClosed
	if f.fd >= 0 {
		err = retry(func() error { return call(f.fd) })
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.file.Name(), Err: err}
	}
	return nil
}

func (f *osFile) ReadAt(b []byte, offset int64) (int, error)  { return f.file.ReadAt(b, offset) }
func (f *osFile) WriteAt(b []byte, offset int64) (int, error) { return f.file.WriteAt(b, offset) }
func (f *osFile) Truncate(size int64) error                   { return f.file.Truncate(size) }

func (f *osFile) Size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f *osFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fd = -1
	return f.file.Close()
}

// Unlinked is for the function of that name.
func (f *osFile) Unlinked() bool {
	info, err := f.file.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}
