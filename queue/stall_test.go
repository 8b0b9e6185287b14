package queue

import (
	"strings"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestStalledDiskIsTold: a disk that does not answer is said to do so, by the status, which answers all the while.
func TestStalledDiskIsTold(t *testing.T) {
	b := newBench(t, func(o *Options) { o.stallAfter = 20 * time.Millisecond })
	held := make(chan struct{})
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && isSeg(op) {
			<-held
		}
		return nil
	})
	last, err := b.q.Append(b.ctx, []segment.Run{linesRun("x")})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the stall is told", func() bool { return b.q.Status().Stall != "" })
	close(held)
	if err := b.q.WaitDurable(b.ctx, last); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the stall is over", func() bool { return b.q.Status().Stall == "" })
}

// TestStatusDoesNotWaitForTheLedger: the status answers while a line of the loss ledger waits for the disk.
func TestStatusDoesNotWaitForTheLedger(t *testing.T) {
	b := newBench(t, nil)
	held, waits := make(chan struct{}), make(chan struct{})
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && strings.Contains(op.Name, "losses.jsonl") {
			close(waits)
			<-held
		}
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.q.noteLoss(lossOf(1, 1, 1, "a test", "yes"))
	}()
	<-waits
	answered := make(chan uint64)
	go func() { answered <- b.q.Status().LedgerRecords }()
	select {
	case n := <-answered:
		if n != 0 {
			t.Errorf("%d records in the ledger", n)
		}
	case <-b.ctx.Done():
		t.Error("the status waits for the disk")
	}
	close(held)
	<-done
	b.fsys.FailMatching(nil)
	if n := b.q.Status().LedgerRecords; n != 1 {
		t.Errorf("%d records in the ledger afterwards", n)
	}
}
