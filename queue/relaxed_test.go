package queue

import (
	"testing"
	"time"

	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestRelaxedLossesMayBeAcknowledged: where a record is acknowledged before it is durable, nobody says of one that a power loss has
// taken that it never was.
func TestRelaxedLossesMayBeAcknowledged(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Sync = SyncPolicy{Mode: SyncInterval, Every: time.Hour} })
	b.fill(30, 700)
	told := 0
	for seed := range uint64(20) {
		left := b.fsys.Crash(faultfs.Reorder, seed)
		q, err := Open(options(left, b.store))
		if err != nil {
			t.Fatalf("seed %d: open after the power loss: %v", seed, err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("seed %d: close: %v", seed, err)
		}
		losses, err := recovery.ReadLedger(left, "/data")
		if err != nil {
			t.Fatal(err)
		}
		for _, loss := range losses {
			if loss.Count == 0 {
				continue
			}
			told++
			if loss.Acknowledged != recovery.AcknowledgedUnknown {
				t.Fatalf("seed %d: records %d to %d were acknowledged, says the ledger: %s", seed, loss.First, loss.Last, loss.Acknowledged)
			}
		}
	}
	if told == 0 {
		t.Fatal("no power loss made a hole: this proves nothing")
	}
}
