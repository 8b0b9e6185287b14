package recovery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Start prepares the data directory dir for the queue that is about to be opened on it: it counts the start, reads at
// most the two newest segments that hold records, and settles what a crash or damage has left in them. The caller holds
// the lock and owns store. Whatever is damaged is lived with; the error is one that the operator has to settle, such as
// a missing permission, or an *UnknownFormatError for the identity. Start may fail or be killed at any point and be
// repeated.
func Start(fsys vfs.FS, dir string, store checkpoint.Store, opt Options) (State, error) {
	if err := fsys.MkdirAll(filepath.Join(dir, SegmentDir)); err != nil {
		if _, _, nowhere := list(fsys, dir); nowhere == errLeadsNowhere {
			return State{}, nowhere
		}
		return State{}, fmt.Errorf("make segment directory in %s: %w; let this user write there", dir, err)
	}
	ledger, err := OpenLedger(fsys, dir)
	if err != nil {
		return State{}, err
	}
	s := starter{fsys: fsys, dir: dir, opt: opt.withDefaults(), ledger: ledger, sums: ledger.sums()}
	s.Report = newReport()
	s.Report.noteLedger(s.sums.bad)
	if err := errors.Join(s.start(store), ledger.Close()); err != nil {
		return State{}, err
	}
	return s.State, nil
}

// starter is one Start under way.
type starter struct {
	fsys   vfs.FS
	dir    string
	opt    Options
	ledger *Ledger
	sums   ledgerSums

	State
	listed []listed
	parts  []*part // the newest ones, in order
	older  int     // of listed, those before parts
	clears bool    // files that hold nothing are moved away too: no queue is opened that deletes them

	strays   []*part // found by a census; not in listed
	misnamed []*part // of listed, among the older ones
	stored   map[string]checkpoint.Position
	mark     uint64

	identity segment.ID // as the file says
}

func (s *starter) start(store checkpoint.Store) error {
	starts, err := s.identify()
	if err != nil {
		return err
	}
	removeHealing(s.fsys, s.dir)
	if err := s.examine(store); err != nil {
		return err
	}
	if err := s.count(starts); err != nil {
		return err
	}
	if err := s.cutSourced(); err != nil {
		return err
	}
	s.advance()
	if err := s.settle(); err != nil {
		return err
	}
	s.describe()
	return nil
}

// identify reads the identity, which may be lost, and lists the segments.
func (s *starter) identify() (uint64, error) {
	id, starts, lost, err := readIdentity(s.fsys, s.dir)
	if err != nil {
		return 0, err
	}
	s.Queue, s.identity = id, id
	found, notes, err := list(s.fsys, s.dir)
	if err != nil {
		return 0, err
	}
	s.listed = found
	for _, n := range notes {
		s.Report.note(n)
	}
	if lost != nil && (!missing(lost) || len(found) > 0) {
		s.Report.note(fmt.Sprintf("the identity was lost and is made again from the segments (%v)", lost))
	}
	return starts, nil
}

// examine reads the newest segments: back to the second one that holds records. Those that hold none are small, and
// the queue deletes them at every start. Where one of them is not what it should be, or not there, no name can be relied on: then the
// headers of all are read.
func (s *starter) examine(store checkpoint.Store) error {
	var err error
	if s.stored, err = store.Load(); err != nil {
		s.Report.note(fmt.Sprintf("the checkpoints cannot be read, the positions in the log are used: %v", err))
	}
	s.End = s.stored[checkpoint.EndKey]
	odd, err := s.readNewest()
	if err != nil {
		return err
	}
	s.reckon()
	if !odd && !s.misses() {
		return nil
	}
	if err := s.takeCensus(); err != nil {
		return err
	}
	s.reckon()
	return nil
}

// misses tells whether a segment is not there that may have another name.
func (s *starter) misses() bool {
	j := judge{parts: s.parts, mark: s.mark, end: s.mark}
	return s.older > 0 && slices.ContainsFunc(j.findings(), func(f finding) bool {
		return f.lost.First > 0 && (f.part == nil || f.part.blank || f.tail)
	})
}

// takeCensus looks at all segments, and reads the newest ones again.
func (s *starter) takeCensus() error {
	all, queue, _, err := stock(s.fsys, s.dir, s.Queue, 0)
	if err != nil {
		return err
	}
	s.Queue = queue
	if s.identity != s.Queue && s.identity != (segment.ID{}) {
		s.Report.note(otherIdentity(s.identity, s.Queue))
	}
	s.listed = s.listed[:0]
	for _, p := range all {
		if p.stray != "" {
			s.strays = append(s.strays, p)
			continue
		}
		s.listed = append(s.listed, p.listed)
	}
	_, err = s.readNewest()
	for _, p := range all {
		if p.misnamed && p.normal() && !slices.ContainsFunc(s.parts, func(q *part) bool { return q.path == p.path }) {
			s.misnamed = append(s.misnamed, p)
		}
	}
	return err
}

// readNewest reads back to the second segment that holds records. odd: something about them says that the others have to be looked
// at too.
func (s *starter) readNewest() (odd bool, err error) {
	var next *part
	full, complete := 0, false
	s.parts, s.older = nil, len(s.listed)
	for s.older > 0 && full < 2 {
		s.older--
		p, err := s.read(s.listed[s.older], next, complete)
		if err != nil {
			return false, err
		}
		s.parts = append(s.parts, p)
		odd = odd || p.misnamed || p.stray != ""
		if !p.normal() {
			continue
		}
		if s.Queue == (segment.ID{}) {
			s.Queue = p.header.Queue
		}
		odd = odd || next != nil && p.collides(next)
		next = p
		if p.holdsRecords() {
			full++
		}
		complete = complete || p.positions != nil && p.positions.complete
	}
	slices.Reverse(s.parts)
	return odd, nil
}

// read is one step of readNewest. A sealed segment whose positions are not needed is only asked for its trailer.
func (s *starter) read(l listed, next *part, complete bool) (*part, error) {
	p, f, err := openPart(s.fsys, l)
	if err != nil || f == nil {
		return p, err
	}
	p.disown(s.Queue)
	switch {
	case !p.normal():
	case p.sealed && complete:
		p.believe(next)
	default:
		err = p.look(f, next, false, s.pace, p.gather)
	}
	return p, errors.Join(err, f.Close())
}

// pace ends a reading with the start.
func (s *starter) pace(int64) error {
	if s.opt.Until == nil {
		return nil
	}
	return context.Cause(s.opt.Until)
}

// count makes this start durable before anything else is changed.
func (s *starter) count(starts uint64) error {
	for _, l := range slices.Backward(s.listed[:s.older]) {
		if s.Queue != (segment.ID{}) {
			break
		}
		h := headerOf(s.fsys, l) // identity and newest headers are lost at once
		s.Queue, starts = h.Queue, max(starts, h.Epoch.Starts)
	}
	if s.Queue == (segment.ID{}) {
		s.Queue = segment.NewID()
	}
	for _, p := range s.parts {
		if p.normal() {
			starts = max(starts, p.header.Epoch.Starts)
		}
	}
	s.Epoch = segment.NewEpoch(starts + 1)
	err := writeIdentity(s.fsys, s.dir, s.Queue, s.Epoch.Starts)
	if len(s.listed) > 0 && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		// The next start counts from the headers; and what sets epochs apart is their random number. Not to start would
		// keep the outputs from making room.
		s.Report.note(fmt.Sprintf("the disk is full, so this start is not counted in %s", identityFile))
		return nil
	}
	return err
}

// reckon finds the durable mark, from the positions and the frames.
func (s *starter) reckon() {
	s.gather()
	s.mark = max(durable(s.parts, s.Outputs), noted(s.stored))
}

// gather merges the positions in the log, and those of outputs with the stored ones.
func (s *starter) gather() {
	var bad []string
	s.Outputs, s.Positions, bad = known(s.parts, s.stored)
	for _, name := range bad {
		s.Report.note(fmt.Sprintf("the position of output %s in the log cannot be read", name))
	}
}

// cutSourced gives up frames that no source has an acknowledgement for, where they follow a hole with records that nobody was told
// of either and carry source positions. Such a position claims what was in the hole too, so the source would never send
// that again. Without these frames it sends all of it again, once.
func (s *starter) cutSourced() error {
	for _, p := range s.parts {
		if !p.normal() || p.sealed || p.positions == nil {
			continue
		}
		for _, h := range p.holes {
			if h.next <= h.expected || h.expected <= s.mark || p.positions.sourced < h.offset {
				continue
			}
			if err := s.cut(p, h.offset); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// cut reads a segment again as if its frames ended at offset.
func (s *starter) cut(p *part, offset int64) error {
	was := p.reading
	f, err := s.fsys.Open(p.path)
	if err != nil {
		return fmt.Errorf("open segment %s again: %w", p.path, err)
	}
	p.positions = newGatherer(false)
	p.reading, err = scan(f, p.header, offset, p.bound, unpaced, p.positions.take)
	p.seen, p.mark, p.zeros = was.seen, was.mark, was.zeros
	p.cut = span{offset, p.size - p.zeros - offset}
	s.gather()
	return errors.Join(err, f.Close())
}

// advance finds the next sequence: above everything that any file that can be believed has ever told of.
func (s *starter) advance() { s.Next = given(s.parts, s.mark, &s.sums) + 1 }
