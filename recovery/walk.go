package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Bound is one end of what Walk shows: a sequence, or the arrival time of a frame. The zero Bound is no bound.
type Bound struct {
	Sequence uint64
	Time     time.Time
}

// WalkOptions of Walk and WalkSegment. The zero value shows everything there is.
type WalkOptions struct {
	From, To Bound        // both included; a frame is shown whole when any record in it is
	Follow   bool         // wait for more, until the context ends or To is reached
	Mark     bool         // stop at the durable mark
	Note     func(string) // is told what was passed over; may be nil
}

// followEvery is how often Walk looks for more.
const followEvery = 200 * time.Millisecond

// Walk calls fn with every surviving data frame of the data directory dir, in order. It only reads, also beside a
// running daemon. Damaged frames are passed over with a note. The frame is fn's until it returns; its error ends the
// walk and is returned as it is. Without Follow the walk ends at the end of the log; with it, the end of ctx is no error.
func Walk(ctx context.Context, fsys vfs.FS, dir string, opt WalkOptions, fn func(*segment.Frame) error) error {
	w := newWalker(ctx, fsys, opt, fn)
	w.dir = dir
	if err := IsDataDir(fsys, dir); err != nil {
		return err
	}
	queue, _, _, _ := readIdentity(fsys, dir) // without one, that of the segments counts
	return w.follow(func() error {
		parts, _, notes, err := stock(fsys, dir, queue, w.at.First)
		if err != nil {
			return err
		}
		for _, n := range append(notes, excluded(parts)...) {
			w.note(n)
		}
		return w.all(slices.DeleteFunc(parts, func(p *part) bool { return !p.normal() }))
	})
}

// WalkSegment is Walk for a single segment file, wherever it lies.
func WalkSegment(ctx context.Context, fsys vfs.FS, file string, opt WalkOptions, fn func(*segment.Frame) error) error {
	w := newWalker(ctx, fsys, opt, fn)
	w.dir = filepath.Dir(filepath.Dir(file))
	return w.follow(func() error {
		info, err := fsys.Stat(file)
		if err != nil {
			return fmt.Errorf("read segment: %w", err)
		}
		name, _ := segment.ParseName(filepath.Base(file))
		p, f, err := openPart(fsys, listed{name: name, path: file, size: info.Size()})
		if err != nil {
			return err
		}
		if f == nil {
			return fmt.Errorf("read segment %s: %s", file, p.aside)
		}
		if p.newer != nil {
			return closing(f, p.newer)
		}
		if !p.identified && name == (segment.Name{}) {
			return closing(f, fmt.Errorf("read segment %s: neither header nor trailer is readable and the name tells nothing: %w", file, p.badHeader))
		}
		err = w.one(f, p, nil)
		return closing(f, err)
	})
}

// errDone ends a walk that has reached its end.
var errDone = errors.New("done")

// closing closes f and returns err as it is, the error of Close only where there is no other.
func closing(f io.Closer, err error) error {
	if cerr := f.Close(); err == nil {
		return cerr
	}
	return err
}

// walker is one walk under way.
type walker struct {
	ctx   context.Context
	fsys  vfs.FS
	dir   string // of the queue
	opt   WalkOptions
	fn    func(*segment.Frame) error
	frame segment.Frame
	noted map[string]bool

	next uint64       // sequence to be shown next
	any  bool         // something was shown: from here on a jump is a gap
	at   segment.Name // segment that was read last
	from int64        // where to go on in it
	mark uint64       // highest durable mark seen
}

func newWalker(ctx context.Context, fsys vfs.FS, opt WalkOptions, fn func(*segment.Frame) error) *walker {
	return &walker{ctx: ctx, fsys: fsys, opt: opt, fn: fn, noted: make(map[string]bool), next: max(opt.From.Sequence, 1)}
}

func (w *walker) note(text string) {
	if w.opt.Note != nil && !w.noted[text] {
		w.noted[text] = true
		w.opt.Note(text)
	}
}

// follow calls pass once, or until the context ends.
func (w *walker) follow(pass func() error) error {
	for {
		err := pass()
		if err == errDone {
			return nil
		}
		if w.opt.Follow && w.ctx.Err() != nil {
			return nil
		}
		if err != nil || !w.opt.Follow {
			return err
		}
		select {
		case <-w.ctx.Done():
			return nil
		case <-time.After(followEvery):
		}
	}
}

// all walks over the segments from where the walk stands.
func (w *walker) all(parts []*part) error {
	for i, p := range parts {
		var next *part
		if i+1 < len(parts) {
			next = parts[i+1]
		}
		if next != nil && next.header.First <= w.next && p.name != w.at {
			continue
		}
		p, f, err := openPart(w.fsys, p.listed)
		if err != nil {
			return err
		}
		if p.normal() {
			err = w.one(f, p, next)
		}
		if f != nil {
			err = closing(f, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// one walks over one segment. Of the newest, unsealed one it keeps the place where it ends.
func (w *walker) one(f vfs.File, p, next *part) error {
	start := int64(segment.HeaderSize)
	if w.at == p.header.Name() {
		start = w.from
	} else if p.sealed {
		if t := p.trailer; w.passed(t) {
			w.next = max(w.next, t.Last+1)
			return nil
		}
		if x, err := segment.ReadIndex(f, p.trailer); err == nil {
			start = x.Seek(w.next)
		}
	}
	w.at, w.from = p.header.Name(), start
	end := p.size
	if p.sealed {
		end = p.trailer.DataEnd
		w.mark = max(w.mark, p.trailer.Mark)
	}
	limit := p.limit(next)
	if w.opt.Mark && next == nil && !p.sealed {
		if err := w.findMark(f, p, end); err != nil {
			return err
		}
		limit = min(limit, w.mark)
	}
	return w.frames(f, p, end, limit, next == nil && !p.sealed)
}

// passed tells whether a segment with this trailer lies before what is to be shown.
func (w *walker) passed(t segment.Trailer) bool {
	return t.Last < w.next || !w.opt.From.Time.IsZero() && t.MaxTime < w.opt.From.Time.UnixNano()
}

// findMark looks ahead for the newest mark.
func (w *walker) findMark(f io.ReaderAt, p *part, end int64) error {
	s := segment.NewScanner(f, p.header.Salt, w.from, end)
	for {
		part, err := s.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read segment %s: %w", p.path, err)
		}
		w.mark = max(w.mark, part.Header.Mark)
		if err := context.Cause(w.ctx); err != nil {
			return err
		}
	}
}

// frames shows the frames from w.from to end, up to sequence limit. open: a writer may be at work there. Then bad bytes
// may be a frame half written, and are believed to be bad only when they are so at a second look, with good ones after.
// Those of a sealed segment are shown as it gives them back.
func (w *walker) frames(f io.ReaderAt, p *part, end int64, limit uint64, open bool) error {
	tried := open && locked(w.fsys, w.dir) // of a segment that is being written there is nothing to heal with
	s := segment.NewScanner(f, p.header.Salt, w.from, end)
	var bad, doubted segment.Part
	for {
		part, err := s.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = context.Cause(w.ctx)
		}
		if err != nil {
			return fmt.Errorf("read segment %s: %w", p.path, err)
		}
		if part.Bad && !tried {
			tried = true
			if err := p.diagnose(f); err != nil {
				return fmt.Errorf("read segment %s: %w", p.path, err)
			}
			if p.healing != nil && p.healing.Won() {
				w.note(fmt.Sprintf("segment %s: damaged, and read as its parity gives it back", filepath.Base(p.path)))
				end = p.trailer.DataEnd
				s = segment.NewScanner(p.image(f), p.header.Salt, part.Offset, end)
				continue
			}
		}
		if part.Bad {
			if bad.Size == 0 {
				bad = part
			}
			continue
		}
		if open && bad.Size > 0 && bad.Offset != doubted.Offset {
			doubted = bad
			s, bad = segment.NewScanner(f, p.header.Salt, bad.Offset, end), segment.Part{}
			continue
		}
		if h := part.Header; h.Count > 0 && h.Last() > limit {
			return nil // the next segment has it again, or it is beyond the mark: the place stays
		}
		w.bad(p, bad)
		bad = segment.Part{}
		w.from = part.Offset + part.Size
		if err := w.show(p, &part); err != nil {
			return err
		}
	}
	if bad.Size == 0 || open && w.opt.Follow || !p.sealed && w.beingWritten(p, bad) {
		return nil
	}
	w.bad(p, bad)
	return nil
}

// beingWritten tells whether bad bytes at the end of a segment without a trailer are what a writer is adding: a frame, or
// the index and the parity, before the trailer makes sense of them.
func (w *walker) beingWritten(p *part, bad segment.Part) bool {
	if bad.Err != nil {
		return false
	}
	if locked(w.fsys, w.dir) {
		return true
	}
	now, f, err := openPart(w.fsys, p.listed) // the writer may have ended meanwhile
	if f != nil {
		_ = f.Close() // it was only read
	}
	return err == nil && (now.gone || now.sealed && bad.Offset >= now.trailer.DataEnd)
}

// bad notes bytes that are no frames. Zeros are space that was reserved.
func (w *walker) bad(p *part, bad segment.Part) {
	switch {
	case bad.Size == 0 || bad.Zero && bad.Offset+bad.Size >= p.size:
	case bad.Err != nil:
		w.note(fmt.Sprintf("segment %s: %d bytes at offset %d cannot be read: %v", filepath.Base(p.path), bad.Size, bad.Offset, bad.Err))
	default:
		w.note(fmt.Sprintf("segment %s: %d bytes at offset %d are no frames", filepath.Base(p.path), bad.Size, bad.Offset))
	}
}

// show hands a frame to fn, unless it is out of bounds.
func (w *walker) show(p *part, part *segment.Part) error {
	h := &part.Header
	if h.Count == 0 || h.Last() < w.next {
		return nil
	}
	if to := w.opt.To.Sequence; to > 0 && h.First > to {
		return errDone
	}
	if w.any && h.First > w.next {
		w.note(fmt.Sprintf("records %d to %d are not there", w.next, h.First-1))
	}
	w.next, w.any = h.Last()+1, true
	if h.Type != segment.Data {
		if h.Type == segment.Gap {
			w.note(fmt.Sprintf("records %d to %d were given up", h.First, h.Last()))
		}
		return nil
	}
	at := time.Unix(0, h.Time)
	if from, to := w.opt.From.Time, w.opt.To.Time; !from.IsZero() && at.Before(from) || !to.IsZero() && at.After(to) {
		return nil
	}
	if err := w.frame.Decode(*h, part.Offset, part.Payload); err != nil {
		w.note(fmt.Sprintf("segment %s: records %d to %d cannot be decoded: %v", filepath.Base(p.path), h.First, h.Last(), err))
		return nil
	}
	return w.fn(&w.frame)
}
