package queue

import (
	"logmule/checkpoint"
)

// isReturned tells whether a segment is here again that the ledger tells of as lost, and that all outputs had passed when the queue was
// opened: nobody gets its records unless an operator has an output rewound. It is deleted only to make room.
func (q *Queue) isReturned(f *file) bool {
	return f.recovered && f.last.Load() < q.passed && q.losses.ledger.WasGone(f.name.First)
}

// tellReturned finds out what all outputs have passed, and says what of that is here again.
func (q *Queue) tellReturned() {
	q.passed = q.lowestDurable()
	var back checkpoint.Ranges
	for _, f := range q.files.snapshot() {
		if q.isReturned(f) {
			back = back.Add(f.name.First, f.last.Load())
		}
	}
	if len(back) > 0 && !q.opt.offline {
		q.opt.Log.Warn("records that were written down as lost with their segment are here again, and no output gets them by itself: to have them delivered, stop the daemon and "+
			"run logmule rewind; until then they are kept as long as there is room", "records", back.Count(), "first", back[0].First, "last", back.Last())
	}
}
