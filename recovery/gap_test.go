package recovery

import (
	"testing"

	"logmule/queue/segment"
)

// TestGapInARewrittenSegment: where the ledger is gone, what a repair could not keep at the end of a segment is a gap in that segment, and
// only a segment that is not there is a file that is gone.
func TestGapInARewrittenSegment(t *testing.T) {
	b := newBuilder(t)
	for range 5 {
		b.sealed(10, 10, 10)
	}
	b.truncate(0, b.of(25).offset)
	b.remove(b.path(3))
	if r, err := repairOn(t, b.fs); err != nil || !r.Clean || r.LostRecords != 40 {
		t.Fatalf("repair: clean %v, %d lost, %v", r.Clean, r.LostRecords, err)
	}
	b.remove(testDir + "/" + ledgerFile)
	var found []Damage
	for _, d := range check(t, b.fs).Damage {
		found = append(found, Damage{Segment: d.Segment, Cause: d.Cause, FirstLost: d.FirstLost, LastLost: d.LastLost})
	}
	want := []Damage{
		{Segment: b.made[0].String(), Cause: causeJump, FirstLost: 21, LastLost: 30},
		{Segment: segment.Name{First: 91, Salt: b.made[3].Salt}.String(), Cause: causeMissing, FirstLost: 91, LastLost: 120},
	}
	if len(found) != len(want) || found[0] != want[0] || found[1] != want[1] {
		t.Errorf("fsck finds %+v, want %+v", found, want)
	}
}
