package queue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// stand is a closed queue of 40 records in several segments, all kept. Output "out" has done all before 21, and 25 and
// 26, was about to deliver up to 30, and has a state; output "other" has done everything.
func stand(t *testing.T) (*bench, []string) {
	b := newBench(t, func(o *Options) { o.KeepFor = time.Hour })
	all := b.fill(40, 6000)
	out, other := b.q.Reader("out", Oldest), b.q.Reader("other", Oldest)
	b.take(out, 20)
	b.take(other, 40)
	out.Done([]byte("state"), checkpoint.Range{First: 25, Last: 26})
	out.Plan(30)
	for _, r := range []*Reader{out, other} {
		if err := r.Checkpoint(b.ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.close()
	if n := b.segments(); n < 4 {
		t.Fatalf("%d segments are too few for this test", n)
	}
	return b, all
}

func TestRewind(t *testing.T) {
	at := make([]time.Time, 42) // when each record was appended
	for name, c := range map[string]struct {
		to                      func() Target
		after                   uint64
		records, again, skipped uint64
	}{
		"oldest":             {func() Target { return Target{Oldest: true} }, 1, 40, 22, 0},
		"back":               {func() Target { return Target{Sequence: 11} }, 11, 30, 12, 0},
		"where it is":        {func() Target { return Target{Sequence: 21} }, 21, 20, 2, 0},
		"forth":              {func() Target { return Target{Sequence: 31} }, 31, 10, 0, 8},
		"newest":             {func() Target { return Target{Newest: true} }, 41, 0, 0, 18},
		"behind the newest":  {func() Target { return Target{Sequence: 41} }, 41, 0, 0, 18},
		"a time":             {func() Target { return Target{Time: at[11]} }, 11, 30, 12, 0},
		"just after it":      {func() Target { return Target{Time: at[11].Add(1)} }, 12, 29, 11, 0},
		"before all records": {func() Target { return Target{Time: at[1].Add(-time.Hour)} }, 1, 40, 22, 0},
		"after all records":  {func() Target { return Target{Time: at[40].Add(1)} }, 41, 0, 0, 18},
	} {
		t.Run(name, func(t *testing.T) {
			b, all := stand(t)
			b.open()
			for i := range all {
				when, err := b.q.appended(uint64(i + 1))
				if err != nil {
					t.Fatal(err)
				}
				at[i+1] = when
			}
			b.close()
			got, err := Rewind(b.opt, "out", c.to())
			if err != nil {
				t.Fatal(err)
			}
			want := Rewound{Stream: 1, Before: 21, After: c.after, First: 1, Last: 40, Records: c.records, Again: c.again, Skipped: c.skipped}
			if c.after <= 40 {
				want.Since = at[c.after]
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			var skipped uint64
			for _, l := range b.ledger() {
				if skipped += l.Count; l.Cause != "rewind" || !slices.Equal(l.Outputs, []string{"out"}) {
					t.Errorf("in the ledger: %+v", l)
				}
			}
			if skipped != c.skipped {
				t.Errorf("the ledger tells of %d skipped records, want %d", skipped, c.skipped)
			}
			b.open()
			r := b.q.Reader("out", Oldest)
			if r.Stream() != 1 || r.Planned() != 0 || string(r.State()) != "state" {
				t.Errorf("stream %d, planned %d, state %q", r.Stream(), r.Planned(), r.State())
			}
			rest, lost := b.take(r, int(c.records))
			equal(t, "what comes", rest, all[c.after-1:])
			if o := b.q.Status().Outputs; lost != 0 || o[0].Floor != 41 || o[1].Floor != 41 {
				t.Errorf("%d lost, outputs %+v", lost, o)
			}
		})
	}
}

func TestRewindRefuses(t *testing.T) {
	b, _ := stand(t)
	var unknown *UnknownOutputError
	if _, err := Rewind(b.opt, "nobody", Target{Oldest: true}); !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"other", "out"}) {
		t.Errorf("of an unknown output: %v", err)
	}
	var none *NoRecordError
	if _, err := Rewind(b.opt, "out", Target{Sequence: 42}); !errors.As(err, &none) || *none != (NoRecordError{Sequence: 42, Newest: 40}) {
		t.Errorf("to a record that has not come: %v", err)
	}
	if got, err := Rewind(b.opt, "out", Target{Sequence: 21}); err != nil || got.Before != 21 || len(b.ledger()) != 0 {
		t.Errorf("a rewind that was refused has moved or skipped something: %+v, %v", got, err)
	}
	b.open()
	var locked *vfs.LockedError
	if _, err := Rewind(b.opt, "out", Target{Oldest: true}); !errors.As(err, &locked) {
		t.Errorf("of an open queue: %v", err)
	}
	b.close()
	nowhere := b.opt
	nowhere.Dir = "/nowhere"
	if _, err := Rewind(nowhere, "out", Target{Oldest: true}); err == nil {
		t.Error("a directory that is not there has been rewound")
	}
	if _, err := b.fsys.Stat("/nowhere"); err == nil {
		t.Error("a directory was made")
	}
}

// TestRewindOverLost: what the ledger tells of as lost is not counted among what is to be sent.
func TestRewindOverLost(t *testing.T) {
	b, _ := stand(t)
	ledger, err := recovery.OpenLedger(b.fsys, "/data")
	if err == nil {
		err = errors.Join(ledger.Add(recovery.Loss{First: 5, Last: 7, Count: 3, Cause: "checksum", Acknowledged: recovery.Acknowledged}), ledger.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Rewind(b.opt, "out", Target{Oldest: true}); err != nil || got.Records != 37 || got.Again != 19 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRewindGoesBothWays: a position of an earlier stream, however far it is, never comes back, and neither do skipped
// records count as lost for anybody else.
func TestRewindGoesBothWays(t *testing.T) {
	b, all := stand(t)
	for i, to := range []Target{{Newest: true}, {Oldest: true}, {Newest: true}, {Sequence: 36}} {
		got, err := Rewind(b.opt, "out", to)
		if err != nil || got.Stream != uint32(i+1) {
			t.Fatalf("%+v: %+v, %v", to, got, err)
		}
	}
	b.store = checkpoint.NewMemory() // lost: the log has the position too
	b.opt.OpenStore = options(b.fsys, b.store).OpenStore
	if err := b.fsys.Remove("/data/checkpoints.recent"); err != nil {
		t.Fatal(err)
	}
	b.open()
	r := b.q.Reader("out", Oldest)
	rest, _ := b.take(r, 5)
	equal(t, "what comes", rest, all[35:])
	if r.Stream() != 4 {
		t.Errorf("stream %d, want 4", r.Stream())
	}
	var told checkpoint.Ranges
	for _, l := range b.ledger() {
		told = told.Add(l.First, l.Last)
	}
	if untold := b.q.losses.ledger.Untold(checkpoint.Range{First: 1, Last: 40}); len(told) == 0 || len(untold) != 1 || untold[0] != (checkpoint.Range{First: 1, Last: 40}) {
		t.Errorf("the ledger takes skipped records for lost: %v are not told of", untold)
	}
}

// TestRewindPowerLoss loses power at every operation of a rewind: after it the position is the old one or the new one,
// and the new one where the rewind had said so.
func TestRewindPowerLoss(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		for n, more := 1, true; more; n++ {
			b, all := stand(t)
			before := b.fsys.Ops()
			b.fsys.CrashAt(before + n)
			_, err := Rewind(b.opt, "out", Target{Sequence: 5})
			more = b.fsys.Ops() >= before+n
			b.fsys = b.fsys.Crash(mode, uint64(n))
			b.opt.FS = b.fsys
			b.open()
			r := b.q.Reader("out", Oldest)
			was, is := r.Stream() == 0 && r.floor == 21 && len(r.done) == 1, r.Stream() == 1 && r.floor == 5 && len(r.done) == 0
			if !was && !is || err == nil && !is || string(r.State()) != "state" {
				t.Errorf("%v, operation %d: %v, and then %+v", mode, n, err, &r.progress)
			}
			if is {
				rest, lost := b.take(r, 36)
				equal(t, fmt.Sprintf("%v, operation %d", mode, n), rest, all[4:])
				if lost > 0 {
					t.Errorf("%v, operation %d: %d lost", mode, n, lost)
				}
			}
		}
	}
}

// TestRewindAfterUncleanEnd recovers first.
func TestRewindAfterUncleanEnd(t *testing.T) {
	b := newBench(t, func(o *Options) { o.KeepFor = time.Hour })
	all := b.fill(20, 6000)
	r := b.q.Reader("out", Oldest)
	b.take(r, 20)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	left := b.fsys.Crash(faultfs.Drop, 1)
	b.close()
	b.fsys, b.opt.FS = left, left
	got, err := Rewind(b.opt, "out", Target{Oldest: true})
	if err != nil || got.Again != 20 || got.Unlogged != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	b.open()
	rest, _ := b.take(b.q.Reader("out", Oldest), 20)
	equal(t, "what comes", rest, all)
}

// TestRewindOnFullDisk: the position finds its place in the checkpoints, nothing that was kept is deleted, and the result
// says that the log does not have it.
func TestRewindOnFullDisk(t *testing.T) {
	b, all := stand(t)
	b.fsys.SetFree(0)
	n := b.segments()
	got, err := Rewind(b.opt, "out", Target{Oldest: true})
	if err != nil || got.Again != 22 || got.Unlogged == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if b.segments() < n {
		t.Errorf("%d segments of %d are left", b.segments(), n)
	}
	b.fsys.SetFree(1 << 30)
	b.open()
	rest, _ := b.take(b.q.Reader("out", Oldest), 40)
	equal(t, "what comes", rest, all)
}

// TestRewindNeedsTheLedger: records are skipped only when that is written down.
func TestRewindNeedsTheLedger(t *testing.T) {
	b, _ := stand(t)
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if strings.Contains(op.Name, "losses.jsonl") {
			return syscall.EIO
		}
		return nil
	})
	if got, err := Rewind(b.opt, "out", Target{Newest: true}); err == nil {
		t.Errorf("skipped without a line: %+v", got)
	}
	b.fsys.FailMatching(nil)
	b.open()
	if r := b.q.Reader("out", Oldest); r.floor != 21 || r.Stream() != 0 {
		t.Errorf("position %d of stream %d", r.floor, r.Stream())
	}
}

// TestRewindPastDamage: frames that cannot be read do not keep a time from being found.
func TestRewindPastDamage(t *testing.T) {
	b, _ := stand(t)
	b.open()
	f := b.q.files.snapshot()[1]
	h, _, err := b.q.frameIn(f, func(segment.Trailer) bool { return true }, func(*segment.FrameHeader) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	w, err := b.fsys.OpenWrite(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte("scribble"), segment.HeaderSize+64+300); err != nil {
		t.Fatal(err)
	}
	got, err := Rewind(b.opt, "out", Target{Time: time.Unix(0, h.Time)})
	if err != nil || got.After <= h.First || got.After > h.First+2 {
		t.Errorf("to the time of record %d, which is damaged: %+v, %v", h.First, got, err)
	}
	if _, err := recovery.TakeSurvey(b.fsys, b.opt.Dir); err != nil {
		t.Error(err)
	}
}
