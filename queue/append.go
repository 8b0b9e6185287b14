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
)

// Append takes the records of runs, all of them or none, gives them the next sequences, and returns the last one. The
// runs and what they point to may be reused at once: the records are in memory then, on the disk when WaitDurable
// returns. A run holds at most segment.FrameTarget bytes, or one record of at most segment.MaxRecord.
//
// Append waits while too much is not yet stored, or while the queue is full and WhenFull is Block. It ends with ctx:
// then, as after every error, nothing was stored. It may be called by any number of goroutines; the records of one
// caller keep their order.
func (q *Queue) Append(ctx context.Context, runs []segment.Run) (uint64, error) {
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
	if int64(raw) > q.opt.MaxSize/2 {
		return 0, fmt.Errorf("append %d bytes to a queue of %d: %w", raw, q.opt.MaxSize, ErrTooLarge)
	}
	if err := q.admit(ctx, raw, count); err != nil {
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
		q.pending[n-1].held += cost(&r)
		q.next += uint64(r.Count)
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
	q.pending = append(q.pending, d)
}

// admit waits until raw more bytes may be held in memory and the queue takes records, and reserves the bytes. Whoever
// comes while nothing is held is let in whatever its size. Callers are served in the order in which they came, so that a
// large append is not starved by small ones.
func (q *Queue) admit(ctx context.Context, raw int, count uint64) error {
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-q.turn }()
	if raw > q.heldLimit() && q.opt.WhenFull != DropOldest {
		q.wanted.Store(int64(raw)) // lookAhead did not reckon with so much
		defer q.wanted.Store(0)
		if err := q.hasRoom(int64(raw)); isFull(err) {
			q.setFull(err)
		}
	}
	for {
		changed := q.room.wait()
		admitted, err := q.tryAdmit(raw, count)
		if admitted || err != nil {
			return err
		}
		q.work.poke() // an interval sync does not keep an append waiting
		select {
		case <-changed:
			err = nil
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		q.in.Lock()
		q.waiting--
		q.in.Unlock()
		if err != nil {
			return err
		}
	}
}

// tryAdmit is admit without the waiting; a caller that is not admitted is counted as waiting.
func (q *Queue) tryAdmit(raw int, count uint64) (bool, error) {
	q.in.Lock()
	defer q.in.Unlock()
	switch {
	case q.closing:
		return false, ErrClosed
	case q.next+count > segment.MaxSequence:
		return false, fmt.Errorf("append: sequence %d is the end of the numbers; export what is queued and start a new data directory", q.next)
	case q.full && q.opt.WhenFull == DropNewest:
		q.dropNewest(count, raw)
		return false, ErrDropped
	case !(q.full && q.opt.WhenFull == Block) && (q.held == 0 || q.held+raw <= q.heldLimit()):
		q.held += raw
		return true, nil
	}
	q.waiting++
	return false, nil
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
