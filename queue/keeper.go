package queue

import (
	"context"
	"errors"
	"maps"
	"math"
	"runtime/pprof"
	"slices"
	"time"

	"logmule/checkpoint"
)

// keepUp is the keeper: it sleeps until something changes, and then saves positions, deletes delivered segments and
// writes drops into the ledger, at most a few times a second, so that an idle queue does nothing at all.
func (q *Queue) keepUp() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("queue", "keeper")))
	timer := time.NewTimer(0)
	defer timer.Stop()
	var positionsAt time.Time
	owed := false // a positions frame
	for {
		select {
		case <-q.keep:
		case <-q.urgent:
		case <-timer.C:
		case <-q.stop:
			q.flushDrops(true)
			q.flushUnwritten()
			q.tellDropped(true)
			return
		}
		wait := time.Duration(-1)
		again := func(d time.Duration) {
			if wait < 0 || d < wait {
				wait = d
			}
		}
		if left := q.forgetOld(); left > 0 {
			again(left)
		}
		moved := q.sources.changed()
		changed := q.dirty() || moved || q.forgotten.Swap(false)
		if err := errors.Join(q.forgetLogged(), q.saveCheckpoints()); err != nil {
			q.counters.saveErrors.Add(1)
			q.opt.Log.Warn("checkpoints not saved; trying again", "error", err)
			if isFull(err) {
				q.spendReserve()
			}
			again(saveEvery)
		}
		if moved {
			again(positionsEvery) // they may have to wait for records of theirs
		}
		if owed = owed || changed; owed {
			if left := positionsEvery - time.Since(positionsAt); left > 0 {
				again(left)
			} else {
				positionsAt, owed = time.Now(), false
				q.positionsDue.Store(true)
				q.work.poke()
			}
		}
		if left := q.flushDrops(!q.isFullNow()); left > 0 {
			again(left)
		}
		if left := q.flushUnwritten(); left > 0 {
			again(left)
		}
		if left := q.tellDropped(false); left > 0 {
			again(left)
		}
		if left := q.trim(q.wanted.Load()); left > 0 {
			again(left)
		}
		q.makeReserve()
		if wait >= 0 {
			timer.Reset(wait)
		}
		q.rest()
	}
}

// rest spaces the keeper's rounds, unless somebody waits for one. Under load it is shorter, so that a kill costs a few
// batches that are delivered again, not a tenth of a second of them.
func (q *Queue) rest() {
	long, short := time.NewTimer(saveEvery), time.NewTimer(saveSoon)
	defer long.Stop()
	defer short.Stop()
	for soon := (<-chan time.Time)(nil); ; {
		select {
		case <-q.soon:
			soon = short.C
			continue
		case <-soon:
		case <-long.C:
		case <-q.urgent:
			q.urgent.poke()
		case <-q.stop:
		}
		return
	}
}

// known is the list of all outputs that have a position.
func (q *Queue) known() []*Reader {
	q.outputs.Lock()
	defer q.outputs.Unlock()
	return slices.Collect(maps.Values(q.readers))
}

func (q *Queue) dirty() bool {
	for _, r := range q.known() {
		if r.dirty() {
			return true
		}
	}
	return false
}

// saveCheckpoints makes every position that has changed durable, in one transaction.
func (q *Queue) saveCheckpoints() error {
	q.saving.Lock()
	defer q.saving.Unlock()
	positions := map[string]checkpoint.Position{}
	versions := map[*Reader]uint64{}
	for _, r := range q.known() {
		if r.dirty() {
			positions[checkpoint.Key(r.name)], versions[r] = r.position(q.epoch)
		}
	}
	if len(positions) == 0 {
		return nil
	}
	if err := q.store.Save(positions); err != nil {
		return err
	}
	for r, version := range versions {
		r.stored(version, positions[checkpoint.Key(r.name)].Floor)
	}
	q.counters.saves.Add(1)
	q.saved.wake()
	return nil
}

// outputPositions are the positions of all outputs, encoded, under the keys that the log uses.
func (q *Queue) outputPositions() map[string][]byte {
	all := map[string][]byte{}
	for _, r := range q.known() {
		p, _ := r.position(q.epoch)
		value, err := p.Encode()
		if err != nil {
			q.opt.Log.Error("position does not encode", "output", r.name, "error", err)
			continue
		}
		all[checkpoint.Key(r.name)] = value
	}
	return all
}

// lowestDurable is the first sequence that some output has not durably done. Without any output nothing is done.
func (q *Queue) lowestDurable() uint64 {
	low := uint64(math.MaxUint64)
	for _, r := range q.known() {
		r.progress.mu.Lock()
		low = min(low, r.durable)
		r.progress.mu.Unlock()
	}
	if low == math.MaxUint64 {
		return 0
	}
	return low
}

// isShort says whether the queue will be full soon, a few segments from now, or has no room for an append of that size.
func (q *Queue) isShort(wanted int64) bool {
	return q.hasRoom(max(q.ahead(), wanted)+2*q.segmentSize()) != nil
}

// trim deletes segments whose every record is done for every output, durably, and whose positions a newer one has, the
// oldest first, and keeps those that are wanted longer, as long as new records have room, an append of that size too. It
// returns when to look again because of KeepFor, or 0.
func (q *Queue) trim(wanted int64) (again time.Duration) {
	if q.opt.offline {
		return 0
	}
	q.trimming.Lock()
	defer q.trimming.Unlock()
	delivered, kept := q.delivered()
	limits, freed := q.limits.Load(), false
	if q.aside.room.Load() > 0 && q.isShort(wanted) {
		q.aside.tidy.poke()
	}
	for _, f := range delivered {
		if f.delivered.IsZero() {
			f.delivered = time.Now()
		}
	}
	for _, f := range delivered {
		left, large := limits.KeepFor-time.Since(f.delivered), kept > limits.KeepSize
		returned := q.isReturned(f)
		if f.holdsRecords() && (left > 0 || !large || returned) && !q.isShort(wanted) {
			if large {
				again = max(left, 0)
			}
			break
		}
		if q.vouch(f) { // some of what was taken for delivered may not be
			again = time.Millisecond
			break
		}
		if !q.removeFile(f) {
			again = roomRetry
			break
		}
		if returned {
			q.opt.Log.Warn("records that were here again after they were written down as lost are deleted to make room; no output had them sent", "segment", f.path)
		}
		kept -= f.size.Load()
		freed = true
	}
	if freed {
		q.retry.poke()
	}
	return again
}

// delivered are the segments that may go, in order, and how many bytes they take.
func (q *Queue) delivered() (list []*file, bytes int64) {
	low, positioned := q.lowestDurable(), q.positioned.Load()
	for _, f := range q.files.snapshot() {
		if positioned == nil || f == positioned || !f.sealed.Load() {
			break
		}
		if f.last.Load() < low || !f.holdsRecords() {
			list = append(list, f)
			bytes += f.size.Load()
		}
	}
	return list, bytes
}
