package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// FullError says which limit leaves no room.
type FullError struct {
	Limit string
	Disk  bool // it is the file system, not MaxSize
}

func (e *FullError) Error() string { return "queue is full: " + e.Limit }

func isFull(err error) bool {
	var full *FullError
	return errors.As(err, &full) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// hasRoom checks the configured limits for size more bytes of segments, and for the trailer and parity of the active one.
func (q *Queue) hasRoom(size int64) error {
	size += q.tail()
	used, aside := q.files.counted(q.positioned.Load()), q.asideCounts()
	if limit := q.limits.Load().MaxSize; used+aside+size > limit {
		return q.fullError(used, aside, size, limit)
	}
	return q.hasDisk(size)
}

// fullError says what takes the room, and what gives some.
func (q *Queue) fullError(used, aside, size, limit int64) error {
	who, relief := fmt.Sprintf("segments take %d bytes", used), q.opt.Relief
	if aside > 0 {
		who += fmt.Sprintf(" and quarantine %d", aside)
	}
	if used+size <= limit {
		relief = fmt.Sprintf("it is the quarantine that leaves no room: look at it with \"logmule quarantine list %[1]s\" and free it with \"logmule quarantine drop %[1]s --all\"", q.opt.Dir)
	}
	return &FullError{Limit: fmt.Sprintf("%s of max_size, %d, and %d are kept for what is still in memory and for the end of the newest segment; %s, or raise max_size", who, limit, size, relief)}
}

// roomFor is hasRoom for records. Before they are refused, what is only kept goes. Where a refusal drops them, a segment
// that is being sealed is waited for too: its end takes less than was set aside, and if it has been deleted meanwhile, its
// blocks are free only then.
func (q *Queue) roomFor(ctx context.Context, size int64) error {
	err := q.hasRoom(size)
	if isFull(err) {
		q.trim(size)
		err = q.hasRoom(size) // whoever has freed it: the keeper trims too
	}
	if s := q.sealing.Load(); isFull(err) && s != nil && q.limits.Load().WhenFull == DropNewest {
		s.wait(ctx)
		err = q.hasRoom(size)
	}
	return err
}

// hasDisk checks the file system for size more bytes.
func (q *Queue) hasDisk(size int64) error {
	space, err := q.opt.FS.Space(q.opt.Dir)
	if err != nil {
		return fmt.Errorf("look for room in %s: %w", q.opt.Dir, err)
	}
	if keep := q.limits.Load().MinFree; space.Free-size < keep {
		return &FullError{Disk: true, Limit: fmt.Sprintf("the file system of %s has %d bytes left and min_free keeps %d; free some space there", q.opt.Dir, space.Free, keep)}
	}
	return nil
}

// lookAhead sees to it that there is room for all that may be held in memory, within the limits and in blocks of the
// active file, and closes the queue to appends when there is not: what is accepted then finds its place, and nobody
// waits for a receipt until space comes back. With drop_oldest the writer makes room when it needs it.
func (w *writer) lookAhead() error {
	q := w.q
	if q.limits.Load().WhenFull == DropOldest {
		q.setFull(nil)
		return nil
	}
	err := q.roomFor(context.Background(), max(q.ahead(), q.wanted.Load()))
	if err == nil {
		err = w.allocate(min(w.out.End()+int64(q.heldLimit()), int64(w.out.Header().Size)))
	}
	if err != nil && !isFull(err) {
		q.opt.Log.Warn("room on the disk is unknown", "error", err)
		return nil
	}
	q.setFull(err)
	if err != nil && !w.fresh && len(w.unsynced) == 0 && q.lowestDurable() > w.durable && q.hasRoom(q.step()) == nil {
		return w.roll() // all of the active segment is delivered: sealed, it can go
	}
	return nil
}

// heldLimit bounds the raw bytes of records that are accepted and not yet stored.
func (q *Queue) heldLimit() int { return int(min(heldMost, max(q.segmentSize()/4, smallestSegment))) }

// ahead is the room that has to be there for what may be held, twice, for what is written between two looks. Small
// segments end with room that no frame fits in any more, so that they take more of it.
func (q *Queue) ahead() int64 {
	held, l := int64(q.heldLimit()), q.limits.Load()
	if l.segmentSize >= 4*held {
		return 2 * held
	}
	return max(2*held, min(3*held+l.segmentSize, l.MaxSize/4))
}

// setFull moves the queue in and out of its full state; err says why it is full, nil that it is not.
func (q *Queue) setFull(err error) {
	q.in.Lock()
	was := q.setFullLocked(err)
	q.in.Unlock()
	q.tellFull(err, was)
}

// setFullLocked is setFull for one who holds q.in, and tells the others afterwards, with tellFull.
func (q *Queue) setFullLocked(err error) (was bool) {
	was = q.full
	q.full = err != nil
	if err != nil && !was {
		q.fullSince = time.Now()
	}
	if err != nil { // why may change meanwhile
		var limit *FullError
		q.fullWhy, q.fullDisk = err.Error(), !errors.As(err, &limit) || limit.Disk
	}
	return was
}

func (q *Queue) tellFull(err error, was bool) {
	if err != nil && !was {
		q.opt.Log.Warn("queue is full", "when_full", q.limits.Load().WhenFull.String(), "reason", err)
		q.room.wake() // drop_newest keeps nobody waiting
		q.keep.poke() // keep_for does not count now
		q.aside.tidy.poke()
	}
	if err == nil && was {
		q.opt.Log.Info("queue has room again")
		q.room.wake()
		q.keep.poke()
	}
}

func (q *Queue) isFullNow() bool {
	q.in.Lock()
	defer q.in.Unlock()
	return q.full
}

// setFault notes that the disk refuses to take data, nil that it does again.
func (q *Queue) setFault(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	q.in.Lock()
	was := q.fault
	q.fault = text
	q.faulty.Store(text != "")
	q.in.Unlock()
	switch {
	case text != "" && text != was:
		q.opt.Log.Error("disk refuses data; nothing is acknowledged until a new segment takes it", "error", err)
	case text == "" && was != "":
		q.opt.Log.Info("disk takes data again")
		q.takes.wake()
	}
}

// dropFile deletes the oldest segment to make room. What some output has neither done nor in its hands is lost to it, and
// written down before the file goes.
func (q *Queue) dropFile(f *file) bool {
	if last := f.last.Load(); last >= f.name.First {
		q.noteDropped(f, checkpoint.Range{First: f.name.First, Last: last})
	}
	return q.removeFile(f)
}

// removeFile deletes a segment, and makes readers close it, so that its blocks are free. One that cannot be deleted stays
// in the queue, or its records would be taken for lost.
func (q *Queue) removeFile(f *file) bool {
	if f.lacksTrailer() {
		q.leaving.add(f)
	}
	q.noteLeaving(f)
	q.files.remove(f)
	for _, r := range q.known() {
		r.release(f)
	}
	err := q.unlink(f)
	if err == nil {
		f.unlinked.Store(true)
		return true
	}
	q.files.putBack(f)
	if !f.stuck.Swap(true) {
		q.opt.Log.Warn("segment cannot be deleted and takes up room; trying again", "segment", f.path, "error", err)
	}
	return false
}

// unlink deletes segments so that they are gone in their order: the one before is durably so. Otherwise a power loss could bring
// back an older one without the younger, which is how lost records look.
func (q *Queue) unlink(f *file) error {
	q.unlinking.mu.Lock()
	defer q.unlinking.mu.Unlock()
	if q.unlinking.unsynced {
		if err := q.opt.FS.SyncDir(q.segmentDir()); err != nil {
			return err
		}
		q.unlinking.unsynced = false
	}
	err := q.opt.FS.Remove(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = q.opt.FS.Stat(q.segmentDir()) // a directory that is away for a while still has the file
	}
	q.unlinking.unsynced = err == nil
	return err
}

// dropNewest counts refused records; the keeper writes them to the ledger.
func (q *Queue) dropNewest(count uint64, raw int) {
	q.counters.droppedNewest.Add(count)
	q.counters.droppedBytes.Add(uint64(raw))
	q.keep.poke()
}

// The reserve is a file of real blocks that is given up when the disk is full, so that a trailer, a checkpoint or a
// line of the loss ledger can still be written.

const reserveFile = "reserve"

func (q *Queue) reserveName() string { return filepath.Join(q.opt.Dir, reserveFile) }

func (q *Queue) reserveSize() int64 {
	size := q.segmentSize()
	return segment.SealedSize(uint64(size), size) - size + 128<<10
}

// makeReserve sets the reserve aside if it is not there and the disk has room for it beyond MinFree.
func (q *Queue) makeReserve() {
	if q.reserved.Load() || q.opt.offline || q.opt.NoReserve {
		return
	}
	if _, err := q.opt.FS.Stat(q.reserveName()); err == nil {
		q.reserved.Store(true)
		return
	}
	if q.hasRoom(q.reserveSize()) != nil {
		return
	}
	f, err := q.opt.FS.Create(q.reserveName())
	if err != nil {
		return
	}
	err = errors.Join(f.Allocate(0, q.reserveSize()), f.Close())
	if err != nil {
		q.spendReserve()
	}
	q.reserved.Store(err == nil || errors.Is(err, errors.ErrUnsupported)) // without fallocate there is none
}

// GiveReserve gives the reserved blocks to whoever needs them on a full disk so that this queue can shrink. They are set
// aside again when there is room.
func (q *Queue) GiveReserve() {
	if q.reserved.Load() {
		q.spendReserve()
	}
}

// spendReserve gives the reserved blocks back to the file system.
func (q *Queue) spendReserve() {
	q.reserved.Store(false)
	if err := q.opt.FS.Remove(q.reserveName()); err == nil {
		q.opt.Log.Info("disk is full: the reserve is spent on trailers and checkpoints")
	}
}
