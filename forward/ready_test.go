package forward

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"logmule/forward/input"
)

// TestInputThatWaitsForTheDisk: an input that is ready once its positions are durable is ready when the disk takes them, and
// until then /readyz says why it is not.
func TestInputThatWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		starts := byte('0')
		r.addInput("logs", func(env input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, _ input.Emit) error {
				starts++
				env.Positions.Set("first", []byte{starts})
				if env.Kept(ctx) == nil {
					env.Ready("")
				}
				<-ctx.Done()
				return nil
			}), nil
		})
		r.addOutput("out", new(sink).build)
		r.start()
		r.mustStop()
		r.fs.SetFree(0)
		r.start()
		why := func(of string) func() bool {
			return func() bool { _, why := r.e.Ready(); return strings.Contains(why, of) }
		}
		eventually(t, "what is full", why("queue is full"))
		if s := r.e.status(); s.State != engineStarting || !why("input logs does not listen yet")() {
			t.Errorf("%s: %s", s.State, s.Reason)
		}
		r.fs.SetFree(1 << 30)
		eventually(t, "ready", func() bool { ok, _ := r.e.Ready(); return ok })
		r.mustStop()
	})
}
