package forward

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
	"logmule/queue/vfs/faultfs"
)

// destination is what survives on the other side of an output: it takes every record but those that end in 3.
type destination struct{ got []string }

func (d *destination) build(output.Env) (output.Output, error) {
	out := new(sink)
	calls := 0
	out.send = func(_ context.Context, b *output.Batch) error {
		if calls++; calls%3 == 1 {
			return errRefused
		}
		for i := range b.Len() {
			var lines []byte
			for _, part := range b.AppendLines(nil, i, i+1) {
				lines = append(lines, part...)
			}
			record := strings.TrimSuffix(string(lines), "\n")
			switch {
			case !b.IsPending(i):
			case strings.HasSuffix(record, "3"):
				b.Reject(i, "refused for good")
			default:
				d.got = append(d.got, record)
				b.Accept(i)
			}
		}
		return nil
	}
	return out, nil
}

// TestPowerLossLosesNothing cuts the power at every third operation on the disk and starts again: what was acknowledged
// is at the destination or among the dead letters.
func TestPowerLossLosesNothing(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			for n, more := 1, true; more; n += 3 {
				synctest.Test(t, func(t *testing.T) { more = powerLoss(t, mode, n) })
			}
		})
	}
}

// powerLoss runs an engine until operation n and again after it, false when there were fewer operations.
func powerLoss(t *testing.T, mode faultfs.Mode, n int) bool {
	r, in, there := newRig(t), newTap(), new(destination)
	r.addInput("in", in.build)
	r.addOutput("out", there.build)
	r.fs.CrashAt(n)
	var acknowledged []string
	r.start()
	for i := range 6 {
		records := numbered(10*i, 10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if r.running() && in.trySend(ctx, records...) == nil {
			acknowledged = append(acknowledged, records...)
		}
		cancel()
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	r.stop() // what it says of the dead disk does not matter
	more := r.fs.Ops() >= n

	r.fs = r.fs.Crash(mode, uint64(n))
	in.up = make(chan struct{})
	r.start()
	in.send(t, "the last one")
	eventually(t, "everything is done", func() bool { return r.output("out").BacklogRecords == 0 })
	r.mustStop()
	have := map[string]bool{}
	for _, record := range there.got {
		have[record] = true
	}
	for _, letter := range r.letters() {
		have[string(letter.Payload)] = true
	}
	lost := slices.DeleteFunc(append(acknowledged, "the last one"), func(record string) bool { return have[record] })
	if len(lost) > 0 {
		t.Errorf("power loss at operation %d: %d of %d acknowledged records are lost: %q", n, len(lost), len(acknowledged), lost)
	}
	return more
}
