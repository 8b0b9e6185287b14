package queue

import (
	"io"
	"sync"
	"time"

	"logmule/checkpoint"
	"logmule/recovery"
)

// losses is the loss ledger of an open queue: what is lost is written down once, whoever finds it first.
type losses struct {
	mu      sync.Mutex // guards everything below
	ledger  *recovery.Ledger
	refused uint64 // drop_newest records that the ledger has
}

func (l *losses) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ledger.Close()
}

func lossOf(first, last, count uint64, cause, acknowledged string) recovery.Loss {
	return recovery.Loss{Time: time.Now(), First: first, Last: last, Count: count, Cause: cause, Acknowledged: acknowledged}
}

// noteLoss writes a loss into the ledger. A ledger that cannot be written is logged with the loss itself, so that it is
// on record somewhere.
func (q *Queue) noteLoss(loss recovery.Loss) {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	q.noteLossLocked(loss)
}

func (q *Queue) noteLossLocked(loss recovery.Loss) {
	err := q.losses.ledger.Add(loss)
	if isFull(err) {
		q.spendReserve()
		err = q.losses.ledger.Add(loss)
	}
	if err != nil {
		q.opt.Log.Error("loss ledger not written", "error", err, "first", loss.First, "last", loss.Last, "count", loss.Count, "cause", loss.Cause)
	}
}

// noteDamage quarantines bytes that a reader could not use and writes the loss down, unless that has been done.
func (q *Queue) noteDamage(f *file, from io.ReaderAt, offset, length int64, lost checkpoint.Range, cause string, why error) {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	if len(q.losses.ledger.Untold(lost)) == 0 {
		return
	}
	loss := lossOf(lost.First, lost.Last, lost.Last-lost.First+1, cause, "yes")
	if q.opt.Sync.Mode == SyncNever {
		loss.Acknowledged = "unknown"
	}
	loss.Segment, loss.Offset, loss.Length = f.name.String(), offset, length
	if length > 0 {
		name, err := recovery.Quarantine(q.opt.FS, q.opt.Dir, from, f.name.String(), offset, length)
		if err != nil {
			q.opt.Log.Error("damaged bytes not quarantined", "segment", f.path, "offset", offset, "error", err)
		}
		loss.Quarantine = name
	}
	q.counters.damaged.Add(loss.Count)
	q.opt.Log.Error("records lost to damage; the rest goes on", "segment", f.path, "offset", offset, "length", length,
		"first", lost.First, "last", lost.Last, "records", loss.Count, "cause", cause, "quarantine", loss.Quarantine, "error", why)
	q.noteLossLocked(loss)
}

// noteSkipped writes down that an output missed records of a dropped segment which were in its hands when that was
// deleted, and which a restart took from it.
func (q *Queue) noteSkipped(output string, lost checkpoint.Range) {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	for _, r := range q.losses.ledger.Untold(lost) {
		loss := lossOf(r.First, r.Last, r.Last-r.First+1, "drop_oldest", "yes")
		loss.Outputs = []string{output}
		q.noteLossLocked(loss)
	}
}

// flushDrops writes the records that drop_newest has refused since the last time into the ledger, as one line.
func (q *Queue) flushDrops() {
	total := q.counters.droppedNewest.Load()
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	if n := total - q.losses.refused; n > 0 {
		q.losses.refused = total
		q.noteLossLocked(lossOf(0, 0, n, "drop_newest", "no"))
	}
}
