package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"logmule/queue/segment"
)

// Errors of Append.
var (
	// ErrClosed: the queue is closed or closing; nothing was stored.
	ErrClosed = errors.New("queue is closed")
	// ErrTooLarge: one append takes more than half of max_size; it is refused however empty the queue is.
	ErrTooLarge = errors.New("larger than the queue can ever hold at once; raise max_size")
	// ErrDropped: the queue is full and when_full is drop_newest; the records were counted and dropped.
	ErrDropped = errors.New("queue is full, records dropped as when_full = drop_newest says")
	// ErrDisk: the disk refuses data, or does not answer. It is what WaitDisk says.
	ErrDisk = errors.New("the disk refuses data or does not answer")
)

// Append takes the records of runs, all of them or none, gives them the next sequences, and returns the last one. The
// runs and what they point to may be reused at once: the records are in memory then, on the disk when WaitDurable
// returns. A run holds at most segment.FrameTarget bytes, or one record of at most segment.MaxRecord.
//
// Append waits while too much is not yet stored, or while the queue is full and WhenFull is Block. It ends with ctx:
// then, as after every error, nothing was stored. It may be called by any number of goroutines; the records of one
// caller keep their order.
func (q *Queue) Append(ctx context.Context, runs []segment.Run) (uint64, error) {
	return q.append(ctx, runs, false)
}

// AppendKept is Append for records that their source keeps until they are stored: where the queue is full and WhenFull is
// DropNewest it waits, as with Block, and nothing is dropped or counted.
func (q *Queue) AppendKept(ctx context.Context, runs []segment.Run) (uint64, error) {
	return q.append(ctx, runs, true)
}

func (q *Queue) append(ctx context.Context, runs []segment.Run, kept bool) (uint64, error) {
	var raw int
	var count uint64
	for i := range runs {
		if err := q.check(&runs[i]); err != nil {
			return 0, fmt.Errorf("append run: %w", err)
		}
		raw += cost(&runs[i])
		count += uint64(runs[i].Count)
	}
	if count == 0 {
		return q.lastAppended(), nil
	}
	if err := q.fits(raw); err != nil { // before its turn: a full queue makes it wait for nothing
		return 0, err
	}
	if err := q.admit(ctx, ask{raw, count, kept}); err != nil {
		return 0, err
	}
	if len(runs) == 1 && len(runs[0].Body) < gatherLimit {
		return q.gatherRun(runs[0])
	}
	drafts := q.draftsOf(runs)
	q.in.Lock()
	defer q.in.Unlock()
	if q.closing {
		q.release(raw)
		for _, d := range drafts {
			d.free()
		}
		return 0, ErrClosed
	}
	for _, d := range drafts {
		q.enqueueLocked(d)
	}
	q.work.poke()
	return q.next - 1, nil
}

// check refuses a run that could not become a frame, before it is accepted.
func (q *Queue) check(r *segment.Run) error {
	const attributesLimit = 1 << 20
	switch {
	case int(r.Raw) != len(r.Body) || r.Count > r.Raw || r.Count == 0 && r.Raw > 0:
		return fmt.Errorf("%d records said to be %d bytes in a body of %d", r.Count, r.Raw, len(r.Body))
	case len(r.Body) > segment.MaxFrame-segment.FrameTarget-attributesLimit:
		return fmt.Errorf("%d bytes are more than a frame may hold", len(r.Body))
	case len(r.Key)+len(r.Position)+len(r.Attributes) > attributesLimit:
		return fmt.Errorf("key, position and attributes of %d bytes, at most %d", len(r.Key)+len(r.Position)+len(r.Attributes), attributesLimit)
	}
	return nil
}

// fits is an error for an append that the queue could never hold. Limits may change while one waits.
func (q *Queue) fits(raw int) error {
	if limit := q.limits.Load().MaxSize; int64(raw) > limit/2 {
		return fmt.Errorf("append %d bytes to a queue of %d: %w", raw, limit, ErrTooLarge)
	}
	return nil
}

// cost is the memory that a run takes until it is stored.
func cost(r *segment.Run) int {
	return len(r.Body) + len(r.Key) + len(r.Position) + len(r.Attributes)
}

// draftsOf encodes the large runs as frames of their own and puts neighbouring small ones together. It is where the
// processor time of compression is spent: in the caller's goroutine, outside every lock.
func (q *Queue) draftsOf(runs []segment.Run) []*draft {
	drafts := make([]*draft, 0, 1)
	keepRaw := q.ring.wanted()
	var gathering *draft
	for i := range runs {
		r := runs[i]
		if len(r.Body) < gatherLimit {
			if gathering == nil || !gathering.gather(r) {
				gathering = newDraft()
				if gathering.gather(r) {
					gathering.held += cost(&r)
					drafts = append(drafts, gathering)
					continue
				}
				gathering.free()
				gathering = nil
			} else {
				gathering.held += cost(&r)
				continue
			}
		}
		gathering = nil
		d := newDraft()
		d.encode(runs[i:i+1], r.Body, q.opt.Codec, keepRaw)
		d.held = cost(&r)
		drafts = append(drafts, d)
	}
	return drafts
}

// gatherRun is the way of a small append: its bytes are put behind those of others into one frame, which the writer
// encodes when it takes the group.
func (q *Queue) gatherRun(r segment.Run) (uint64, error) {
	q.in.Lock()
	defer q.in.Unlock()
	if q.closing {
		q.release(cost(&r))
		return 0, ErrClosed
	}
	if n := len(q.pending); n > 0 && !q.pending[n-1].ready && q.pending[n-1].gather(r) {
		d := q.pending[n-1]
		d.held += cost(&r)
		q.next += uint64(r.Count)
		if len(r.Position) > 0 {
			q.sources.accepted(d.positions[len(d.positions)-1:], q.next-1)
		}
	} else {
		d := newDraft()
		if !d.gather(r) { // attributes larger than the arena
			d.encode([]segment.Run{r}, r.Body, q.opt.Codec, true)
		}
		d.held = cost(&r)
		q.enqueueLocked(d)
	}
	q.work.poke()
	return q.next - 1, nil
}

// enqueueLocked gives a draft its sequences and its place. The caller holds q.in.
func (q *Queue) enqueueLocked(d *draft) {
	d.header.First = q.next
	d.header.Time = time.Now().UnixNano()
	q.next += uint64(d.header.Count)
	q.sources.accepted(d.positions, q.next-1)
	q.pending = append(q.pending, d)
}

// ask is what an append wants to be let in for.
type ask struct {
	raw   int // bytes
	count uint64
	kept  bool // its source keeps it: it waits where others are dropped
}

// admit waits until the bytes of an append may be held in memory and the queue takes records, and reserves the bytes.
// Whoever comes while nothing is held is let in whatever its size. Callers are served in the order in which they came, so
// that a large append is not starved by small ones.
func (q *Queue) admit(ctx context.Context, a ask) error {
	for {
		changed := q.room.wait()
		aside, err := q.admitInTurn(ctx, a)
		if !aside {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, roomEvery) // a large one looks for room itself
		select {
		case <-changed:
		case <-wait.Done():
		}
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if q.isClosing() {
			return ErrClosed
		}
	}
}

// admitInTurn is admit with the turn taken. aside: the append is to wait without the turn, since those behind it are
// refused, not kept waiting.
func (q *Queue) admitInTurn(ctx context.Context, a ask) (aside bool, err error) {
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	defer func() { <-q.turn }()
	if err := q.fits(a.raw); err != nil {
		return false, err
	}
	if a.raw > q.heldLimit() && q.limits.Load().WhenFull != DropOldest { // lookAhead did not reckon with so much
		err := q.roomFor(ctx, int64(a.raw))
		if isFull(err) && a.kept && q.limits.Load().WhenFull == DropNewest {
			return true, nil
		}
		q.wanted.Store(int64(a.raw))
		defer q.wanted.Store(0)
		if isFull(err) {
			q.setFull(err)
		}
	}
	for {
		changed := q.room.wait()
		if err := q.fits(a.raw); err != nil { // or those behind it would wait for ever
			return false, err
		}
		admitted, err := q.tryAdmit(a)
		if admitted || err != nil {
			return false, err
		}
		if a.kept && q.refuses() {
			return true, nil
		}
		if err := q.awaitRoom(ctx, changed); err != nil {
			return false, err
		}
	}
}

// tryAdmit is admit without the waiting.
func (q *Queue) tryAdmit(a ask) (bool, error) {
	q.in.Lock()
	defer q.in.Unlock()
	when := q.limits.Load().WhenFull
	switch {
	case q.closing:
		return false, ErrClosed
	case q.next+a.count > segment.MaxSequence:
		return false, fmt.Errorf("append: sequence %d is the end of the numbers; export what is queued and start a new data directory", q.next)
	case q.full && when == DropNewest && !a.kept:
		q.dropNewest(a.count, a.raw)
		return false, ErrDropped
	case q.full && when != DropOldest, q.held > 0 && q.held+a.raw > q.heldLimit():
		return false, nil
	}
	q.held += a.raw
	return true, nil
}

// awaitRoom waits until the room has changed. The writer knows meanwhile that somebody waits for it.
func (q *Queue) awaitRoom(ctx context.Context, changed <-chan struct{}) error {
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	q.work.poke() // an interval sync does not keep an append waiting
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refuses says whether the queue is full and drops the newest.
func (q *Queue) refuses() bool {
	return q.isFullNow() && q.limits.Load().WhenFull == DropNewest
}

func (q *Queue) isClosing() bool {
	q.in.Lock()
	defer q.in.Unlock()
	return q.closing
}

// release gives back bytes that admit reserved. The caller holds q.in.
func (q *Queue) release(raw int) {
	q.held -= raw
	q.room.wake()
}

func (q *Queue) lastAppended() uint64 {
	q.in.Lock()
	defer q.in.Unlock()
	return q.next - 1
}

// WaitDisk returns when the disk takes data, as far as is known, or when ctx ends, with an ErrDisk then. Append takes records
// into memory also while the disk refuses them, and nobody knows for how long they stay there. Whoever can keep his, or tell
// his source to, waits here first.
func (q *Queue) WaitDisk(ctx context.Context) error {
	for q.faulty.Load() || q.stall.now.Load() {
		changed := q.takes.wait()
		if !q.faulty.Load() && !q.stall.now.Load() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrDisk, context.Cause(ctx))
		case <-q.done:
			return ErrClosed
		}
	}
	return nil
}

// WaitDurable returns when the record of that sequence is stored as the sync policy says, or when ctx ends.
func (q *Queue) WaitDurable(ctx context.Context, sequence uint64) error {
	for {
		moved := q.moved.wait()
		if q.stored.Load() >= sequence {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-q.done:
			if q.stored.Load() >= sequence {
				return nil
			}
			return ErrClosed
		}
	}
}
