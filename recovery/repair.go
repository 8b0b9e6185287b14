package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// RepairOptions of Repair. The zero value works.
type RepairOptions struct {
	CheckOptions
	Holder string           // names this process to whoever finds the lock taken
	Now    func() time.Time // the clock of the ledger; nil: time.Now
	// Changing is called before a segment is healed, written anew or sealed: the number of it, and of all such; may be nil.
	Changing func(segment, all int)
	// MakeStore makes a whole checkpoint database, durable but for its name, at a path of which nothing is to be kept; nil:
	// checkpoint.Make, which needs the file system of the machine.
	MakeStore func(path string, positions map[string]checkpoint.Position) error
}

// Repair puts a data directory in order that nobody has open: it judges as Check and Start do, heals what is kept twice,
// copies what nothing gives back to quarantine and writes it in the loss ledger, and only then writes these segments anew,
// cuts torn tails, and makes again what can be made of the rest: trailers, indexes, names, identity, checkpoints.db. Every
// file that is replaced stays in quarantine as it was. It counts no start.
//
// It may be cut short at any point, and goes on where it was when it is run again. In the report Clean is the state it
// leaves: not clean is what it could not do, and a note says why. The error is one that the operator has to settle: the
// directory is in use (*vfs.LockedError), a file is from a newer logmule (*UnknownFormatError; then nothing was touched), or
// ctx has ended.
func Repair(ctx context.Context, fsys vfs.FS, dir string, opt RepairOptions) (Report, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.MakeStore == nil {
		opt.MakeStore = checkpoint.Make
	}
	r := repairer{starter: starter{fsys: fsys, dir: dir, opt: Options{Now: opt.Now}, clears: true}, ctx: ctx, options: opt}
	r.Report = newReport()
	if err := r.refuse(); err != nil {
		return r.Report, err
	}
	release, err := r.lock()
	if err != nil {
		return r.Report, err
	}
	if err = r.run(); context.Cause(ctx) != nil && errors.Is(err, context.Cause(ctx)) {
		err = r.interrupted()
	}
	return r.Report, errors.Join(err, release())
}

// repairer is one Repair under way: a start that reads everything, and has what is needed to write segments anew.
type repairer struct {
	starter
	ctx      context.Context
	options  RepairOptions
	check    *checker
	left     []*part  // as they are now; those that were not touched are not read again
	storeBad []string // what is wrong with checkpoints.db
	storeOdd bool     // no file stood in its place, and it was set aside
	wants    int64    // bytes that the disk had no room for
	copied   bool     // bad bytes were copied to quarantine
	failed   bool
}

// refuse looks for what must not be touched, before anything is.
func (r *repairer) refuse() error {
	c := r.reader()
	if err := c.prepare(); err != nil {
		return err
	}
	return formatError(c.parts)
}

// lock takes the lock of the directory. What stood in the lock file stands there again afterwards. It tries for a second,
// since those who look whether a daemon runs hold the lock for a moment.
func (r *repairer) lock() (release func() error, err error) {
	path := filepath.Join(r.dir, LockFile)
	was, _ := vfs.ReadFile(r.fsys, path, 4<<10) // nothing: it is not there yet
	var lock io.Closer
	for deadline := time.Now().Add(time.Second); ; time.Sleep(20 * time.Millisecond) {
		lock, _, err = Lock(r.fsys, r.dir, r.options.Holder)
		var held *vfs.LockedError
		if !errors.As(err, &held) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return func() error {
		if holder, _, _ := strings.Cut(string(was), "\n"); len(was) > 0 && holder != r.options.Holder {
			if f, err := r.fsys.OpenWrite(path); err == nil {
				if _, err := f.WriteAt(was, 0); err == nil {
					_ = f.Truncate(int64(len(was)))
				}
				_ = f.Close() // the line is for people
			}
		}
		return lock.Close()
	}, nil
}

// reader is a check that reads for the repair.
func (r *repairer) reader() *checker {
	c := newChecker(r.ctx, r.fsys, r.dir, r.options.CheckOptions)
	c.all = true
	return c
}

func (r *repairer) run() (err error) {
	odd, err := SetAside(r.fsys, r.dir)
	for _, o := range odd {
		r.Report.note(o.String())
		r.Report.Repaired = true
		r.storeOdd = r.storeOdd || o.Name == CheckpointFile
	}
	if err != nil {
		if err := r.give("other things than the queue's own files stand in their places", 0, err); err != nil {
			return err
		}
	}
	removeHealing(r.fsys, r.dir)
	if r.ledger, err = OpenLedger(r.fsys, r.dir); err != nil {
		return err
	}
	r.sums = r.ledger.sums()
	if err = r.read(); err == nil {
		err = r.repair()
	}
	return errors.Join(err, r.ledger.Close())
}

// read reads every byte, as Check does, and places the marks as Start does.
func (r *repairer) read() error {
	r.check = r.reader()
	if err := r.check.prepare(); err != nil {
		return err
	}
	if err := r.check.readAll(); err != nil {
		return err
	}
	r.parts, r.Queue = r.check.parts, r.check.queue
	for _, p := range r.parts {
		r.listed = append(r.listed, p.listed)
	}
	return nil
}

func (r *repairer) repair() error {
	found, err := r.judge()
	if err != nil {
		return err
	}
	rest, err := r.settleOdd(found)
	if err != nil {
		if err := r.give("files that are in the way, or have wrong names, stay so", diskBlock, err); err != nil {
			return err
		}
	}
	moved := slices.ContainsFunc(r.parts, func(p *part) bool { return p.keptAs != "" && !p.unmoved })
	r.Report.Repaired = r.Report.Repaired || moved || len(r.Report.Damage) > 0
	if err := r.settleAll(rest); err != nil {
		return err
	}
	if err := r.interrupted(); err != nil {
		return err
	}
	if err := r.restoreIdentity(); err != nil {
		return err
	}
	if err := r.restoreStore(); err != nil {
		return err
	}
	return r.describeLeft()
}

// judge is what Start would find if it read everything.
func (r *repairer) judge() ([]finding, error) {
	if err := r.loadStore(); err != nil {
		return nil, err
	}
	r.reckon()
	if err := r.cutSourced(); err != nil {
		return nil, err
	}
	r.advance()
	return r.findings(r.sums.owed(r.Outputs, r.stored[checkpoint.EndKey].Planned, r.Next-1)), nil
}

// interrupted is the error when the repair is to end, at a point where that leaves nothing half done.
func (r *repairer) interrupted() error {
	if err := context.Cause(r.ctx); err != nil {
		return fmt.Errorf("%w; %s; run it again to go on", err, r.doneSoFar())
	}
	return nil
}

func (r *repairer) doneSoFar() string {
	switch {
	case r.Report.Repaired && len(r.Report.Damage) == 0:
		return "what has been done is whole"
	case r.Report.Repaired:
		return "what has been done is whole: " + countOf(uint64(len(r.Report.Damage)), "place") + " put right"
	case r.copied:
		return "no file has been changed; the copies of bad bytes in quarantine/ stay, and are not made a second time"
	}
	return "nothing has been changed"
}

// describeLeft judges what is there now: that it is clean, or what is left.
func (r *repairer) describeLeft() error {
	if r.wants > 0 {
		r.Report.note(r.wish())
	}
	r.options.Progress = nil // there is little to read
	c := r.reader()
	if err := c.prepare(); err != nil {
		return err
	}
	read := make(map[string]*part)
	for _, p := range r.left {
		read[p.path] = p
	}
	for i, p := range c.parts {
		if was := read[p.path]; was != nil && was.size == p.size && was.changed.Equal(p.changed) {
			was.name = p.name
			c.parts[i] = was
			continue
		}
		again, err := c.read(i)
		if err != nil {
			return err
		}
		c.parts[i] = again
	}
	found, err := c.judge()
	if err != nil {
		return err
	}
	if err := c.describe(found); err != nil {
		return err
	}
	now, done := &c.report, &r.Report
	for _, d := range now.Damage {
		d.Action = didNothing
		if done.tells(d.FirstLost, d.LastLost) {
			d.FirstLost, d.LastLost, d.Lost = 0, 0, nil
		}
		done.add(d)
	}
	for _, n := range now.Notes {
		if n != notePast || len(done.Damage) == 0 { // it may have become that just now
			done.note(n)
		}
	}
	done.Clean = now.Clean && !r.failed
	done.Segments, done.Records, done.Bytes = now.Segments, now.Records, now.Bytes
	done.FirstSequence, done.LastSequence, done.Ledger = now.FirstSequence, now.LastSequence, now.Ledger
	done.outputs(r.Outputs)
	slices.SortStableFunc(done.Damage, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Offset, b.Offset))
	})
	return nil
}

// give notes that something could not be done, and goes on with the rest.
func (r *repairer) give(what string, wants int64, err error) error {
	if cause := context.Cause(r.ctx); cause != nil && errors.Is(err, cause) {
		return fmt.Errorf("%s: %w", what, err)
	}
	r.failed = true
	if !isFull(err) {
		r.Report.note(fmt.Sprintf("%s: %v", what, err))
		return nil
	}
	r.wants += wants
	r.Report.note(fmt.Sprintf("%s: the disk is full", what))
	return nil
}

// wish says how much room is wanted.
func (r *repairer) wish() string {
	r.Report.Wants = max(r.wants, diskBlock)
	wants := fmt.Sprintf("the disk is full, by which nothing is lost: what is left to do wants %d bytes", r.wants)
	space, err := r.fsys.Space(r.dir)
	if err != nil {
		return wants + "; make room and run it again"
	}
	r.Report.Wants = max(r.wants-space.Free, diskBlock)
	return fmt.Sprintf("%s, and %d are free; free at least %d more and run it again", wants, space.Free, r.Report.Wants)
}

// headerFor is the header that a segment gets when it is written anew. What only its own one could tell is taken from its
// neighbours where these agree.
func (r *repairer) headerFor(p *part) segment.Header {
	h := p.header
	if h.Queue == (segment.ID{}) {
		h.Queue = r.Queue
	}
	if p.identified {
		return h
	}
	var before, after *part
	for i, n := range r.parts {
		if n == p {
			before, after = r.neighbours(i)
		}
	}
	if before != nil && before.identified && before.last+1 == h.First {
		h.Previous = segment.Link{Last: before.last, Salt: before.header.Salt}
		if after != nil && after.identified && after.header.Epoch == before.header.Epoch {
			h.Epoch = before.header.Epoch
		}
	}
	h.Created = p.minTime
	return h
}

func (r *repairer) neighbours(i int) (before, after *part) {
	for _, p := range r.parts[:i] {
		if p.normal() {
			before = p
		}
	}
	for _, p := range slices.Backward(r.parts[i+1:]) {
		if p.normal() {
			after = p
		}
	}
	return before, after
}
