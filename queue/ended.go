package queue

import "logmule/checkpoint"

// noteEnd puts the mark where it survives the end of the process, before anybody is told of it: a file that has lost its last frames
// cannot tell that there were any. A power loss may take the note; then the frames count.
func (w *writer) noteEnd() {
	if w.noted == w.durable || w.q.opt.Sync.Mode == SyncNever {
		return
	}
	err := w.q.store.Note(checkpoint.EndKey, checkpoint.Position{Floor: w.durable + 1, Epoch: w.q.epoch, Segment: w.active.name})
	if err == nil {
		w.noted = w.durable
	}
	if was := w.unnoted; err != nil && !was {
		w.q.opt.Log.Warn("end of the log not noted; what its newest file lost now, after a kill, would look as if it had never been stored", "error", err)
	}
	w.unnoted = err != nil
}
