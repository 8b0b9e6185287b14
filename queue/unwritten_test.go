package queue

import (
	"bytes"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/queue/vfs/faultfs"
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
