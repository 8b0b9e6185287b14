package vfs

import (
	"errors"
	"io"
)

// LockDir takes the exclusive lock on a directory, without waiting: it stays taken when a lock file in it is deleted. The
// error is a *LockedError where another process holds it. Where a directory cannot be locked, nothing is: whoever relies on it
// has a lock file too.
func LockDir(fsys FS, name string) (io.Closer, error) {
	if l, ok := fsys.(interface {
		lockDir(name string) (io.Closer, error)
	}); ok {
		lock, err := l.lockDir(name)
		var held *LockedError
		if err == nil || errors.As(err, &held) {
			return lock, err
		}
	}
	return noLock{}, nil
}

// noLock is the lock of what cannot be locked.
type noLock struct{}

func (noLock) Close() error { return nil }
