package queue

import (
	"bytes"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestRemovedSegmentIsInTheLedger: what somebody removed while the queue was closed is lost, and written down.
func TestRemovedSegmentIsInTheLedger(t *testing.T) {
	b := newBench(t, nil)
	b.fill(30, 8000)
	b.checkpoint(b.q.Reader("out", Oldest))
	b.close()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.fsys.Remove(filepath.Join("/data/segments", list[0].Name())); err != nil {
		t.Fatal(err)
	}
	b.open()
	_, gone, err := b.q.Reader("out", Oldest).TryNext(b.ctx, new(segment.Frame))
	if err != nil || gone.Last == 0 {
		t.Fatal(gone, err)
	}
	if len(b.ledger()) == 0 {
		t.Errorf("%d..%d lost, nothing in the ledger", gone.First, gone.Last)
	}
}

// TestRecordsBetweenSegments: what stood between two segments that are left is lost for all, not for whoever comes there first, so
// that fsck knows it as history.
func TestRecordsBetweenSegments(t *testing.T) {
	b := newBench(t, nil)
	b.fill(60, 8000)
	b.checkpoint(b.q.Reader("out", Oldest))
	b.close()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil || len(list) < 6 {
		t.Fatal(len(list), err)
	}
	if err := b.fsys.Remove(filepath.Join("/data/segments", list[1].Name())); err != nil {
		t.Fatal(err)
	}
	b.overwriteAll(list[2].Name()) // nothing tells whose file this is, so that the segments before it are looked at too
	b.open()
	r := b.q.Reader("out", Oldest)
	came, lost := b.drain(r)
	if came+lost != 60 || lost == 0 {
		t.Fatalf("%d records came, %d are lost", came, lost)
	}
	for _, l := range b.ledger() {
		if len(l.Outputs) > 0 {
			t.Errorf("lost for some only: %+v", l)
		}
	}
	if n := b.inLedger(""); n != lost {
		t.Errorf("%d records are lost, %d in the ledger", lost, n)
	}
	r.Close()
	b.close()
	if report, err := b.fsckOf(b.fsys); err != nil || report.LostRecords > 0 {
		t.Errorf("fsck: %v, %+v", err, report.Damage)
	}
}

// TestDropSkipsDamaged: drop_oldest does not count again what the ledger has as damaged.
func TestDropSkipsDamaged(t *testing.T) {
	b := newBench(t, small(DropOldest))
	b.fill(30, 5000)
	b.close()
	b.overwrite(bytes.Repeat([]byte("damage"), 420), 20000) // more than parity has
	b.open()
	fast, slow := b.q.Reader("fast", Oldest), b.q.Reader("slow", Oldest)
	b.take(fast, 29)
	for i := range 60 {
		b.append(noise(uint64(i), 20000))
	}
	_, gone, err := slow.TryNext(b.ctx, new(segment.Frame))
	if err != nil {
		t.Fatal(err)
	}
	if n, missing := b.inLedger(""), countOf(gone); n != missing {
		t.Errorf("%d records never came to slow, the ledger has %d", missing, n)
	}
}

// TestDropSkipsDone: drop_oldest does not count what every output has done above its floor.
func TestDropSkipsDone(t *testing.T) {
	b := newBench(t, small(DropOldest))
	r := b.q.Reader("out", Oldest)
	b.fill(5, 10000)
	r.Done(nil, checkpoint.Range{First: 2, Last: 5})
	for i := range 80 {
		b.append(noise(uint64(i), 20000))
	}
	_, gone, err := r.TryNext(b.ctx, new(segment.Frame))
	if err != nil || gone.First != 1 || gone.Last < 5 {
		t.Fatalf("lost %d..%d, %v", gone.First, gone.Last, err)
	}
	if d, missing := b.q.Status().DroppedOldest, countOf(gone)-4; d != missing {
		t.Errorf("%d records are missing, counted %d", missing, d)
	}
}

// TestOverlappingLoss: what two outputs lose is written down once.
func TestOverlappingLoss(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Codec = segment.None; o.SegmentSize = 1 << 20 })
	b.fill(30, 5000)
	r := b.q.Reader("two", Oldest)
	b.take(r, 11)
	b.checkpoint(r)
	r.Close()
	b.close()
	b.overwrite(make([]byte, 25000), 40000)
	b.open()
	if _, _, err := b.q.Reader("two", Oldest).TryNext(b.ctx, new(segment.Frame)); err != nil {
		t.Fatal(err)
	}
	_, lost := b.drain(b.q.Reader("one", Oldest))
	if n := b.inLedger(""); n != lost {
		t.Errorf("%d records lost, the ledger says %d", lost, n)
	}
}

// TestLedgerComesLater: what drop_newest drops while the ledger cannot be written is written when it can.
func TestLedgerComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small(DropNewest))
		refuse := b.refuseIf(syscall.ENOSPC, func(op faultfs.Op) bool { return strings.Contains(op.Name, "losses") })
		b.pourUntilDropped()
		time.Sleep(300 * time.Millisecond)
		refuse.Store(false)
		b.q.keep.poke()
		time.Sleep(300 * time.Millisecond)
		dropped := b.q.Status().DroppedNewest
		b.close()
		if n := b.inLedger("drop_newest"); n != dropped {
			t.Errorf("dropped %d, the ledger has %d", dropped, n)
		}
	})
}

// TestLedgerHasFewLines: an episode of drops is a few lines of the ledger, not one for each record.
func TestLedgerHasFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, small(DropNewest))
		b.pourUntilDropped()
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			b.pour(0, 1, 100, time.Second)
		}
		if n := len(b.ledger()); n > 6 {
			t.Errorf("%d ledger lines in 3 s of one episode", n)
		}
	})
}

// pourUntilDropped fills a queue that drops the newest.
func (b *bench) pourUntilDropped() {
	b.Helper()
	for b.q.Status().DroppedNewest == 0 {
		if b.pour(0, 1, 20000, time.Second) == 0 {
			b.Fatal("an append ended otherwise than stored or dropped")
		}
	}
}
