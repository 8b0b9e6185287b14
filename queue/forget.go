package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/recovery"
)

// An output that nobody reads for holds its records, for ForgetAfter of running time. That time is added up across
// restarts: it stands in the log under a key of its own, in seconds, as a uvarint. It is written with whatever is written
// anyway, so that a queue where nothing happens writes nothing; a kill costs what was counted since.

// awayPrefix begins the keys in positions frames that say how long nobody has read for an output.
const awayPrefix = "detached/"

// forgetGrace is how long after a start, at least, nobody has to read for an output until it is forgotten, unless
// ForgetAfter is shorter: at a start outputs need a moment to attach.
const forgetGrace = time.Minute

// ErrAttached is the error of Forget for an output that is in use.
var ErrAttached = errors.New("output is in use")

func isAway(key string) bool { return strings.HasPrefix(key, awayPrefix) }

// wasAway takes over how long nobody had read for an output before this start.
func (q *Queue) wasAway(output string, value []byte) {
	seconds, n := binary.Uvarint(value)
	if r := q.readers[output]; r != nil && n == len(value) && seconds < uint64(1<<62/time.Second) {
		r.away = time.Duration(seconds) * time.Second
	}
}

// awayTimes are how long nobody has read for the outputs that nobody reads for, under the keys that the log uses.
func (q *Queue) awayTimes() map[string][]byte {
	all := map[string][]byte{}
	for _, r := range q.known() {
		if away, _ := r.detached(); away >= time.Second {
			all[awayPrefix+r.name] = binary.AppendUvarint(nil, uint64(away/time.Second))
		}
	}
	return all
}

// detached is for how much running time nobody has read for the output, and how much of that is of this process; both
// are 0 while somebody does.
func (p *progress) detached() (all, here time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.attached {
		return 0, 0
	}
	here = max(time.Since(p.since), 1)
	return p.away + here, here
}

// attach notes that somebody reads for the output, or that nobody does any more.
func (p *progress) attach(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attached, p.away, p.since = yes, 0, time.Now()
}

// left is how long an output is not forgotten yet, if it stays as it is; 0: it never is.
func (q *Queue) left(p *progress) time.Duration {
	after := q.limits.Load().ForgetAfter
	away, here := p.detached()
	if after <= 0 || here == 0 {
		return 0
	}
	return max(after-away, min(after, forgetGrace)-here, 1)
}

// forgetOld forgets the outputs whose time is up. It returns when to look again, 0 where there is nothing to wait for.
func (q *Queue) forgetOld() (again time.Duration) {
	for _, r := range q.known() {
		left := q.left(&r.progress)
		if left == 1 {
			if err := q.Forget(r.name); err != nil && !errors.Is(err, ErrAttached) {
				q.opt.Log.Warn("output not forgotten yet; trying again", "output", r.name, "error", err)
				left = roomRetry
			} else {
				continue
			}
		}
		if left > 0 && (again == 0 || left < again) {
			again = left
		}
	}
	return again
}

// undone are the records in the segments that an output has not done.
func (q *Queue) undone(r *Reader) []checkpoint.Range {
	var undone checkpoint.Ranges
	for _, f := range q.files.snapshot() {
		for _, part := range r.open(checkpoint.Range{First: f.name.First, Last: f.last.Load()}) {
			undone = undone.Add(part.First, part.Last)
		}
	}
	return undone
}

// Forget removes what is known of an output that nobody reads for, and with it its hold on the records that it has not
// done. If it comes back it has never been seen. ErrAttached where it is in use; an unknown output is none to forget.
func (q *Queue) Forget(output string) error {
	q.saving.Lock()
	defer q.saving.Unlock()
	q.outputs.Lock()
	defer q.outputs.Unlock()
	r := q.readers[output]
	if r == nil {
		return nil
	}
	r.progress.mu.Lock()
	attached := r.attached
	r.progress.mu.Unlock()
	if attached {
		return fmt.Errorf("forget output %s: %w; take it out of the configuration first", output, ErrAttached)
	}
	if !q.noteGivenUp(recovery.CauseForgotten, output, q.undone(r)) {
		return fmt.Errorf("forget output %s: the loss ledger, which has to tell of its records, cannot be written; make room on the disk", output)
	}
	// The log has an older position of it, by which it would miss records that it has done. So the last one stays in the
	// store until the log has none.
	last, _ := r.position(q.epoch)
	if err := q.store.Save(map[string]checkpoint.Position{checkpoint.Key(output): last}); err != nil {
		return fmt.Errorf("forget output %s: %w", output, err)
	}
	records, bytes := r.Backlog()
	delete(q.readers, output)
	q.forgetting.begin(output, last.Stream)
	q.forgotten.Store(true)
	q.counters.forgotten.Add(1)
	q.counters.forgottenRecords.Add(records)
	q.opt.Log.Warn("output forgotten; the records that it has not done are held for it no longer", "output", output, "records", records, "bytes", bytes)
	q.keep.poke()
	return nil
}
