package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// Target is where a rewind goes: one of its fields is set.
type Target struct {
	Oldest   bool      // to the oldest record that is left
	Newest   bool      // behind the last record
	Sequence uint64    // to this record; to the oldest that is left where it is gone; one behind the newest is its end
	Time     time.Time // to the first record in order that was appended at or after this time, by the clock of then
}

// Rewound is what a rewind has done.
type Rewound struct {
	Stream        uint32    // number of the stream that begins with it
	Before, After uint64    // positions: every record below counts as done
	First, Last   uint64    // sequences that are left; Last below First: none
	Records       uint64    // that are sent from now on
	Again         uint64    // of these, those that were done before
	Skipped       uint64    // records that were not done and are not sent now; the loss ledger has them, cause "rewind"
	Since         time.Time // when the first of Records was appended; zero: there is none
	Unlogged      error     // why only checkpoints.db has the position, and the log does not; nil: both have it
}

// UnknownOutputError says that a queue has no position of an output.
type UnknownOutputError struct {
	Output string
	Known  []string // sorted
}

func (e *UnknownOutputError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("output %q has no position here, nor has any other; start the daemon with it first", e.Output)
	}
	return fmt.Sprintf("output %q has no position here; those that have one are %s", e.Output, strings.Join(e.Known, ", "))
}

// NoRecordError says that a rewind names a record that has not come yet.
type NoRecordError struct {
	Sequence uint64
	Newest   uint64 // 0: none has come
}

func (e *NoRecordError) Error() string {
	what := fmt.Sprintf("there is no record %d yet, the newest is %d", e.Sequence, e.Newest)
	if e.Newest == 0 {
		what = fmt.Sprintf("there is no record %d yet, nor any other", e.Sequence)
	}
	return what + "; --to newest skips all that waits"
}

// Rewind moves the position of an output in a queue that no process has open, back or forth, in a stream of its own: so
// none of its older positions, wherever one is found, ever counts again. When it returns nil the position is durable; a
// crash before leaves the old one or the new one. Nothing is deleted. The state of the output stays: it is about the
// destination, to which records are only ever added. opt has Dir, and may have FS, Holder, Log and OpenStore.
func Rewind(opt Options, output string, to Target) (Rewound, error) {
	opt.offline, opt.WhenFull = true, Block
	opt.SegmentSize, opt.MaxSize, opt.MinFree = smallestSegment, 1<<62, -1 // the position finds room where a record would not
	opt = opt.withDefaults()
	if err := recovery.IsDataDir(opt.FS, opt.Dir); err != nil {
		return Rewound{}, err
	}
	q, err := Open(opt)
	if err != nil {
		return Rewound{}, err
	}
	done, err := q.rewind(output, to)
	closed := q.Close()
	if err != nil {
		return Rewound{}, err
	}
	if done.Unlogged = closed; closed == nil {
		done.Unlogged = logged(opt, output, done.After)
	}
	return done, nil
}

// logged is an error where the log does not have this position of an output.
func logged(opt Options, output string, floor uint64) error {
	s, err := recovery.TakeSurvey(opt.FS, opt.Dir)
	if err != nil {
		return err
	}
	for _, o := range s.Outputs {
		if o.Name == output && o.Position == floor {
			return nil
		}
	}
	return errors.New("the log had no room for it")
}

// rewind does it on the open queue.
func (q *Queue) rewind(output string, to Target) (Rewound, error) {
	q.outputs.Lock()
	r, known := q.readers[output], slices.Sorted(maps.Keys(q.readers))
	q.outputs.Unlock()
	if r == nil {
		return Rewound{}, &UnknownOutputError{Output: output, Known: known}
	}
	mark := q.mark.Load()
	done := Rewound{Before: r.rewind(), First: q.files.first(mark), Last: mark}
	var err error
	if done.After, err = q.target(to, done.First, mark+1); err != nil {
		return Rewound{}, err
	}
	if done.Since, err = q.appended(done.After); err != nil {
		return Rewound{}, err
	}
	done.Records = q.there(done.After, mark)
	for _, part := range r.Within(done.After, mark) {
		done.Again += q.there(part.First, part.Last)
	}
	if err := q.skip(r, &done); err != nil {
		return Rewound{}, err
	}
	done.Stream = r.jump(done.After)
	err = q.saveCheckpoints()
	if isFull(err) {
		q.spendReserve()
		err = q.saveCheckpoints()
	}
	if err != nil {
		return Rewound{}, fmt.Errorf("save the position of %s: %w; run it again, since it may stand here or there", output, err)
	}
	r.note()
	return done, nil
}

// there is how many records there are from first to last, without those that the ledger tells of as lost.
func (q *Queue) there(first, last uint64) (n uint64) {
	for _, part := range q.losses.ledger.Untold(checkpoint.Range{First: first, Last: last}) {
		n += q.files.records(part.First, part.Last)
	}
	return n
}

// target is the position that a rewind goes to, from first to next.
func (q *Queue) target(to Target, first, next uint64) (uint64, error) {
	switch {
	case to.Oldest:
		return first, nil
	case to.Newest:
		return next, nil
	case to.Sequence > 0:
		if to.Sequence > next {
			return 0, &NoRecordError{Sequence: to.Sequence, Newest: next - 1}
		}
		return max(to.Sequence, first), nil
	default:
		since := to.Time.UnixNano()
		h, found, err := q.firstFrame(func(t segment.Trailer) bool { return t.MaxTime >= since },
			func(h *segment.FrameHeader) bool { return h.Time >= since })
		if err != nil || !found {
			return next, err
		}
		return h.First, nil
	}
}

// skip writes the records between the old position and a later one into the ledger: they are still here, but their
// output does not get them.
func (q *Queue) skip(r *Reader, done *Rewound) error {
	if done.After <= done.Before {
		return nil
	}
	r.progress.mu.Lock()
	skipped := r.done.Without(done.Before, done.After-1)
	r.progress.mu.Unlock()
	for _, part := range skipped {
		n := q.files.records(part.First, part.Last)
		if n == 0 {
			continue
		}
		done.Skipped += n
		loss := lossOf(part.First, part.Last, n, recovery.CauseRewind, recovery.Acknowledged)
		loss.Outputs = []string{r.name}
		q.losses.mu.Lock()
		noted := q.noteLossLocked(loss)
		q.losses.mu.Unlock()
		if !noted {
			return errors.New("the loss ledger cannot be written, so nothing is skipped; make room on the disk")
		}
	}
	return nil
}

// appended is when the record of this sequence was appended, or the one after it that is left; zero where there is none.
func (q *Queue) appended(sequence uint64) (time.Time, error) {
	h, found, err := q.firstFrame(func(t segment.Trailer) bool { return t.Last >= sequence },
		func(h *segment.FrameHeader) bool { return h.Last() >= sequence })
	if err != nil || !found {
		return time.Time{}, err
	}
	return time.Unix(0, h.Time), nil
}

// firstFrame finds the first data frame that match takes. Sealed segments that are not wanted by their trailer are passed
// over; of the others bodies are read and not decompressed.
func (q *Queue) firstFrame(wanted func(segment.Trailer) bool, match func(*segment.FrameHeader) bool) (segment.FrameHeader, bool, error) {
	for _, f := range q.files.snapshot() {
		if f.last.Load() < f.name.First {
			continue
		}
		h, found, err := q.frameIn(f, wanted, match)
		if found || err != nil {
			return h, found, err
		}
	}
	return segment.FrameHeader{}, false, nil
}

func (q *Queue) frameIn(f *file, wanted func(segment.Trailer) bool, match func(*segment.FrameHeader) bool) (h segment.FrameHeader, found bool, err error) {
	handle, err := q.opt.FS.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return h, false, nil
	}
	if err != nil {
		return h, false, fmt.Errorf("open segment: %w", err)
	}
	defer func() { err = errors.Join(err, handle.Close()) }()
	end, err := handle.Size()
	if err != nil {
		return h, false, fmt.Errorf("read %s: %w", f.path, err)
	}
	if t, err := segment.ReadTrailer(handle, end); err == nil && t.Header.Salt == f.name.Salt {
		if !wanted(t) {
			return h, false, nil
		}
		end = t.DataEnd
	}
	scan := segment.NewScanner(handle, f.name.Salt, segment.HeaderSize, end)
	for {
		part, err := scan.Next()
		if errors.Is(err, io.EOF) {
			return h, false, nil
		}
		if err != nil {
			return h, false, fmt.Errorf("read %s: %w", f.path, err)
		}
		if part.Bad || part.Header.Type != segment.Data {
			continue
		}
		if part.Header.First > f.last.Load() {
			return h, false, nil // written again in the next segment
		}
		if match(&part.Header) {
			return part.Header, true, nil
		}
	}
}
