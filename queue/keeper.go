package queue

import (
	"context"
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
			q.flushDrops()
			return
		}
		wait := time.Duration(-1)
		again := func(d time.Duration) {
			if wait < 0 || d < wait {
				wait = d
			}
		}
		changed := q.dirty()
		if err := q.saveCheckpoints(); err != nil {
			q.counters.saveErrors.Add(1)
			q.opt.Log.Warn("checkpoints not saved; trying again", "error", err)
			if isFull(err) {
				q.spendReserve()
			}
			again(saveEvery)
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
		q.flushDrops()
		if left := q.trim(); left > 0 {
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

// attached is the list of readers.
func (q *Queue) attached() []*Reader {
	q.outputs.Lock()
	defer q.outputs.Unlock()
	all := make([]*Reader, 0, len(q.readers))
	for _, r := range q.readers {
		all = append(all, r)
	}
	return all
}

func (q *Queue) dirty() bool {
	for _, r := range q.attached() {
		if r.dirty() {
			return true
		}
	}
	return false
}

// saveCheckpoints makes every position that has changed durable, in one transaction.
func (q *Queue) saveCheckpoints() error {
	positions := map[string]checkpoint.Position{}
	versions := map[*Reader]uint64{}
	for _, r := range q.attached() {
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
	put := func(name string, p checkpoint.Position) {
		value, err := p.Encode()
		if err != nil {
			q.opt.Log.Error("position does not encode", "output", name, "error", err)
			return
		}
		all[checkpoint.Key(name)] = value
	}
	for _, r := range q.attached() {
		p, _ := r.position(q.epoch)
		put(r.name, p)
	}
	q.outputs.Lock()
	defer q.outputs.Unlock()
	for name, p := range q.detached {
		put(name, p)
	}
	return all
}

// lowestDurable is the first sequence that some output has not durably done. Without any output nothing is done.
func (q *Queue) lowestDurable() uint64 {
	return q.lowest(func(r *Reader) uint64 {
		r.progress.mu.Lock()
		defer r.progress.mu.Unlock()
		return r.durable
	})
}

// lowestHanded is the first sequence that some output has not been given.
func (q *Queue) lowestHanded() uint64 { return q.lowest((*Reader).handed) }

func (q *Queue) lowest(of func(*Reader) uint64) uint64 {
	q.outputs.Lock()
	defer q.outputs.Unlock()
	if len(q.readers)+len(q.detached) == 0 {
		return 0
	}
	low := uint64(math.MaxUint64)
	for _, r := range q.readers {
		low = min(low, of(r))
	}
	for _, p := range q.detached {
		low = min(low, p.Floor)
	}
	return low
}

// outputsBehind names the outputs that have not been given all records up to last.
func (q *Queue) outputsBehind(last uint64) []string {
	q.outputs.Lock()
	defer q.outputs.Unlock()
	var names []string
	for name, r := range q.readers {
		if r.handed() <= last {
			names = append(names, name)
		}
	}
	for name, p := range q.detached {
		if p.Floor <= last {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// trim deletes segments whose every record is done for every output, durably. It returns when to look again because
// of KeepFor, or 0.
func (q *Queue) trim() time.Duration {
	low := q.lowestDurable()
	freed := false
	defer func() {
		if freed {
			q.retry.poke()
		}
	}()
	for _, f := range q.files.snapshot() {
		if !f.sealed.Load() || f.last.Load() >= low {
			return 0
		}
		if q.opt.KeepFor > 0 {
			if f.delivered.IsZero() {
				f.delivered = time.Now()
			}
			if left := q.opt.KeepFor - time.Since(f.delivered); left > 0 {
				return left
			}
		}
		q.removeFile(f)
		freed = true
	}
	return 0
}
