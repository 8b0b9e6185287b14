package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"logmule/queue/segment"
)

// open makes a new segment: its header and directory entry are durable then. It is called without a segment only.
func (w *writer) open() error {
	q := w.q
	base, set := q.segmentSize(), w.surplus()
	h := segment.Header{
		Queue: q.id, Epoch: q.epoch, Salt: segment.NewSalt(), First: w.durable + 1, Previous: w.link,
		Created: time.Now().UnixNano(), Size: uint64(q.grown(base, set)),
	}
	if q.opt.Sync.Mode != SyncAlways {
		h.Compat |= segment.Relaxed
	}
	var out *segment.Writer
	err := w.untilRoom(func() (err error) {
		if err := w.makeRoom(segment.HeaderSize); err != nil {
			return err
		}
		gone := q.leaving.unlinked()
		q.remakeDir()
		if out, err = segment.Create(q.opt.FS, q.segmentDir(), h); err != nil {
			q.keepStray(h.Name())
			return err
		}
		q.leaving.left(gone)
		return nil
	})
	if err != nil {
		return fmt.Errorf("start segment in %s: %w", q.segmentDir(), err)
	}
	w.out, w.allocated, w.safe, w.fresh, w.begun, w.base = out, out.End(), out.End(), true, false, base
	q.activeSize.Store(int64(h.Size))
	w.active = newFile(q.segmentDir(), out.Name())
	w.active.epoch.Store(&q.epoch)
	w.active.end.Store(out.End())
	w.active.size.Store(out.End())
	w.active.surplus.Store(set)
	q.files.add(w.active)
	w.link = segment.Link{Last: w.durable, Salt: h.Salt}
	w.marked = w.durable
	return w.begin()
}

// keepStray takes a segment that could not be begun, and may not have been deleted either, into the queue. There it is one
// without records, which goes in its turn: if those after it went first, a start would miss them.
func (q *Queue) keepStray(name segment.Name) {
	f := emptyFile(q.segmentDir(), name)
	if _, err := q.opt.FS.Stat(f.path); !errors.Is(err, fs.ErrNotExist) {
		q.files.add(f)
	}
}

// begin makes every known position durable at the start of the segment, before any record. Only then may older segments
// go: a start looks for positions in the newest two.
func (w *writer) begin() error {
	if err := w.writeSet(); err != nil {
		return err
	}
	if err := w.settlePositions(); err != nil {
		return err
	}
	w.begun, w.over = true, false
	w.q.positioned.Store(w.active)
	w.deleteEmpty()
	w.q.keep.poke() // delivered segments may go now
	return nil
}

// deleteEmpty removes leftovers of earlier starts that hold no records. The active segment carries all they knew.
func (w *writer) deleteEmpty() {
	for _, f := range w.empty {
		w.q.removeFile(f)
	}
	w.empty = nil
}

// sealing is the seal of the previous segment on its way.
type sealing struct {
	done  chan struct{} // closed: it has ended, well or not
	stuck chan struct{} // closed: the disk has no room for it, and it goes on trying

	file *file
	tail atomic.Pointer[segment.Tail] // what the file has not taken; nil: it has all, as far as is known
}

// wait returns true when the seal has ended, false when the disk has no room for it, or when ctx ends before.
func (s *sealing) wait(ctx context.Context) bool {
	select {
	case <-s.done:
	case <-s.stuck:
	case <-ctx.Done():
	}
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// roll ends the active segment. Its data is durable before the next one begins; index, parity and trailer follow in the
// background, for one segment at a time. A marker has to be durable too: a seal that a power loss cuts short would be found over
// bytes that are not there, as if they had been destroyed.
func (w *writer) roll() error {
	if len(w.unsynced) > 0 || w.written > w.durable || w.out.End() > w.safe && w.q.opt.Sync.Mode != SyncNever {
		if err := w.sync(); err != nil {
			return err
		}
	}
	if s := w.q.sealing.Load(); s != nil && !s.wait(context.Background()) {
		return &FullError{Disk: true, Limit: "the disk has no room for the trailer of the last segment; free some space there"}
	}
	out, old, mark := w.out, w.active, w.durable
	w.out = nil
	old.sealed.Store(true)
	s := &sealing{done: make(chan struct{}), stuck: make(chan struct{}), file: old}
	w.q.sealing.Store(s)
	w.q.goroutines.Go(func() {
		defer close(s.done)
		w.q.seal(out, mark, s)
	})
	return w.open()
}

// awaitSeal is for the end of the writer, when a seal no longer waits for room.
func (w *writer) awaitSeal() {
	if s := w.q.sealing.Load(); s != nil {
		<-s.done
	}
}

// seal writes what follows the frames of a segment. A disk without room is waited for, with the reserve spent first; a
// segment that cannot be sealed otherwise stays readable as it is, and the next start or fsck seals it. Until the next one is
// sealed its readers have the parity from memory.
func (q *Queue) seal(out *segment.Writer, mark uint64, s *sealing) {
	f := s.file
	for attempt := 1; ; attempt++ {
		_, err := out.Seal(mark)
		if err == nil {
			if size, err := out.File().Size(); err == nil {
				f.size.Store(size)
			}
			f.trailer.Store(true)
			s.tail.Store(nil)
			break
		}
		if s.tail.Load() == nil {
			s.tail.Store(out.Tail(mark))
		}
		if isFull(err) && !out.Broken() {
			q.spendReserve()
			if attempt == 2 {
				close(s.stuck)
			}
			if attempt == 1 || q.sleep(roomEvery) {
				continue
			}
		}
		q.counters.sealErrors.Add(1)
		q.opt.Log.Warn("segment left without its trailer; the next start or fsck seals it", "segment", f.name.String(), "error", err)
		break
	}
	if err := out.Close(); err != nil {
		q.opt.Log.Warn("close segment", "segment", f.name.String(), "error", err)
	}
	f.settled.Store(true)
	q.retry.poke()
}

// allocate sees to it that the active file has blocks up to end, in steps that are large enough to be rare.
func (w *writer) allocate(end int64) error {
	if end <= w.allocated {
		return nil
	}
	step := end - w.allocated
	if !w.over {
		step = max(step, min(w.q.step(), int64(w.out.Header().Size)-w.allocated))
	}
	err := w.untilRoom(func() error {
		err := w.makeRoom(step)
		if err == nil {
			err = w.out.File().Allocate(w.allocated, step)
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return nil // writing extends the file
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("allocate %d bytes for %s: %w", step, w.active.path, err)
	}
	w.allocated += step
	w.active.size.Store(w.allocated)
	return nil
}

// step is how much of a segment is allocated at a time, in bytes.
func (q *Queue) step() int64 { return min(max(q.segmentSize()/16, smallestSegment), 8<<20) }

// makeRoom checks the limits of the queue and the file system for size more bytes, and drops the oldest segments if
// that is the policy.
func (w *writer) makeRoom(size int64) error {
	return w.untilRoom(func() error {
		if w.over {
			return w.q.hasDisk(size + w.q.tail())
		}
		return w.q.hasRoom(size)
	})
}

// untilRoom tries until there is room for what it tries, as long as there are oldest segments to drop for it.
func (w *writer) untilRoom(try func() error) error {
	for {
		err := try()
		if err == nil || !isFull(err) || !w.dropOldest() {
			return err
		}
	}
}

// dropOldest deletes the oldest segment, if that is the policy and there is one besides the active.
func (w *writer) dropOldest() bool {
	if w.q.limits.Load().WhenFull != DropOldest && w.written >= w.q.dropUntil.Load() {
		return false
	}
	f := w.q.files.oldestSealed()
	if f == nil || f == w.q.positioned.Load() {
		return false
	}
	return w.q.vouch(f) || w.q.dropFile(f)
}
