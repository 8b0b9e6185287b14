package recovery

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// census settles by what is in them whose the files of a segment directory are. It returns the parts in the order of their
// sequences, with those marked that are not to be read: segments of another queue, second copies, and those of another life of the
// queue whose sequences a newer one has given again. known is the identity of the queue, as far as that is known; where no segment
// has it, that of the newest one is returned.
func census(fsys vfs.FS, dir string, parts []*part, known segment.ID) ([]*part, segment.ID, error) {
	queue := queueOf(parts, known)
	for _, p := range parts {
		p.disown(queue)
	}
	sorted := inOrder(fsys, parts)
	strikeCopies(sorted)
	return sorted, queue, strikeRivals(fsys, dir, sorted)
}

// stock lists the segments of dir from a first sequence on, reads their headers and trailers, and has the census taken.
func stock(fsys vfs.FS, dir string, known segment.ID, from uint64) (parts []*part, queue segment.ID, notes []string, err error) {
	found, notes, err := list(fsys, dir)
	if err != nil {
		return nil, known, nil, err
	}
	for _, l := range found {
		if l.name.First < from {
			continue
		}
		p, f, err := openPart(fsys, l)
		if err == nil && f != nil {
			err = f.Close()
		}
		if err != nil {
			return nil, known, nil, err
		}
		if p.healing != nil {
			p.healing.Drop() // there may be many, and each is opened again to be read
		}
		parts = append(parts, p)
	}
	parts, queue, err = census(fsys, dir, parts, known)
	return parts, queue, notes, err
}

// excluded are notes on those of the parts that are not to be read.
func excluded(parts []*part) []string {
	var notes []string
	for _, p := range parts {
		switch {
		case p.aside != "":
			notes = append(notes, p.aside)
		case p.stray != "":
			notes = append(notes, p.told()+": not read")
		case p.blank && !p.leftover():
			notes = append(notes, fmt.Sprintf("segment %s: nothing in it is of a segment", p.base()))
		}
	}
	return notes
}

// queueOf is the identity of the queue that these segments are of.
func queueOf(parts []*part, known segment.ID) segment.ID {
	var newest *part
	for _, p := range parts {
		switch {
		case !p.normal() || !p.identified:
		case p.header.Queue == known:
			return known
		case newest == nil || newest.header.Epoch.Starts <= p.header.Epoch.Starts:
			newest = p
		}
	}
	if newest == nil {
		return known
	}
	return newest.header.Queue
}

// inOrder sorts parts by the segments that they are, whatever their files are called.
func inOrder(fsys vfs.FS, parts []*part) []*part {
	of := make(map[string]*part)
	found := make([]listed, 0, len(parts))
	for _, p := range parts {
		of[p.path] = p
		found = append(found, p.listed)
	}
	slices.SortStableFunc(found, func(a, b listed) int { return cmp.Compare(a.name.First, b.name.First) })
	orderTwins(fsys, found)
	sorted := make([]*part, 0, len(parts))
	for _, l := range found {
		sorted = append(sorted, of[l.path])
	}
	return sorted
}

// strikeCopies keeps, of files with one and the same segment, the one that is named after it; and of a name the segment that has it.
func strikeCopies(parts []*part) {
	first := make(map[segment.Name]*part)
	for _, p := range parts {
		other := first[p.name]
		switch {
		case !p.normal():
		case other == nil:
			first[p.name] = p
		case other.misnamed && !p.misnamed:
			other.stray, other.rival, first[p.name] = causeCopy, p, p
		default:
			p.stray, p.rival = causeCopy, other
		}
	}
	for _, p := range parts {
		if other := first[p.name]; p.blank && other != nil {
			p.stray, p.rival = causeStranger, other
		}
	}
}

// strikeRivals keeps, of segments that different lives of the queue have given the same sequences, those of the newer one: files that
// were brought back after the directory had been restored without them. A record is of an epoch; a reader can have but one of them.
func strikeRivals(fsys vfs.FS, dir string, parts []*part) error {
	var ours []*part
	for _, p := range parts {
		if !p.normal() {
			continue
		}
		for p != nil && len(ours) > 0 {
			before := ours[len(ours)-1]
			if before.apart(p) {
				if err := before.measure(fsys); err != nil {
					return err
				}
			}
			if !before.collides(p) {
				break
			}
			if newerLife(p, before, lastLife(fsys, dir), parts) {
				before.stray, before.rival = causeEpoch, p
				ours = ours[:len(ours)-1]
				continue
			}
			p.stray, p.rival = causeEpoch, before
			if err := p.measure(fsys); err != nil {
				return err
			}
			p = nil
		}
		if p != nil {
			ours = append(ours, p)
		}
	}
	return nil
}

// collides tells whether p has sequences from the first one of next on, given by another process. Within an epoch a segment holds
// again what the one before it could not sync; a start begins above everything that it finds. What is in p was read, or it is sealed.
func (p *part) collides(next *part) bool {
	return p.apart(next) && p.seen >= next.header.First
}

// apart tells whether another process wrote next, and not behind p.
func (p *part) apart(next *part) bool {
	return p.identified && next.identified && p.header.Epoch != next.header.Epoch && !p.isPrevious(next)
}

// measure finds out what is in a segment that was not read yet.
func (p *part) measure(fsys vfs.FS) error {
	if p.frames > 0 {
		return nil
	}
	if p.sealed {
		p.believe(nil)
		return nil
	}
	f, err := fsys.Open(p.path)
	if err != nil {
		return nil // it went meanwhile, or nothing can be said of it
	}
	return closing(f, p.scan(f, nil, unpaced, nil))
}

// lastLife is the epoch of the process that last wrote records into this directory, as it has noted; zero: nothing tells.
func lastLife(fsys vfs.FS, dir string) segment.Epoch {
	return checkpoint.ReadRecent(fsys, filepath.Join(dir, RecentFile))[checkpoint.EndKey].Epoch
}

// newerLife tells whether a was written by a later start than b; where both count the same, which of them is of the last life of this
// directory, which of them a third one follows, or the clock.
func newerLife(a, b *part, last segment.Epoch, parts []*part) bool {
	if c := cmp.Compare(a.header.Epoch.Starts, b.header.Epoch.Starts); c != 0 {
		return c > 0
	}
	if last != (segment.Epoch{}) && (a.header.Epoch == last || b.header.Epoch == last) {
		return a.header.Epoch == last
	}
	for _, p := range slices.Backward(parts) {
		if !p.normal() || p == a || p == b {
			continue
		}
		if a.isPrevious(p) != b.isPrevious(p) {
			return a.isPrevious(p)
		}
	}
	return a.header.Created >= b.header.Created
}

// strayFinding is what a report says of a segment that is not to be read with the others.
func (p *part) strayFinding() finding {
	return finding{part: p, segment: p.base(), span: span{0, p.size}, cause: p.stray, action: wouldQuarantine}
}

// told is the note about a stray segment.
func (p *part) told() string {
	switch p.stray {
	case causeQueue:
		return fmt.Sprintf("segment %s belongs to another queue (%s), and is not mixed with this one", p.base(), p.header.Queue)
	case causeCopy:
		return fmt.Sprintf("segment %s is there a second time, as %s", p.name, p.base())
	case causeStranger:
		return fmt.Sprintf("nothing in %s is of a segment, and %s has its name to get", p.base(), p.rival.base())
	default:
		return fmt.Sprintf("segment %s has records %d to %d (%d in all) of another life of the queue (start %d), whose sequences segment %s has given again",
			p.base(), p.header.First, p.seen, p.records, p.header.Epoch.Starts, p.rival.name)
	}
}
