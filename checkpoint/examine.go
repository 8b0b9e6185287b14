package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"

	"logmule/queue/vfs"
)

// Examine reads the database at path without bbolt, which may not be given a damaged one, and without changing anything:
// the positions in it that are sound, and what is wrong with it, Missing where there is none. The error says that nothing
// could be learned of it.
func Examine(fsys vfs.FS, path string) (positions map[string]Position, findings []string, err error) {
	file, err := vfs.ReadFile(fsys, path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, []string{Missing}, nil
	case passing(err), errors.Is(err, fs.ErrPermission):
		return nil, nil, fmt.Errorf("examine checkpoints: %w", err)
	case err != nil:
		return nil, []string{err.Error()}, nil
	}
	t, findings := readTable(file)
	return t, findings, nil
}

// Make makes a whole database of these positions at path, where nothing stands but what an earlier Make has left. It is
// durable when it returns, but for its name.
func Make(path string, positions map[string]Position) error {
	if err := vfs.OS().Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make checkpoints: %w", err)
	}
	values, err := make(table).forward(positions)
	if err == nil {
		err = createTemp(path, values)
	}
	if err != nil {
		_ = vfs.OS().Remove(path) // frees the room; what is left the next call removes
		return fmt.Errorf("make checkpoints %s: %w", path, err)
	}
	return nil
}

// ReadRecent is what a Recent at path would add to its store, read without opening it for writing. What is damaged, or not
// there, adds nothing.
func ReadRecent(fsys vfs.FS, path string) map[string]Position {
	found := map[string]Position{}
	f, err := fsys.Open(path)
	if err != nil {
		return found
	}
	readSlots(f, func(_ int64, slot []byte) {
		if key, p, ok := decodeSlot(slot); ok {
			found[key] = Latest(p, found[key])
		}
	})
	_ = f.Close() // it was only read
	return found
}
