package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"logmule/recovery"
)

// remakeDir makes the directory of the segments again where it is gone and the data directory, by its lock, is not.
func (q *Queue) remakeDir() {
	if _, err := q.opt.FS.Stat(q.segmentDir()); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if _, err := q.opt.FS.Stat(filepath.Join(q.opt.Dir, recovery.LockFile)); err != nil {
		return
	}
	if err := q.opt.FS.MkdirAll(q.segmentDir()); err == nil {
		q.opt.Log.Error("the directory of the segments was deleted or moved away by something else, and is made again; what was in it is not delivered", "directory", q.segmentDir())
	}
}

// putBack is for the active segment when somebody has deleted it. What is in the open file goes with the process, so a file of its name
// gets a copy of what was durable; the rest is still here, and goes into a segment of its own. The error says what has happened.
func (w *writer) putBack() error {
	err := fmt.Errorf("the active segment %s was deleted or moved away by something else; leave the files of a running logmule alone", w.active.path)
	if failed := w.copyActive(); failed != nil {
		return errors.Join(err, fmt.Errorf("its records cannot be put back: %w", failed))
	}
	return err
}

func (w *writer) copyActive() error {
	fsys := w.q.opt.FS
	w.q.remakeDir()
	f, err := fsys.Create(w.active.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(w.out.File(), 0, w.active.end.Load()))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.SyncDir(filepath.Dir(w.active.path))
	}
	if err != nil {
		return errors.Join(err, fsys.Remove(w.active.path))
	}
	return nil
}
