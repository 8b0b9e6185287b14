package states

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"logmule/checkpoint"
	"logmule/queue/vfs"
)

// fileStore is a checkpoint.Store under the durability rules of faultfs, on which bbolt cannot run: one file, replaced as
// a whole by each Save.
type fileStore struct {
	fsys vfs.FS
	path string

	mu     sync.Mutex // guards everything below, and is held over the file
	values map[string]checkpoint.Position
	closed bool
}

// storeFile is its name: under that of a checkpoint database fsck would take it for a damaged one.
const storeFile = "positions.json"

func openStore(fsys vfs.FS, path string) (checkpoint.Store, []checkpoint.Problem, error) {
	path = filepath.Join(filepath.Dir(path), storeFile)
	s := &fileStore{fsys: fsys, path: path, values: map[string]checkpoint.Position{}}
	data, err := vfs.ReadFile(fsys, path, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	encoded := map[string][]byte{}
	if err := json.Unmarshal(data, &encoded); err != nil {
		return nil, nil, fmt.Errorf("%s is neither the old file nor the new one: %w", path, err)
	}
	for key, value := range encoded {
		if s.values[key], err = checkpoint.Decode(value); err != nil {
			return nil, nil, fmt.Errorf("%s is neither the old file nor the new one: %w", path, err)
		}
	}
	return s, nil, nil
}

func (s *fileStore) Load() (map[string]checkpoint.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, checkpoint.ErrClosed
	}
	return maps.Clone(s.values), nil
}

func (s *fileStore) Save(positions map[string]checkpoint.Position, gone ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return checkpoint.ErrClosed
	}
	values := maps.Clone(s.values)
	for key, p := range positions {
		if was, known := values[key]; !known || !was.Newer(p) {
			values[key] = p
		}
	}
	for _, key := range gone {
		delete(values, key)
	}
	encoded := map[string][]byte{}
	for key, p := range values {
		value, err := p.Encode()
		if err != nil {
			return err
		}
		encoded[key] = value
	}
	data, err := json.Marshal(encoded)
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(s.fsys, s.path, data); err != nil {
		return err
	}
	s.values = values
	return nil
}

func (s *fileStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
