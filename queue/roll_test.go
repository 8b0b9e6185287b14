package queue

import (
	"slices"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestNothingUnsyncedIsSealed: also what follows the last record of a segment, such as a marker, is durable when its seal begins.
func TestNothingUnsyncedIsSealed(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize, o.Codec = 64<<10, segment.None })
	b.appendRun(linesRun(noise(1, 20_000)))
	first := "/data/segments/" + b.names()[0].String()
	waitFor(t, "a marker", func() bool {
		return slices.ContainsFunc(b.fsys.Trace(), func(op faultfs.Op) bool { return op.Kind == faultfs.Write && op.Name == first && op.Offset > 20_000 })
	})
	b.appendRun(linesRun(noise(2, 40_000))) // it does not fit
	synced := true
	for _, op := range b.fsys.Trace() {
		if op.Kind == faultfs.Create && isSeg(op) && op.Name != first {
			break
		}
		if op.Name == first && (op.Kind == faultfs.Write || op.Kind == faultfs.Sync) {
			synced = op.Kind == faultfs.Sync
		}
	}
	if !synced {
		t.Error("the last frame of a segment was not durable when the next one was begun")
	}
	if len(b.names()) < 2 {
		t.Error("there is one segment only")
	}
}
