package queue

import (
	"strings"
	"syscall"
	"testing"

	"logmule/queue/vfs/faultfs"
)

// TestLossesWaitForTheLedger: what is lost while the loss ledger cannot be written is in it as soon as it can be, once.
func TestLossesWaitForTheLedger(t *testing.T) {
	for name, closes := range map[string]bool{"running": false, "closing": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.fill(30, 5000)
			b.close()
			b.overwrite([]byte("damage"), 20000)
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
