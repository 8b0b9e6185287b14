package queue

import (
	"time"

	"logmule/checkpoint"
	"logmule/recovery"
)

// shedLogEvery spaces the lines of the log about records that an output gives up.
const shedLogEvery = 10 * time.Second

// Backlog is how many durable records the output has not done, and about how many stored bytes they take.
func (r *Reader) Backlog() (records uint64, bytes int64) {
	mark := r.q.mark.Load()
	r.progress.mu.Lock()
	floor, done := r.floor, r.done.Count()
	r.progress.mu.Unlock()
	if floor > mark {
		return 0, 0
	}
	return mark + 1 - floor - min(done, mark+1-floor), r.q.files.bytesAfter(floor)
}

// Shed drops the oldest records that the output has not done, until at most limit bytes of backlog remain, as Backlog
// reckons them, and returns how many. Only this output loses them: the loss ledger says so, with cause max_backlog and
// the output's name, before the position moves on. Nothing is dropped that is not durable, nor where the ledger cannot be
// written. It belongs to the goroutine that reads, which has to Rewind afterwards and to forget what it has in its hands.
func (r *Reader) Shed(limit int64) (dropped uint64) {
	mark := r.q.mark.Load()
	r.progress.mu.Lock()
	floor := r.floor
	r.progress.mu.Unlock()
	first := r.q.files.firstWithin(max(limit, 0), floor, mark)
	if first <= floor {
		return 0
	}
	from := min(max(floor, r.q.files.first(mark)), first)
	r.progress.mu.Lock()
	gone := r.done.Without(floor, from-1) // the queue has dropped these; what was in hands then is not written down yet
	missing := r.done.Without(from, first-1)
	r.progress.mu.Unlock()
	if !r.q.noteGivenUp(recovery.CauseBacklog, r.name, missing) {
		return 0
	}
	r.q.noteSkipped(r.name, gone)
	for _, m := range missing {
		dropped += m.Last - m.First + 1
	}
	r.progress.mu.Lock()
	r.lost += checkpoint.Ranges(gone).Count()
	r.shed += dropped
	r.progress.mu.Unlock()
	r.Done(nil, checkpoint.Range{First: floor, Last: first - 1})
	if r.shedUntold += dropped; time.Since(r.shedTold) >= shedLogEvery {
		r.q.opt.Log.Warn("oldest records of an output dropped, as max_backlog says; the loss ledger has every line", "output", r.name, "records", r.shedUntold, "up_to", first-1)
		r.shedTold, r.shedUntold = time.Now(), 0
	}
	return dropped
}

// noteGivenUp writes down which records an output gives up, and says whether the ledger has them. What it has of them
// already, from a process that was killed before the position moved on, is not written again.
func (q *Queue) noteGivenUp(cause, output string, missing []checkpoint.Range) bool {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	var losses []recovery.Loss
	for _, m := range missing {
		for _, part := range q.losses.ledger.Ungiven(cause, output, m) {
			loss := lossOf(part.First, part.Last, part.Last-part.First+1, cause, "yes")
			loss.Outputs = []string{output}
			losses = append(losses, loss)
		}
	}
	return q.addLossesLocked(losses...) == nil
}

// firstWithin is the lowest sequence from floor on for which bytesAfter gives at most limit; mark+1 where none does.
func (s *files) firstWithin(limit int64, floor, mark uint64) uint64 {
	low, high := floor, max(mark+1, floor)
	for low < high {
		middle := low + (high-low)/2
		if s.bytesAfter(middle) <= limit {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
