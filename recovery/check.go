package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// mostHeld bounds the bytes in memory of what heals, in however many segments. What is more is made again when it is needed.
const mostHeld = 64 << 20

// CheckOptions of Check. The zero value works.
type CheckOptions struct {
	Deep     bool                    // decode every body too
	Progress func(done, total int64) // bytes read, of all; called by one goroutine at a time
	Source   func(key string) string // what a person calls the source with this key; nil: the key
	Workers  int                     // segments read at the same time; 0: one for each processor
	mostHeld int64                   // bytes of what heals that are kept in memory; 0: mostHeld
	Store    checkpoint.Store        // has the positions of outputs; nil: the database in the directory, which is read and not opened
}

// Check verifies every checksum of every byte in the segments of the data directory dir and judges as Start does. It
// changes nothing and may run beside a daemon: then what an unsealed segment holds beyond the durable mark is not
// judged, nor a file that vanishes or changes meanwhile. What the loss ledger tells of already is history. The report is
// complete also where the error is an *UnknownFormatError: then some files could not be judged.
func Check(ctx context.Context, fsys vfs.FS, dir string, opt CheckOptions) (Report, error) {
	c := newChecker(ctx, fsys, dir, opt)
	if err := c.prepare(); err != nil {
		return c.report, err
	}
	if err := c.readAll(); err != nil {
		return c.report, err
	}
	found, err := c.judge()
	if err != nil {
		return c.report, err
	}
	if err := c.describe(found); err != nil {
		return c.report, err
	}
	return c.report, formatError(c.parts)
}

// checker is one Check under way. The workers touch only their own part, and progress.
type checker struct {
	ctx    context.Context
	fsys   vfs.FS
	dir    string
	opt    CheckOptions
	report Report

	queue   segment.ID
	sums    ledgerSums
	live    bool // another process writes
	all     bool // the positions of sources are wanted too
	beside  beside
	outputs map[string]checkpoint.Position
	told    map[string][]byte // what else the positions in the log say
	parts   []*part
	mark    uint64
	held    atomic.Int64 // bytes of what heals

	progress struct {
		sync.Mutex // guards done, and the call of opt.Progress
		done       int64
		total      int64
	}
}

func newChecker(ctx context.Context, fsys vfs.FS, dir string, opt CheckOptions) *checker {
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	return &checker{ctx: ctx, fsys: fsys, dir: dir, opt: opt, report: newReport()}
}

// prepare reads everything but the segments, and of those the headers.
func (c *checker) prepare() error {
	if err := IsDataDir(c.fsys, c.dir); err != nil {
		return err
	}
	id, _, lost, err := readIdentity(c.fsys, c.dir)
	if err != nil {
		return err
	}
	c.live = !c.all && locked(c.fsys, c.dir) // a repair holds the lock itself
	for _, odd := range oddNames(c.fsys, c.dir) {
		c.report.note(odd.String())
	}
	if lost != nil {
		c.report.note(fmt.Sprintf("no identity, the next start makes it again from the segments (%v)", lost))
	}
	if _, err := c.fsys.Stat(filepath.Join(c.dir, CheckpointFile)); errors.Is(err, fs.ErrNotExist) && c.opt.Store == nil {
		c.report.note(CheckpointFile + " is missing; the next start takes the positions from the log")
	}
	if err := c.sums.read(c.fsys, c.dir); err != nil {
		return err
	}
	c.report.noteLedger(c.sums.bad)
	c.peek() // before the segments: what a daemon delivers meanwhile may be in none of them
	var notes []string
	if c.parts, c.queue, notes, err = stock(c.fsys, c.dir, id, 0); err != nil {
		return err
	}
	for _, n := range notes {
		c.report.note(n)
	}
	for _, p := range c.parts {
		c.progress.total += p.size
	}
	if lost == nil && c.queue != id {
		c.report.note(otherIdentity(id, c.queue))
	}
	return nil
}

// peek reads the stored positions. A database that a daemon writes is of no use.
func (c *checker) peek() {
	if c.live {
		c.beside = beside{}.withRecent(c.fsys, c.dir)
		return
	}
	c.beside = lookBeside(c.fsys, c.dir, c.opt.Store)
}

// readAll reads the segments, the newest first, as many at a time as there are workers. Every segment has all positions; those that
// a newer one has too are not kept, so that their memory does not grow with the backlog.
func (c *checker) readAll() error {
	var workers sync.WaitGroup
	var mu sync.Mutex // guards next, failed, full and parts
	next, failed := len(c.parts), error(nil)
	full := 0                            // those before it add no position
	parts := make([]*part, len(c.parts)) // c.parts stays as it is while the workers look at their neighbours
	work := func() {
		for {
			mu.Lock()
			next--
			i := next
			stop := failed != nil || i < 0
			mu.Unlock()
			if stop {
				return
			}
			p, err := c.read(i)
			mu.Lock()
			parts[i], failed = p, errors.Join(failed, err)
			done := parts[min(i, full):min(i+1, full)] // this one, or nothing
			if p != nil && p.settles() && i > full {
				full, done = i, parts[:i]
			}
			for _, old := range done {
				if old != nil && old.positions != nil {
					old.positions.values = nil
				}
			}
			mu.Unlock()
		}
	}
	for range min(c.opt.Workers, len(parts)) {
		workers.Go(work)
	}
	workers.Wait()
	if failed == nil {
		c.parts = parts
	}
	return failed
}

// read reads segment i from its header on and returns what there is now.
func (c *checker) read(i int) (*part, error) {
	old := c.parts[i]
	if !old.normal() {
		return old, c.pass(old.size)
	}
	l := old.listed
	if info, err := c.fsys.Stat(l.path); err == nil {
		l.size, l.changed = info.Size(), info.ModTime()
	}
	p, f, err := openPart(c.fsys, l)
	if err != nil || f == nil {
		return p, err
	}
	p.disown(c.queue)
	if p.normal() {
		err = c.readPart(p, f, c.next(i))
	}
	return p, errors.Join(err, f.Close())
}

func (c *checker) readPart(p *part, f vfs.File, next *part) error {
	begin := func() func(*segment.Part) {
		p.positions, p.problems, p.undecoded = newGatherer(!c.all), nil, 0
		if !c.opt.Deep {
			return p.positions.take
		}
		d := decoder{part: p}
		return func(s *segment.Part) {
			p.positions.take(s)
			d.take(s)
		}
	}
	left := p.size
	pace := func(n int64) error {
		left -= n
		return c.pass(n)
	}
	if err := p.look(f, next, true, pace, begin); err != nil {
		return err
	}
	if p.sealed {
		p.verify(f)
	}
	if h := p.healing; h != nil && c.held.Add(h.Held()) > cmp.Or(c.opt.mostHeld, mostHeld) {
		c.held.Add(-h.Held())
		h.Drop()
	}
	p.positions.end()
	return c.pass(left)
}

// next is the following segment that is ours to read. Its header is all that is looked at, and never changes.
func (c *checker) next(i int) *part {
	for _, p := range c.parts[i+1:] {
		if p.normal() {
			return p
		}
	}
	return nil
}

// pass reports bytes read and ends with the context.
func (c *checker) pass(n int64) error {
	if c.opt.Progress != nil {
		c.progress.Lock()
		c.progress.done = min(c.progress.done+n, c.progress.total)
		c.opt.Progress(c.progress.done, c.progress.total)
		c.progress.Unlock()
	}
	return context.Cause(c.ctx)
}

// judge returns the damage. Beside a live writer a first look may be at something half done: a segment that is to be
// blamed is looked at again until nothing has changed under it.
func (c *checker) judge() (_ []finding, err error) {
	const rounds = 3
	for round := 1; ; round++ {
		var bad []string
		c.outputs, c.told, bad = known(c.parts, c.beside.positions)
		for _, name := range bad {
			c.report.note(fmt.Sprintf("the position of output %s in the log cannot be read", name))
		}
		c.mark = max(durable(c.parts, c.outputs), noted(c.beside.positions))
		j := judge{parts: c.parts, mark: c.mark, end: given(c.parts, c.mark, &c.sums)}
		if j.owed, err = c.owed(j.end); err != nil {
			return nil, err
		}
		found := j.findings()
		suspects := c.suspects(found, round)
		if len(suspects) == 0 || round > rounds {
			return c.judged(found), nil
		}
		for i := range suspects {
			p, err := c.read(i)
			if err != nil {
				return nil, err
			}
			c.parts[i] = p
		}
	}
}

// owed is what somebody has still to get of the sequences up to end. A daemon notes what it deletes before it does so, and how far its
// outputs are before that: what it has noted by now tells of all that was gone when the segments were listed.
func (c *checker) owed(end uint64) (checkpoint.Ranges, error) {
	if c.beside.err != nil { // what is not there may have been delivered and deleted
		return nil, nil
	}
	begin := c.beside.positions[checkpoint.EndKey].Planned
	if !c.live {
		return c.sums.owed(c.outputs, begin, end), nil
	}
	now := beside{}.withRecent(c.fsys, c.dir).positions
	if begin = now[checkpoint.EndKey].Planned; begin == 0 {
		return nil, nil
	}
	var sums ledgerSums
	if err := sums.read(c.fsys, c.dir); err != nil {
		return nil, err
	}
	outputs, _, _ := known(c.parts, now)
	return checkpoint.Ranges(sums.owed(outputs, begin, end)).Within(begin, end), nil
}

// suspects are the segments (by their index) with damage that have changed since they were read. Of a live queue an
// unsealed one is read again in any case, since the mark that condemns it may be younger than what was read of it.
func (c *checker) suspects(found []finding, round int) map[int]bool {
	again := make(map[int]bool)
	for _, f := range found {
		if f.torn || c.sums.history(f) {
			continue
		}
		for i, p := range c.parts {
			if p != f.part && p != f.after {
				continue
			}
			info, err := c.fsys.Stat(p.path)
			changed := err != nil || info.Size() != p.size || !info.ModTime().Equal(p.changed)
			if changed || c.live && round == 1 && !p.sealed {
				again[i] = true
			}
		}
	}
	return again
}

// judged leaves out what a live writer may still be at.
func (c *checker) judged(found []finding) []finding {
	return slices.DeleteFunc(found, func(f finding) bool {
		open := f.part != nil && !f.part.sealed
		atEnd := f.part == nil && c.next(slices.Index(c.parts, f.after)) == nil
		return c.live && (open && f.torn || atEnd)
	})
}

// IsDataDir is an error where dir has nothing of a queue in it.
func IsDataDir(fsys vfs.FS, dir string) error {
	infos, err := fsys.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, info := range infos {
		if slices.Contains([]string{SegmentDir, identityFile, LockFile, CheckpointFile, ledgerFile}, info.Name()) {
			return nil
		}
	}
	return fmt.Errorf("%s is no data directory: neither %s nor %s is in it", dir, SegmentDir, identityFile)
}
