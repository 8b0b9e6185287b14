package queue

import (
	"errors"
	"path/filepath"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestSegmentsWithoutTrailer: where a sync failed, of records or of a seal, a segment stays without its trailer. Fsck knows that, over
// starts too, until the segment is deleted.
func TestSegmentsWithoutTrailer(t *testing.T) {
	b := newBench(t, nil)
	syncs, failed := 0, 0
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Sync && isSeg(op) {
			if syncs++; syncs%7 == 0 && failed < 12 {
				failed++
				return errors.New("planted EIO")
			}
		}
		return nil
	})
	b.fill(100, 5000)
	if failed < 12 {
		t.Fatalf("%d syncs failed", failed)
	}
	without := b.withoutTrailer()
	if without < 4 {
		t.Fatalf("only %d segments without a trailer", without)
	}
	b.clean(b.fsys.Crash(faultfs.Drop, 1))
	b.clean(b.fsys.Crash(faultfs.Keep, 1))
	for range 3 {
		b.reopen()
		b.fill(40, 5000)
		b.clean(b.fsys.Crash(faultfs.Drop, 1))
	}
	if n := b.withoutTrailer(); n < without-2 {
		t.Fatalf("%d segments without a trailer are left, of %d", n, without)
	}
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	b.take(r, 220)
	b.checkpoint(r)
	waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
	b.reopen()
	for key := range b.q.sources.newest {
		t.Errorf("%s is taken for a source", key)
	}
	for f := range b.q.unsealed() {
		t.Errorf("%s is still known", f)
	}
	survey, err := recovery.TakeSurvey(b.fsys, "/data")
	if err != nil || survey.LostRecords > 0 {
		t.Errorf("%v, %d lost", err, survey.LostRecords)
	}
}

// withoutTrailer counts the segments with records and without a trailer, but for the newest two.
func (b *bench) withoutTrailer() (n int) {
	b.Helper()
	all := b.q.files.snapshot()
	for _, f := range all[:len(all)-2] {
		file, err := b.fsys.Open(filepath.Join("/data/segments", f.name.String()))
		if err != nil {
			b.Fatal(err)
		}
		size, _ := file.Size()
		if _, err := segment.ReadTrailer(file, size); err != nil && f.holdsRecords() {
			n++
		}
		_ = file.Close()
	}
	return n
}
