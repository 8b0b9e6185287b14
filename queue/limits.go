package queue

import (
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Limits are the settings of a queue that can be changed while it is open.
type Limits struct {
	MaxSize     int64         // bytes of all segments, and of what is in quarantine; 0: 10 GiB
	MinFree     int64         // bytes of the file system left to others, at most a tenth of it; negative: none; 0: 256 MiB
	WhenFull    WhenFull      // what Append does without room
	KeepFor     time.Duration // how long delivered segments are kept, in running time
	KeepSize    int64         // how many bytes of delivered segments are kept; a segment stays while KeepFor or this wants it
	ForgetAfter time.Duration // running time after which an output that nobody reads for is forgotten; 0: never
	ScrubRate   int64         // bytes a second at which sealed segments are read and checked; 0: they are not
}

// limits are those in force: Limits bounded by what the file system has, and what follows from them.
type limits struct {
	Limits
	segmentSize int64 // of the segments to come
}

func (o Options) limits() Limits {
	return Limits{
		MaxSize: o.MaxSize, MinFree: o.MinFree, WhenFull: o.WhenFull, KeepFor: o.KeepFor, KeepSize: o.KeepSize, ForgetAfter: o.ForgetAfter,
		ScrubRate: o.ScrubRate,
	}
}

func (l Limits) withDefaults() Limits {
	if l.MaxSize == 0 {
		l.MaxSize = 10 << 30
	}
	switch {
	case l.MinFree == 0:
		l.MinFree = 256 << 20
	case l.MinFree < 0:
		l.MinFree = 0
	}
	return l
}

// fit bounds sizes by the file system that holds the queue: a segment is at most a sixteenth of the queue's limit and
// of the file system, so that dropping or trimming one is never a large step, and MinFree at most a tenth of it.
func (l Limits) fit(segmentSize int64, space vfs.Space) *limits {
	f := &limits{Limits: l.withDefaults(), segmentSize: segmentSize}
	f.segmentSize = min(f.segmentSize, f.MaxSize/16)
	if space.Total > 0 {
		f.segmentSize = min(f.segmentSize, space.Total/16)
		f.MinFree = min(f.MinFree, space.Total/10)
	}
	f.segmentSize = max(f.segmentSize, smallestSegment)
	return f
}

// SetLimits changes the limits of the open queue, all of them, within a second: appends that wait go on where there is
// room now, what is kept no longer is deleted, and a queue that is larger than its new limit is full until it has shrunk.
func (q *Queue) SetLimits(l Limits) {
	space, err := q.opt.FS.Space(q.opt.Dir)
	if err != nil {
		q.opt.Log.Warn("size of the file system is unknown; the new limits are taken as they are", "error", err)
		space = vfs.Space{}
	}
	q.setLimits(l.fit(q.opt.SegmentSize, space))
	q.limitsChanged.Store(true)
	q.room.wake()
	q.work.poke()
	q.retry.poke()
	q.keep.poke()
	q.soon.poke()
	q.rescrub.poke()
	q.aside.tidy.poke()
}

// setLimits puts limits in force. A queue that drops the oldest is always open to appends; where it has to stop that, it is
// closed at the same moment if there is no room, and what it has accepted is still stored as it was to be.
func (q *Queue) setLimits(l *limits) {
	if q.limits.Load().WhenFull != DropOldest || l.WhenFull == DropOldest {
		q.limits.Store(l)
		return
	}
	still := *l
	still.WhenFull = DropOldest
	q.limits.Store(&still)
	err := q.hasRoom(q.ahead())
	if !isFull(err) {
		err = nil
	}
	q.in.Lock()
	was := q.setFullLocked(err)
	q.dropUntil.Store(q.next - 1)
	q.limits.Store(l)
	q.in.Unlock()
	q.tellFull(err, was)
}

// segmentSize is that of the segments to come; the active one may have been begun with another.
func (q *Queue) segmentSize() int64 { return q.limits.Load().segmentSize }

// tail is what the end of the active segment takes beside its frames: index, parity and trailer.
func (q *Queue) tail() int64 {
	size := max(q.segmentSize(), q.activeSize.Load())
	return segment.SealedSize(uint64(size), size) - size
}

// applyLimits is the writer's part of SetLimits. An active segment that is large for the new limits ends, whatever they
// say of the room for the next one: alone it might be more than the queue may have, and it can go only when it is sealed.
func (w *writer) applyLimits() error {
	if !w.q.limitsChanged.Swap(false) {
		return nil
	}
	w.looked = time.Time{}
	if w.out == nil || w.base <= w.q.segmentSize() {
		return nil
	}
	w.over = true
	if err := w.roll(); err != nil {
		w.q.limitsChanged.Store(w.out != nil)
		return err
	}
	return nil
}
