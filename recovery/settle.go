package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// settle copies bad bytes to quarantine, writes the ledger, and only then seals what was open.
func (s *starter) settle() error {
	var owed checkpoint.Ranges
	if s.older == 0 && !slices.ContainsFunc(s.parts, func(p *part) bool { return p.normal() && p.holdsRecords() }) {
		owed = s.sums.owed(s.Outputs, s.End.Planned, s.Next-1)
	}
	found, err := s.settleOdd(s.findings(owed))
	if err != nil {
		return err
	}
	lost, err := s.explain(found)
	if err != nil {
		return err
	}
	var losses []Loss
	for i, f := range found {
		if f.part != nil && f.part.sealed && f.cause != causeForeign && !f.part.resealed() {
			s.Report.note(fmt.Sprintf("segment %s has damaged bytes at offset %d: its readers and fsck deal with them", f.segment, f.offset))
			continue
		}
		copied, err := s.keep(f.part, f.span, f.zero)
		if err != nil {
			return err
		}
		s.book(f, lost[i], copied)
		for _, loss := range s.sums.losses(f, s.mark, copied) {
			loss.Sources = lost[i].Known()
			losses = append(losses, loss)
		}
	}
	for _, p := range s.parts {
		if p.normal() && !p.sealed && p.superseded.length > 0 {
			if _, err := s.keep(p, p.superseded, false); err != nil {
				return err
			}
			s.Report.note(fmt.Sprintf("segment %s: frames from offset %d on stand in the next segment again", p.name, p.superseded.offset))
		}
	}
	if err := s.writeDown(losses); err != nil {
		return err
	}
	for _, p := range s.parts {
		s.heal(p)
		if err := s.finish(p); err != nil {
			return err
		}
	}
	return nil
}

// writeDown adds to the ledger.
func (s *starter) writeDown(losses []Loss) error {
	now := s.opt.Now().UTC()
	for i := range losses {
		losses[i].Time = now
	}
	if err := s.ledger.Add(losses...); err != nil {
		return fmt.Errorf("%w; %s", err, writeHint(err))
	}
	return nil
}

// spare refuses to take more than half of the room that is left: what the start makes itself comes first, and the queue,
// which knows its limits, heals later.
func (s *starter) spare(size int64) error {
	space, err := s.fsys.Space(s.dir)
	if err == nil && space.Free < 2*size {
		err = fmt.Errorf("%d bytes are free: %w", space.Free, syscall.ENOSPC)
	}
	return err
}

// heal replaces a segment by what it was read as. Where that has to wait, its readers do it, or do without.
func (s *starter) heal(p *part) {
	if !p.normal() || p.healing == nil || !p.healing.Won() || p.foreign.length > 0 {
		return
	}
	h, err := Heal(s.fsys, s.dir, p.name, HealOptions{Room: s.spare})
	if err = errors.Join(err, h.Waits); err != nil {
		s.Report.note(fmt.Sprintf("segment %s is damaged and not healed yet: %v", p.name, err))
	}
	if !h.Replaced {
		return
	}
	p.size = h.Size
	for _, g := range h.Gains {
		s.Report.add(Damage{Segment: p.name.String(), Offset: g.Offset, Length: g.Size, Cause: g.Cause, Action: g.action(didHeal, didRebuild)})
	}
}

// findings are those of the parts, and of files that are in the way. What is missing before the oldest segment its
// readers find, so that a start owes it only where there is nothing left that they could read.
func (s *starter) findings(owed checkpoint.Ranges) []finding {
	found := (&judge{parts: s.parts, mark: s.mark, end: s.Next - 1, owed: owed}).findings()
	for _, p := range s.misnamed {
		found = append(found, finding{part: p, segment: p.base(), cause: causeName, action: wouldRename})
	}
	for _, p := range s.strays {
		found = append(found, p.strayFinding())
	}
	return found
}

// keep copies bytes of a segment to quarantine and returns the name of the copy. If that fails the segment is not to be
// changed; only what the operator has to settle is an error.
func (s *starter) keep(p *part, what span, zero bool) (string, error) {
	if p == nil || what.length == 0 || zero {
		return "", nil
	}
	f, err := s.fsys.Open(p.path)
	if err == nil {
		var name string
		name, err = Quarantine(s.fsys, s.dir, f, p.name.String(), what.offset, what.length)
		if err = errors.Join(err, f.Close()); err == nil {
			return name, nil
		}
	}
	p.stuck = true
	if operational(err) {
		return "", fmt.Errorf("%w; let this user write there", err)
	}
	s.Report.note(fmt.Sprintf("segment %s is left as it is, its bad bytes cannot be copied: %v", p.name, err))
	return "", nil
}

// explain finds out what the lost records were.
func (s *starter) explain(found []finding) ([]*Lost, error) {
	x := explainer{ctx: context.Background(), fsys: s.fsys, parts: s.parts, outputs: s.Outputs, source: s.opt.Source}
	return x.explain(found)
}

// book puts a finding into the report.
func (s *starter) book(f finding, lost *Lost, copied string) {
	switch {
	case f.torn:
		if !f.zero {
			s.Report.TornTailBytes += f.length
		}
		if f.lost.First > 0 {
			s.Report.note(f.tornRecords())
		}
	case s.sums.history(f):
	default:
		d := f.done(copied)
		d.Lost = lost
		s.Report.add(d)
	}
}

// done is a finding that was dealt with, as a report shows it.
func (f finding) done(copied string) Damage {
	switch {
	case f.cause == causeName:
		return f.damage(didRename)
	case copied != "":
		return f.damage(didQuarantine)
	case f.part != nil && f.part.stuck:
		return f.damage(didNothing)
	}
	return f.damage(didLedger)
}

// finish brings a segment into the form that it keeps. A segment without records is left, since the queue deletes it, but
// without the frames that were given up: a power loss may undo the deletion, when the mark has passed their sequences.
func (s *starter) finish(p *part) error {
	if !p.normal() || p.stuck || (p.sealed && p.foreign.length == 0) {
		return nil
	}
	bring := s.seal
	if !p.holdsRecords() {
		if p.cut.length == 0 {
			return nil
		}
		bring = s.shorten
	}
	err := bring(p)
	if operational(err) {
		return fmt.Errorf("%w; let this user write %s", err, p.path)
	}
	if err != nil {
		s.Report.note(fmt.Sprintf("segment %s stays as it is: %v", p.name, err))
	}
	return nil
}

// shorten ends a segment before the frames that were given up.
func (s *starter) shorten(p *part) error {
	f, err := s.fsys.OpenWrite(p.path)
	if err != nil {
		return fmt.Errorf("open segment to cut it: %w", err)
	}
	if err = f.Truncate(p.cut.offset); err == nil {
		err = f.Sync()
	}
	if err == nil {
		p.size = p.cut.offset
	}
	return errors.Join(err, f.Close())
}

func (s *starter) seal(p *part) error {
	f, err := s.fsys.OpenWrite(p.path)
	if err != nil {
		return fmt.Errorf("open segment to seal it: %w", err)
	}
	if p.sealed {
		err = f.Truncate(p.foreign.offset)
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}
	h := p.header
	if h.Queue == (segment.ID{}) {
		h.Queue = s.Queue
	}
	// A trailer vouches for the frames, and the process that wrote them may have ended before its sync.
	if err = f.Sync(); err == nil {
		p.trailer, err = segment.SealRecovered(f, h, p.end, s.mark)
	}
	if err == nil {
		p.sealed = true
		p.size, err = f.Size()
	}
	return errors.Join(err, f.Close())
}

// describe fills in what the queue needs to know.
func (s *starter) describe() {
	older, next := s.listed[:s.older], segment.Name{First: s.Next}
	if i := slices.IndexFunc(s.parts, (*part).normal); i >= 0 {
		next = s.parts[i].header.Name()
	}
	for i, l := range older {
		next := next
		if i+1 < len(older) {
			next = older[i+1].name
		}
		s.Segments = append(s.Segments, Segment{Name: l.name, Size: l.size, Last: next.First - 1})
		s.Report.Segments++
		s.Report.Bytes += l.size
		s.Report.Records += next.First - l.name.First
	}
	for _, p := range s.parts {
		if p.leftover() && p.keptAs == "" && !p.stuck {
			s.Empty = append(s.Empty, p.name)
		}
		if !p.normal() {
			continue
		}
		last, end := p.last, p.end
		if p.sealed { // frames at its end, or all, may be bad: its readers write them off
			last, end = max(last, min(p.trailer.Last, p.bound)), max(end, p.trailer.DataEnd)
		}
		if last < p.header.First {
			if !p.stuck {
				s.Empty = append(s.Empty, p.name)
			}
			if p.identified && s.Previous.Salt == 0 {
				s.Previous = p.header.Previous
			}
			continue
		}
		s.Segments = append(s.Segments, Segment{Name: p.name, Size: p.size, Last: last, DataEnd: end, Sealed: p.sealed, MaxTime: p.maxTime})
		s.Previous = segment.Link{Last: last, Salt: p.header.Salt}
	}
	s.Report.count(s.parts)
	if len(older) > 0 {
		s.Report.FirstSequence = older[0].name.First
		s.Report.LastSequence = max(s.Report.LastSequence, s.Segments[len(s.Segments)-1].Last)
	}
	s.Report.outputs(s.Outputs)
}

// outputs fills in the outputs by name.
func (r *Report) outputs(outputs map[string]checkpoint.Position) {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		p := outputs[name]
		r.Outputs = append(r.Outputs, Output{Name: name, Position: p.Floor, Backlog: backlog(p, r.FirstSequence, r.LastSequence)})
	}
	for _, d := range r.Damage {
		if d.Lost != nil {
			r.miss(d.Lost.Outputs)
		}
	}
}

// noteLedger tells of lines of the ledger that cannot be read.
func (r *Report) noteLedger(bad int) {
	if bad > 0 {
		r.note(fmt.Sprintf("torn or altered in %s, and passed over: %s", ledgerFile, countOf(uint64(bad), "line")))
	}
}
