package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// healing makes damaged segments good, one at a time, whoever asks for it.
type healing struct {
	turn  chan struct{}       // holds a token during a healing
	known map[*file]*attempts // who has the turn may use it
}

func newHealing() healing { return healing{turn: make(chan struct{}, 1)} }

// take waits until nobody else is healing.
func (h *healing) take(ctx context.Context) error {
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (h *healing) give() { <-h.turn }

// attempts are what is remembered of a segment that could not be healed, or not wholly.
type attempts struct {
	vain map[int64]time.Time // where bad bytes were met that nothing gave back, and when
	told bool                // that it waits
}

// healAgain is how long nobody else looks at bad bytes that nothing gave back. What was bad in one read only may be bad on the
// disk later.
const healAgain = time.Minute

// heal makes good what can be made good of a segment with this bad range. Whoever reads it opens it again afterwards, and
// reads it over view, where there is one: then the disk had no room for the healed file, or may yet give bytes that are
// missing. The error is one that may pass, that of ctx, or ErrClosed: what is bad may still come. It holds no lock that an append needs.
func (q *Queue) heal(ctx context.Context, f *file, bad segment.Part) (view *segment.Healing, err error) {
	if !f.sealed.Load() {
		return nil, nil
	}
	settled, err := q.awaitSeal(ctx, f)
	if err == nil {
		err = q.healing.take(ctx)
	}
	if err != nil {
		return nil, err
	}
	defer q.healing.give()
	switch {
	case q.isClosing():
		return nil, ErrClosed
	case !q.files.holds(f):
		return nil, nil
	}
	tail := q.tailOf(f)
	if !settled && tail == nil {
		return nil, nil
	}
	a := q.attemptsLocked(f)
	if at, vain := a.vain[bad.Offset]; vain && time.Since(at) < healAgain {
		return nil, nil
	}
	if tail != nil {
		return q.healFrom(tail, f, bad, a)
	}
	h, err := q.healLocked(f)
	lost := errors.Is(err, segment.ErrNoTrailer)
	switch {
	case err == nil && h.Won() && !h.Replaced:
		return h.Healing, nil
	case lost && bad.Err == nil, err == nil && len(h.Bad) > 0 && !h.Unread && !h.Replaced:
		a.vain[bad.Offset] = time.Now()
	case err != nil && !lost && !errors.Is(err, fs.ErrNotExist) && !hasNewFormat(err):
		return nil, fmt.Errorf("%w; nothing is given up yet, it is tried again", err)
	}
	return nil, nil
}

// tailOf is what stands in memory only of the latest segment to be sealed.
func (q *Queue) tailOf(f *file) *segment.Tail {
	if s := q.sealing.Load(); s != nil && s.file == f {
		return s.tail.Load()
	}
	return nil
}

// healFrom heals a segment that the disk did not let be sealed, in memory.
func (q *Queue) healFrom(tail *segment.Tail, f *file, bad segment.Part, a *attempts) (*segment.Healing, error) {
	handle, err := q.opt.FS.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing is given up yet, it is tried again", err)
	}
	defer handle.Close() // it was only read
	h, err := segment.Diagnose(tail.Behind(handle), tail.Size(), f.name)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing is given up yet, it is tried again", err)
	}
	if !h.Won() {
		if bad.Err == nil {
			a.vain[bad.Offset] = time.Now()
		}
		return nil, nil
	}
	if !a.told {
		a.told = true
		q.counters.healErrors.Add(1)
		q.opt.Log.Warn("damaged segment not healed on the disk, which does not let it be sealed; what its parity gives back is read meanwhile", "segment", f.path)
	}
	return h, nil
}

// hasNewFormat tells whether a newer logmule has to be asked.
func hasNewFormat(err error) bool {
	var unknown *segment.UnknownFeatureError
	return errors.As(err, &unknown)
}

// attemptsLocked are those at a segment of the queue. Those at segments that are gone are forgotten.
func (q *Queue) attemptsLocked(f *file) *attempts {
	if a := q.healing.known[f]; a != nil {
		return a
	}
	for gone := range q.healing.known {
		if !q.files.holds(gone) {
			delete(q.healing.known, gone)
		}
	}
	if q.healing.known == nil {
		q.healing.known = map[*file]*attempts{}
	}
	a := &attempts{vain: map[int64]time.Time{}}
	q.healing.known[f] = a
	return a
}

// healLocked heals a segment whose seal has ended.
func (q *Queue) healLocked(f *file) (recovery.Healed, error) {
	h, err := recovery.Heal(q.opt.FS, q.opt.Dir, f.name, recovery.HealOptions{
		Room: q.hasDisk,
		Hold: func() (func(), bool) {
			q.unlinking.mu.Lock() // a segment that is deleted must not come back
			return q.unlinking.mu.Unlock, q.files.holds(f)
		},
	})
	if err != nil || !h.Won() {
		return h, err
	}
	if h.Replaced {
		delete(q.healing.known, f)
		f.size.Store(h.Size)
		f.end.Store(h.Trailer.DataEnd)
		f.trailer.Store(true)
		var bytes int64
		for _, g := range h.Gains {
			bytes += g.Size
		}
		q.counters.healed.Add(1)
		q.counters.healedBytes.Add(uint64(bytes))
		q.aside.tidy.poke()
		q.opt.Log.Warn("damaged segment healed", "segment", f.path, "bytes", bytes, "places", len(h.Gains), "stays_bad", len(h.Bad), "quarantine", h.Quarantine)
	}
	if h.Waits != nil {
		q.counters.healErrors.Add(1)
		if a := q.attemptsLocked(f); !a.told {
			a.told = true
			q.opt.Log.Warn("damaged segment not healed on the disk; what its parity gives back is read meanwhile", "segment", f.path, "error", h.Waits)
		}
	}
	return h, nil
}

// awaitSeal says whether a sealed segment is one that nobody writes any more. A seal that is under way is waited for, until ctx ends.
func (q *Queue) awaitSeal(ctx context.Context, f *file) (bool, error) {
	s := q.sealing.Load()
	if !f.settled.Load() && s != nil {
		select {
		case <-s.done:
		case <-s.stuck:
		case <-q.stop:
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return f.settled.Load(), nil
}

// endHealing waits for a healing that is under way when the queue closes. No other one begins.
func (q *Queue) endHealing() {
	q.healing.turn <- struct{}{}
	q.healing.known = nil
	q.healing.give()
}

// noteRest writes down which records of a segment nothing gives back: those between the good frames around bad bytes, and those that
// should stand behind the last one. What every output has done is no loss. whole: all records are there. The bad bytes are those of image.
func (q *Queue) noteRest(f *file, image io.ReaderAt, scan *segment.Scanner) (whole bool, err error) {
	next, last, at := f.name.First, f.last.Load(), int64(segment.HeaderSize)
	var bad []segment.Part
	whole = true
	note := func(until uint64) {
		whole = whole && until <= next
		if len(bad) > 0 && until > next && until > q.lowestDurable() {
			from, to := bad[0].Offset, bad[len(bad)-1].Offset+bad[len(bad)-1].Size
			q.noteDamage(f, image, from, to-from, checkpoint.Range{First: next, Last: until - 1}, causeOf(bad[0]), bad[0].Err)
		}
		bad = bad[:0]
	}
	for next <= last {
		part, err := scan.Next()
		if errors.Is(err, io.EOF) {
			if len(bad) > 0 || last <= q.lowestDurable() {
				note(last + 1)
			} else if q.vouchAll() {
				return false, errSortedOut
			} else {
				q.noteDamage(f, nil, at, 0, checkpoint.Range{First: next, Last: last}, "truncated", nil)
			}
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if part.Bad && part.Err != nil {
			return false, part.Err // the readers ask for it again before they give it up
		}
		if part.Bad {
			part.Payload = nil
			bad = append(bad, part)
			continue
		}
		at = part.Offset + part.Size
		if first := part.Header.First; first > 0 {
			note(min(first, last+1))
			next = max(next, first, part.Header.Last()+1)
		}
	}
	return whole, nil
}
