package queue

import (
	"path/filepath"
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
			list, err := b.fsys.ReadDir("/data/segments")
			if err != nil {
				t.Fatal(err)
			}
			f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", list[0].Name()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("damage"), 20000); err != nil {
				t.Fatal(err)
			}
			f.Close()
			b.open()
			b.fsys.FailMatching(func(op faultfs.Op) error {
				if strings.Contains(op.Name, "losses.jsonl") {
					return syscall.EIO
				}
				return nil
			})
			for _, output := range []string{"one", "two"} {
				if _, lost := b.take(b.q.Reader(output, Oldest), 29); lost != 1 {
					t.Errorf("%s: %d lost", output, lost)
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
