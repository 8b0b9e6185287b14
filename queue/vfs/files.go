package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// WriteFile replaces a file as a whole: after a crash the name holds the old bytes or the new ones, and once it has
// returned nil, the new ones. What it writes first is name.tmp, which a crash may leave behind and the next call replaces.
func WriteFile(fsys FS, name string, data []byte) error {
	temp := name + ".tmp"
	if err := writeSynced(fsys, temp, data); err != nil {
		return fmt.Errorf("write file %s: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		return fmt.Errorf("write file %s: %w", name, errors.Join(err, fsys.Remove(temp)))
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write file %s: %w", name, err)
	}
	return nil
}

// writeSynced makes a new file that holds data, in place of what stood under the name; on an error none is left.
func writeSynced(fsys FS, name string, data []byte) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return nil
}

// ReadFile reads a whole file of at most limit bytes; a larger one is an error, before anything is allocated.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	data, err := readAll(f, limit)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read file %s: %w", name, err)
	}
	return data, nil
}

func readAll(f File, limit int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("%d bytes, of which at most %d are read", size, limit)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF {
		err = nil // shorter than it was a moment ago
	}
	return data[:n], err
}
