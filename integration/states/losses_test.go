package states

import (
	"bytes"
	"fmt"
	"slices"

	"logmule/checkpoint"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// ledger judges the lines of the ledger: nothing is said to be lost that is owed, and nothing twice.
func (j *trial) ledger() {
	if j.p.loose {
		return
	}
	var refused uint64
	told := map[string]checkpoint.Ranges{}
	for _, loss := range j.losses {
		if loss.First == 0 {
			if loss.Cause == "drop_newest" {
				refused += loss.Count
			}
			continue
		}
		names := loss.Outputs
		if len(names) == 0 {
			names = []string{""} // all
		}
		for s := loss.First; s <= loss.Last; s++ {
			if !slices.Contains(j.p.causes, loss.Cause) && binds(j.m.acked, s, j.n) && !(j.bare && j.takenByAll(s, loss.Outputs)) {
				j.fail("the ledger says that record %d is lost: %+v", s, loss)
				break
			}
		}
		for _, name := range names {
			if checkpoint.Ranges(told[name].Without(loss.First, loss.Last)).Count() < loss.Last-loss.First+1 {
				j.fail("the ledger tells %q twice of records %d to %d", name, loss.First, loss.Last)
			}
			told[name] = told[name].Add(loss.First, loss.Last)
		}
	}
	for _, loss := range j.losses {
		if was := j.m.evidence[loss.Segment]; was != nil && loss.Quarantine != "" {
			copied, err := vfs.ReadFile(j.disk, dataDir+"/"+loss.Quarantine, 1<<20)
			if (err != nil || !bytes.Equal(copied, was[loss.Offset:loss.Offset+loss.Length])) && !j.keeps(loss.Segment, was) {
				j.fail("quarantine does not have the bytes of %+v: %v", loss, err)
			}
		}
	}
	if refused > j.m.refused {
		j.fail("the ledger counts %d refused records, there were %d", refused, j.m.refused)
	}
}

// evidence looks for what was damaged: as long as nothing else stands in its place, it is there, afterwards in quarantine.
func (j *trial) evidence() {
	for base, was := range j.m.evidence {
		now, err := vfs.ReadFile(j.disk, dataDir+"/segments/"+base, 1<<30)
		if j.p.heals && err == nil && !bytes.Equal(now, was) && !j.keeps(base, was) {
			j.fail("segment %s is healed, and quarantine does not have the damaged one", base)
		}
	}
}

// keeps tells whether a healing has put this damaged segment into quarantine.
func (j *trial) keeps(base string, was []byte) bool {
	kept, err := vfs.ReadFile(j.disk, dataDir+"/quarantine/"+base+".damaged", 1<<30)
	return err == nil && bytes.Equal(kept, was)
}

// takenByAll tells whether nobody of those outputs, or of all, misses a record. Without checkpoints a position may lie before
// what is retained, and then nobody can know it.
func (j *trial) takenByAll(s uint64, outputs []string) bool {
	for name, o := range j.m.outputs {
		if o.gone > j.n && (len(outputs) == 0 || slices.Contains(outputs, name)) && !binds(o.taken, s, j.n) {
			return false
		}
	}
	return true
}

// mayMiss tells whether a position may lie before what is retained: one in the log, or that of an output which had in its hands what
// drop_oldest has dropped. fsck calls lost what lies between.
func (j *trial) mayMiss() bool { return (j.bare || j.drops()) && !j.hurt() }

func (j *trial) drops() bool { return slices.Contains(j.p.causes, recovery.CauseDropOldest) }

// asSaid holds what fsck said then against what the start and the readers have written down since. Without checkpoints it is nothing
// that anybody misses.
func (j *trial) asSaid(before recovery.Report, told []recovery.Loss) {
	if !j.mayMiss() {
		return
	}
	var said, written checkpoint.Ranges
	for _, d := range before.Damage {
		if d.FirstLost == 0 && j.p.heals {
			continue
		}
		said = said.Add(d.FirstLost, d.LastLost)
		for s := d.FirstLost; s <= d.LastLost; s++ {
			if d.Cause != "missing segment" || d.FirstLost == 0 || binds(j.m.acked, s, j.n) && !j.drops() && !j.takenByAll(s, nil) {
				j.fail("fsck before the start: %+v", d)
				break
			}
		}
	}
	for _, loss := range j.losses[len(told):] {
		if loss.Acknowledged != recovery.NotAcknowledged && (loss.Cause == "missing segment" || j.drops()) {
			written = written.Add(loss.First, loss.Last)
		}
	}
	for _, r := range written {
		if left := said.Without(r.First, r.Last); len(left) > 0 && !j.drops() {
			j.fail("fsck said that records %s are lost, the ledger says %s", said, written)
		}
	}
	for _, o := range j.m.outputs {
		if o.gone <= j.n {
			return // what it lacks is written down when it comes back
		}
	}
	for _, r := range said {
		if len(written.Without(r.First, r.Last)) > 0 {
			j.fail("fsck said that records %s are lost, the ledger says %s", said, written)
		}
	}
}

// sources judges the positions: each is one that was set, not older than what was durable, and its records are there
// exactly up to it.
func (j *trial) sources(found map[string][]byte) {
	for key, steps := range j.m.sources {
		oldest, got := -1, string(found[key])
		for i, s := range steps {
			if s.at <= j.n && !j.hurt() { // a position may have been in what is destroyed
				oldest = i
			}
		}
		wrong := fmt.Sprintf("durable was %q, step %d of %d", value(steps, oldest), oldest, len(steps))
		for at := max(oldest, -1); at < len(steps) && wrong != ""; at++ {
			if value(steps, at) == got { // a removed one may be at several
				wrong = j.exactly(steps, at)
			}
		}
		if wrong != "" {
			j.fail("%s stands at %q, but %s", key, got, wrong)
		}
	}
	for key := range found {
		if _, known := j.m.sources[key]; !known {
			j.fail("%s was never set", key)
		}
	}
}

// exactly says what is wrong where a source stands at a step: the records up to it have to be there, later ones not.
func (j *trial) exactly(steps []step, at int) string {
	for i, s := range steps {
		switch {
		case s.last < j.oldest || j.hurt() || len(j.m.payloads[s.last]) > 1:
		case i <= at && !j.there[s.last]:
			return fmt.Sprintf("record %d, which came before with %q, is not there", s.last, s.value)
		case i > at && j.there[s.last]:
			return fmt.Sprintf("record %d, which came later with %q, is there", s.last, s.value)
		}
	}
	return ""
}

func value(steps []step, i int) string {
	if i < 0 {
		return ""
	}
	return steps[i].value
}
