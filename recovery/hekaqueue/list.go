package hekaqueue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"logmule/queue/vfs"
)

const checkpointFile = "checkpoint.txt"

// ErrNoQueue is what Open returns, wrapped, for a path where no Heka queue is.
var ErrNoQueue = errors.New("no Heka queue")

// NestedError says that a path is no queue, but that there are queues below it.
type NestedError struct {
	Path   string
	Queues []string // their paths, sorted
}

func (e *NestedError) Error() string {
	if len(e.Queues) == 1 {
		return fmt.Sprintf("%s is %v itself, one is in it", e.Path, ErrNoQueue)
	}
	return fmt.Sprintf("%s is %v itself, %d are in it", e.Path, ErrNoQueue, len(e.Queues))
}

// Unwrap makes it an ErrNoQueue.
func (e *NestedError) Unwrap() error { return ErrNoQueue }

// Open looks at a queue directory, or at one file of frames, and decides about its checkpoint. Nothing is kept open.
func Open(ctx context.Context, fsys vfs.FS, path string) (*Queue, error) {
	q := &Queue{Path: path, fsys: fsys}
	infos, err := fsys.ReadDir(path)
	if err != nil {
		info, again := fsys.Stat(path)
		if again != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("read Heka queue: %w", err)
		}
		q.single = true
		q.Files = []File{{Name: info.Name(), Size: info.Size(), Changed: info.ModTime()}}
		q.Bytes = info.Size()
		return q, nil
	}
	if !q.take(infos) && len(q.Files) == 0 {
		return nil, noQueue(fsys, path, infos)
	}
	for _, f := range q.Files {
		if err := q.readable(f); err != nil {
			return nil, err
		}
	}
	return q, q.findCheckpoint(ctx)
}

// take sorts what is in the directory, and says whether there is a checkpoint.
func (q *Queue) take(infos []fs.FileInfo) (checkpoint bool) {
	for _, info := range infos {
		_, ours := numberOf(info.Name())
		switch {
		case info.Name() == checkpointFile:
			checkpoint = true
		case !ours || !info.Mode().IsRegular():
			q.Strangers = append(q.Strangers, info.Name())
		default:
			q.Files = append(q.Files, File{Name: info.Name(), Size: info.Size(), Changed: info.ModTime()})
			q.Bytes += info.Size()
		}
	}
	slices.SortFunc(q.Files, func(a, b File) int { return compareNames(a.Name, b.Name) })
	for i := 1; i < len(q.Files); i++ {
		last, _ := numberOf(q.Files[i-1].Name)
		next, _ := numberOf(q.Files[i].Name)
		if next > last+1 {
			q.Missing = append(q.Missing, Gap{last + 1, next - 1})
		}
	}
	return checkpoint
}

// readable is an error for a file that this user may not read: the rest without it would look like all there is.
func (q *Queue) readable(f File) error {
	file, err := q.fsys.Open(q.path(f))
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("read Heka queue: %w", err)
	}
	if err != nil {
		return nil // it is told of when its turn comes
	}
	return file.Close()
}

// noQueue says what is in a directory that is no queue.
func noQueue(fsys vfs.FS, path string, infos []fs.FileInfo) error {
	nested := &NestedError{Path: path}
	for _, info := range infos {
		nested.look(fsys, filepath.Join(path, info.Name()), info, 1)
	}
	if len(nested.Queues) > 0 {
		return nested
	}
	return fmt.Errorf("%s is %w: no file in it is called NUMBER.log", path, ErrNoQueue)
}

// look finds queues at most two levels down: base_dir/output_queue/NAME.
func (e *NestedError) look(fsys vfs.FS, path string, info fs.FileInfo, depth int) {
	if !info.IsDir() {
		return
	}
	infos, err := fsys.ReadDir(path)
	if err != nil {
		return // it is not ours to say that nothing is there
	}
	for _, i := range infos {
		if _, ours := numberOf(i.Name()); ours && i.Mode().IsRegular() {
			e.Queues = append(e.Queues, path)
			return
		}
	}
	for _, i := range infos {
		if depth < 2 {
			e.look(fsys, filepath.Join(path, i.Name()), i, depth+1)
		}
	}
}
