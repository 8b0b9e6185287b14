package queue

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
)

// refuseReads makes reads of segments that match fail until it is called with nil.
func (b *bench) refuseReads(match func(name string, offset, size int64) bool) {
	b.fsys.FailReads(func(name string, offset int64, size int) error {
		if match != nil && strings.HasSuffix(name, ".seg") && match(name, offset, int64(size)) {
			return syscall.EIO
		}
		return nil
	})
}

// TestDiskAwayForAWhile: a disk that gives nothing has not lost anything. Its records are waited for.
func TestDiskAwayForAWhile(t *testing.T) {
	b := newBench(t, func(o *Options) { o.readPatience, o.awayPatience = time.Nanosecond, time.Nanosecond })
	want := b.fill(40, 8000)
	b.reopen()
	r := b.q.Reader("out", Oldest)
	got, _ := b.take(r, 5)
	r.Rewind() // or the rest comes out of memory that was read ahead
	got = got[:0]
	b.refuseReads(func(string, int64, int64) bool { return true })
	var f segment.Frame
	for range 3 {
		if ok, lost, err := r.TryNext(b.ctx, &f); ok || lost.Last != 0 || err == nil {
			t.Fatalf("from a disk that gives nothing: %v, %v lost, %v", ok, lost, err)
		}
	}
	b.refuseReads(nil)
	more, lost := b.take(r, 35)
	equal(t, "after the disk came back", append(got, more...), want[5:])
	if lost != 0 || len(b.ledger()) != 0 {
		t.Errorf("%d lost, the ledger has %v", lost, b.ledger())
	}
}

// sector makes reads of a segment fail that touch one offset.
func sector(path string, at int64) func(name string, offset, size int64) bool {
	return func(name string, offset, size int64) bool { return name == path && offset <= at && at < offset+size }
}

// TestRefusedInFrontOfPositions: records that the disk refuses for a while are waited for, also where what comes next in
// the log is no record.
func TestRefusedInFrontOfPositions(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize = 1 << 20 })
	want := b.fill(10, 8000)
	last := b.q.files.snapshot()[0].end.Load() - 4000
	b.q.SetSource("in/app/a", []byte("1"))
	if err := b.q.WaitSources(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.append("behind the positions")
	b.reopen()
	r := b.q.Reader("out", Oldest)
	b.refuseReads(sector(b.q.files.snapshot()[0].path, last))
	got, _ := b.take(r, 9)
	var f segment.Frame
	if ok, lost, err := r.TryNext(b.ctx, &f); ok || lost.Last != 0 || err == nil {
		t.Fatalf("what is refused: %v, %v lost, %v", ok, lost, err)
	}
	b.refuseReads(nil)
	more, lost := b.take(r, 2)
	equal(t, "when the disk gives it", append(got, more...), append(want, "behind the positions"))
	if lost != 0 || len(b.ledger()) != 0 {
		t.Errorf("%d lost, the ledger has %v", lost, b.ledger())
	}
}

// TestRefusedLastRecord: positions behind the last record of a segment show as well as records that the disk gives the rest.
func TestRefusedLastRecord(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.SegmentSize, o.readPatience, o.awayPatience = 1<<20, 100*time.Millisecond, time.Hour
	})
	b.fill(3, 8000)
	last := b.q.files.snapshot()[0].end.Load() - 4000
	b.reopen()
	r := b.q.Reader("out", Oldest)
	b.refuseReads(sector(b.q.files.snapshot()[0].path, last))
	b.take(r, 2)
	var f segment.Frame
	var lost uint64
	waitFor(t, "the last record is given up", func() bool {
		_, gone, _ := r.TryNext(b.ctx, &f)
		lost += countOf(gone)
		return lost > 0
	})
	b.refuseReads(nil)
	if l := b.ledger(); lost != 1 || len(l) != 1 || l[0].Cause != "unreadable" {
		t.Errorf("%d lost, the ledger has %+v", lost, l)
	}
}

// TestRefusedAgain: how long the disk has refused counts from the first of refusals that follow each other. One from before
// the records were read, or from long ago, is none of them.
func TestRefusedAgain(t *testing.T) {
	for name, between := range map[string]func(b *bench, r *Reader){
		"read meanwhile": func(b *bench, r *Reader) {
			b.refuseReads(nil)
			var f segment.Frame
			if ok, lost, err := r.TryNext(b.ctx, &f); !ok || lost.Last != 0 || err != nil {
				b.Fatalf("%v, %v lost, %v", ok, lost, err)
			}
			r.Rewind() // it was not delivered
		},
		"long ago": func(_ *bench, r *Reader) { r.unread.asked = r.unread.asked.Add(-time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.fill(4, 8000)
			b.reopen()
			r := b.q.Reader("out", Oldest)
			for range 2 {
				b.refuseReads(sector(b.q.files.snapshot()[0].path, 8<<10))
				var f segment.Frame
				if ok, lost, err := r.TryNext(b.ctx, &f); ok || lost.Last != 0 || err == nil {
					t.Fatalf("what is refused: %v, %v lost, %v", ok, lost, err)
				}
				r.unread.since = r.unread.since.Add(-time.Hour)
				between(b, r)
			}
			b.refuseReads(nil)
		})
	}
}

// TestUnreadableSectors: what is unreadable for good is given up, and no more than that.
func TestUnreadableSectors(t *testing.T) {
	for name, match := range map[string]func(first string) func(name string, offset, size int64) bool{
		"part": func(first string) func(string, int64, int64) bool {
			return sector(first, 16<<10)
		},
		"segment": func(first string) func(string, int64, int64) bool {
			return func(name string, _, _ int64) bool { return name == first }
		},
	} {
		t.Run(name, func(t *testing.T) {
			const patience = 300 * time.Millisecond
			b := newBench(t, func(o *Options) { o.readPatience, o.awayPatience = patience, patience })
			want := b.fill(40, 8000)
			b.reopen()
			bad := match(b.q.files.snapshot()[0].path)
			var refused atomic.Int64
			b.refuseReads(func(name string, offset, size int64) bool {
				if bad(name, offset, size) {
					refused.Add(1)
					return true
				}
				return false
			})
			r := b.q.Reader("out", Oldest)
			began := time.Now()
			var f segment.Frame
			var lost, came uint64
			for came+lost < uint64(len(want)) {
				ok, gone, err := r.TryNext(b.ctx, &f)
				if gone.Last != 0 {
					lost += gone.Last - gone.First + 1
				}
				if ok {
					came += uint64(f.Count)
				}
				if err != nil {
					time.Sleep(10 * time.Millisecond) // as the engine does
				}
				if b.ctx.Err() != nil {
					t.Fatalf("%d came, %d lost, %v", came, lost, err)
				}
			}
			if refused.Load() == 0 || lost == 0 || came == 0 {
				t.Errorf("%d reads refused, %d came, %d lost", refused.Load(), came, lost)
			}
			if waited := time.Since(began); waited < patience {
				t.Errorf("given up after %v", waited)
			}
			if l := b.ledger(); len(l) != 1 || l[0].Count != lost || l[0].Cause != "unreadable" {
				t.Errorf("%d lost, the ledger has %+v", lost, l)
			}
			b.refuseReads(nil)
		})
	}
}

// TestStartOnADiskThatIsAway: a start that cannot read any segment changes nothing, and takes what is there as soon as it can.
func TestStartOnADiskThatIsAway(t *testing.T) {
	b := newBench(t, func(o *Options) { o.readPatience, o.awayPatience = 200*time.Millisecond, 200*time.Millisecond })
	want := b.fill(40, 8000)
	b.close()
	b.refuseReads(func(string, int64, int64) bool { return true })
	for range 2 {
		if q, err := Open(b.opt); err == nil {
			t.Error("a start took segments that cannot be read for destroyed")
			_ = q.Close()
		}
	}
	var refused atomic.Int64
	b.refuseReads(func(string, int64, int64) bool { return refused.Add(1) < 5 })
	b.opt.readPatience, b.opt.awayPatience = time.Minute, time.Minute
	b.open()
	got, lost := b.take(b.q.Reader("out", Oldest), 40)
	equal(t, "after the disk came back", got, want)
	if lost != 0 || len(b.ledger()) != 0 || b.q.Recovered().LostRecords != 0 {
		t.Errorf("%d lost, the ledger has %v", lost, b.ledger())
	}
}

// TestStartWithOneUnreadableSegment: damage does not keep a queue from starting.
func TestStartWithOneUnreadableSegment(t *testing.T) {
	b := newBench(t, func(o *Options) { o.readPatience, o.awayPatience = 100*time.Millisecond, time.Hour })
	b.fill(40, 8000)
	files := b.q.files.snapshot()
	bad := files[len(files)-2].path
	b.close()
	b.refuseReads(func(name string, _, _ int64) bool { return name == bad })
	b.open()
	if lost := b.q.Recovered().LostRecords; lost == 0 || lost == 40 {
		t.Errorf("%d records are lost", lost)
	}
	b.refuseReads(nil)
}
