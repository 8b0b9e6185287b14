package forward

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
)

// brief is an input that gives three records and ends.
func brief(env input.Env) (input.Input, error) {
	return runFunc(func(ctx context.Context, emit input.Emit) error {
		env.Ready("")
		receipt, err := emit(ctx, linesPack("one\ntwo\nthree\n"))
		return errors.Join(err, receipt.Wait(ctx))
	}), nil
}

// TestEndOfInput: with the end of the standard input the engine ends by itself, when all is delivered and not before.
func TestEndOfInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t), new(sink)
		var up atomic.Bool
		out.send = func(_ context.Context, b *output.Batch) error {
			if !up.Load() {
				return errors.New("down")
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.inputs["in"], r.inputs["more"] = brief, brief
		r.cfg.Inputs = sections("stdin:in", "generate:more")
		r.addOutput("out", out.build)
		r.start()
		time.Sleep(time.Hour)
		if !r.running() {
			t.Fatal("it has ended before all was delivered")
		}
		if said := r.log.with("all inputs have ended;", "outputs=out"); len(said) != 1 {
			t.Errorf("the log says %q", said)
		}
		up.Store(true)
		<-r.over
		if r.err != nil || len(out.records()) != 6 {
			t.Errorf("%v, delivered %q", r.err, out.records())
		}
		if said := r.log.with("all inputs have ended, and everything is delivered"); len(said) != 1 {
			t.Errorf("the log says %q", said)
		}
	})
}

// TestEndOfSomeInput: an input that has not ended, and one that only makes up records, keep the engine running.
func TestEndOfSomeInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.reloadable()
		r.inputs["ends"], r.inputs["stays"], r.inputs["made"] = brief, in.build, brief
		r.cfg.Inputs = sections("stdin:ends", "stays")
		r.start()
		time.Sleep(time.Hour)
		in.send(t, "four")
		if !r.running() {
			t.Fatal("it has ended with an input that runs")
		}
		r.reload(func(c *config.Config) { c.Inputs = sections("generate:made") })
		time.Sleep(time.Hour)
		if !r.running() {
			t.Fatal("it has ended with a generator")
		}
		r.reload(func(c *config.Config) { c.Inputs = sections("stdin:ends") })
		<-r.over
		if r.err != nil {
			t.Error(r.err)
		}
	})
}
