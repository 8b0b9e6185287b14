package recovery

import (
	"path/filepath"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// TestStrayTakesNothing: a file that was begun as a segment and given up before its first frame, and could not be deleted either, says
// nothing about the one that took its place, whatever the clock did in between.
func TestStrayTakesNothing(t *testing.T) {
	for name, created := range map[string]int64{"clock forward": epochTime - 1, "same moment": epochTime, "clock back": epochTime + 1} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			b.sealed(10, 10)
			for i := range uint64(4) {
				h := segment.Header{
					Queue: b.queue, Epoch: b.epoch, Salt: 0xab00 + i*0x7fff, First: b.next, Previous: b.link, Created: created, Size: b.size,
				}
				w, err := segment.Create(b.fs, filepath.Join(testDir, SegmentDir), h)
				b.must(err)
				b.must(w.Close())
				edit(t, b.fs, segmentPath(testDir, h.Name()), func(data []byte) []byte {
					switch i {
					case 1:
						return data[:1536] // what a power loss leaves of it
					case 2:
						clear(data[3584:])
					}
					return data
				})
			}
			b.killed(5, 5)
			if r := check(t, b.fs); !r.Clean || r.LostRecords > 0 || r.Records != 30 {
				t.Errorf("fsck: %d records, %+v", r.Records, r.Damage)
			}
			state := mustStart(t, b.fs, nil)
			if state.Next != 31 || state.Report.LostRecords > 0 || len(state.Segments) != 2 || len(state.Empty) != 4 {
				t.Errorf("the start: next %d, segments %v, empty %v, %+v", state.Next, state.Segments, state.Empty, state.Report.Damage)
			}
			if got := surviving(t, b.fs); len(got) != 1 || got[0] != (checkpoint.Range{First: 1, Last: 30}) {
				t.Errorf("%v can be read", got)
			}
		})
	}
}
