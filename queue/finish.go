package queue

import (
	"errors"
	"fmt"

	"logmule/queue/segment"
	"logmule/recovery"
)

// abandon ends the writer while the disk refuses. What it still holds was never acknowledged as stored.
func (w *writer) abandon(err error) {
	var records uint64
	for _, d := range append(w.unsynced, w.todo...) {
		records += uint64(d.header.Count)
	}
	w.q.counters.unstored.Add(records)
	w.q.closeErr = err
	if records > 0 {
		w.q.closeErr = fmt.Errorf("%d accepted, unacknowledged records could not be stored: %w", records, err)
		acknowledged := "no"
		if w.q.opt.Sync.Mode != SyncAlways {
			acknowledged = "unknown"
		}
		w.q.noteLoss(lossOf(0, 0, records, recovery.CauseNotStored, acknowledged))
	}
	if w.out != nil {
		if cerr := w.out.Close(); cerr != nil {
			w.q.closeErr = errors.Join(w.q.closeErr, cerr)
		}
	}
	w.awaitSeal()
}

// finish makes the end of a clean stop: a close frame, and the segment sealed. Every record is durable already, so an
// error here costs the next start a scan, and what sources have moved since the last positions frame.
func (w *writer) finish() {
	err := w.lastFrames()
	w.awaitSeal()
	if err == nil {
		_, err = w.out.Seal(w.durable)
	}
	if w.out != nil {
		err = errors.Join(err, w.out.Close())
	}
	if err != nil {
		w.q.opt.Log.Warn("last segment left without its trailer; the next start seals it", "segment", w.active.path, "error", err)
	}
	if w.q.sources.changed() {
		w.q.opt.Log.Warn("positions of sources that came without records are not stored; those before them count", "error", err)
	}
}

func (w *writer) lastFrames() error {
	if err := w.writeChanges(true); err != nil {
		return err
	}
	if _, err := w.control(segment.Close, nil, false); err != nil {
		return err
	}
	return w.settlePositions()
}
