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
)

// TestMaxBacklogOfAHungOutput: a destination that neither takes a batch nor refuses it holds no more of the queue than
// max_backlog, and when it goes on it gets the newest.
func TestMaxBacklogOfAHungOutput(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			r, in, out := newRig(t), newTap(), new(sink)
			r.addInput("in", in.build)
			hangs := make(chan struct{})
			out.send = func(ctx context.Context, b *output.Batch) error {
				select {
				case <-hangs:
				case <-ctx.Done():
					return ctx.Err()
				}
				out.take(b, 0, b.Len())
				return nil
			}
			r.addOutputWith("out", fmt.Sprintf("max_backlog = '1MiB'\nin_flight = %d\nrate_limit = '200KiB'", inFlight), crowded(out))
			r.start()
			in.flood(t, 500)
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if o := r.output("out"); o.BacklogBytes > 1<<20 || o.BacklogBytes < 800<<10 || o.Shed == 0 || o.Position == 1 {
				t.Errorf("in_flight = %d: behind by %d bytes, %d records given up, position %d", inFlight, o.BacklogBytes, o.Shed, o.Position)
			}
			close(hangs)
			eventually(t, "the rest is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
			got := out.records()
			newest := func(record string) bool { return strings.HasPrefix(record, "000499 ") }
			if n := slices.IndexFunc(got, newest); n < 0 || inFlight == 1 && n != len(got)-1 { // requests beside each other end in any order
				t.Errorf("in_flight = %d: of %d records delivered the newest is number %d", inFlight, len(got), n)
			}
			r.mustStop()
		})
	}
}
