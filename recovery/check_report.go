package recovery

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// describe makes the report.
func (c *checker) describe(found []finding) error {
	r := &c.report
	r.count(c.parts)
	r.outputs(c.outputs)
	found = withoutIdle(slices.DeleteFunc(found, func(f finding) bool { return c.past(f) }))
	x := explainer{ctx: c.ctx, fsys: c.fsys, parts: c.parts, outputs: c.outputs, source: c.opt.Source}
	lost, err := x.explain(found)
	if err != nil {
		return err
	}
	for i, f := range found {
		c.book(f, lost[i])
	}
	c.unsealed()
	c.database()
	c.before(found)
	if back := c.sums.returned(c.parts); len(back) > 0 {
		r.note(tellReturned(c.dir, back, c.outputs))
	}
	for _, p := range c.parts {
		if p.opaque && !p.gone && p.newer == nil {
			r.add(Damage{Segment: p.name.String(), Length: p.size, Cause: causeUnreadable, Action: didNothing})
		}
	}
	if c.live {
		r.note("a daemon has the queue open: what it has not yet made durable was not judged")
	}
	slices.SortStableFunc(r.Damage, func(a, b Damage) int {
		if a.Segment != b.Segment && a.FirstLost > 0 && b.FirstLost > 0 {
			return cmp.Compare(a.FirstLost, b.FirstLost)
		}
		return 0
	})
	r.Running, r.Ledger = c.live, c.sums.causes.standing(c.fsys, c.dir)
	return nil
}

// before says of records that are missing before the oldest one how sure that is, where there is no database.
func (c *checker) before(found []finding) {
	if c.beside.missing() && slices.ContainsFunc(found, finding.beforeAll) {
		c.report.note(fmt.Sprintf("%s is missing: how far an output had come is taken from what is left, and may be a second behind; of the records "+
			"that are missing before the oldest one, those of that second may have been delivered", CheckpointFile))
	}
}

// database looks at the checkpoint database, unless a daemon writes it. One that is missing is no damage.
func (c *checker) database() {
	if c.live {
		return
	}
	if c.beside.err != nil {
		c.report.note(fmt.Sprintf("%s was not checked: %v", CheckpointFile, c.beside.err))
	}
	if len(c.beside.findings) == 0 || c.beside.missing() {
		return
	}
	var size int64
	if info, err := c.fsys.Stat(filepath.Join(c.dir, CheckpointFile)); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	c.report.note(fmt.Sprintf("%s: %s", CheckpointFile, strings.Join(c.beside.findings, "; ")))
	c.report.add(Damage{Segment: CheckpointFile, Length: size, Cause: causeStore, Action: wouldRebuild})
}

// notePast is a note on damage that is history.
const notePast = "damage that the loss ledger tells of is not repeated here"

// past books a finding that is no damage: a torn tail, or what the loss ledger tells of.
func (c *checker) past(f finding) bool {
	r := &c.report
	switch {
	case f.torn:
		if !f.zero {
			r.TornTailBytes += f.length
		}
		if f.lost.First > 0 {
			r.note(f.tornRecords())
		}
	case c.sums.history(f):
		r.note(notePast)
	default:
		return false
	}
	return true
}

// withoutIdle leaves out parity blocks that nothing makes again where the damage that they could not heal is history: so are they.
func withoutIdle(found []finding) []finding {
	open := map[*part]bool{}
	for _, f := range found {
		open[f.part] = open[f.part] || !f.idle
	}
	return slices.DeleteFunc(found, func(f finding) bool { return f.idle && !open[f.part] })
}

// book puts damage into the report, with what a repair would do.
func (c *checker) book(f finding, lost *Lost) {
	r := &c.report
	if f.part != nil && f.part.stray != "" {
		r.note(f.part.told())
	}
	action := f.action
	switch {
	case action != "":
	case f.cause == causeHeader && f.part.frames > 0:
		action = wouldRebuild
	case f.length == 0 || f.zero:
		action = wouldLedger
	default:
		action = wouldQuarantine
	}
	d := f.damage(action)
	d.Lost = lost
	r.add(d)
}

// unsealed tells of segments without a trailer. The newest two that hold records may lack it: one is being written, and the
// seal of the one before it may be under way; a start seals both. An older one lacks it where the disk refused it, and then
// the log says so in each segment that has come after these two.
func (c *checker) unsealed() {
	lacking := c.lacking()
	for _, p := range slices.Backward(c.parts) {
		if !p.normal() || p.size == 0 || p.sealed {
			continue
		}
		_, refused := c.told[UnsealedKey(p.name)]
		switch {
		case !p.holdsRecords():
			c.report.note(fmt.Sprintf("segment %s holds no records", p.name))
		case slices.Contains(lacking, p):
			c.report.add(p.lacks(wouldRebuild))
		case refused:
			c.report.note(fmt.Sprintf("segment %s has no trailer, since the disk failed when it was written; its records are stored, without parity", p.name))
		default:
			c.report.note(fmt.Sprintf("segment %s is not sealed: it was being written", p.name))
		}
	}
}

// lacking are the segments that should have a trailer.
func (c *checker) lacking() (all []*part) {
	pending := 2
	for _, p := range slices.Backward(c.parts) {
		if !p.normal() || p.size == 0 || !p.holdsRecords() {
			continue
		}
		if pending--; pending < 0 && !p.sealed && c.told[UnsealedKey(p.name)] == nil {
			all = append(all, p)
		}
	}
	return all
}

// lacks is the damage of a segment that should have a trailer.
func (p *part) lacks(action string) Damage {
	return Damage{Segment: p.name.String(), Offset: p.end, Length: max(p.size-p.end, 0), Cause: causeTrailer, Action: action}
}
