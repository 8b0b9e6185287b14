package states

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// trial is one state of the disk on its way through a start, and what is wrong with it.
type trial struct {
	p    *phase
	m    *model
	n    int // operations before the power loss
	disk *faultfs.FS
	bare bool // the checkpoints are gone too, and the log counts

	q        *queue.Queue
	losses   []recovery.Loss
	tight    bool            // the disk has hardly any room: what a start cannot do then is left to the next one
	there    map[uint64]bool // records that can be read
	oldest   uint64          // the first sequence that is retained
	findings []string
	back     time.Duration // how long the start took
	tally
}

// tally counts records.
type tally struct {
	lost, altered, invented uint64 // against the promise
	declared, doubled       uint64 // within it: in the ledger, and come again
}

func (t *tally) add(other tally) {
	t.lost += other.lost
	t.altered += other.altered
	t.invented += other.invented
	t.declared += other.declared
	t.doubled += other.doubled
}

const mostFindings = 6

// hurt tells whether a loss is no surprise.
func (j *trial) hurt() bool { return j.p.loose || len(j.m.hurt) > 0 }

func (j *trial) fail(format string, args ...any) {
	if len(j.findings) < mostFindings {
		j.findings = append(j.findings, fmt.Sprintf(format, args...))
	}
}

// run starts a queue on what the power loss has left, twice, and judges.
func (j *trial) run() {
	if j.bare {
		for _, name := range []string{storeFile, recovery.RecentFile} {
			_ = j.disk.Remove(dataDir + "/" + name) // not there yet is as good
		}
	}
	space, _ := j.disk.Space(dataDir)
	j.tight = space.Free < 1<<20
	before := j.check(beforeStart, j.anything())
	told, _ := recovery.ReadLedger(j.disk, dataDir) // there may be none yet
	began := time.Now()
	if !j.open("the start") {
		return
	}
	j.back = time.Since(began)
	j.agree(before)
	j.readAll()
	j.asSaid(before, told)
	j.ledger()
	j.evidence()
	if !j.p.loose {
		j.sources(j.q.Sources(""))
	}
	j.goOn()
	j.end("the end of the first run")
	if len(j.findings) > 0 {
		return
	}
	j.check("after the first run", true)
	j.again()
}

const beforeStart = "before the start"

// anything tells whether something was promised to anybody.
func (j *trial) anything() bool { return j.m.version(j.n) > 0 }

// check is fsck. Where nothing was promised there may be nothing to check yet.
func (j *trial) check(when string, needed bool) recovery.Report {
	store, _, err := openStore(j.disk, dataDir+"/"+recovery.CheckpointFile)
	if err != nil {
		j.fail("fsck %s: %v", when, err)
		return recovery.Report{}
	}
	defer store.Close()
	report, err := recovery.Check(context.Background(), j.disk, dataDir, recovery.CheckOptions{Deep: true, Workers: 1, Store: store})
	if err != nil && needed {
		j.fail("fsck %s: %v", when, err)
	}
	if j.mayMiss() && when == beforeStart {
		return report // see asSaid
	}
	if j.p.heals && when == beforeStart {
		if report.LostRecords > 0 {
			j.fail("fsck %s: %d lost, %+v", when, report.LostRecords, report.Damage)
		}
		return report
	}
	if (!j.hurt() || when != beforeStart) && (!report.Clean || report.LostRecords > 0 || len(report.Damage) > 0) {
		j.fail("fsck %s: clean %v, %d lost, %+v", when, report.Clean, report.LostRecords, report.Damage)
	}
	return report
}

func (j *trial) open(when string) bool {
	var err error
	if j.q, err = queue.Open(j.p.options(j.disk)); err != nil {
		j.fail("%s failed: %v", when, err)
		return false
	}
	return true
}

func (j *trial) end(when string) {
	if err := j.q.Close(); err != nil {
		j.fail("%s: %v", when, err)
	}
}

// agree compares what fsck said with what the start has found.
func (j *trial) agree(before recovery.Report) {
	found := j.q.Recovered()
	if !j.hurt() && !j.mayMiss() && (!found.Clean && !j.p.heals || found.LostRecords > 0) { // else see asSaid
		j.fail("the start found damage: %+v", found.Damage)
	}
	if found.LostRecords != before.LostRecords && !j.hurt() && !j.mayMiss() {
		j.fail("fsck said that %d records are lost, the start %d", before.LostRecords, found.LostRecords)
	}
}

// readAll reads everything for every output, and takes what comes.
func (j *trial) readAll() {
	j.there = map[uint64]bool{}
	all := j.q.Preview("nobody")
	j.read(all, func(s uint64, payload string) {
		j.there[s] = true
		if known := j.m.payloads[s]; !slices.Contains(known, payload) {
			if j.altered++; len(known) == 0 {
				j.altered, j.invented = j.altered-1, j.invented+1
			}
			j.fail("record %d is %.60q, appended were %.150q", s, payload, known)
		}
	})
	all.Close()
	j.oldest = j.q.Status().First         // what is delivered may go at once
	readers := map[string]*queue.Reader{} // all attach before one gets on, as those of a daemon do
	for name, o := range j.m.outputs {
		if o.gone > j.n {
			readers[name] = j.q.Reader(name, queue.Oldest)
		}
	}
	came := map[string]map[uint64]bool{}
	for name, r := range readers {
		came[name] = j.output(name, r)
	}
	var err error
	if j.losses, err = recovery.ReadLedger(j.disk, dataDir); err != nil {
		j.fail("the ledger: %v", err)
	}
	for name, o := range j.m.outputs {
		if o.gone > j.n && !j.p.loose {
			j.delivered(name, o, came[name])
		}
	}
}

// read gives each record that comes to take, in order.
func (j *trial) read(r *queue.Reader, take func(s uint64, payload string)) {
	var f segment.Frame
	last := uint64(0)
	for {
		ok, _, err := r.TryNext(context.Background(), &f)
		if err != nil {
			j.fail("read: %v", err)
		}
		if !ok {
			return
		}
		if f.First <= last {
			j.fail("frame %d comes after record %d", f.First, last)
		}
		last = f.Last()
		s := f.First
		for _, run := range f.Runs {
			for line := range strings.Lines(string(run.Body)) {
				take(s, strings.TrimSuffix(line, "\n"))
				s++
			}
		}
		if s != last+1 {
			j.fail("frame %d to %d holds %d records", f.First, last, s-f.First)
		}
	}
}

// output takes what comes to one output, and returns what it had not done.
func (j *trial) output(name string, r *queue.Reader) map[uint64]bool {
	defer r.Close()
	came := map[uint64]bool{}
	var f segment.Frame
	for {
		ok, _, err := r.TryNext(context.Background(), &f)
		if err != nil {
			j.fail("read for %s: %v", name, err)
		}
		if !ok {
			break
		}
		within := r.Within(f.First, f.Last())
		for s := f.First; s <= f.Last(); s++ {
			if !slices.ContainsFunc(within, func(d checkpoint.Range) bool { return d.First <= s && s <= d.Last }) {
				came[s] = true
			}
		}
		r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
	}
	return came
}

// delivered judges what came to an output: all that it has not taken, and nothing that it has for good.
func (j *trial) delivered(name string, o *outputModel, came map[uint64]bool) {
	for s := range came {
		if binds(o.taken, s, j.n) {
			j.doubled++
		}
		if binds(o.safe, s, j.n) && !j.mayRepeat(o, s) {
			j.fail("record %d comes again to %s, which had durably done it", s, name)
		}
	}
	for _, owed := range []map[uint64]int{j.m.acked, o.given} {
		for s := range owed {
			if !came[s] && binds(owed, s, j.n) && !binds(o.taken, s, j.n) && !j.excused(name, s) {
				j.lost++
				j.fail("record %d never comes to %s, to which it was owed (here: %v, retained from %d on)", s, name, j.there[s], j.oldest)
			}
		}
	}
}

// logBehind is how old a position in the log may be, with room to spare.
const logBehind = 3 * time.Second

// mayRepeat tells whether the promise about repeats does not cover this one: without checkpoints the log counts.
func (j *trial) mayRepeat(o *outputModel, s uint64) bool {
	if !j.bare {
		return o.moved <= j.n
	}
	return !j.p.calm || j.n == 0 || len(j.m.times) < j.n || j.m.times[j.n-1]-o.safeAt[s] < logBehind
}

// excused tells whether the ledger says why a record does not come to an output, and may.
func (j *trial) excused(name string, s uint64) bool {
	if len(j.m.hurt) > 0 && !j.m.hurt[s] {
		return false
	}
	for _, loss := range j.losses {
		if loss.First <= s && s <= loss.Last && slices.Contains(j.p.causes, loss.Cause) &&
			(len(loss.Outputs) == 0 || slices.Contains(loss.Outputs, name)) {
			j.declared++
			return true
		}
	}
	return false
}

const theEnd = "the end"

// goOn uses the queue: a new record gets a new number, becomes durable and reaches everybody.
func (j *trial) goOn() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	j.disk.SetFree(1 << 30)
	last, err := j.q.AppendKept(ctx, []segment.Run{run("in/end", theEnd, theEnd)})
	if err == nil {
		err = j.q.WaitDurable(ctx, last)
	}
	if err != nil {
		j.fail("append after the start: %v", err)
		return
	}
	if seen := j.m.seen(j.n); last <= seen && !j.p.loose {
		j.fail("sequence %d is given again, %d was seen", last, seen)
	}
	for name, o := range j.m.outputs {
		if o.gone <= j.n {
			continue
		}
		r := j.q.Reader(name, queue.Oldest)
		var f segment.Frame
		if _, err := r.Next(ctx, &f); err != nil || f.Last() != last || !strings.HasSuffix(string(f.Runs[len(f.Runs)-1].Body), theEnd+"\n") {
			j.fail("record %d, appended after the start, does not come to %s: %v, %d to %d", last, name, err, f.First, f.Last())
		}
		r.Done(nil, checkpoint.Range{First: f.First, Last: f.Last()})
		r.Close()
	}
}

// again is the second start: it finds nothing to do, and everything as it was.
func (j *trial) again() {
	if !j.open("the second start") {
		return
	}
	if found := j.q.Recovered(); !found.Clean || found.TornTailBytes > 0 && !j.tight || found.QuarantinedBytes > 0 || found.LostRecords > 0 {
		j.fail("the second start found something: %+v", found)
	}
	for name, o := range j.m.outputs {
		if o.gone <= j.n {
			continue
		}
		r := j.q.Reader(name, queue.Oldest)
		var f segment.Frame
		if ok, _, err := r.TryNext(context.Background(), &f); ok || err != nil {
			if len(r.Within(f.First, f.Last())) == 0 || err != nil {
				j.fail("after the second start record %d comes again to %s: %v", f.First, name, err)
			}
		}
		r.Close()
	}
	found := j.q.Sources("")
	if got := string(found["in/end"]); got != theEnd {
		j.fail("after the second start the last source stands at %q", got)
	}
	j.end("the end of the second run")
	j.check("at the end", true)
}

// err is what is wrong, nil for nothing.
func (j *trial) err() error {
	if len(j.findings) == 0 {
		return nil
	}
	return errors.New(strings.Join(j.findings, "\n\t"))
}
