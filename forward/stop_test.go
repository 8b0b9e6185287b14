package forward

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
)

func TestStopDoesNotWaitForBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(context.Context, *output.Batch) error {
			return &output.RetryError{After: time.Hour, Err: errRefused}
		}
		r.start()
		in.send(t, "one")
		eventually(t, "back-off", func() bool { return r.output("out").State == stateRetrying })
		start := time.Now()
		r.mustStop()
		if d := time.Since(start); d > time.Second {
			t.Errorf("stop took %v while an output was in back-off", d)
		}
	})
}

func TestStopFinishesTheRequestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(ctx context.Context, b *output.Batch) error {
			if !pause(ctx, 3*time.Second) {
				return ctx.Err()
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		in.send(t, numbered(0, 3)...)
		eventually(t, "request in flight", func() bool { return r.output("out").State == stateSending })
		r.mustStop()
		expect(t, "out", out.records(), numbered(0, 3))
		if o := r.output("out"); o.Position != 4 {
			t.Errorf("the finished request is not in the checkpoint: %+v", o)
		}
	})
}

func TestStopGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(ctx context.Context, _ *output.Batch) error { <-ctx.Done(); return ctx.Err() }
		r.start()
		in.send(t, "one")
		eventually(t, "request in flight", func() bool { return r.output("out").State == stateSending })
		start := time.Now()
		r.mustStop()
		if d := time.Since(start); d < time.Duration(r.cfg.ShutdownTimeout) || d > time.Duration(r.cfg.ShutdownTimeout)+time.Second {
			t.Errorf("stop took %v, want shutdown_timeout", d)
		}
		if len(r.log.with("given up")) != 1 {
			t.Error("the log does not say that a request was given up")
		}
	})
}

func TestStopLeavesAStuckOutputBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("stuck", out.build)
		release := make(chan struct{})
		out.send = func(context.Context, *output.Batch) error { <-release; return nil }
		r.start()
		in.send(t, "one")
		eventually(t, "request in flight", func() bool { return r.output("stuck").State == stateSending })
		err := r.stop()
		if err == nil || !strings.Contains(err.Error(), "output stuck") || !strings.Contains(err.Error(), "nothing is lost") {
			t.Errorf("stop = %v, want an error that names the output and says that nothing is lost", err)
		}
		close(release)
		synctest.Wait() // the goroutine ends on a closed queue without harm
	})
}
