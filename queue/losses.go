package queue

import (
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// losses is the loss ledger of an open queue: what is lost is written down once, whoever finds it first.
type losses struct {
	copying  sync.Mutex // held while damaged bytes are copied and written down; taken before mu
	uncopied []uncopied // guarded by copying

	mu      sync.Mutex // guards everything below
	ledger  *recovery.Ledger
	refused uint64    // drop_newest records that the ledger has
	flushed time.Time // when they were last written

	unwritten []recovery.Loss // that wait until the ledger can be written
	tried     time.Time       // when that was last tried

	dropped struct { // what drop_oldest has dropped and the log has not told of
		records  uint64
		segments int
		outputs  []string
		told     time.Time // of the last line
	}
}

func (l *losses) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ledger.Close()
}

func lossOf(first, last, count uint64, cause, acknowledged string) recovery.Loss {
	return recovery.Loss{Time: time.Now(), First: first, Last: last, Count: count, Cause: cause, Acknowledged: acknowledged}
}

// noteLoss writes a loss into the ledger.
func (q *Queue) noteLoss(loss recovery.Loss) {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	q.noteOrKeepLocked(loss)
}

// noteLossLocked says whether the ledger has it.
func (q *Queue) noteLossLocked(loss recovery.Loss) bool { return q.addLossesLocked(loss) == nil }

// addLossesLocked writes losses into the ledger. What cannot be written is logged with the losses themselves, so that they
// are on record somewhere.
func (q *Queue) addLossesLocked(losses ...recovery.Loss) error {
	err := q.writeLossesLocked(losses...)
	for _, loss := range losses {
		if err != nil {
			q.opt.Log.Error("loss ledger not written", "error", err, "first", loss.First, "last", loss.Last, "count", loss.Count, "cause", loss.Cause)
		}
	}
	return err
}

// writeLossesLocked is addLossesLocked for losses that the log has already.
func (q *Queue) writeLossesLocked(losses ...recovery.Loss) error {
	err := q.losses.ledger.Add(losses...)
	if isFull(err) {
		q.spendReserve()
		err = q.losses.ledger.Add(losses...)
	}
	q.tallyLosses()
	return err
}

// tallyLosses keeps what the ledger tells of in all where a status can read it without waiting for the disk.
func (q *Queue) tallyLosses() {
	records, _ := q.losses.ledger.Total()
	q.counters.ledger.Store(records)
	causes := q.losses.ledger.Causes()
	q.counters.causes.Store(&causes)
}

// noteDropped counts and writes down what of a segment some output has neither done nor in its hands, with the outputs that
// miss it. What the ledger tells of already is not lost again. What is in somebody's hands may still be done; if it is not,
// noteSkipped tells of it.
func (q *Queue) noteDropped(f *file, all checkpoint.Range) {
	missing := map[string][]checkpoint.Range{}
	for _, r := range q.known() {
		missing[r.name] = r.missing(all)
	}
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	var lines []missed
	if len(missing) == 0 {
		for _, part := range q.untoldLocked(all) {
			lines = append(lines, missed{Range: part})
		}
	}
	untold := map[string]checkpoint.Ranges{}
	for name, parts := range missing {
		for _, part := range parts {
			for _, lost := range q.untoldOfLocked(name, part) {
				untold[name] = untold[name].Add(lost.First, lost.Last)
			}
		}
	}
	d := &q.losses.dropped
	before := d.records
	for _, m := range append(lines, byOutputs(untold)...) {
		loss := lossOf(m.First, m.Last, m.Last-m.First+1, recovery.CauseDropOldest, "yes")
		loss.Segment, loss.Outputs = f.name.String(), m.outputs
		n := checkpoint.Ranges(q.untoldLocked(m.Range)).Count()
		q.counters.droppedOldest.Add(n)
		d.records, d.outputs = d.records+n, append(d.outputs, m.outputs...)
		q.noteOrKeepLocked(loss)
	}
	if d.records > before {
		d.segments++
		q.keep.poke()
	}
}

// missed is a range of records and the outputs that miss all of it.
type missed struct {
	checkpoint.Range
	outputs []string
}

// byOutputs are the ranges that the same outputs miss, in order.
func byOutputs(missing map[string]checkpoint.Ranges) []missed {
	var cuts []uint64 // where somebody's ranges begin, or have ended
	for _, ranges := range missing {
		for _, r := range ranges {
			cuts = append(cuts, r.First, r.Last+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	names := slices.Sorted(maps.Keys(missing))
	var parts []missed
	for i := 1; i < len(cuts); i++ {
		part := missed{Range: checkpoint.Range{First: cuts[i-1], Last: cuts[i] - 1}}
		for _, name := range names {
			if len(missing[name].Without(part.First, part.First)) == 0 {
				part.outputs = append(part.outputs, name)
			}
		}
		if len(part.outputs) > 0 {
			parts = append(parts, part)
		}
	}
	return parts
}

// tellDropped logs what drop_oldest has dropped since the last time, as one line every so often. It returns when to call
// it again, 0 when there is nothing to tell. ended: there is no later.
func (q *Queue) tellDropped(ended bool) time.Duration {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	d := &q.losses.dropped
	if d.records == 0 {
		return 0
	}
	if left := tellEvery - time.Since(d.told); left > 0 && !ended {
		return left
	}
	slices.Sort(d.outputs)
	q.opt.Log.Warn("oldest records dropped, as when_full = drop_oldest says", "records", d.records, "segments", d.segments, "outputs", slices.Compact(d.outputs))
	d.records, d.segments, d.outputs, d.told = 0, 0, nil, time.Now()
	return 0
}

// noteDamage quarantines bytes that a reader could not use and writes the loss down, unless that has been done. The disk may take its
// time for the copy: who else has something to write down does not wait for that, only who has bytes to copy too, one of whom may be at
// the same damage.
func (q *Queue) noteDamage(f *file, from io.ReaderAt, offset, length int64, lost checkpoint.Range, cause string, why error) {
	var quarantined string
	var sources []string
	if length > 0 {
		q.losses.copying.Lock()
		defer q.losses.copying.Unlock()
		if q.told(lost) {
			return
		}
		if quarantined = q.quarantine(f, from, offset, length); quarantined == "" && len(q.losses.uncopied) < mostUncopied {
			q.losses.uncopied = append(q.losses.uncopied, uncopied{f, offset, length})
		}
		sources = recovery.SourcesOf(from, f.name, segment.Span{Offset: offset, Size: length}, lost, q.opt.Source)
	}
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	for _, part := range q.untoldLocked(lost) {
		loss := lossOf(part.First, part.Last, part.Last-part.First+1, cause, q.acknowledgement())
		loss.Segment, loss.Offset, loss.Length, loss.Quarantine, loss.Sources = f.name.String(), offset, length, quarantined, sources
		q.counters.damaged.Add(loss.Count)
		q.opt.Log.Error("records lost to damage; the rest goes on", "segment", f.path, "offset", offset, "length", length,
			"first", part.First, "last", part.Last, "records", loss.Count, "cause", cause, "of", recovery.Sources(sources), "quarantine", quarantined, "error", why)
		q.noteOrKeepLocked(loss)
	}
}

// told says whether all of this is written down, or waits to be.
func (q *Queue) told(lost checkpoint.Range) bool {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	return len(q.untoldLocked(lost)) == 0
}

// quarantine copies damaged bytes and returns the name of the copy, empty where there is none.
func (q *Queue) quarantine(f *file, from io.ReaderAt, offset, length int64) string {
	name, err := recovery.Quarantine(q.opt.FS, q.opt.Dir, from, f.name.String(), offset, length)
	if err != nil {
		q.opt.Log.Error("damaged bytes not quarantined", "segment", f.path, "offset", offset, "error", err)
	}
	q.aside.tidy.poke()
	return name
}

// acknowledgement is what is known of records up to the durable mark.
func (q *Queue) acknowledgement() string {
	if q.opt.Sync.Mode == SyncNever {
		return recovery.AcknowledgedUnknown
	}
	return recovery.Acknowledged
}

// noteMissing writes down records that stood in no segment, between others: nobody will get them.
func (q *Queue) noteMissing(lost checkpoint.Range) {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	for _, part := range q.untoldLocked(lost) {
		if q.unused.First <= part.First && part.Last <= q.unused.Last {
			continue
		}
		loss := lossOf(part.First, part.Last, part.Last-part.First+1, "missing segment", q.acknowledgement())
		q.counters.damaged.Add(loss.Count)
		q.opt.Log.Error("records lost with a segment that is gone; the rest goes on", "first", part.First, "last", part.Last, "records", loss.Count)
		q.noteOrKeepLocked(loss)
	}
}

// noteSkipped writes down which of the oldest records an output missed, beside those that it had done: with drop_oldest
// those of a deleted segment that were in its hands when it ended, else those of a segment that something else has removed.
func (q *Queue) noteSkipped(output string, gone []checkpoint.Range) {
	for _, lost := range gone {
		q.noteGone(output, lost)
	}
}

func (q *Queue) noteGone(output string, lost checkpoint.Range) {
	cause := "missing segment"
	if q.limits.Load().WhenFull == DropOldest {
		cause = recovery.CauseDropOldest
	}
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	for _, r := range q.ungivenLocked(output, lost) {
		if q.unused.First <= r.First && r.Last <= q.unused.Last {
			continue
		}
		loss := lossOf(r.First, r.Last, r.Last-r.First+1, cause, "yes")
		loss.Outputs = []string{output}
		q.opt.Log.Warn("oldest records are gone before they were delivered", "output", output, "first", r.First, "last", r.Last, "cause", cause)
		q.noteOrKeepLocked(loss)
	}
}

// flushDrops writes the records that drop_newest has refused since the last time into the ledger, as one line. It
// returns when to call it again, 0 when there is nothing to write. ended: no more are refused for now, so that there is
// nothing to wait for.
func (q *Queue) flushDrops(ended bool) time.Duration {
	total := q.counters.droppedNewest.Load()
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	n := total - q.losses.refused
	if n == 0 {
		return 0
	}
	if left := ledgerEvery - time.Since(q.losses.flushed); left > 0 && !ended {
		return left
	}
	q.losses.flushed = time.Now()
	if !q.noteLossLocked(lossOf(0, 0, n, recovery.CauseDropNewest, "no")) {
		return ledgerEvery
	}
	q.losses.refused = total
	return 0
}
