package recovery

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// work is what a repair has to do about one segment.
type work struct {
	part  *part
	found []finding // of it, in order of their offsets; history too
	lines []Loss    // that have to be durable before its bytes are changed
	way   way
	wants int64    // bytes of room
	lost  []Damage // what the report tells when the ledger has it
	gains []Damage // and when it is done
	known bool     // of some of its bad bytes the ledger told before
}

// way is how a segment is made good.
type way int

const (
	leave   way = iota
	heal        // everything in it is as it was, when it is done
	rewrite     // its good frames stay
	sealUp      // it ends where its frames do
)

// settleAll copies what is lost to quarantine, writes the ledger, and then brings segment by segment into the form that it keeps.
func (r *repairer) settleAll(found []finding) error {
	r.left = slices.DeleteFunc(slices.Clone(r.parts), func(p *part) bool { return !p.normal() }) // others may have given up their names
	todo, err := r.plan(found)
	if err != nil {
		return err
	}
	if err := r.saveLost(todo); err != nil {
		return err
	}
	changes := slices.DeleteFunc(slices.Clone(todo), func(w *work) bool { return w.way == leave })
	for _, w := range todo {
		if err := r.interrupted(); err != nil {
			return err
		}
		if i := slices.Index(changes, w); i >= 0 && r.options.Changing != nil {
			r.options.Changing(i+1, len(changes))
		}
		if err := r.carryOut(w); err != nil {
			return err
		}
	}
	return nil
}

// plan says what there is to do, for one segment after the other, and for what is not there in the end.
func (r *repairer) plan(found []finding) ([]*work, error) {
	x := explainer{ctx: r.ctx, fsys: r.fsys, parts: r.parts, outputs: r.Outputs, source: r.options.Source}
	fresh := slices.DeleteFunc(slices.Clone(found), func(f finding) bool { return f.torn || r.sums.history(f) })
	lost, err := x.explain(fresh)
	if err != nil {
		return nil, err
	}
	told := make(map[place]*Lost)
	for i, f := range fresh {
		told[f.place()] = lost[i]
	}
	var all []*work
	for _, p := range r.parts {
		if p.normal() {
			w := &work{part: p}
			for _, f := range found {
				if f.part == p {
					w.found = append(w.found, f)
				}
			}
			r.choose(w)
			all = append(all, w)
		}
	}
	absent := &work{}
	for _, f := range found {
		if f.part == nil {
			absent.found = append(absent.found, f)
		}
	}
	all = append(all, absent)
	for _, w := range all {
		if err := r.keepFound(w, told); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// place tells findings apart.
type place struct {
	part   *part
	offset int64
	first  uint64
}

func (f finding) place() place { return place{f.part, f.offset, f.lost.First} }

// choose finds the way to make a segment good.
func (r *repairer) choose(w *work) {
	p := w.part
	damaged, torn := false, p.superseded.length > 0
	for _, f := range w.found {
		damaged = damaged || !f.torn
		torn = torn || f.torn && f.length > 0 && !f.zero
	}
	if slices.ContainsFunc(p.holes, func(h hole) bool { return h.err != nil }) {
		damaged = true // the disk may yet give it: nothing is written over it
	}
	h := p.healing
	switch {
	case p.sealed && h != nil && !h.Won() && h.Whole() && p.badHeader == nil:
	case p.sealed && h != nil && h.Whole() && (p.badHeader == nil || h.Header):
		w.way, w.wants = heal, h.Size
	case p.unfinished && !damaged && r.overdue(p):
		w.way, w.wants, w.gains = heal, segment.SealedSize(p.header.Size, p.end), []Damage{p.lacks(didRebuild)}
	case p.sealed, damaged:
		w.way, w.wants = rewrite, segment.SealedSize(p.header.Size, p.keptEnd())
	case p.identified && (torn || p.unfinished || r.overdue(p)):
		w.way, w.wants = sealUp, max(0, segment.SealedSize(p.header.Size, p.end)-p.size)
	}
}

// keptEnd is where the frames of a segment end that is written anew.
func (p *part) keptEnd() int64 {
	if p.sealed {
		return p.trailer.DataEnd
	}
	return p.end
}

// overdue tells whether a segment should have had a trailer long ago, as fsck finds it.
func (r *repairer) overdue(p *part) bool {
	return slices.Contains(r.check.lacking(), p)
}

// keepFound copies the bytes of a segment that are lost to quarantine, and gathers the lines for the ledger. If a copy
// fails the segment is left as it is, with its lines.
func (r *repairer) keepFound(w *work, told map[place]*Lost) error {
	for _, f := range w.found {
		switch {
		case f.made():
			w.gains = append(w.gains, f.damage(remade(f.action)))
		case !f.torn && r.sums.history(f):
			w.known = true
		case f.cause == causeHeader && f.part != nil && f.part.frames > 0:
			w.gains = append(w.gains, f.damage(didRebuild))
		default:
			if err := r.keepOne(w, f, told[f.place()]); err != nil {
				return err
			}
		}
	}
	if p := w.part; p != nil && !p.sealed && p.superseded.length > 0 && w.way != leave {
		if _, err := r.copyTo(w, p.superseded, false); err != nil {
			return err
		}
		r.Report.note(fmt.Sprintf("segment %s: frames from offset %d on stand in the next segment again", p.name, p.superseded.offset))
	}
	if w.part != nil && w.part.stuck {
		w.way, w.lines, w.lost, w.gains = leave, nil, nil, nil
	}
	return nil
}

func (r *repairer) keepOne(w *work, f finding, lost *Lost) error {
	copied, err := r.copyTo(w, f.span, f.zero)
	if err != nil {
		return err
	}
	lines := r.sums.losses(f, r.mark, copied)
	for i := range lines {
		lines[i].Time = r.opt.Now().UTC()
		lines[i].Sources = lost.Known()
	}
	w.lines = append(w.lines, lines...)
	if f.torn {
		if !f.zero {
			r.Report.TornTailBytes += f.length
		}
		if f.lost.First > 0 {
			r.Report.note(f.tornRecords())
		}
		return nil
	}
	action := didLedger
	if copied != "" {
		action = didQuarantine
	}
	d := f.damage(action)
	d.Lost = lost
	w.lost = append(w.lost, d)
	return nil
}

// copyTo is keep for a repair: where a copy cannot be made the segment is left for the next run.
func (r *repairer) copyTo(w *work, what span, zero bool) (name string, err error) {
	p := w.part
	if p == nil || p.stuck || what.length == 0 || zero {
		return "", nil
	}
	f, err := r.fsys.Open(p.path)
	if err == nil {
		name, err = quarantine(r.ctx, r.fsys, r.dir, f, p.name.String(), what.offset, what.length)
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		r.copied = true
		return name, nil
	}
	p.stuck = true
	return "", r.give(fmt.Sprintf("segment %s is left as it is, its bad bytes cannot be copied", p.name), what.length+w.wants, err)
}

// made tells whether a finding is of what is made again, and costs no record.
func (f finding) made() bool {
	return f.action == wouldHeal || f.action == wouldRebuild || f.action == wouldQuarantine && f.cause != causeUnreadable
}

func remade(action string) string {
	if action == wouldHeal {
		return didHeal
	}
	return didRebuild
}

// saveLost writes the ledger. Where that fails, nothing is changed that it should tell of.
func (r *repairer) saveLost(todo []*work) error {
	var lines []Loss
	for _, w := range todo {
		lines = append(lines, w.lines...)
	}
	if len(lines) == 0 {
		return nil
	}
	if err := r.interrupted(); err != nil {
		return err
	}
	err := r.ledger.Add(lines...)
	if err != nil {
		err = r.ledger.Add(lines...) // into a file of its own now
	}
	if err == nil {
		r.Report.Repaired = true
		r.sums = r.ledger.sums()
		return nil
	}
	for _, w := range todo {
		if len(w.lines) > 0 {
			w.way, w.lost, w.gains = leave, nil, nil
			r.wants += w.wants
		}
	}
	return r.give("the loss ledger cannot be written, and nothing that is lost is touched", diskBlock, err)
}

func (r *repairer) carryOut(w *work) error {
	for _, d := range w.lost {
		r.Report.add(d)
	}
	if p := w.part; w.way != leave {
		r.left = slices.DeleteFunc(r.left, func(left *part) bool { return left == p })
		if err := r.make(p, w); err != nil {
			return r.give(fmt.Sprintf("segment %s is not repaired", p.name), w.wants, err)
		}
		r.Report.Repaired = true
		if w.known && w.way == rewrite {
			r.Report.note(fmt.Sprintf("segment %s is written anew without bytes whose loss had been written down", p.name))
		}
	}
	for _, d := range w.gains {
		r.Report.add(d)
	}
	return nil
}

func (r *repairer) make(p *part, w *work) error {
	switch w.way {
	case heal:
		h, err := Heal(r.fsys, r.dir, p.name, HealOptions{})
		return errors.Join(err, h.Waits)
	case rewrite:
		return r.rewrite(p)
	}
	if r.overdue(p) {
		w.gains = append(w.gains, p.lacks(didRebuild))
	}
	return r.seal(p)
}

// rewrite replaces a segment by one with its good frames, at their offsets, and zeros for the rest.
func (r *repairer) rewrite(p *part) error {
	f, err := r.fsys.Open(p.path)
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	h, end, mark := r.headerFor(p), p.keptEnd(), r.mark
	if p.sealed {
		mark = p.trailer.Mark
	}
	known := []segment.Span{{Offset: p.superseded.offset, Size: p.superseded.length}}
	for _, hole := range p.holes {
		known = append(known, segment.Span{Offset: hole.offset, Size: hole.length})
	}
	x := exchange{
		fsys: r.fsys, dir: r.dir, name: p.name, f: f, size: p.size, want: segment.SealedSize(h.Size, end),
		fill: func(into vfs.File) error {
			_, err := segment.Rewrite(into, p.image(f), h, end, mark, known)
			return err
		},
		proven: func(made io.ReaderAt) error { return soundAs(made, segment.SealedSize(h.Size, end), p.name) },
	}
	x.changed = append(x.changed, segment.Span{Size: p.size})
	return x.run()
}

// soundAs is an error where a file is not a whole sealed segment.
func soundAs(made io.ReaderAt, size int64, name segment.Name) error {
	h, err := segment.Diagnose(made, size, name)
	if err == nil && (h.Won() || !h.Whole()) {
		err = errors.New("the disk gives other bytes than were written")
	}
	if err != nil {
		return fmt.Errorf("the new file is not what it should be: %w; nothing was replaced", err)
	}
	return nil
}
