package damage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// trial is one damaged directory on its way through check, start or repair, and check again, and what is wrong with that.
type trial struct {
	t    testing.TB
	w    *world
	now  image // as the damage left it
	way  way
	disk *faultfs.FS
	bolt string // the directory of the checkpoint database; empty: it stands for a store in memory
	mem  *checkpoint.Memory

	moved    map[string][]byte // damaged databases, where they are now
	before   recovery.Report
	q        *queue.Queue
	there    checkpoint.Ranges            // what comes to somebody who reads everything
	came     map[string]checkpoint.Ranges // to the outputs
	losses   []recovery.Loss
	added    uint64 // the sequence of the record that was appended after the start; 0: none yet
	expects  *oracle
	findings []string
}

// way is who deals with the damage.
type way int

const (
	byReaders way = iota // a start, and readers on their way
	byScrub              // a start, and the scrubber before anybody reads
	byRepair             // the command, before the start
	ways
)

func (w way) String() string {
	return [...]string{"start and readers", "start and scrubber", "repair"}[w]
}

const mostFindings = 6

func (j *trial) fail(invariant, format string, args ...any) {
	if len(j.findings) < mostFindings {
		j.findings = append(j.findings, invariant+": "+fmt.Sprintf(format, args...))
	}
}

// try judges what becomes of a damage.
func (w *world) try(t testing.TB, now image, by way) *trial {
	t.Helper()
	j := &trial{t: t, w: w, now: now, way: by, disk: w.disk.Crash(faultfs.Keep, 0), expects: w.foretell(now), moved: map[string][]byte{}}
	now.put(t, j.disk, w.files)
	j.before = j.check("before", false)
	j.walk("before the start")
	if by == byRepair {
		j.repair()
	}
	j.prepareStore()
	j.run()
	return j
}

// run is the start and what follows it.
func (j *trial) run() {
	if !j.open("the start") {
		return
	}
	if j.way == byScrub {
		j.scrubbed()
	}
	j.readAll()
	j.account()
	j.goOn()
	j.end("the first run")
	j.kept()
	if len(j.findings) > 0 {
		return
	}
	j.check("after the first run", true)
	j.again()
}

// prepareStore gives the queue its checkpoint database: bbolt, which needs a real file, only where it is not the one of the world.
func (j *trial) prepareStore() {
	path := filepath.Join(dataDir, recovery.CheckpointFile)
	file, err := vfs.ReadFile(j.disk, path, 1<<30)
	if err == nil && bytes.Equal(file, j.w.files[recovery.CheckpointFile]) {
		j.mem = checkpoint.NewMemory()
		positions := map[string]checkpoint.Position{}
		for name, p := range j.w.outputs {
			positions[checkpoint.Key(name)] = p
		}
		if err := j.mem.Save(positions); err != nil {
			j.t.Fatal(err)
		}
		return
	}
	j.bolt = scratch(j.t)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = vfs.WriteFile(vfs.OS(), filepath.Join(j.bolt, recovery.CheckpointFile), file)
	}
	if err != nil {
		j.t.Fatal(err)
	}
}

// returnStore puts the database where fsck looks for it.
func (j *trial) returnStore() {
	if j.bolt == "" {
		return
	}
	file, err := vfs.ReadFile(vfs.OS(), filepath.Join(j.bolt, recovery.CheckpointFile), 1<<30)
	if err == nil {
		err = vfs.WriteFile(j.disk, filepath.Join(dataDir, recovery.CheckpointFile), file)
	}
	if err != nil {
		j.fail("I4", "the checkpoint database after the end: %v", err)
	}
}

func (j *trial) openStore(string) (checkpoint.Store, []checkpoint.Problem, error) {
	if j.mem != nil {
		return j.mem.Reopen(), nil, nil
	}
	store, problems, err := checkpoint.Open(filepath.Join(j.bolt, recovery.CheckpointFile))
	if err != nil {
		return nil, problems, err
	}
	for _, p := range problems {
		if p.MovedTo == "" {
			continue
		}
		if j.moved[p.MovedTo], err = os.ReadFile(p.MovedTo); err != nil {
			j.fail("I6", "the damaged checkpoint database is gone: %v", err)
		}
	}
	return store, problems, nil
}

func (j *trial) options() queue.Options {
	o := queue.Options{
		Dir: dataDir, FS: j.disk, SegmentSize: 64 << 10, MinFree: -1, Codec: segment.None, NoReserve: true,
		KeepFor: time.Hour, OpenStore: j.openStore,
	}
	if j.way == byScrub {
		o.ScrubRate = 1 << 40
	}
	return o
}

// check is fsck. settled: somebody has dealt with the damage, and nothing is lost that was not lost before. Only a repair puts
// everything right: readers leave what nobody misses, such as a bad parity block, and the scrubber what it cannot heal.
func (j *trial) check(when string, settled bool) recovery.Report {
	report, err := recovery.Check(context.Background(), j.disk, dataDir, recovery.CheckOptions{Deep: true, Workers: 1})
	if err != nil {
		j.fail("I7", "fsck %s: %v", when, err)
	}
	if !settled {
		return report
	}
	healed := !slices.ContainsFunc(report.Damage, func(d recovery.Damage) bool { return d.Action == "would heal" })
	if report.LostRecords > 0 || j.way == byRepair && !report.Clean || j.way == byScrub && !healed {
		j.fail("I7", "fsck %s: clean %v, %d lost, %+v", when, report.Clean, report.LostRecords, report.Damage)
	}
	return report
}

// walk holds what cat shows against what fsck says.
func (j *trial) walk(when string) {
	var shown checkpoint.Ranges
	err := recovery.Walk(context.Background(), j.disk, dataDir, recovery.WalkOptions{}, func(f *segment.Frame) error {
		shown = j.frame("cat "+when, f, shown)
		return nil
	})
	if err != nil {
		j.fail("I4", "cat %s: %v", when, err)
	}
	j.there = shown
}

// frame judges one frame that was delivered after all of these.
func (j *trial) frame(to string, f *segment.Frame, before checkpoint.Ranges) checkpoint.Ranges {
	if f.First <= before.Last() {
		j.fail("I3", "to %s: record %d comes after %d", to, f.First, before.Last())
	}
	s := f.First
	for _, run := range f.Runs {
		for _, text := range lines(run.Body) {
			want, known := j.w.payloads[s]
			if s == j.added {
				want, known = theEnd, true
			}
			if !known || text != want {
				j.fail("I2", "to %s: record %d is %.60q, written was %.60q", to, s, text, want)
			}
			s++
		}
	}
	if s != f.Last()+1 {
		j.fail("I2", "to %s: the frame of records %d to %d holds %d", to, f.First, f.Last(), s-f.First)
	}
	return before.Add(f.First, f.Last())
}

func (j *trial) open(when string) bool {
	var err error
	if j.q, err = queue.Open(j.options()); err != nil {
		j.fail("I4", "%s: %v", when, err)
		return false
	}
	return true
}

func (j *trial) end(when string) {
	if err := j.q.Close(); err != nil {
		j.fail("I4", "the end of %s: %v", when, err)
	}
	j.returnStore()
}

// scrubbed waits for a whole pass of the scrubber.
func (j *trial) scrubbed() {
	for deadline := time.Now().Add(time.Minute); j.q.Status().Scrubbed.IsZero(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			j.fail("I4", "the scrubber comes to no end: %+v", j.q.Status())
			return
		}
	}
}

// readAll takes what comes, for one who reads everything and for each output.
func (j *trial) readAll() {
	walked := j.there
	all := j.q.Preview(nobody)
	j.there = j.drain(nobody, all)
	all.Close()
	if walked.String() != j.there.String() {
		j.fail("agree", "cat showed %v, a reader gets %v", walked, j.there)
	}
	j.came = map[string]checkpoint.Ranges{}
	readers := map[string]*queue.Reader{}
	for name := range j.w.outputs {
		readers[name] = j.q.Reader(name, queue.Oldest)
	}
	for _, name := range sorted(readers) {
		j.came[name] = j.drain(name, readers[name])
		readers[name].Close()
	}
	var err error
	if j.losses, err = recovery.ReadLedger(j.disk, dataDir); err != nil {
		j.fail("I5", "the ledger: %v", err)
	}
}

// nobody is the output of one who looks at everything and takes nothing.
const nobody = "nobody"

// drain reads to the end, takes all of it, and returns what had not been done.
func (j *trial) drain(name string, r *queue.Reader) (came checkpoint.Ranges) {
	var f segment.Frame
	var passed checkpoint.Ranges
	for {
		ok, _, err := r.TryNext(context.Background(), &f)
		if err != nil {
			j.fail("I4", "read for %s: %v", name, err)
		}
		if !ok || err != nil {
			return came
		}
		passed = j.frame(name, &f, passed)
		if name == nobody {
			came = passed
			continue
		}
		var done checkpoint.Ranges
		for _, d := range r.Within(f.First, f.Last()) {
			done = done.Add(d.First, d.Last)
		}
		for _, fresh := range done.Without(f.First, f.Last()) {
			came = came.Add(fresh.First, fresh.Last)
		}
		r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
	}
}

const theEnd = "appended after the damage"

// goOn uses the queue: a new record gets a new number and reaches everybody.
func (j *trial) goOn() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	body := []byte(theEnd + "\n")
	last, err := j.q.Append(ctx, []segment.Run{{Form: segment.Lines, Count: 1, Raw: uint32(len(body)), Body: body}})
	if err == nil {
		err = j.q.WaitDurable(ctx, last)
	}
	if err != nil {
		j.fail("I4", "append after the start: %v", err)
		return
	}
	if seen := max(j.expects.known, j.there.Last()); last <= seen {
		j.fail("I8", "sequence %d is given again, %d was seen", last, seen)
	}
	j.added = last
	j.there = j.there.Add(last, last)
	for name := range j.w.outputs {
		r := j.q.Reader(name, queue.Oldest)
		var f segment.Frame
		if came, _, err := r.TryNext(context.Background(), &f); !came || err != nil || f.First != last || f.Last() != last || string(f.Runs[0].Body) != string(body) {
			j.fail("I1", "record %d, appended after the start, does not come to %s: %v, %d to %d", last, name, err, f.First, f.Last())
		} else {
			r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
		}
		r.Close()
	}
	for _, s := range j.w.segs {
		if s.Epoch == j.q.Epoch() {
			j.fail("I8", "the epoch %+v is that of an old segment", s.Epoch)
		}
	}
}

// again is the second start: it finds nothing to do, and everything as it was.
func (j *trial) again() {
	lines := len(j.losses)
	if !j.open("the second start") {
		return
	}
	if found := j.q.Recovered(); !found.Clean || found.TornTailBytes > 0 || found.LostRecords > 0 {
		j.fail("I7", "the second start found something: %+v", found)
	}
	all := j.q.Preview(nobody)
	again := j.drain(nobody, all)
	all.Close()
	if again.String() != j.there.String() {
		j.fail("I1", "after the second start a reader gets %v, before it got %v", again, j.there)
	}
	j.end("the second run")
	if losses, err := recovery.ReadLedger(j.disk, dataDir); err != nil || len(losses) != lines {
		j.fail("I5", "the second start wrote into the ledger: %d lines, then %d (%v)", lines, len(losses), err)
	}
}

// err is what is wrong, nil for nothing.
func (j *trial) err() error {
	if len(j.findings) == 0 {
		return nil
	}
	return errors.New(strings.Join(slices.Compact(j.findings), "\n\t"))
}
