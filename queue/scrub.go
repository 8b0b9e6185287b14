package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/pprof"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// scrub is the scrubber: it reads all sealed segments, over and over, from the disk itself and at ScrubRate, so that bytes
// that nobody reads for weeks are healed while their parity can do that.
func (q *Queue) scrub() {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("queue", "scrubber")))
	refused := false // and that was said
	for {
		began := time.Now()
		if q.scrubRate() > 0 {
			q.copyLate()
			whole, err := q.scrubAll()
			if whole {
				q.scrubbed.Store(time.Now().UnixNano())
			}
			if err != nil && !refused {
				q.opt.Log.Warn("segments cannot be scrubbed; trying again with each pass", "error", err)
			}
			refused = err != nil
		}
		wait := time.NewTimer(q.opt.scrubEvery - time.Since(began))
		rest := wait.C
		if q.scrubRate() == 0 {
			rest = nil
		}
		select {
		case <-rest:
		case <-q.rescrub:
		case <-q.stop:
			wait.Stop()
			return
		}
		wait.Stop()
	}
}

func (q *Queue) scrubRate() int64 { return q.limits.Load().ScrubRate }

// scrubAll is one pass. It says whether it has come to its end, and why it could not look at a segment, for the first of
// them; such a pass is no full one. Where files turn out to be others than their names say it begins again.
func (q *Queue) scrubAll() (whole bool, refused error) {
	all := q.files.snapshot()
	for i := 0; i < len(all); i++ {
		f := all[i]
		if !f.settled.Load() || !q.files.holds(f) {
			continue
		}
		err := q.scrubFile(f)
		if errors.Is(err, errSortedOut) {
			all, i, refused = q.files.snapshot(), -1, nil
			continue
		}
		if errors.Is(err, errScrubEnds) {
			return false, refused
		}
		if err != nil && refused == nil && q.files.holds(f) {
			refused = fmt.Errorf("scrub %s: %w", f.path, q.whoMay(err))
		}
	}
	return refused == nil, refused
}

// scrubFile holds all of a segment against its checksums, heals what can be healed and writes down what cannot.
func (q *Queue) scrubFile(f *file) error {
	if q.vouch(f) {
		return errSortedOut
	}
	handle, err := q.opt.FS.Open(f.path)
	if err != nil {
		return err
	}
	defer handle.Close() // it was only read
	size, err := handle.Size()
	if err != nil {
		return err
	}
	slow := &slowly{q: q, file: handle}
	h, err := segment.Diagnose(slow, size, f.name)
	if slow.ended == nil && errors.Is(err, segment.ErrNoTrailer) {
		return q.scrubEndless(f, handle, size)
	}
	if err = errors.Join(slow.ended, err); err != nil {
		return err
	}
	if h.Won() {
		q.healing.turn <- struct{}{} // whoever has it heals
		if !q.isClosing() && q.files.holds(f) {
			_, err = q.healLocked(f)
		}
		q.healing.give()
	}
	if err != nil || len(h.Bad) == 0 || h.Unread {
		return err // what cannot be read is left to the readers, who ask for it again before they give it up
	}
	image := h.Over(handle)
	_, err = q.noteRest(f, image, segment.NewScanner(image, f.name.Salt, segment.HeaderSize, h.Trailer.DataEnd))
	return err
}

// scrubEndless looks at a segment that has no end: it was given up before it had one, or its end was cut off, with records or without.
func (q *Queue) scrubEndless(f *file, handle vfs.File, size int64) error {
	slow := &slowly{q: q, file: handle}
	end := size
	if known := f.end.Load(); known > 0 {
		end = known
	}
	whole, err := q.noteRest(f, handle, segment.NewScanner(slow, f.name.Salt, segment.HeaderSize, end))
	if err = cmp.Or(slow.ended, err); err != nil || !whole || !f.trailer.Load() {
		return err
	}
	q.healing.turn <- struct{}{}
	defer q.healing.give()
	a := q.attemptsLocked(f)
	if a.told {
		return nil
	}
	a.told = true
	q.opt.Log.Warn("the end of a segment is gone, with its parity; all its records are there. fsck --repair makes it again", "segment", f.path)
	return nil
}

// errSortedOut says that the list of segments is another one now.
var errSortedOut = errors.New("the segments are sorted out")

// errScrubEnds ends a pass: the queue closes, or is to be scrubbed no longer.
var errScrubEnds = errors.New("the scrub ends")

// slowly reads a file at ScrubRate, and from the disk rather than from memory.
type slowly struct {
	q     *Queue
	file  vfs.File
	ended error
}

func (s *slowly) ReadAt(b []byte, offset int64) (int, error) {
	if s.ended != nil {
		return 0, fs.ErrClosed
	}
	vfs.Forget(s.file, offset, int64(len(b)))
	n, err := s.file.ReadAt(b, offset)
	vfs.Forget(s.file, offset, int64(len(b)))
	s.q.counters.scrubbedBytes.Add(uint64(n))
	if !s.wait(n) {
		return 0, fs.ErrClosed
	}
	return n, err
}

// wait is how long reading so much may take, by the rate of the moment.
func (s *slowly) wait(n int) bool {
	began := time.Now()
	for {
		rate := s.q.scrubRate()
		if rate == 0 {
			s.ended = errScrubEnds
			return false
		}
		t := time.NewTimer(time.Duration(float64(n)/float64(rate)*float64(time.Second)) - time.Since(began))
		select {
		case <-t.C:
			return true
		case <-s.q.rescrub:
			t.Stop()
		case <-s.q.stop:
			t.Stop()
			s.ended = errScrubEnds
			return false
		}
	}
}

var _ io.ReaderAt = (*slowly)(nil)
