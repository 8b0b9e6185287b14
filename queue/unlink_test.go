package queue

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestDeletionsAreDurableInOrder: whatever a power loss leaves of several deletions, what is there is without a hole, so that
// delivered records do not look lost to a start or to fsck.
func TestDeletionsAreDurableInOrder(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	b.fill(60, 5000)
	before := b.segments()
	b.take(r, 60)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "delivered segments are deleted", func() bool { return b.segments() == 1 })
	if before < 5 {
		t.Fatalf("only %d segments, so that nothing could be out of order", before)
	}
	for seed := range uint64(40) {
		left := b.fsys.Crash(faultfs.Reorder, seed)
		report, err := b.fsckOf(left)
		if err != nil {
			t.Fatal(err)
		}
		if !report.Clean || report.LostRecords > 0 {
			t.Fatalf("seed %d: fsck after the power loss: %+v", seed, report.Damage)
		}
		q, err := Open(options(left, b.store))
		if err != nil {
			t.Fatalf("seed %d: open after the power loss: %v", seed, err)
		}
		if err := q.Close(); err != nil {
			t.Errorf("seed %d: close: %v", seed, err)
		}
		if losses, err := recovery.ReadLedger(left, "/data"); err != nil || len(losses) > 0 {
			t.Fatalf("seed %d: the start wrote losses down: %+v, %v", seed, losses, err)
		}
	}
}

// TestDirectoryThatCannotBeSynced: where the deletion before is not durable, the next one waits, and comes later.
func TestDirectoryThatCannotBeSynced(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	b.fill(60, 5000)
	removed, failed := 0, 0
	b.fsys.FailMatching(func(op faultfs.Op) error {
		switch {
		case op.Kind == faultfs.Remove && strings.HasSuffix(op.Name, ".seg"):
			removed++
		case op.Kind == faultfs.SyncDir && op.Name == filepath.Join("/data", "segments") && failed < 3:
			if removed != 1 {
				t.Errorf("%d segments deleted before the directory was synced", removed)
			}
			failed++
			return errors.New("planted EIO")
		}
		return nil
	})
	b.take(r, 60)
	if err := r.Checkpoint(b.ctx); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
	if failed != 3 {
		t.Errorf("the sync failed %d times", failed)
	}
}
