package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// writer is the one goroutine that writes segments. Its way is a loop: take the group that has gathered, write it with
// one call, sync once, publish the mark; while the sync runs the next group gathers. Only it touches these fields.
type writer struct {
	q      *Queue
	out    *segment.Writer // the active segment, nil before the first and after a poisoned one
	active *file

	todo     []*draft // taken, not written
	unsynced []*draft // written, not durable
	waiting  int      // raw bytes of unsynced
	oldest   time.Time

	written   uint64            // last sequence written
	durable   uint64            // last sequence known to be on stable storage
	marked    uint64            // mark that the newest frame in the file carries
	noted     uint64            // mark that was noted beside the positions
	unnoted   bool              // it could not be, and that was said
	link      segment.Link      // what the next segment's header says of this one
	sources   map[string][]byte // source positions that are durable
	moving    []move            // of sources, written and not durable
	known     map[string][]byte // the queue's own positions as last written into the log
	placed    bool              // positions without records were written and not synced
	empty     []*file           // segments without records that go once a new one is durable
	base      int64             // the segment size that was in force when the active segment began
	over      bool              // the next segment begins even where max_size has no room for it
	allocated int64             // bytes of the active file that have blocks
	safe      int64             // bytes of it that are durable
	begun     bool              // the active segment begins with all positions, durable
	fresh     bool              // the active segment holds no records
	touched   time.Time         // when a frame was last written

	heads    []segment.FrameHeader // scratch of place
	bufs     [][]byte
	delay    time.Duration // the next pause after a fault
	looked   time.Time     // when the room was last checked
	unlooked int           // bytes written since then
	hurry    bool          // the queue is closing: sync at once
}

// lastAttempts is how many new segments a closing queue tries for what is left, before it gives up on the disk.
const lastAttempts = 3

// run ends when the queue is closing and everything taken is durable, or cannot become so.
func (w *writer) run() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("queue", "writer")))
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for last := 0; ; {
		closing := w.take()
		err := w.q.stall.during(w.advance)
		switch {
		case err != nil && closing:
			if last++; isFull(err) || last == lastAttempts {
				w.abandon(err)
				return
			}
			continue
		case err != nil:
			w.pause(err, timer)
			continue
		case closing && len(w.unsynced) > 0:
			w.hurry = true // the interval sync does not wait for its time
			continue
		case closing:
			w.finish()
			return
		case len(w.todo) > 0:
			continue
		case len(w.unsynced) == 0 && w.q.faulty.Load():
			w.delay = 0
			w.q.setFault(nil) // what had failed needed no sync: nobody may wait for one
		}
		timer.Reset(w.idleFor())
		select {
		case <-w.q.work:
		case <-timer.C:
			w.idle()
		}
	}
}

// take moves the gathered group to todo and says whether the queue is closing. Nothing gathers after that.
func (w *writer) take() bool {
	w.q.in.Lock()
	defer w.q.in.Unlock()
	if len(w.todo) == 0 {
		w.todo, w.q.pending = w.q.pending, w.todo[:0]
	} else {
		w.todo = append(w.todo, w.q.pending...)
		w.q.pending = w.q.pending[:0]
	}
	return w.q.closing
}

// advance writes what is to do, and syncs as the policy says.
func (w *writer) advance() error {
	if err := w.ready(); err != nil {
		return err
	}
	if w.q.positionsDue.Swap(false) {
		if err := w.writeChanges(false); err != nil {
			w.q.positionsDue.Store(true)
			return err
		}
	}
	for len(w.todo) > 0 {
		n, err := w.place()
		if err == nil && n == 0 {
			err = w.roll()
		}
		if isFull(err) && len(w.unsynced) > 0 {
			err = errors.Join(w.sync(), err) // what has found its place does not wait for the rest
		}
		if err != nil {
			return err
		}
	}
	if w.unlooked >= w.q.heldLimit()/2 || time.Since(w.looked) >= roomCheck {
		w.unlooked, w.looked = 0, time.Now()
		if err := w.lookAhead(); err != nil {
			return err
		}
	}
	if w.placed {
		return w.settlePositions()
	}
	if len(w.unsynced) > 0 && w.syncDue() {
		return w.sync()
	}
	return nil
}

// ready sees to it that there is an active segment, begun as it has to be.
func (w *writer) ready() error {
	if err := w.applyLimits(); err != nil {
		return err
	}
	if w.out == nil {
		return w.open()
	}
	if !w.begun {
		return w.begin()
	}
	return nil
}

// somebodyWaits says whether an append waits for room.
func (q *Queue) somebodyWaits() bool { return q.waiting.Load() > 0 }

func (w *writer) syncDue() bool {
	switch w.q.opt.Sync.Mode {
	case SyncInterval:
		return w.hurry || w.q.somebodyWaits() || w.waiting >= syncLimit || time.Since(w.oldest) >= w.q.opt.Sync.Every
	case SyncNever:
		return false
	default:
		return true
	}
}

// place writes as many frames as the active segment and the disk have room for, with one call.
func (w *writer) place() (int, error) {
	end, room := w.out.End(), w.out.Room()
	w.heads, w.bufs = w.heads[:0], w.bufs[:0]
	for _, d := range w.todo {
		d.finish(w.q.opt.Codec)
		size := int64(len(d.buf))
		if size > room {
			break
		}
		if err := w.allocate(end + size); err != nil {
			if len(w.bufs) == 0 {
				return 0, err
			}
			break
		}
		d.header.Mark = w.durable
		d.header.Put(d.buf, w.out.Header().Salt, end)
		w.heads = append(w.heads, d.header)
		w.bufs = append(w.bufs, d.buf)
		end += size
		room -= size
		if w.fresh {
			break // room is unlimited for the first frame alone
		}
	}
	n := len(w.bufs)
	if n == 0 {
		return 0, nil
	}
	start := w.out.End()
	if err := w.out.Write(w.heads, w.bufs); err != nil {
		return 0, w.poison(fmt.Errorf("write %s: %w", w.active.path, err))
	}
	w.book(w.todo[:n], start)
	rest := copy(w.todo, w.todo[n:])
	clear(w.todo[rest:])
	w.todo = w.todo[:rest]
	return n, nil
}

// book notes written frames.
func (w *writer) book(drafts []*draft, offset int64) {
	now := time.Now()
	if len(w.unsynced) == 0 {
		w.oldest = now
	}
	w.touched = now
	for _, d := range drafts {
		size := int64(len(d.buf))
		w.q.ring.push(d, w.active, offset)
		offset += size
		w.written = d.header.Last()
		w.waiting += d.held
		w.unlooked += int(size)
		w.q.counters.storedBytes.Add(uint64(size))
	}
	w.fresh = false
	w.marked = w.durable
	w.unsynced = append(w.unsynced, drafts...)
	switch w.q.opt.Sync.Mode {
	case SyncNever:
		w.settle()
	case SyncInterval:
		w.q.stored.Store(w.written)
		w.q.moved.wake()
	}
}

// sync makes everything written durable.
func (w *writer) sync() error {
	start := time.Now()
	if err := w.out.Sync(); err != nil {
		w.q.counters.syncErrors.Add(1)
		return w.poison(fmt.Errorf("sync %s: %w", w.active.path, err))
	}
	w.safe = w.out.End()
	if vfs.Unlinked(w.out.File()) {
		return w.poison(w.putBack())
	}
	w.q.counters.syncs.Add(1)
	w.q.counters.syncNanos.Add(uint64(time.Since(start)))
	w.settle()
	return nil
}

// settle moves the mark over all that was written and gives its memory back.
func (w *writer) settle() {
	w.durable = w.written
	if len(w.unsynced) > 0 || len(w.todo) == 0 {
		w.delay = 0
		w.q.setFault(nil)
	}
	apply(w.sources, w.moving) // before the records: those that came later for the same key are behind them in the log
	w.q.sources.settled(w.moving)
	w.moving, w.placed = nil, false
	if w.q.forgetting.logged(w.known) {
		w.q.keep.poke()
	}
	held := 0
	for _, d := range w.unsynced {
		w.q.counters.records.Add(uint64(d.header.Count))
		w.q.counters.rawBytes.Add(uint64(d.header.Raw))
		held += d.held
		for _, p := range d.positions {
			w.sources[p.Key] = p.Value
		}
		d.free()
	}
	clear(w.unsynced)
	w.unsynced, w.waiting = w.unsynced[:0], 0
	w.link.Last = w.durable
	w.active.end.Store(w.out.End()) // before last: whoever sees the sequence sees its bytes
	w.active.last.Store(max(w.durable, w.active.name.First-1))
	w.noteEnd()
	w.q.publish(w.durable, held)
}

// poison gives up the active file after it failed to take or to sync bytes: what the kernel says of it afterwards
// means nothing. What had been durable stays readable in it; all the rest is still here and is written again.
func (w *writer) poison(err error) error {
	w.todo = append(append(make([]*draft, 0, len(w.unsynced)+len(w.todo)), w.unsynced...), w.todo...)
	w.unsynced, w.waiting = w.unsynced[:0], 0
	w.written = w.durable
	w.moving, w.placed = nil, false // the next segment begins with them
	w.q.ring.drop()
	w.active.sealed.Store(true)
	if w.active.last.Load() < w.active.name.First {
		w.active.end.Store(segment.HeaderSize)
	}
	if cerr := w.out.Close(); cerr != nil {
		err = errors.Join(err, cerr)
	}
	w.out = nil
	return err
}

// idleFor is how long the writer may sleep before it has something to do unasked.
func (w *writer) idleFor() time.Duration {
	wait := time.Hour
	if w.marked < w.durable {
		wait = max(markerAfter-time.Since(w.touched), 0)
	}
	if w.q.isFullNow() {
		wait = min(wait, roomEvery)
	}
	if len(w.unsynced) > 0 {
		wait = min(wait, max(w.q.opt.Sync.Every-time.Since(w.oldest), 0))
	}
	return wait
}

// idle does what time alone asks for: the interval sync (advance makes it) and the marker. A marker is not synced: it
// only sharpens what a recovery can say, and the kernel writes it soon enough.
func (w *writer) idle() {
	if len(w.unsynced) > 0 || w.out == nil || w.marked >= w.durable || time.Since(w.touched) < markerAfter {
		return
	}
	if _, err := w.control(segment.Marker, nil, false); err != nil {
		w.q.opt.Log.Warn("marker frame not written", "error", err)
	}
	w.marked = w.durable
}

// pause waits after an error: for room, or with growing delays for a disk that fails.
func (w *writer) pause(err error, timer *time.Timer) {
	wait := roomEvery
	if !isFull(err) {
		w.delay = min(max(2*w.delay, faultDelay), faultDelayMax)
		wait = w.delay
		w.q.setFault(err)
	} else {
		w.q.setFull(err)
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
	case <-w.q.retry:
	}
}
