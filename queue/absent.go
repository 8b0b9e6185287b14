package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// errAbsent says that no file is the segment: it was deleted, or something that is no file stands in its place.
var errAbsent = errors.New("the segment is gone")

// openFile opens a segment and sees to it that it is the one. Before one that nobody writes any more counts as absent, all files
// are looked at: it may have another name. For any other error it may be there.
func (q *Queue) openFile(f *file) (vfs.File, error) {
	handle, err := q.openNamed(f)
	if !errors.Is(err, errAbsent) && !errors.Is(err, errOther) || !f.settled.Load() || !q.files.holds(f) {
		return handle, err
	}
	if err := q.putRight(); err != nil {
		return nil, fmt.Errorf("look for segment %s: %w", f.path, err)
	}
	handle, err = q.openNamed(f)
	if errors.Is(err, errAbsent) && q.putBack(f) {
		handle, err = q.openNamed(f)
	}
	if errors.Is(err, errOther) {
		other, verr := recovery.IsOther(q.opt.FS, q.opt.Dir, q.id, f.name)
		if verr == nil && !other { // what is left of it proves that it is the one
			return q.opt.FS.Open(f.path)
		}
		return nil, errors.Join(err, verr)
	}
	return handle, err
}

// errOther says that a file has the name of another segment, or may have.
var errOther = errors.New("another segment has its name; move that away")

// openNamed opens the file that has the name of f, if its header says the same.
func (q *Queue) openNamed(f *file) (vfs.File, error) {
	handle, err := q.opt.FS.Open(f.path)
	if err != nil {
		return nil, q.absence(f, err)
	}
	if !f.settled.Load() {
		return handle, nil
	}
	size, err := handle.Size()
	if err == nil {
		_, refused := handle.ReadAt(make([]byte, segment.HeaderSize), 0)
		h, herr := segment.ReadHeader(handle, size, f.name)
		if herr == nil && h.Name() == f.name || refused != nil && refused != io.EOF {
			return handle, nil // who reads a disk that refuses meets the same error, and waits
		}
		err = fmt.Errorf("open segment %s: %w", f.path, errOther)
	}
	return nil, errors.Join(err, handle.Close())
}

// absence tells by what stands at its name why a segment cannot be opened. Where its directory is away, or the disk or the system
// refuses, it may be there.
func (q *Queue) absence(f *file, err error) error {
	info, serr := q.opt.FS.Stat(f.path)
	odd := serr == nil && !info.Mode().IsRegular()
	if _, gone := q.opt.FS.Stat(q.segmentDir()); gone == nil && (odd || errors.Is(err, fs.ErrNotExist) && errors.Is(serr, fs.ErrNotExist)) {
		return errors.Join(errAbsent, err)
	}
	return fmt.Errorf("open segment: %w", err)
}

// putBack gives a deleted segment a file again, out of that of a reader which has it open still. Readers that are at work are not
// waited for: one of them may be asking.
func (q *Queue) putBack(f *file) (back bool) {
	q.unlinking.mu.Lock() // a segment that the queue deletes must not come back
	defer q.unlinking.mu.Unlock()
	for _, r := range q.known() {
		if back || !q.files.holds(f) || !r.reading.TryLock() {
			continue
		}
		if r.in == f && r.handle != nil {
			size, err := r.handle.Size()
			if err == nil {
				err = q.copyBack(f.path, r.handle, size)
			}
			back = err == nil
			q.opt.Log.Error("a segment was deleted by something else; leave the files of a running logmule alone", "segment", f.path, "put_back", back, "error", err)
		}
		r.reading.Unlock()
	}
	return back
}

// giveUp writes down the records of a segment that is absent, and forgets it. Of the oldest one what every output has done is no loss:
// it may have gone as delivered segments do.
func (q *Queue) giveUp(f *file, why error) {
	lost := checkpoint.Range{First: f.name.First, Last: f.last.Load()}
	if q.files.oldest(f) {
		lost.First = max(lost.First, q.lowestFloor())
	}
	if lost.First <= lost.Last {
		q.noteDamage(f, nil, 0, 0, lost, "missing segment", why)
	}
	q.files.remove(f)
	q.keep.poke()
}

// lowestFloor is the first sequence that some output has not done. Without any output nothing is done.
func (q *Queue) lowestFloor() uint64 {
	low := uint64(math.MaxUint64)
	for _, r := range q.known() {
		r.progress.mu.Lock()
		low = min(low, r.floor)
		r.progress.mu.Unlock()
	}
	if low == math.MaxUint64 {
		return 0
	}
	return low
}
