package queue

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// ranges are the sequences that the lines of a cause tell of, for one output; all outputs where it is empty.
func (b *bench) ranges(cause, output string) string {
	var all checkpoint.Ranges
	for _, loss := range b.ledger() {
		if loss.Cause == cause && (output == "" || slices.Equal(loss.Outputs, []string{output})) {
			if len(all.Without(loss.First, loss.Last)) != 1 {
				b.Errorf("%s %d-%d is in the ledger twice", cause, loss.First, loss.Last)
			}
			if loss.Count != loss.Last-loss.First+1 || loss.Acknowledged != recovery.Acknowledged {
				b.Errorf("line %+v", loss)
			}
			all = all.Add(loss.First, loss.Last)
		}
	}
	return all.String()
}

// damage destroys the frame of a sequence in a sealed segment, beyond what parity heals, and opens the queue again, so
// that nothing is read from memory.
func (b *bench) damage(sequence uint64) {
	b.Helper()
	b.close()
	for _, name := range b.names() {
		f, err := b.fsys.OpenWrite("/data/segments/" + name.String())
		if err != nil {
			b.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			b.Fatal(err)
		}
		for scan := segment.NewScanner(f, name.Salt, segment.HeaderSize, size); ; {
			part, err := scan.Next()
			if err != nil {
				break
			}
			if h := part.Header; !part.Bad && h.Type == segment.Data && h.First <= sequence && sequence <= h.Last() {
				if _, err := f.WriteAt(make([]byte, part.Size/2), part.Offset+part.Size/4); err != nil {
					b.Fatal(err)
				}
			}
		}
		f.Close()
	}
	b.open()
}

// names are the segments, in order.
func (b *bench) names() []segment.Name {
	b.Helper()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		b.Fatal(err)
	}
	var names []segment.Name
	for _, info := range list {
		if name, ok := segment.ParseName(info.Name()); ok {
			names = append(names, name)
		}
	}
	return names
}

// TestShed: an output gives up the oldest records that it has not done, they stand in the ledger, and another output gets
// every one of them.
func TestShed(t *testing.T) {
	b := newBench(t, nil)
	r, other := b.q.Reader("slow", Oldest), b.q.Reader("other", Oldest)
	want := b.fill(40, 8000)
	if records, bytes := r.Backlog(); records != 40 || bytes < 300000 || bytes > 400000 {
		t.Fatalf("backlog of %d records, %d bytes", records, bytes)
	}
	r.Done(nil, checkpoint.Range{First: 3, Last: 5}, checkpoint.Range{First: 39, Last: 39})
	if n := r.Shed(1 << 30); n != 0 {
		t.Fatalf("%d records dropped though the backlog is within its limit", n)
	}
	const limit = 100000
	n := r.Shed(limit)
	records, bytes := r.Backlog()
	if bytes > limit || bytes < limit-10000 {
		t.Errorf("%d bytes are left, the limit is %d", bytes, limit)
	}
	if n == 0 || n+records != 36 {
		t.Errorf("%d dropped, %d left, of 36 that were not done", n, records)
	}
	floor := b.q.Status().Outputs[1].Floor
	if got, want := b.ranges(recovery.CauseBacklog, "slow"), fmt.Sprintf("1-2 6-%d", floor-1); got != want {
		t.Errorf("the ledger has %s, want %s", got, want)
	}
	if s := b.q.Status().Outputs[1]; s.Name != "slow" || s.Shed != n || s.Lost != 0 || b.q.Status().LedgerRecords != 0 {
		t.Errorf("status %+v", s)
	}
	r.Rewind()
	if got, lost := b.take(r, 40-int(floor)+1); lost != 0 || got[0] != want[floor-1] {
		t.Errorf("goes on with %.20q, %d lost, want %.20q", got[0], lost, want[floor-1])
	}
	got, lost := b.take(other, 40)
	equal(t, "other output", got, want)
	if lost != 0 {
		t.Errorf("other output lost %d", lost)
	}
	b.reopen()
	if s := b.q.Status(); s.LedgerRecords != 0 || s.Outputs[1].Floor != 41 {
		t.Errorf("after a restart %+v", s)
	}
}

// TestShedAll: a limit smaller than a record leaves none, and nothing that is not durable goes.
func TestShedAll(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("slow", Oldest)
	b.fill(3, 100)
	held := b.refuse(syscall.EIO, faultfs.Sync)
	if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("not durable")}); err != nil {
		t.Fatal(err)
	}
	if n := r.Shed(1); n != 3 {
		t.Errorf("%d dropped, want the 3 that are durable", n)
	}
	held.Store(false)
	r.Rewind()
	if got, lost := b.take(r, 1); got[0] != "not durable" || lost != 0 {
		t.Errorf("got %q, %d lost", got, lost)
	}
}

// TestShedNeedsTheLedger: nothing is dropped that cannot be written down.
func TestShedNeedsTheLedger(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("slow", Oldest)
	b.fill(3, 100)
	broken := b.refuseIf(syscall.EIO, func(op faultfs.Op) bool { return strings.HasPrefix(op.Name, "/data/losses.jsonl") })
	if n := r.Shed(1); n != 0 {
		t.Errorf("%d dropped without a line in the ledger", n)
	}
	broken.Store(false)
	if got, lost := b.take(r, 3); len(got) != 3 || lost != 0 {
		t.Errorf("got %d, %d lost", len(got), lost)
	}
}

// TestShedIsNoLoss: what one output gave up is lost to all only when it is destroyed or dropped later, and is in the
// ledger for that then.
func TestShedIsNoLoss(t *testing.T) {
	t.Run("damage", func(t *testing.T) {
		b := newBench(t, nil)
		r := b.q.Reader("slow", Oldest)
		b.q.Reader("other", Oldest)
		b.fill(20, 8000)
		r.Shed(1)
		b.damage(3)
		other := b.q.Reader("other", Oldest)
		if _, lost := b.take(other, 19); lost != 1 {
			t.Errorf("other output lost %d, want 1", lost)
		}
		if got := b.ranges("checksum", ""); got != "3-3" {
			t.Errorf("the ledger has %q lost to damage, want 3-3", got)
		}
		report, err := b.fsckOf(b.fsys)
		if err != nil || !report.Clean || report.LostRecords != 0 {
			t.Errorf("fsck: %+v, %v: what the ledger tells of is history", report.Damage, err)
		}
	})
	t.Run("damage that fsck finds", func(t *testing.T) {
		b := newBench(t, nil)
		r := b.q.Reader("slow", Oldest)
		b.q.Reader("other", Oldest)
		b.fill(20, 8000)
		r.Shed(1)
		b.damage(3)
		report, err := b.fsckOf(b.fsys)
		if err != nil || report.Clean || report.LostRecords != 1 {
			t.Errorf("fsck: clean %v, %d lost, %v: another output has not got record 3", report.Clean, report.LostRecords, err)
		}
	})
	t.Run("drop_oldest", func(t *testing.T) {
		b := newBench(t, small(DropOldest))
		r := b.q.Reader("slow", Oldest)
		b.q.Reader("other", Oldest)
		b.fill(20, 8000)
		n := r.Shed(1)
		b.fill(200, 8000)
		first := b.q.Status().First
		if got, want := b.ranges("drop_oldest", ""), fmt.Sprintf("1-%d", first-1); got != want {
			t.Errorf("the ledger has %s dropped, want %s", got, want)
		}
		if s := b.q.Status(); s.DroppedOldest != first-1 || s.LedgerRecords != first-1 || n != 20 {
			t.Errorf("%d dropped, %d in the ledger, want %d", s.DroppedOldest, s.LedgerRecords, first-1)
		}
		survey, err := recovery.TakeSurvey(b.fsys, "/data")
		if err != nil || survey.LostRecords != first-1 || survey.ShedRecords != 20 {
			t.Errorf("survey: %d lost, %d shed, %v", survey.LostRecords, survey.ShedRecords, err)
		}
	})
}

// TestShedAfterPowerLoss loses power at each operation of a Shed: whatever the output does not get is in its ledger,
// once, and the other output gets all.
func TestShedAfterPowerLoss(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		for n := 0; ; n++ {
			b := newBench(t, nil)
			r := b.q.Reader("slow", Oldest)
			b.q.Reader("other", Oldest)
			b.fill(20, 8000)
			if err := r.Checkpoint(b.ctx); err != nil {
				t.Fatal(err)
			}
			before := b.fsys.Ops()
			b.fsys.CrashAt(before + n + 1)
			r.Shed(50000)
			waitFor(t, "the crash, or the position", func() bool { return b.fsys.Ops() > before+n || !r.dirty() })
			over := b.fsys.Ops() <= before+n
			again := *b
			again.fsys = b.fsys.Crash(mode, uint64(n))
			again.opt.FS = again.fsys
			_ = b.q.Close()
			b.q = nil
			again.open()
			slow, other := again.q.Reader("slow", Oldest), again.q.Reader("other", Oldest)
			slow.Shed(50000) // as the output would
			first := slow.rewind()
			if got, want := again.ranges(recovery.CauseBacklog, "slow"), fmt.Sprintf("1-%d", first-1); got != want {
				t.Fatalf("mode %v, crash %d operations later: the ledger has %s, want %s", mode, n, got, want)
			}
			if _, lost := again.take(other, 20); lost != 0 {
				t.Fatalf("mode %v, crash %d operations later: other output lost %d", mode, n, lost)
			}
			again.close()
			if over {
				break
			}
		}
	}
}

// TestShedAfterDropOldest: what the queue has dropped is not given up once more.
func TestShedAfterDropOldest(t *testing.T) {
	b := newBench(t, small(DropOldest))
	r := b.q.Reader("slow", Oldest)
	b.fill(200, 20000)
	before := b.q.Status()
	n := r.Shed(0)
	if s := b.q.Status(); before.DroppedOldest == 0 || n+s.DroppedOldest != 200 || s.Outputs[0].Shed != n {
		t.Errorf("%d dropped by the queue, %d given up, of 200", s.DroppedOldest, n)
	}
	var told uint64
	for _, loss := range b.ledger() {
		if told += loss.Count; loss.Cause == recovery.CauseBacklog && loss.First <= before.DroppedOldest {
			t.Errorf("the ledger has %d-%d twice", loss.First, loss.Last)
		}
	}
	if told != 200 {
		t.Errorf("the ledger tells of %d records", told)
	}
}
