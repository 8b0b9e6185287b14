package forward

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/input"
	"logmule/forward/output"
)

func TestPanickingOutputLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, quiet := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		builds := 0
		var out *sink
		var all []*sink
		var records []string
		r.addOutput("out", func(output.Env) (output.Output, error) {
			builds++
			out = new(sink)
			all = append(all, out)
			mine, sends := out, 0
			out.send = func(_ context.Context, b *output.Batch) error {
				if sends++; sends == 2 {
					b.Accept(0) // forgotten with the panic
					panic("boom in Send")
				}
				mine.take(b, 0, b.Len())
				records = append(records, mine.records()...)
				return nil
			}
			return out, nil
		})
		r.addOutput("quiet", quiet.build)
		r.start()
		for i := range 4 {
			in.send(t, numbered(10*i, 10)...)
			time.Sleep(30 * time.Second)
			synctest.Wait()
		}
		expect(t, "out", records, numbered(0, 40))
		expect(t, "quiet", quiet.records(), numbered(0, 40))
		if builds != 1+3 { // once at the start, and after each of three panics
			t.Errorf("built %d times", builds)
		}
		for i, o := range all[:3] {
			if o.closed != 1 {
				t.Errorf("output %d closed %d times after its panic", i, o.closed)
			}
		}
		if o := r.output("out"); o.Panics != 3 || o.State != stateIdle || o.LastError != "panic: boom in Send" {
			t.Errorf("status: %+v", o)
		}
		if got := r.log.with("boom in Send", "stack", "panic_test.go"); len(got) != 1 {
			t.Errorf("stack logged %d times", len(got))
		}
		if got := r.log.with("panicked again", "boom in Send"); len(got) != 2 {
			t.Errorf("%d lines for the panics after the first", len(got))
		}
		r.mustStop()
	})
}

func TestOutputThatPanicsOnAndOnIsUnhealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, quiet := newRig(t), newTap(), new(sink)
		var broken atomic.Bool
		broken.Store(true)
		sound := new(sink)
		r.addInput("in", in.build)
		r.addOutput("quiet", quiet.build)
		r.addOutput("bad", func(output.Env) (output.Output, error) {
			if !broken.Load() {
				return sound, nil
			}
			return &sink{send: func(context.Context, *output.Batch) error { panic("boom") }}, nil
		})
		r.start()
		in.send(t, "one")
		time.Sleep(time.Second)
		if ok, why := r.e.Healthy(); !ok {
			t.Errorf("unhealthy after a second: %s", why)
		}
		eventually(t, "unhealthy", func() bool { ok, _ := r.e.Healthy(); return !ok })
		ok, why := r.e.Healthy()
		if ok || !strings.Contains(why, "output bad") || !strings.Contains(why, "boom") {
			t.Errorf("Healthy = %v, %q", ok, why)
		}
		if ok, why := r.e.Ready(); !ok {
			t.Errorf("not ready because of an output: %s", why)
		}
		if o := r.output("bad"); o.State != statePanicked || o.NextRetry == nil {
			t.Errorf("status: %+v", o)
		}
		time.Sleep(10 * time.Minute)
		if n := r.output("bad").Panics; n < 60 || n > 100 {
			t.Errorf("%d panics in ten minutes, want one about every 10 s", n)
		}
		broken.Store(false)
		eventually(t, "delivered", func() bool { return len(sound.records()) == 1 })
		if ok, _ := r.e.Healthy(); ok {
			t.Error("healthy at once")
		}
		time.Sleep(healthyAfter)
		if ok, why := r.e.Healthy(); !ok {
			t.Errorf("unhealthy after a minute without a panic: %s", why)
		}
		expect(t, "quiet", quiet.records(), []string{"one"})
		r.mustStop()
	})
}

func TestPanicsOutsideSendAreContained(t *testing.T) {
	type build = func(time int) output.Output
	for name, c := range map[string]struct {
		build  build
		panics uint64
	}{
		"New": {func(time int) output.Output {
			if time == 2 {
				panic("boom in New")
			}
			if time == 1 {
				return &sink{send: func(context.Context, *output.Batch) error { panic("boom") }}
			}
			return new(sink)
		}, 2},
		"Prepare": {func(time int) output.Output {
			o := new(stateful)
			if time == 1 {
				o.prepare = func(*output.Batch) ([]byte, error) { panic("boom") }
			}
			return o
		}, 1},
		"Close": {func(time int) output.Output {
			if time == 1 {
				return closePanics{}
			}
			return new(sink)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, in := newRig(t), newTap()
				r.addInput("in", in.build)
				times := 0
				r.addOutput("out", func(output.Env) (output.Output, error) { times++; return c.build(times), nil })
				r.start()
				in.send(t, "one")
				eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
				if n := r.output("out").Panics; n != c.panics {
					t.Errorf("%d panics counted, want %d", n, c.panics)
				}
				r.mustStop()
			})
		})
	}
}

// closePanics is an output that fails in every way.
type closePanics struct{}

func (closePanics) Send(context.Context, *output.Batch) error { panic("boom") }
func (closePanics) Close() error                              { panic("boom too") }

func TestPanickingInputIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t), new(sink)
		runs := 0
		var ended []context.Context
		r.addInput("in", func(env input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, emit input.Emit) error {
				runs++
				ended = append(ended, ctx)
				if runs == 1 {
					panic("before it listens")
				}
				env.Ready("somewhere")
				if _, err := emit(ctx, linesPack(numbered(runs, 1)[0]+"\n")); err != nil {
					return err
				}
				if runs < 4 {
					panic("while it listens")
				}
				<-ctx.Done()
				return nil
			}), nil
		})
		r.addOutput("out", out.build)
		r.start()
		if ok, why := r.e.Ready(); ok || !strings.Contains(why, "input in") {
			t.Errorf("Ready = %v, %q", ok, why)
		}
		eventually(t, "three records", func() bool { return len(out.records()) == 3 })
		expect(t, "out", out.records(), numbered(2, 3))
		for _, ctx := range ended[:3] {
			if ctx.Err() == nil {
				t.Error("the context of a run that panicked goes on")
			}
		}
		if ok, why := r.e.Ready(); !ok {
			t.Errorf("not ready: %s", why)
		}
		if in := r.e.status().Inputs[0]; in.Panics != 3 || in.Restarts != 3 || in.State != stateListening {
			t.Errorf("status: %+v", in)
		}
		r.mustStop()
	})
}

// runFunc is an input that is only its Run.
type runFunc func(ctx context.Context, emit input.Emit) error

func (f runFunc) Run(ctx context.Context, emit input.Emit) error { return f(ctx, emit) }

func TestInputThatFailsIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var fail atomic.Bool
		fail.Store(true)
		var at []time.Time
		r.addInput("in", func(env input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, _ input.Emit) error {
				at = append(at, time.Now())
				if len(at) > 1 && fail.Load() {
					return errors.New("address in use")
				}
				env.Ready("somewhere")
				if fail.Load() {
					return errors.New("listener broke")
				}
				<-ctx.Done()
				return nil
			}), nil
		})
		r.start()
		time.Sleep(time.Minute)
		if in := r.e.status().Inputs[0]; in.State != stateRetrying || in.LastError != "address in use" || in.NextRetry == nil || in.Restarts < 8 {
			t.Errorf("status: %+v", in)
		}
		if ok, why := r.e.Ready(); ok || !strings.Contains(why, "address in use") {
			t.Errorf("Ready = %v, %q", ok, why)
		}
		if d := at[len(at)-1].Sub(at[len(at)-2]); d > longestDelay || d < longestDelay*7/10 {
			t.Errorf("last wait %v", d)
		}
		fail.Store(false)
		eventually(t, "ready", func() bool { ok, _ := r.e.Ready(); return ok })
		if got := r.log.with(inputWords.over, "down="); len(got) != 1 {
			t.Errorf("recovery logged %d times", len(got))
		}
		r.mustStop()
	})
}

func TestInputThatCannotStartEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, other := newRig(t), newTap()
		r.addInput("other", other.build)
		r.addInput("in", func(input.Env) (input.Input, error) {
			return runFunc(func(context.Context, input.Emit) error { return errors.New("address in use") }), nil
		})
		r.start()
		<-r.over
		if r.err == nil || !strings.Contains(r.err.Error(), "start input in: address in use") {
			t.Errorf("Run = %v", r.err)
		}
	})
}

func TestInputThatEndsIsNotStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := newRig(t), new(sink)
		runs := 0
		r.addInput("stdin", func(env input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, emit input.Emit) error {
				runs++
				_, err := emit(ctx, linesPack("one\n"))
				return err
			}), nil
		})
		r.addOutput("out", out.build)
		r.start()
		eventually(t, "delivered", func() bool { return len(out.records()) == 1 })
		time.Sleep(time.Hour)
		if ok, why := r.e.Ready(); !ok || runs != 1 {
			t.Errorf("Ready = %v, %q after %d runs", ok, why, runs)
		}
		if in := r.e.status().Inputs[0]; in.State != stateEnded {
			t.Errorf("status: %+v", in)
		}
		r.mustStop()
	})
}
