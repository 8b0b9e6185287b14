package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"logmule/queue/vfs"
)

const straySuffix = ".stray" // of a file in quarantine that was in the way among the segments; a second one ends in .stray.2

// settleOdd deals with the files that are none of the queue's segments, or have the name of another one: it says so in the report and
// in the ledger, moves what is in the way to quarantine, and gives each segment its own name. It returns the other findings. With an
// error some of these files are where they were, and are not to be touched.
func (s *starter) settleOdd(found []finding) (rest []finding, err error) {
	var odd []oddFile
	var losses []Loss
	for _, f := range found {
		if f.part == nil || f.part.normal() && f.cause != causeName {
			rest = append(rest, f)
			continue
		}
		o := oddFile{finding: f, known: s.sums.history(f)}
		if err == nil {
			o.copied, err = s.set(f)
		}
		odd = append(odd, o)
		losses = append(losses, s.sums.losses(f, s.mark, o.copied)...)
	}
	if len(odd) == 0 {
		return rest, nil
	}
	if err == nil {
		err = s.writeDown(losses)
	}
	if err != nil {
		for _, o := range odd {
			o.part.stay()
		}
		return rest, err
	}
	err = s.tidy()
	for _, o := range odd {
		s.bookOdd(o)
	}
	return rest, err
}

// oddFile is a finding about a file that does not belong where it is.
type oddFile struct {
	finding
	copied string // where it goes
	known  bool   // the ledger had it before
}

// bookOdd puts it into the report. What is where it was is told as what is left.
func (s *starter) bookOdd(o oddFile) {
	switch {
	case o.torn:
		s.book(o.finding, nil, o.copied)
	case o.known:
	case !o.part.unmoved:
		s.Report.add(o.done(o.copied))
	case o.lost.First > 0:
		s.Report.add(o.damage(didLedger))
	}
}

// set says where the file of a finding will be kept, or copies it there if it is left to be deleted with the empty ones.
func (s *starter) set(f finding) (copied string, err error) {
	p := f.part
	switch {
	case f.cause == causeName:
		return "", nil
	case p.leftover() && !s.clears && !s.renames():
		return s.keep(p, f.span, f.zero)
	case p.stray != "":
		s.Report.note(p.told())
	}
	return s.reserveAside(p)
}

// renames tells whether some file has the name of another segment.
func (s *starter) renames() bool {
	return len(s.misnamed) > 0 || slices.ContainsFunc(s.parts, func(p *part) bool { return p.misnamed })
}

// reserveAside says under which name a file will be in quarantine, so that the ledger can tell before it is moved.
func (s *starter) reserveAside(p *part) (string, error) {
	base := filepath.Join(quarantineDir, strings.TrimSuffix(p.base(), namedSuffix)+straySuffix)
	for n := 1; ; n++ {
		name := base
		if n > 1 {
			name = fmt.Sprintf("%s.%d", base, n)
		}
		_, err := s.fsys.Stat(filepath.Join(s.dir, name))
		taken := slices.ContainsFunc(append(s.parts, s.strays...), func(q *part) bool { return q != p && q.keptAs == name })
		switch {
		case taken || err == nil:
		case errors.Is(err, fs.ErrNotExist):
			p.keptAs = name
			return name, nil
		default:
			return "", fmt.Errorf("look into quarantine in %s: %w; let this user read it", s.dir, err)
		}
	}
}

// tidy moves what is in the way to quarantine, and gives each segment its own name. What it cannot move stays; the error is of what
// stands in the way of a segment, or for the operator to settle.
func (s *starter) tidy() error {
	var named []*part
	for _, p := range append(slices.Clone(s.parts), s.misnamed...) {
		if p.misnamed && p.normal() {
			named = append(named, p)
		}
	}
	var failed error
	for _, p := range append(slices.Clone(s.parts), s.strays...) {
		if p.keptAs == "" {
			continue
		}
		err := moveAside(s.fsys, s.dir, p)
		if err == nil {
			continue
		}
		p.stay()
		if operational(err) || len(named) > 0 {
			failed = errors.Join(failed, err)
		} else {
			s.Report.note(fmt.Sprintf("%v; it is not read, and the next start tries again", err))
		}
	}
	if failed = errors.Join(failed, s.rename(named)); failed != nil {
		return fmt.Errorf("%w; let this user write there", failed)
	}
	return nil
}

// moveAside moves a file to the place in quarantine that was reserved for it.
func moveAside(fsys vfs.FS, dir string, p *part) error {
	to := filepath.Join(dir, p.keptAs)
	err := fsys.MkdirAll(filepath.Dir(to))
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err == nil {
		err = fsys.Rename(p.path, to)
	}
	if err == nil {
		err = errors.Join(fsys.SyncDir(filepath.Dir(to)), fsys.SyncDir(filepath.Dir(p.path)))
	}
	if err != nil {
		return fmt.Errorf("move %s to quarantine: %w", p.path, err)
	}
	return nil
}

// rename gives segments their own names. All leave the wrong ones, durably, before any takes a right one that another may have, and
// none before there is way. Those for which it fails stay where they are.
func (s *starter) rename(parts []*part) (failed error) {
	if len(parts) == 0 {
		return nil
	}
	for _, suffix := range []string{namedSuffix, ""} {
		for _, p := range parts {
			to := segmentPath(s.dir, p.name) + suffix
			if p.path == to || p.unmoved {
				continue
			}
			err := s.makeWay(to)
			if own := s.makeWay(segmentPath(s.dir, p.name)); err == nil && !errors.Is(own, fs.ErrExist) { // else it leaves that, too
				err = own
			}
			if err == nil {
				err = s.fsys.Rename(p.path, to)
			}
			if err != nil {
				p.stay()
				failed = errors.Join(failed, fmt.Errorf("rename segment %s: %w", p.path, err))
				continue
			}
			p.path, p.misnamed = to, suffix != ""
		}
		if err := s.fsys.SyncDir(filepath.Join(s.dir, SegmentDir)); err != nil {
			for _, p := range parts {
				p.stay()
			}
			return errors.Join(failed, fmt.Errorf("rename segments: %w", err))
		}
	}
	return failed
}

// makeWay moves what stands under the name that a segment is to get to quarantine, where it is no segment: a rename would replace all
// but a directory.
func (s *starter) makeWay(to string) error {
	info, err := s.fsys.Stat(to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stands := func(p *part) bool { return p.path == to && (p.keptAs == "" || p.unmoved) }
	if slices.ContainsFunc(s.parts, stands) || slices.ContainsFunc(s.misnamed, stands) || slices.ContainsFunc(s.strays, stands) {
		return fmt.Errorf("another segment is %s: %w", to, fs.ErrExist)
	}
	p := &part{listed: listed{path: to}}
	if _, err = s.reserveAside(p); err == nil {
		err = moveAside(s.fsys, s.dir, p)
	}
	if err == nil {
		s.Report.note(fmt.Sprintf("%s/%s was %s in the place of a segment, and is %s now", SegmentDir, filepath.Base(to), kindOf(info.Mode()), p.keptAs))
	}
	return err
}
