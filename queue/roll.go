package queue

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"logmule/queue/segment"
)

// open makes a new segment: its header and directory entry are durable then. It is called without a segment only.
func (w *writer) open() error {
	q := w.q
	h := segment.Header{
		Queue: q.id, Epoch: q.epoch, Salt: segment.NewSalt(), First: w.durable + 1, Previous: w.link,
		Created: time.Now().UnixNano(), Size: uint64(q.opt.SegmentSize),
	}
	var out *segment.Writer
	for {
		err := w.makeRoom(segment.HeaderSize)
		if err == nil {
			out, err = segment.Create(q.opt.FS, q.segmentDir(), h)
		}
		if err == nil {
			break
		}
		if !isFull(err) || !w.dropOldest() {
			return fmt.Errorf("start segment in %s: %w", q.segmentDir(), err)
		}
	}
	w.out, w.allocated, w.fresh, w.begun = out, out.End(), true, false
	w.active = newFile(q.segmentDir(), out.Name())
	w.active.epoch.Store(&q.epoch)
	w.active.end.Store(out.End())
	w.active.size.Store(out.End())
	q.files.add(w.active)
	w.link = segment.Link{Last: w.durable, Salt: h.Salt}
	w.marked = w.durable
	return w.begin()
}

// begin makes every known position durable at the start of the segment, before any record. Only then may older segments
// go: a start looks for positions in the newest two.
func (w *writer) begin() error {
	if err := w.writePositions(true); err != nil {
		return err
	}
	if w.q.opt.Sync.Mode != SyncNever {
		if err := w.sync(); err != nil {
			return err
		}
	}
	w.begun = true
	w.q.positioned.Store(w.active)
	w.q.deleteEmpty()
	w.q.keep.poke() // delivered segments may go now
	return nil
}

// sealing is the seal of the previous segment on its way.
type sealing struct {
	done  chan struct{} // closed: it has ended, well or not
	stuck chan struct{} // closed: the disk has no room for it, and it goes on trying
}

// roll ends the active segment. Its data is durable before the next one begins; index, parity and trailer follow in the
// background, for one segment at a time.
func (w *writer) roll() error {
	if len(w.unsynced) > 0 || w.written > w.durable {
		if err := w.sync(); err != nil {
			return err
		}
	}
	if w.sealing != nil {
		select {
		case <-w.sealing.done:
		case <-w.sealing.stuck:
			select {
			case <-w.sealing.done:
			default:
				return &FullError{"the disk has no room for the trailer of the last segment; free some space there"}
			}
		}
	}
	out, old, mark := w.out, w.active, w.durable
	w.out = nil
	old.sealed.Store(true)
	s := &sealing{done: make(chan struct{}), stuck: make(chan struct{})}
	w.sealing = s
	w.q.goroutines.Go(func() {
		defer close(s.done)
		w.q.seal(out, old, mark, s.stuck)
	})
	return w.open()
}

// awaitSeal is for the end of the writer, when a seal no longer waits for room.
func (w *writer) awaitSeal() {
	if w.sealing != nil {
		<-w.sealing.done
	}
}

// seal writes what follows the frames of a segment. A disk without room is waited for, with the reserve spent first; a
// segment that cannot be sealed otherwise stays readable as it is, and the next start or fsck seals it.
func (q *Queue) seal(out *segment.Writer, f *file, mark uint64, stuck chan struct{}) {
	for attempt := 1; ; attempt++ {
		_, err := out.Seal(mark)
		if err == nil {
			if size, err := out.File().Size(); err == nil {
				f.size.Store(size)
			}
			break
		}
		if isFull(err) && !out.Broken() {
			q.spendReserve()
			if attempt == 2 {
				close(stuck)
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
	q.retry.poke()
}

// allocate sees to it that the active file has blocks up to end, in steps that are large enough to be rare.
func (w *writer) allocate(end int64) error {
	if end <= w.allocated {
		return nil
	}
	step := max(min(w.q.step(), w.q.opt.SegmentSize-w.allocated), end-w.allocated)
	for {
		err := w.makeRoom(step)
		if err == nil {
			err = w.out.File().Allocate(w.allocated, step)
			if errors.Is(err, errors.ErrUnsupported) {
				err = nil // writing extends the file
			}
		}
		if err == nil {
			w.allocated += step
			w.active.size.Store(w.allocated)
			return nil
		}
		if !isFull(err) || !w.dropOldest() {
			return fmt.Errorf("allocate %d bytes for %s: %w", step, w.active.path, err)
		}
	}
}

// step is how much of a segment is allocated at a time, in bytes.
func (q *Queue) step() int64 { return min(max(q.opt.SegmentSize/16, smallestSegment), 8<<20) }

// makeRoom checks the limits of the queue and the file system for size more bytes, and drops the oldest segments if
// that is the policy.
func (w *writer) makeRoom(size int64) error {
	for {
		err := w.q.hasRoom(size)
		if err == nil || !isFull(err) || !w.dropOldest() {
			return err
		}
	}
}

// dropOldest deletes the oldest segment, if that is the policy and there is one besides the active.
func (w *writer) dropOldest() bool {
	if w.q.opt.WhenFull != DropOldest {
		return false
	}
	f := w.q.files.oldestSealed()
	if f == nil || f == w.q.positioned.Load() {
		return false
	}
	return w.q.dropFile(f)
}

// writePositions writes positions into the log: all of them at the start of a segment, else those of outputs that have
// changed since the last time (those of sources travel in the data frames).
func (w *writer) writePositions(full bool) error {
	now := w.q.outputPositions()
	var pairs []segment.Pair
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if full || string(w.q.written[key]) != string(now[key]) {
			pairs = append(pairs, segment.Pair{Key: key, Value: now[key]})
		}
	}
	if full {
		for _, key := range slices.Sorted(maps.Keys(w.sources)) {
			pairs = append(pairs, segment.Pair{Key: key, Value: w.sources[key]})
		}
	}
	parts := chunkPairs(pairs)
	if full && len(parts) == 0 {
		parts = [][]segment.Pair{nil} // says that there are none; else a start would go by the segment before
	}
	for i, part := range parts {
		p := segment.Positions{Full: full, Part: uint32(i), Parts: uint32(len(parts)), Pairs: part}
		written, err := w.control(segment.PositionsFrame, segment.AppendPositions(nil, p), full)
		if err != nil || !written {
			return err // what was left out comes with the next one
		}
	}
	w.q.written = now
	return nil
}

// chunkPairs splits a set so that each part makes a frame of ordinary size.
func chunkPairs(pairs []segment.Pair) [][]segment.Pair {
	var parts [][]segment.Pair
	size, start := 0, 0
	for i, p := range pairs {
		size += len(p.Key) + len(p.Value) + 16
		if size > segment.FrameTarget/2 {
			parts = append(parts, pairs[start:i+1])
			size, start = 0, i+1
		}
	}
	if start < len(pairs) {
		parts = append(parts, pairs[start:])
	}
	return parts
}

// control writes one frame that holds no records. One that is not needed is left out where there is no room for it: the
// next segment begins with all positions and an exact mark.
func (w *writer) control(kind segment.Type, body []byte, needed bool) (written bool, err error) {
	h := segment.FrameHeader{Type: kind, First: w.written + 1, Time: time.Now().UnixNano(), Mark: w.durable}
	buf := segment.EncodeFrame(make([]byte, 0, segment.FrameBound(nil, len(body))), &h, nil, body, w.q.opt.Codec)
	if !needed && int64(len(buf)) > w.out.Room() {
		return false, nil
	}
	end := w.out.End()
	if err := w.allocate(end + int64(len(buf))); err != nil {
		if !needed && isFull(err) {
			return false, nil
		}
		return false, err
	}
	h.Put(buf, w.out.Header().Salt, end)
	if err := w.out.Write([]segment.FrameHeader{h}, [][]byte{buf}); err != nil {
		return false, w.poison(fmt.Errorf("write %s: %w", w.active.path, err))
	}
	return true, nil
}
