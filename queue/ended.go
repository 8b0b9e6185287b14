package queue

import (
	"sync"

	"logmule/checkpoint"
	"logmule/recovery"
)

// ends is where the log ends and begins, as noted beside the positions: files that are not there any more cannot tell that there were any.
type ends struct {
	mu sync.Mutex // guards at, and held while it is noted
	at checkpoint.Position
}

// noteEnds changes what is noted. It survives the end of the process; a power loss may take it, and then the frames count.
func (q *Queue) noteEnds(change func(*checkpoint.Position)) error {
	q.ends.mu.Lock()
	defer q.ends.mu.Unlock()
	change(&q.ends.at)
	q.ends.at.Step++
	return q.store.Note(checkpoint.EndKey, q.ends.at)
}

// noteEnd puts the mark where it survives the end of the process, before anybody is told of it.
func (w *writer) noteEnd() {
	if w.noted == w.durable || w.q.opt.Sync.Mode == SyncNever {
		return
	}
	err := w.q.noteEnds(func(p *checkpoint.Position) { p.Floor, p.Epoch, p.Segment = w.durable+1, w.q.epoch, w.active.name })
	if err == nil {
		w.noted = w.durable
	}
	if was := w.unnoted; err != nil && !was {
		w.q.opt.Log.Warn("end of the log not noted; what its newest file lost now, after a kill, would look as if it had never been stored", "error", err)
	}
	w.unnoted = err != nil
}

// noteLeaving notes that a segment is about to be deleted, by the queue and not by somebody else.
func (q *Queue) noteLeaving(f *file) {
	if !f.holdsRecords() {
		return
	}
	next := f.last.Load() + 1
	_ = q.noteEnds(func(p *checkpoint.Position) { p.Planned = max(p.Planned, next) }) // without it a check may take this for a loss, no more
}

// begin takes over where the log began. Before that nothing is owed to anybody; where outputs have positions, these tell what of the
// rest is lost, else all of it is that is not there.
func (q *Queue) begin(state recovery.State) {
	q.tellReturned()
	first := q.files.first(q.mark.Load())
	q.ends.at = state.End
	if begin := state.End.Planned; begin > 0 && begin < first && len(state.Outputs) == 0 {
		if first = q.oldest(); begin < first {
			q.noteMissing(checkpoint.Range{First: begin, Last: first - 1})
		}
	}
	switch {
	case state.Next == 1:
		q.ends.at.Planned = 1
	case state.End.Planned == 0:
		q.ends.at.Planned = first
	}
}
