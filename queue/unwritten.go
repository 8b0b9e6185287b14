package queue

import (
	"slices"
	"time"

	"logmule/checkpoint"
	"logmule/recovery"
)

// mostUnwritten bounds the losses that wait for a ledger that cannot be written. Those beyond are only in the log.
const mostUnwritten = 4096

// noteOrKeepLocked writes a loss into the ledger, or keeps it until that can be written: what is lost is lost, and somebody
// will want to know.
func (q *Queue) noteOrKeepLocked(loss recovery.Loss) {
	if q.addLossesLocked(loss) == nil || len(q.losses.unwritten) == mostUnwritten {
		return
	}
	q.losses.unwritten = append(q.losses.unwritten, loss)
	q.keep.poke()
}

// untoldLocked is what of the sequences of r neither the ledger tells of nor a loss that waits for it.
func (q *Queue) untoldLocked(r checkpoint.Range) []checkpoint.Range {
	return q.notWaitingLocked(q.losses.ledger.Untold(r), func(recovery.Loss) bool { return true })
}

// untoldOfLocked is untoldLocked for one output: others may have missed the same earlier.
func (q *Queue) untoldOfLocked(output string, r checkpoint.Range) []checkpoint.Range {
	return q.notWaitingLocked(q.losses.ledger.UntoldOf(output, r), func(loss recovery.Loss) bool {
		return len(loss.Outputs) == 0 || slices.Contains(loss.Outputs, output)
	})
}

// ungivenLocked is untoldOfLocked without what the ledger says that the output has given up: where a crash has brought an
// older position of it back, it misses nothing more.
func (q *Queue) ungivenLocked(output string, r checkpoint.Range) []checkpoint.Range {
	var missed []checkpoint.Range
	for _, part := range q.losses.ledger.Ungiven(recovery.CauseBacklog, output, r) {
		for _, kept := range q.losses.ledger.Ungiven(recovery.CauseForgotten, output, part) {
			missed = append(missed, q.untoldOfLocked(output, kept)...)
		}
	}
	return missed
}

// notWaitingLocked leaves out what the losses tell of that wait and match.
func (q *Queue) notWaitingLocked(parts []checkpoint.Range, match func(recovery.Loss) bool) (untold []checkpoint.Range) {
	var waiting checkpoint.Ranges
	for _, loss := range q.losses.unwritten {
		if match(loss) {
			waiting = waiting.Add(loss.First, loss.Last)
		}
	}
	for _, part := range parts {
		untold = append(untold, waiting.Without(part.First, part.Last)...)
	}
	return untold
}

// flushUnwritten writes the losses that wait. It returns when to call it again, 0 when none is left.
func (q *Queue) flushUnwritten() time.Duration {
	q.losses.mu.Lock()
	defer q.losses.mu.Unlock()
	if len(q.losses.unwritten) == 0 {
		return 0
	}
	if left := ledgerEvery - time.Since(q.losses.tried); left > 0 && !q.isClosing() {
		return left
	}
	q.losses.tried = time.Now()
	if q.writeLossesLocked(q.losses.unwritten...) != nil {
		return ledgerEvery
	}
	q.losses.unwritten = nil
	return 0
}
