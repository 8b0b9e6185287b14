package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Vouch says whether the files of two neighbouring segments are what their names say, as far as their headers and trailers tell:
// a start has read the newest ones only. next is the zero name behind the newest one. Where it says no, SortOut has to look.
func Vouch(fsys vfs.FS, dir string, queue segment.ID, name, next segment.Name) (bool, error) {
	p, err := vouched(fsys, dir, queue, name)
	if p == nil || !p.normal() || p.misnamed || next == (segment.Name{}) {
		return p != nil && p.normal() && !p.misnamed, err
	}
	after, err := vouched(fsys, dir, queue, next)
	if after == nil || !after.normal() || after.misnamed {
		return false, err
	}
	if p.apart(after) {
		err = p.measure(fsys)
	}
	return !p.collides(after), err
}

// vouched inspects a segment by its name; nil: nothing can be said of it.
func vouched(fsys vfs.FS, dir string, queue segment.ID, name segment.Name) (*part, error) {
	f, err := fsys.Open(segmentPath(dir, name))
	if err != nil {
		return nil, fmt.Errorf("look at segment: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return nil, closing(f, fmt.Errorf("look at segment: %w", err))
	}
	p := inspect(f, listed{name: name, path: segmentPath(dir, name), size: size})
	p.disown(queue)
	return p, f.Close()
}

// SortOut does for an open queue what a start does where names cannot be relied on, with those files of the segment directory that
// have these names: what is in the way goes to quarantine, and every segment gets its own name. It returns the segments, in order,
// and what it has found. The caller sees to it that nobody opens the files meanwhile, nor adds to the ledger.
func SortOut(fsys vfs.FS, dir string, queue segment.ID, ledger *Ledger, names []segment.Name) ([]Segment, Report, error) {
	s := starter{fsys: fsys, dir: dir, opt: Options{Now: time.Now}, ledger: ledger, sums: ledger.sums(), clears: true}
	s.Report, s.Queue = newReport(), queue
	for _, name := range names {
		p, f, err := reopened(fsys, dir, name)
		if err == nil && f != nil {
			err = f.Close()
		}
		if err != nil {
			return nil, s.Report, err
		}
		if p != nil {
			s.parts = append(s.parts, p)
		}
	}
	sorted, _, err := census(fsys, dir, s.parts, queue)
	if err != nil {
		return nil, s.Report, err
	}
	s.parts = sorted
	for _, p := range slices.Backward(sorted) {
		if p.normal() {
			if err := p.measure(fsys); err != nil {
				return nil, s.Report, err
			}
			break
		}
	}
	segments, odd := row(sorted)
	if _, err := s.settleOdd(odd); err != nil {
		return nil, s.Report, err
	}
	return segments, s.Report, nil
}

// reopened opens the file with this name, or the one that waits for it. A name that no file has any more is nil.
func reopened(fsys vfs.FS, dir string, name segment.Name) (*part, vfs.File, error) {
	for _, suffix := range []string{"", namedSuffix} {
		path := segmentPath(dir, name) + suffix
		info, err := fsys.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("look at segment: %w", err)
		}
		return openPart(fsys, listed{name: name, path: path, size: info.Size(), changed: info.ModTime()})
	}
	return nil, nil, nil
}

// row are the segments of a queue after a census, each with the last sequence that it has or should have, and the findings about
// files that are none or have a wrong name. A file of which nothing is left stays where it explains what is missing: its readers
// write that off.
func row(parts []*part) (segments []Segment, odd []finding) {
	var before *part        // the segment that came last
	var at int              // its place in segments
	var between []*part     // files of which nothing is left or known, since then
	link := func(p *part) { // p follows before
		first, last := uint64(1), p.header.First-1
		if before != nil {
			segments[at].Last = before.limit(p)
			first = segments[at].Last + 1
			if before.sealed {
				first = min(first, before.trailer.Last+1)
			}
		}
		explained := false
		for _, b := range between {
			fits := first <= b.name.First && b.name.First <= last && (before != nil || p.header.Previous.Salt == b.name.Salt)
			if b.blank && (explained || !fits) {
				odd = append(odd, emptied(b, checkpoint.Range{}, 0))
				continue
			}
			if explained = explained || fits; fits && before != nil {
				segments[at].Last = first - 1
			}
			segments = append(segments, Segment{Name: b.name, Size: b.size, Last: max(last, b.name.First-1)})
		}
		between = nil
	}
	for _, p := range parts {
		if p.misnamed && p.normal() {
			odd = append(odd, finding{part: p, segment: p.base(), cause: causeName, action: wouldRename})
		}
		switch {
		case p.stray != "":
			odd = append(odd, p.strayFinding())
		case p.gone:
		case !p.normal():
			between = append(between, p)
		default:
			link(p)
			before, at = p, len(segments)
			segments = append(segments, Segment{Name: p.name, Size: p.size})
		}
	}
	if before != nil {
		segments[at].Last = before.seen
	}
	for _, b := range between { // behind the newest
		if b.blank {
			odd = append(odd, emptied(b, checkpoint.Range{}, 0))
		} else {
			segments = append(segments, Segment{Name: b.name, Size: b.size})
		}
	}
	return segments, odd
}
