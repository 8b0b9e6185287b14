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
	path := filepath.Join(dir, LockFile)
	line, err := vfs.ReadFile(fsys, path, 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	holder, _, _ := strings.Cut(string(line), "\n")
	lock, err := fsys.Lock(path, holder)
	if err == nil {
		_ = lock.Close() // nothing was written through it that matters
		return false
	}
	var held *vfs.LockedError
	// Whoever may not even try to lock cannot know: the writer may be there.
	return errors.As(err, &held) || errors.Is(err, fs.ErrPermission)
}
