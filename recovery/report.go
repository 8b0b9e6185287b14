package recovery

import "slices"

// Report is what a start or a check found. Its JSON form is the one object that fsck --json prints: members are added,
// never renamed.
type Report struct {
	Version          int      `json:"version"` // of this object: 1
	Clean            bool     `json:"clean"`   // no damage but what the loss ledger already tells of
	Repaired         bool     `json:"repaired"`
	Segments         int      `json:"segments"`
	Records          uint64   `json:"records"`
	Bytes            int64    `json:"bytes"`          // of all segment files
	FirstSequence    uint64   `json:"first_sequence"` // 0: no records
	LastSequence     uint64   `json:"last_sequence"`
	TornTailBytes    int64    `json:"torn_tail_bytes"`
	HealedBytes      int64    `json:"healed_bytes"`
	QuarantinedBytes int64    `json:"quarantined_bytes"` // of damage; torn bytes are copied too and counted as torn
	Damage           []Damage `json:"damage"`
	LostRecords      uint64   `json:"lost_records"` // of what had been durable
	Outputs          []Output `json:"outputs"`
	Notes            []string `json:"notes"` // what an operator may want to know and need not act on

	Wants int64 `json:"wants,omitempty"` // bytes that have to be freed before a repair, which found the disk full, can go on

	Running bool          `json:"running"` // a daemon has the queue open
	Ledger  []CauseLosses `json:"ledger"`  // history: what the loss ledger tells of, by cause
}

// Damage is one place where what had been durable is gone or altered.
type Damage struct {
	Segment   string `json:"segment"` // name of the file; empty where a file is missing whose name nothing tells
	Offset    int64  `json:"offset"`
	Length    int64  `json:"length"`
	Cause     string `json:"cause"`
	Action    string `json:"action"`
	FirstLost uint64 `json:"first_lost"` // 0: no record is lost
	LastLost  uint64 `json:"last_lost"`
	Lost      *Lost  `json:"lost,omitempty"` // of fsck: what the lost records were; nil: none is lost
}

// Output is how far an output has come.
type Output struct {
	Name     string `json:"name"`
	Position uint64 `json:"position"`          // its floor: every record before this sequence is done
	Backlog  uint64 `json:"backlog"`           // records from there on that are not done
	Missing  uint64 `json:"missing,omitempty"` // of the records that this report tells of as lost, those that it had not done
}

// Causes of damage.
const (
	causeChecksum   = "checksum"        // bytes that are not what was written
	causeZeroed     = "zeroed"          // zeros where frames were
	causeTruncated  = "truncated"       // the file ends too early
	causeMissing    = "missing segment" // a whole file is gone, or was never durable
	causeTrailer    = "trailer"
	causeIndex      = "index"
	causeHeader     = "header"
	causeUnreadable = "unreadable"    // the disk returns an error, or a frame with a good checksum cannot be decoded
	causeForeign    = "foreign bytes" // bytes behind the trailer
	causeJump       = "missing"       // a jump of the sequences between two good frames
	causeStore      = "checkpoints"   // the checkpoint database
	causeName       = "name"          // a segment's file has the name of another one
	causeStranger   = "no segment"    // a file that only its name makes a segment, where none is missing
	causeQueue      = "other queue"   // a segment of another queue
	causeCopy       = "duplicate"     // a segment that is there under its own name too
	causeEpoch      = CauseEpoch      // a segment of another life of the queue, with sequences that were given again
)

// Actions: what a repair would do, and what has been done.
const (
	wouldQuarantine = "would quarantine"
	wouldHeal       = "would heal"
	wouldRebuild    = "would rebuild"
	wouldLedger     = "would write down"
	wouldRename     = "would rename"
	didHeal         = "healed"
	didQuarantine   = "quarantined"
	didRebuild      = "rebuilt"
	didLedger       = "written down"
	didRename       = "renamed"
	didNothing      = "left as it is"
)

func newReport() Report {
	return Report{Version: 1, Clean: true, Damage: []Damage{}, Outputs: []Output{}, Notes: []string{}, Ledger: []CauseLosses{}}
}

// NothingThere is the report on a queue that is not there yet, with a note that says why.
func NothingThere(note string) Report {
	r := newReport()
	r.note(note)
	return r
}

func (r *Report) note(text string) {
	if !slices.Contains(r.Notes, text) {
		r.Notes = append(r.Notes, text)
	}
}

// add books damage that is no history.
func (r *Report) add(d Damage) {
	r.Clean = false
	r.Damage = append(r.Damage, d)
	if d.FirstLost > 0 {
		r.LostRecords += d.LastLost - d.FirstLost + 1
	}
	if d.Lost != nil {
		r.miss(d.Lost.Outputs)
	}
	switch d.Action {
	case wouldHeal, didHeal:
		r.HealedBytes += d.Length
	case wouldQuarantine, didQuarantine:
		r.QuarantinedBytes += d.Length
	}
}

// tells tells whether damage in the report has cost one of the records from first to last already.
func (r *Report) tells(first, last uint64) bool {
	return slices.ContainsFunc(r.Damage, func(d Damage) bool { return d.FirstLost > 0 && d.FirstLost <= last && first <= d.LastLost })
}

// miss counts what outputs will not get.
func (r *Report) miss(lost []LostForOne) {
	for _, l := range lost {
		if i := slices.IndexFunc(r.Outputs, func(o Output) bool { return o.Name == l.Name }); i >= 0 {
			r.Outputs[i].Missing += l.Missing
		}
	}
}
