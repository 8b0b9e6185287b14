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
// in the ledger, moves what is in the way to quarantine, and gives each segment its own name. It returns the other findings.
func (s *starter) settleOdd(found []finding) (rest []finding, err error) {
	var losses []Loss
	for _, f := range found {
		if f.part == nil || f.part.normal() && f.cause != causeName {
			rest = append(rest, f)
			continue
		}
		copied, err := s.set(f)
		if err != nil {
			return nil, err
		}
		s.book(f, nil, copied)
		losses = append(losses, s.sums.losses(f, s.mark, copied)...)
	}
	if len(rest) == len(found) {
		return rest, nil
	}
	if err := s.writeDown(losses); err != nil {
		return nil, err
	}
	return rest, s.tidy()
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

// tidy moves what is in the way to quarantine, and gives each segment its own name.
func (s *starter) tidy() error {
	var named []*part
	for _, p := range append(slices.Clone(s.parts), s.misnamed...) {
		if p.misnamed && p.normal() {
			named = append(named, p)
		}
	}
	for _, p := range append(slices.Clone(s.parts), s.strays...) {
		if p.keptAs == "" {
			continue
		}
		err := moveAside(s.fsys, s.dir, p)
		if operational(err) || err != nil && len(named) > 0 {
			return fmt.Errorf("%w; let this user write there", err)
		}
		if err != nil {
			s.Report.note(fmt.Sprintf("%v; it is not read, and the next start tries again", err))
		}
	}
	if err := rename(s.fsys, s.dir, named); err != nil {
		return fmt.Errorf("%w; let this user write there", err)
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

// rename gives segments their own names. All leave the wrong ones, durably, before any takes a right one that another may have.
func rename(fsys vfs.FS, dir string, parts []*part) error {
	if len(parts) == 0 {
		return nil
	}
	segments := filepath.Join(dir, SegmentDir)
	for _, suffix := range []string{namedSuffix, ""} {
		for _, p := range parts {
			to := segmentPath(dir, p.name) + suffix
			if p.path == to {
				continue
			}
			if err := fsys.Rename(p.path, to); err != nil {
				return fmt.Errorf("rename segment: %w", err)
			}
			p.path, p.misnamed = to, suffix != ""
		}
		if err := fsys.SyncDir(segments); err != nil {
			return fmt.Errorf("rename segments: %w", err)
		}
	}
	return nil
}
