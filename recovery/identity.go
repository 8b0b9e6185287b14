package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// identityFile is one line (see line.go) that names the queue and counts its starts.
const identityFile = "identity"

const identityFormat = 1

// identity is the content of the identity file.
type identity struct {
	ID     string `json:"id"`
	Starts uint64 `json:"starts"` // how often the queue has been opened
	Format int    `json:"format"`
}

// readIdentity reads the identity of dir. lost says why there is none, which is no error: the segments know it too.
func readIdentity(fsys vfs.FS, dir string) (id segment.ID, starts uint64, lost error, err error) {
	path := filepath.Join(dir, identityFile)
	line, err := vfs.ReadFile(fsys, path, 4<<10)
	if operational(err) {
		return id, 0, nil, fmt.Errorf("%w; let this user read %s", err, path)
	}
	if err != nil {
		return id, 0, err, nil
	}
	var v identity
	if err := openLine(bytes.TrimSuffix(line, []byte("\n")), &v); err != nil {
		return id, 0, fmt.Errorf("read identity %s: %w", path, err), nil
	}
	if v.Format > identityFormat {
		return id, 0, nil, &UnknownFormatError{File: path, Err: fmt.Errorf("format %d is newer than %d", v.Format, identityFormat)}
	}
	id, err = segment.ParseID(v.ID)
	if err != nil {
		return segment.ID{}, 0, fmt.Errorf("read identity %s: %w", path, err), nil
	}
	return id, v.Starts, nil, nil
}

// writeIdentity makes the identity durable.
func writeIdentity(fsys vfs.FS, dir string, id segment.ID, starts uint64) error {
	line, err := sealLine(identity{ID: id.String(), Starts: starts, Format: identityFormat})
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(fsys, filepath.Join(dir, identityFile), line); err != nil {
		return fmt.Errorf("count this start in %s: %w; %s", dir, err, writeHint(err))
	}
	return nil
}

// writeHint is what to do where a file of the data directory cannot be written.
func writeHint(err error) string {
	switch {
	case isFull(err):
		return "free some space there"
	case errors.Is(err, fs.ErrPermission):
		return "let this user write there"
	case errors.Is(err, syscall.EROFS):
		return "its file system is read-only: look at the kernel log (dmesg) and mount it anew"
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return "something else stands there: move it away"
	}
	return "look at the disk and at the kernel log (dmesg)"
}

// missing tells whether an identity was lost because it never was there.
func missing(lost error) bool { return errors.Is(lost, fs.ErrNotExist) }

// otherIdentity is the note where no segment is of the queue that the identity names.
func otherIdentity(said, is segment.ID) string {
	return fmt.Sprintf("%s says queue %s, and every segment says %s: it is made again from the segments", identityFile, said, is)
}
