package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// readDisk reads on in the segment that holds next. It either finds the frame, or reports what is lost, or (both
// empty) has moved on to another segment.
func (r *Reader) readDisk(ctx context.Context, f *segment.Frame) (lost checkpoint.Range, found bool, err error) {
	if r.in == nil || r.next > r.in.last.Load() || r.next < r.in.name.First || !r.q.files.holds(r.in) {
		lost, err = r.openFile()
		if err != nil || lost.Last != 0 || r.in == nil {
			return lost, false, err
		}
	}
	if end := r.in.end.Load(); r.scan == nil {
		r.rescan(end)
	} else if end > r.end {
		r.scan.Extend(end)
		r.end = end
	}
	for followed := false; ; { // by a good frame, if something that is needed is bad
		part, err := r.scan.Next()
		if errors.Is(err, io.EOF) {
			return r.endOfFile(followed)
		}
		if err != nil {
			return lost, false, fmt.Errorf("read %s: %w", r.in.path, err)
		}
		if part.Bad {
			if again, err := r.damaged(ctx, part); again || err != nil {
				return lost, false, err
			}
			continue
		}
		h := part.Header
		if h.Last() < r.next { // what is bad before it was not needed either
			r.at, r.bad = part.Offset+part.Size, r.bad[:0]
			continue
		}
		if followed = true; h.Type != segment.Data {
			continue // what is missing stands before it
		}
		if h.First > r.in.last.Load() {
			return r.endOfFile(followed) // superseded: written again in the next segment after a failed sync
		}
		if h.First > r.next {
			if err := r.withheld(true); err != nil {
				return lost, false, err
			}
			lost = checkpoint.Range{First: r.next, Last: h.First - 1}
			r.writeOff(lost)
			r.scan = nil // the frame is read again once the loss is booked
			r.at = part.Offset
			return lost, false, nil
		}
		if err := f.Decode(h, part.Offset, part.Payload); err != nil {
			part.Bad, part.Err, part.Size = true, err, part.Size-part.Cut
			r.bad = append(r.bad, part)
			continue
		}
		r.at, r.bad, r.reopened, r.unread = part.Offset+part.Size, r.bad[:0], 0, unread{}
		r.took(f, r.in)
		return lost, true, nil
	}
}

// skipped writes down what the output missed. What is delivered may go while a preview, which nobody waits for, is at it.
func (r *Reader) skipped(lost checkpoint.Range) {
	if !r.preview {
		r.q.noteSkipped(r.name, r.open(lost))
	}
}

// openFile opens the segment that holds next; lost is what lies between next and the oldest record that is left.
func (r *Reader) openFile() (lost checkpoint.Range, err error) {
	r.closeFile()
	mark := r.q.mark.Load()
	in, oldest := r.q.files.find(r.next)
	if (in == nil || in.name.First > r.next) && r.q.vouchAll() {
		return lost, nil // what seems to be gone had another name
	}
	if in == nil { // every segment up to the mark is gone
		lost = checkpoint.Range{First: r.next, Last: mark}
		r.skipped(lost)
		return lost, nil
	}
	if r.q.vouch(in) {
		return lost, nil
	}
	if in.name.First > r.next {
		lost = checkpoint.Range{First: r.next, Last: in.name.First - 1}
		if oldest { // what is before may have been delivered to others
			r.skipped(lost)
		} else {
			r.q.noteMissing(lost)
		}
		return lost, nil
	}
	handle, err := r.q.opt.FS.Open(in.path)
	if err != nil {
		if !r.q.files.holds(in) {
			return lost, nil // dropped meanwhile: the next look finds the next one
		}
		if !r.isGone(err) {
			// Too many open files, or a file system that is away for a while: the records are still there.
			return lost, fmt.Errorf("open segment: %w", r.q.whoMay(err))
		}
		lost = checkpoint.Range{First: r.next, Last: in.last.Load()}
		r.q.noteDamage(in, nil, 0, 0, lost, "missing segment", err)
		return lost, nil
	}
	r.in, r.handle = in, handle
	if in.epoch.Load() == nil {
		h, _ := segment.ReadHeader(handle, in.size.Load(), in.name) // what a damaged one leaves is zero
		in.epoch.Store(&h.Epoch)
	}
	r.at = r.startOffset()
	return lost, nil
}

// isGone says whether the error of opening a segment means that its file is there no more: nothing has its name, or for a while now
// what is no file, such as a directory.
func (r *Reader) isGone(err error) bool {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, away := r.q.opt.FS.ReadDir(r.q.segmentDir()) // a link to what is away for a while is there
		return away == nil
	case errors.Is(err, fs.ErrInvalid):
		return r.waited() >= r.q.opt.readPatience
	}
	return false
}

// startOffset is where in the opened segment the search for next begins: the checkpoint's hint if it is good, else
// what the index of a sealed segment says, else the first frame.
func (r *Reader) startOffset() int64 {
	hint := r.hint
	r.hint = place{}
	if hint.in == r.in.name && hint.offset >= segment.HeaderSize && hint.offset < r.in.end.Load() {
		var b [segment.FrameHeaderSize]byte
		if _, err := r.handle.ReadAt(b[:], hint.offset); err == nil {
			h, err := segment.DecodeFrameHeader(b[:], r.in.name.Salt, hint.offset)
			if err == nil && h.First <= r.next {
				return hint.offset
			}
		}
	}
	size, err := r.handle.Size()
	if err != nil || !r.in.sealed.Load() {
		return segment.HeaderSize
	}
	trailer, err := segment.ReadTrailer(r.handle, size)
	if err != nil || trailer.Header.Salt != r.in.name.Salt {
		if r.in.end.Load() == 0 {
			r.in.end.Store(size)
		}
		return segment.HeaderSize
	}
	r.in.end.CompareAndSwap(0, trailer.DataEnd)
	index, err := segment.ReadIndex(r.handle, trailer)
	if err != nil {
		return segment.HeaderSize
	}
	return max(index.Seek(r.next), segment.HeaderSize)
}

func (r *Reader) rescan(end int64) {
	r.end = end
	var from io.ReaderAt = r.handle
	if r.healed != nil {
		from = r.healed.Over(r.handle)
	}
	r.scan = segment.NewScanner(from, r.in.name.Salt, r.at, end)
}

func (r *Reader) closeFile() {
	if r.handle != nil {
		if err := r.handle.Close(); err != nil {
			r.q.opt.Log.Warn("close segment", "segment", r.in.path, "error", err)
		}
	}
	r.in, r.handle, r.scan, r.reopened, r.healed = nil, nil, nil, 0, nil
	r.bad = r.bad[:0]
}

// endOfFile is reached without having found next. What the segment should still hold is lost; if it should hold
// nothing more, or has grown meanwhile, the next look finds the rest.
func (r *Reader) endOfFile(followed bool) (lost checkpoint.Range, found bool, err error) {
	if r.in.end.Load() > r.end || !r.q.files.holds(r.in) {
		return lost, false, nil // it has grown, or is dropped and cut
	}
	if last := r.in.last.Load(); r.next <= last {
		if len(r.bad) == 0 && r.q.vouchAll() {
			return lost, false, nil
		}
		if err := r.withheld(followed); err != nil {
			return lost, false, err
		}
		lost = checkpoint.Range{First: r.next, Last: last}
		r.writeOff(lost)
	}
	r.closeFile()
	return lost, false, nil
}

// damaged notes a bad range. At first the reader has the segment healed and opens it again; an error of the disk gets a few
// more chances, since many of them pass. The error says that nobody can heal it now, or that ctx has ended: nothing is given up then.
func (r *Reader) damaged(ctx context.Context, part segment.Part) (again bool, err error) {
	chances := 1
	if part.Err != nil {
		chances = readChances
	}
	if r.reopened < chances {
		in, at, reopened, healed := r.in, r.at, r.reopened, r.healed
		if reopened > 0 {
			r.q.sleep(readDelay)
		}
		r.closeFile()
		if reopened == 0 {
			view, err := r.q.heal(ctx, in, part)
			if err != nil {
				return false, err
			}
			healed = cmp.Or(view, healed)
		}
		handle, err := r.q.opt.FS.Open(in.path)
		if err == nil {
			r.in, r.handle, r.at, r.reopened, r.healed = in, handle, at, reopened+1, healed
			r.rescan(in.end.Load())
		}
		return true, nil
	}
	part.Payload = nil
	r.bad = append(r.bad, part)
	return false, nil
}

// writeOff quarantines the bad ranges in front of a loss and writes the loss into the ledger, unless a recovery, or
// another output, has done so already.
func (r *Reader) writeOff(lost checkpoint.Range) {
	if len(r.bad) == 0 {
		r.q.noteDamage(r.in, nil, r.at, 0, lost, "missing", nil)
		return
	}
	first, last := r.bad[0], r.bad[len(r.bad)-1]
	r.q.noteDamage(r.in, r.handle, first.Offset, last.Offset+last.Size-first.Offset, lost, causeOf(first), first.Err)
	r.bad = r.bad[:0]
}

// causeOf is what the ledger says of bad bytes.
func causeOf(bad segment.Part) string {
	switch {
	case bad.Err != nil:
		return "unreadable"
	case bad.Zero:
		return "zeroed"
	}
	return "checksum"
}
