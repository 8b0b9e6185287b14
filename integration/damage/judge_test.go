package damage

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"logmule/checkpoint"
	"logmule/recovery"
)

// account judges what came, and what the ledger says of the rest.
func (j *trial) account() {
	o := j.expects
	for s := range o.must {
		if !has(j.there, s) {
			j.fail("I1", "record %d, whose bytes are there or can be healed, is not delivered", s)
		}
	}
	told := j.ledger()
	for name, p := range j.w.outputs {
		certain := o.positions[name]
		for s := p.Floor; s <= o.known; s++ {
			switch {
			case has(j.came[name], s), slices.ContainsFunc(p.Done, func(r checkpoint.Range) bool { return r.First <= s && s <= r.Last }):
			case has(j.there, s):
				j.fail("I1", "record %d is there and does not come to %s", s, name)
			case has(told[""], s), has(told[name], s), has(j.w.history, s):
			case s >= o.first && o.first > 0, certain.Floor > 0 && certain.Floor <= s:
				j.fail("I5", "record %d does not come to %s, and the ledger does not say so", s, name)
			}
		}
		done := checkpoint.Ranges(nil).Add(1, certain.Floor-min(certain.Floor, 1))
		for _, r := range certain.Done {
			done = done.Add(r.First, r.Last)
		}
		for _, r := range j.came[name] {
			if fresh := checkpoint.Ranges(done.Without(r.First, r.Last)); fresh.Count() < r.Last-r.First+1 {
				j.fail("repeat", "of records %d to %d, which come again to %s, only %q had not been done", r.First, r.Last, name, fresh)
			}
		}
	}
	j.agree()
}

func has(set checkpoint.Ranges, s uint64) bool { return len(set) > 0 && len(set.Without(s, s)) == 0 }

// ledger is what each output, and all ("") are told to miss. Nobody is told twice, and nobody of a record that comes.
func (j *trial) ledger() map[string]checkpoint.Ranges {
	told := map[string]checkpoint.Ranges{}
	for _, loss := range j.losses {
		if loss.First == 0 {
			continue
		}
		names := loss.Outputs
		if len(names) == 0 {
			names = []string{""}
		}
		for _, name := range names {
			fresh := told[name].Without(loss.First, loss.Last)
			if name != "" {
				for _, r := range told[""] {
					if r.First <= loss.Last && loss.First <= r.Last {
						fresh = nil
					}
				}
			}
			if checkpoint.Ranges(fresh).Count() != loss.Last-loss.First+1 {
				j.fail("I5", "the ledger tells %q twice of records %d to %d", name, loss.First, loss.Last)
			}
			told[name] = told[name].Add(loss.First, loss.Last)
			for s := loss.First; s <= loss.Last; s++ {
				if name == "" && has(j.there, s) || name != "" && has(j.came[name], s) {
					j.fail("I5", "the ledger says that record %d is lost for %q, but it comes: %+v", s, name, loss)
					break
				}
			}
		}
	}
	return told
}

// agree compares fsck with what came of it.
func (j *trial) agree() {
	if j.before.Records != j.there.Count() {
		j.fail("agree", "fsck counted %d records, %d come", j.before.Records, j.there.Count())
	}
	said, written := j.lost()
	if said.String() != written.String() {
		j.fail("agree", "fsck said that records %q are lost, the ledger says %q", said, written)
	}
}

// lost is which records are lost now that were, or may have been, acknowledged: as fsck said before, and as the ledger says.
func (j *trial) lost() (said, written checkpoint.Ranges) {
	fresh := func(first, last uint64) []checkpoint.Range { return j.w.history.Without(first, last) }
	for _, d := range j.before.Damage {
		for _, r := range fresh(d.FirstLost, d.LastLost) {
			said = said.Add(r.First, r.Last)
		}
	}
	for _, loss := range j.losses {
		if loss.Acknowledged == recovery.NotAcknowledged {
			continue
		}
		for _, r := range fresh(loss.First, loss.Last) {
			written = written.Add(r.First, r.Last)
		}
	}
	return said, written
}

// kept looks for the damaged bytes: those that are no longer where they were are in quarantine.
func (j *trial) kept() {
	after := imageOf(j.t, j.disk)
	for _, name := range sorted(j.now) {
		if !strings.HasPrefix(name, recovery.SegmentDir+"/") {
			continue
		}
		was, is, never, named := j.now[name], after[name], j.w.files[name], []byte(nil)
		if s := j.w.identify(name, was); s != nil { // it may get its own name back
			never, named = s.bytes, after[s.file()]
		}
		if bytes.Equal(was, is) || after.holds(was) {
			continue
		}
		saved := make([]bool, len(was))
		saving(saved, after, name, was)
		if s := j.w.identify(name, was); s != nil {
			saving(saved, after, s.file(), was)
		}
		there := func(p int, in []byte) bool { return p < len(in) && in[p] == was[p] }
		for p, b := range was {
			if b != 0 && !there(p, never) && !there(p, is) && !there(p, named) && !saved[p] {
				j.fail("I6", "byte %d of %s (%d bytes, now %d) was damaged, is changed, and no copy of it is kept", p, name, len(was), len(is))
				break
			}
		}
	}
	for moved, file := range j.moved {
		if !bytes.Equal(file, j.now[recovery.CheckpointFile]) {
			j.fail("I6", "%s is not the checkpoint database that was damaged", moved)
		}
	}
	j.copies(after)
}

// holds tells whether some file has just these bytes.
func (i image) holds(data []byte) bool {
	for _, other := range i {
		if bytes.Equal(data, other) {
			return true
		}
	}
	return false
}

// saving notes of which bytes of a file quarantine has a copy under this name.
func saving(saved []bool, after image, name string, was []byte) {
	for copied, data := range after {
		rest, ok := strings.CutPrefix(copied, "quarantine/"+filepath.Base(name))
		if !ok {
			continue
		}
		var at, length int
		if _, err := fmt.Sscanf(rest, "-%d-%d.bin", &at, &length); err != nil && !strings.HasPrefix(rest, ".") {
			continue
		}
		for i := range data {
			if at+i < len(was) && was[at+i] == data[i] {
				saved[at+i] = true
			}
		}
	}
}

// called is the damaged file of the segment with this name, or that has it and is none.
func (j *trial) called(name string) []byte {
	is := func(name, segment string) bool {
		s := j.w.identify(name, j.now[name])
		return s != nil && s.file() == segment
	}
	if !is(name, name) {
		for other := range j.now {
			if is(other, name) {
				return j.now[other]
			}
		}
	}
	return j.now[name]
}

// copies holds the lines of the ledger against the copies that they name.
func (j *trial) copies(after image) {
	for _, loss := range j.losses {
		was := j.called(filepath.Join(recovery.SegmentDir, loss.Segment))
		if loss.Length == 0 || int64(len(was)) < loss.Offset+loss.Length {
			continue
		}
		lost := was[loss.Offset : loss.Offset+loss.Length]
		data, there := after[loss.Quarantine]
		if !there && len(bytes.Trim(lost, "\x00")) > 0 {
			j.fail("I6", "no copy is named for %+v", loss)
		}
		if there && int64(len(data)) < loss.Length {
			j.fail("I6", "the copy has %d bytes: %+v", len(data), loss)
		}
	}
}
