package recovery

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"logmule/queue/vfs"
)

// locked tells whether another process has the queue open. It takes the lock for a moment, leaving in the file the line
// that stands there; a directory that nobody has opened yet stays as it is.
func locked(fsys vfs.FS, dir string) bool {
	whole, err := vfs.LockDir(fsys, dir)
	if err != nil {
		return true
	}
	defer whole.Close() // nothing was written through it
	path := filepath.Join(dir, LockFile)
	if _, err := fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	lock, err := fsys.Lock(path, lockLine(fsys, path))
	if err == nil {
		_ = lock.Close() // nothing was written through it that matters
		return false
	}
	var held *vfs.LockedError
	// Whoever may not even try to lock cannot know: the writer may be there.
	return errors.As(err, &held) || errors.Is(err, fs.ErrPermission)
}

// lockLine is who holds, or held, the lock, as the lock file has it.
func lockLine(fsys vfs.FS, path string) string {
	line, _ := vfs.ReadFile(fsys, path, 4<<10) // empty where it cannot be read
	holder, _, _ := strings.Cut(string(line), "\n")
	return holder
}
