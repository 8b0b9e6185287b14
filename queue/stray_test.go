package queue

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestStrayGoesFirst: a segment that could neither be begun nor deleted goes before anything newer does, so that no power loss leaves
// it behind with a hole after it.
func TestStrayGoesFirst(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.Sync, faultfs.SyncDir} {
		t.Run(string(kind), func(t *testing.T) {
			b := newBench(t, nil)
			r := b.q.Reader("out", Oldest)
			defer r.Close()
			b.fill(20, 5000)
			var stray atomic.Value // its name
			var tried atomic.Int32 // deletions of it
			begun, made := "", false
			b.fsys.FailMatching(func(op faultfs.Op) error {
				name, _ := stray.Load().(string)
				switch {
				case op.Kind == faultfs.Create && isSeg(op) && name == "":
					begun, made = op.Name, true
				case made && (op.Kind == kind && name == "" && (op.Name == begun || kind == faultfs.SyncDir)):
					made = false
					stray.Store(begun)
					return errors.New("planted EIO")
				case op.Kind == faultfs.Remove && op.Name == name && name != "":
					if tried.Add(1) <= 3 {
						return errors.New("planted EIO")
					}
				}
				return nil
			})
			b.fill(60, 5000)
			if tried.Load() == 0 {
				t.Fatal("no stray")
			}
			b.take(r, 80)
			b.checkpoint(r)
			waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
			for seed := range uint64(20) {
				b.clean(b.fsys.Crash(faultfs.Reorder, seed))
			}
		})
	}
}

// clean fails unless fsck finds nothing, and a start neither.
func (b *bench) clean(left *faultfs.FS) {
	b.Helper()
	report, err := b.fsckOf(left)
	if err != nil || !report.Clean || report.LostRecords > 0 {
		b.Fatalf("fsck: %v, %+v", err, report.Damage)
	}
	q, err := Open(options(left, b.store))
	if err != nil {
		b.Fatal(err)
	}
	if err := q.Close(); err != nil {
		b.Error(err)
	}
	if losses, err := recovery.ReadLedger(left, "/data"); err != nil || len(losses) > 0 {
		b.Fatalf("the start wrote losses down: %+v, %v", losses, err)
	}
}

// TestEmptySegmentThatStays: a start that cannot delete the empty segment of an earlier one does so later, and deletes what is
// delivered meanwhile.
func TestEmptySegmentThatStays(t *testing.T) {
	b := newBench(t, nil)
	b.fill(20, 5000)
	b.close()
	b.open() // its segment holds nothing
	left := b.fsys.Crash(faultfs.Keep, 0)
	b.close()
	b.fsys, b.opt.FS = left, left
	failed := 0
	left.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Remove && isSeg(op) && failed == 0 {
			failed++
			return errors.New("planted EIO")
		}
		return nil
	})
	b.open()
	if failed == 0 || !slices.ContainsFunc(b.q.files.snapshot(), func(f *file) bool { return !f.holdsRecords() }) {
		t.Fatal("nothing failed")
	}
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	b.take(r, 20)
	b.checkpoint(r)
	waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
}
