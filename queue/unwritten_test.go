package queue

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestLossesWaitForTheLedger: what is lost while the loss ledger cannot be written is in it as soon as it can be, once.
func TestLossesWaitForTheLedger(t *testing.T) {
	for name, closes := range map[string]bool{"running": false, "closing": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.fill(30, 5000)
			b.close()
			b.overwrite(bytes.Repeat([]byte("damage"), 420), 20000) // more than parity has
			b.open()
			b.fsys.FailMatching(func(op faultfs.Op) error {
				if strings.Contains(op.Name, "losses.jsonl") {
					return syscall.EIO
				}
				return nil
			})
			one, two := b.q.Reader("one", Oldest), b.q.Reader("two", Oldest) // both, before one alone is done
			for _, r := range []*Reader{one, two} {
				if _, lost := b.take(r, 29); lost != 1 {
					t.Errorf("%s: %d lost", r.name, lost)
				}
			}
			if l := b.ledger(); len(l) != 0 {
				t.Fatalf("the ledger was written: %+v", l)
			}
			b.fsys.FailMatching(nil)
			if closes {
				b.close()
			} else {
				b.append("x") // a write wakes nobody but the writer
				waitFor(t, "the ledger has the loss", func() bool { return len(b.ledger()) > 0 })
			}
			if l := b.ledger(); len(l) != 1 || l[0].Count != 1 || l[0].Cause != "checksum" {
				t.Errorf("the ledger has %+v", l)
			}
		})
	}
}

// TestUnwrittenLossesAreLoggedOnce: the log has a loss that waits for the ledger, once, however often that is tried.
func TestUnwrittenLossesAreLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	ledger := b.refuseIf(syscall.EIO, func(op faultfs.Op) bool { return strings.Contains(op.Name, "losses.jsonl") })
	for i := range 3 {
		b.q.noteLoss(lossOf(uint64(i+1), uint64(i+1), 1, "checksum", "yes"))
	}
	for range 3 {
		b.q.losses.mu.Lock()
		b.q.losses.tried = time.Time{}
		b.q.losses.mu.Unlock()
		if b.q.flushUnwritten() == 0 {
			t.Fatal("written into a ledger that refuses it")
		}
	}
	ledger.Store(false)
	b.close()
	if n := strings.Count(log.String(), "loss ledger not written"); n != 3 || len(b.ledger()) != 3 {
		t.Errorf("%d lines in the log, the ledger has %+v", n, b.ledger())
	}
}

// TestNotStoredAtStop: what a stop cannot store is counted once, by record, also in what a start knows of the ledger.
func TestNotStoredAtStop(t *testing.T) {
	b := newBench(t, nil)
	b.fill(10, 1000)
	off := b.refuse(syscall.EIO, faultfs.Write, faultfs.Create, faultfs.Allocate)
	for i := range 3 {
		if _, err := b.q.Append(b.ctx, []segment.Run{linesRun("a", "b", noise(uint64(i), 100))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.q.Close(); err == nil || !strings.Contains(err.Error(), "9 accepted") {
		t.Errorf("close: %v", err)
	}
	off.Store(false)
	if n := b.inLedger(recovery.CauseNotStored); n != 9 {
		t.Errorf("the ledger has %d of 9 records: %+v", n, b.ledger())
	}
	b.open()
	if n := b.q.Status().LedgerRecords; n != 9 {
		t.Errorf("the metric of the ledger is %d, want 9", n)
	}
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	if came, lost := b.drain(r); came != 10 || lost != 0 {
		t.Errorf("%d records came, %d were lost", came, lost)
	}
}
