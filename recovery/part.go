package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// part is what is known of one segment file.
type part struct {
	listed
	header     segment.Header
	identified bool  // header comes from the header block or from the trailer's copy, not from the name alone
	badHeader  error // what is wrong with the header block

	blankHeader bool // the header block is all zeros, or not there
	sealed      bool
	trailer     segment.Trailer // when sealed
	unfinished  bool            // an index follows the frames, and no trailer
	foreign     span            // bytes behind the trailer
	bound       uint64          // frames above it were superseded
	reading
	cut       span      // frames given up with what crashed before them, to the end of the file
	positions *gatherer // nil: not gathered

	// aside says why the file is none of ours to read: it is left as it is. opaque: it may hold any sequences.
	aside    string
	opaque   bool
	blank    bool   // nothing but its name says that it is a segment
	void     bool   // and it has nothing but zeros
	misnamed bool   // the file has another name than the segment in it, whose name is the one that counts
	stray    string // a segment that is not to be read with the others: the cause, as in a report
	rival    *part  // of a stray: the segment that has its sequences
	newer    *UnknownFormatError
	gone     bool   // it vanished since it was listed
	stuck    bool   // its bad bytes could not be copied, or are more than a segment has: it must not be changed
	unmoved  bool   // it could not be moved to where it belongs; stuck then
	keptAs   string // where in the data directory a file goes that is moved out of the way

	problems  []finding        // of a sealed segment, besides its frames: header, index, parity, stripes
	undecoded uint64           // of records, those in frames that are good and cannot be decoded
	healing   *segment.Healing // what it can be made into; nil: not known, or not sealed
}

// inspect reads header and trailer of an open segment.
func inspect(f vfs.File, l listed) *part {
	p := &part{listed: l}
	size, err := f.Size()
	if err == nil {
		p.size = size
	}
	block := make([]byte, segment.HeaderSize)
	if _, err := (patient{f}).ReadAt(block, 0); err != nil {
		p.badHeader = fmt.Errorf("the file ends within its header: %w", segment.ErrChecksum)
	} else if _, err := segment.DecodeHeader(block); err != nil {
		p.badHeader = err
	}
	p.blankHeader = len(bytes.TrimLeft(block, "\x00")) == 0
	p.header, err = segment.ReadHeader(f, p.size, l.name)
	p.identified = err == nil
	trailer, terr := segment.ReadTrailer(f, p.size)
	if p.setNewer(err) || p.setNewer(terr) {
		return p
	}
	if terr == nil && trailer.Header.Name() == l.name && p.header.Name() != l.name {
		// The header block is that of another segment.
		p.header, p.identified, p.badHeader = trailer.Header, true, segment.ErrMalformed
	}
	if terr == nil && trailer.Header.Salt == p.header.Salt {
		p.sealed, p.trailer = true, trailer
	}
	p.recognize(f)
	p.next, p.last, p.seen, p.end = p.header.First, p.header.First-1, p.header.First-1, segment.HeaderSize
	if p.sealed {
		p.seen = max(p.seen, p.trailer.Last)
	}
	return p
}

// recognize finds out which segment this is where header and name do not agree. A name alone proves nothing: a file without a
// header, a trailer or a frame of the segment that it is named after is no segment.
func (p *part) recognize(f io.ReaderAt) {
	switch {
	case !p.identified:
		framed, zero := frames(f, p.name.Salt, p.size)
		p.blank, p.void = !framed, !framed && zero && p.blankHeader
		if p.blank && !p.void {
			p.revive(f)
		}
	case p.header.Name() == p.name, p.sealed || framed(f, p.header.Salt, p.size) || !framed(f, p.name.Salt, p.size):
		p.name = p.header.Name()
	default: // the header block is that of another segment
		p.header, _ = segment.ReadHeader(io.NewSectionReader(f, 0, 0), p.size, p.name)
		p.identified, p.badHeader = false, segment.ErrMalformed
	}
	p.misnamed = !p.blank && p.base() != p.name.String()
}

// revive tries what the parity gives back of a file without a good frame.
func (p *part) revive(f io.ReaderAt) {
	h, err := segment.Diagnose(f, p.size, p.name)
	if err == nil && h.Trailer.Header.Name() == p.name {
		p.blank, p.identified, p.sealed, p.header, p.trailer, p.healing = false, true, true, h.Trailer.Header, h.Trailer, h
	}
}

func framed(f io.ReaderAt, salt uint64, size int64) bool {
	found, _ := frames(f, salt, size)
	return found
}

// frames tells whether there is a frame of the segment with this salt, and if not whether there are only zeros in their place.
func frames(f io.ReaderAt, salt uint64, size int64) (found, zero bool) {
	const most = segment.MaxSegment + segment.MaxSegment/8 // with what follows the frames
	zero = size <= most || vfs.NextData(f, most) >= size
	for sc := segment.NewScanner(f, salt, segment.HeaderSize, min(size, most)); ; {
		p, err := sc.Next()
		if err != nil {
			return false, zero
		}
		if !p.Bad {
			return true, false
		}
		zero = zero && p.Zero
	}
}

// leftover tells whether a file is what a power loss leaves of a segment that was just begun.
func (p *part) leftover() bool { return p.blank && (p.void || p.size <= segment.HeaderSize) }

// stay says that the file could not be moved to where it belongs.
func (p *part) stay() { p.unmoved, p.stuck = true, true }

// base is the name of the file.
func (p *part) base() string { return filepath.Base(p.path) }

// setNewer notes that the file needs a newer logmule.
func (p *part) setNewer(err error) bool {
	var unknown *segment.UnknownFeatureError
	if !errors.As(err, &unknown) {
		return false
	}
	p.badHeader = nil
	p.newer = &UnknownFormatError{File: p.path, Err: unknown}
	p.aside, p.opaque = p.newer.Error()+"; left alone until then", true
	return true
}

// openPart opens a segment and inspects it. Where the file is missing or cannot be opened there is no File, and the part
// says why; only what the operator has to settle is an error.
func openPart(fsys vfs.FS, l listed) (*part, vfs.File, error) {
	f, err := fsys.Open(l.path)
	switch {
	case err == nil:
		return inspect(f, l), f, nil
	case errors.Is(err, fs.ErrNotExist):
		return &part{listed: l, gone: true, opaque: true}, nil, nil
	case operational(err):
		return nil, nil, fmt.Errorf("open segment: %w; let this user read %s", err, l.path)
	default:
		return &part{listed: l, opaque: true, aside: fmt.Sprintf("segment %s cannot be opened: %v; left alone", l.name, err)}, nil, nil
	}
}

// disown keeps a segment of another queue out.
func (p *part) disown(queue segment.ID) {
	none := segment.ID{}
	if id := p.header.Queue; p.normal() && id != queue && id != none && queue != none {
		p.stray = causeQueue
	}
}

// normal tells whether the part takes part: it is there, known to be a segment of the queue, and ours to read. Only such a
// file says anything about others, where they end or what is missing.
func (p *part) normal() bool { return p.aside == "" && !p.gone && !p.blank && p.stray == "" }

// holdsRecords tells whether any sequence is its own.
func (p *part) holdsRecords() bool { return p.last >= p.header.First }

// scan fills in what the frames say. next is the following segment that is ours to read, nil for the newest.
func (p *part) scan(f io.ReaderAt, next *part, pace func(int64) error, take func(*segment.Part)) error {
	end := min(p.size, segment.MaxDataEnd)
	if p.sealed {
		end = p.trailer.DataEnd
	}
	p.bound = p.limit(next)
	r, err := scan(f, p.header, end, p.bound, pace, take)
	if err != nil {
		return fmt.Errorf("scan segment %s: %w", p.path, err)
	}
	p.reading = r
	if p.sealed {
		if n := len(p.holes); n > 0 {
			p.holes[n-1].length += p.zeros // no space was reserved here
		}
		p.mark, p.seen = max(p.mark, p.trailer.Mark), max(p.seen, p.trailer.Last)
		return nil
	}
	if p.size > end && vfs.NextData(f, end) < p.size {
		p.stuck = true // more than a segment can be, so there is no saying what it is
	} else {
		p.zeros += p.size - end
	}
	p.findTrailer(f)
	return nil
}

// findTrailer looks for the trailer where it must be if foreign bytes stand behind it.
func (p *part) findTrailer(f io.ReaderAt) {
	size := segment.SealedSize(p.header.Size, p.end)
	if !p.identified || p.superseded.length > 0 || size >= p.size {
		return
	}
	t, err := segment.ReadTrailer(f, size)
	if err != nil || t.Header.Salt != p.header.Salt || t.DataEnd != p.end {
		return
	}
	p.sealed, p.trailer, p.foreign = true, t, span{size, p.size - size}
	p.holes = withoutTail(p.holes)
	p.mark, p.seen = max(p.mark, t.Mark), max(p.seen, t.Last)
}

// withoutTail leaves out the bad bytes behind the last frame.
func withoutTail(holes []hole) []hole {
	if n := len(holes); n > 0 && holes[n-1].next == 0 {
		return holes[:n-1]
	}
	return holes
}

// believe takes the trailer's word for the frames, which were not read.
func (p *part) believe(next *part) {
	t := p.trailer
	p.frames, p.records, p.mark = t.Frames, t.Records, t.Mark
	p.last, p.seen, p.end = min(t.Last, p.limit(next)), t.Last, t.DataEnd
	p.next = p.last + 1
	p.minTime, p.maxTime = t.MinTime, t.MaxTime
}

// resealed tells whether the segment has lost its trailer, and the one that it gets says no more than the frames that are left.
func (p *part) resealed() bool { return p.healing != nil && p.healing.Seal }

// limit is the last sequence that counts in this segment: the next one holds those above it, also where it had to write
// again what this one could not sync.
func (p *part) limit(next *part) uint64 {
	if next == nil {
		return segment.MaxSequence
	}
	limit := next.header.First - 1
	if p.isPrevious(next) {
		limit = min(limit, next.header.Previous.Last)
	}
	return limit
}

// isPrevious tells whether next says that it follows this very segment.
func (p *part) isPrevious(next *part) bool {
	return next.identified && next.header.Previous.Salt == p.header.Salt && p.header.Salt != 0
}

// lastPossible bounds the sequences that a segment of unknown content may hold: a frame takes 64 bytes and up, and has
// at most as many records as MaxFrame has bytes.
func (p *part) lastPossible() uint64 {
	const perByte = segment.MaxFrame / 64
	return min(p.name.First+uint64(min(max(p.size, 0), segment.MaxSegment))*perByte, segment.MaxSequence)
}
