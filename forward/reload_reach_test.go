package forward

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
)

func TestReloadsAreOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		loads, now := 0, 0
		r.opt.Load = func() (*config.Config, error) {
			if now++; now > 1 {
				t.Error("two at a time")
			}
			time.Sleep(20 * time.Second)
			now--
			loads++
			next := *r.cfg
			return &next, nil
		}
		r.start()
		for range 5 {
			r.e.Reload()
			time.Sleep(time.Second)
		}
		eventually(t, "two reloads", func() bool { return r.e.reloads.ok.Load() == 2 })
		time.Sleep(time.Hour)
		if loads != 2 {
			t.Errorf("%d reloads, want one and one more for all that came meanwhile", loads)
		}
		r.mustStop()
	})
}

func TestStopOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		done := false
		r.opt.Load = func() (*config.Config, error) {
			time.Sleep(time.Second)
			done = true
			next := *r.cfg
			return &next, nil
		}
		r.start()
		r.e.Reload()
		synctest.Wait()
		r.mustStop()
		if !done || r.e.reloads.ok.Load() != 0 {
			t.Error("the engine stopped beside a reload, or changed something while it stopped")
		}
	})
}

func TestReloadThatTakesAwayTheLastAbsenteeMakesReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.reloadable()
		r.addInput("in", in.build)
		r.addInput("never", func(input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, _ input.Emit) error { <-ctx.Done(); return nil }), nil
		})
		told := 0
		r.opt.Notify = func(n Notice) {
			if n == Listening {
				told++
			}
		}
		r.start()
		<-in.up
		synctest.Wait()
		if told != 0 {
			t.Error("told that all inputs listen when one does not")
		}
		r.reload(func(c *config.Config) { c.Inputs = sections("in") })
		if ok, why := r.e.Ready(); !ok || told != 1 {
			t.Errorf("told %d times; not ready: %s", told, why)
		}
		r.mustStop()
	})
}

func TestLevelFollowsAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.reloadable()
		r.opt.Level = new(slog.LevelVar)
		r.start()
		r.reload(func(c *config.Config) { c.Log.Level = "debug" })
		if r.opt.Level.Level() != slog.LevelDebug {
			t.Errorf("the level is %v", r.opt.Level)
		}
		r.mustStop()
	})
}

// What a removed output had in hand counts as its own when it is dropped.
func TestRemovedOutputHasNothingInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.reloadable()
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression, r.cfg.Queue.WhenFull = 64<<10, 1<<20, "none", "drop_oldest"
		out.send = func(context.Context, *output.Batch) error { return errRefused }
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, strings.Repeat("x", 10_000))
		eventually(t, "it is tried", func() bool { return r.output("out").State == stateRetrying })
		r.reload(func(c *config.Config) { c.Outputs = nil })
		eventually(t, "it has ended", func() bool { return len(r.e.leaving.left()) == 0 })
		for range 300 {
			in.send(t, strings.Repeat("x", 10_000))
		}
		if s := r.e.queue.Load().Status(); s.DroppedOldest == 0 || s.DroppedOldest != s.First-1 {
			t.Errorf("%d dropped, the oldest left is %d", s.DroppedOldest, s.First)
		}
		r.mustStop()
	})
}

func TestStopEndsAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.reloadable()
		r.addInput("in", in.build)
		r.inputs["slow"] = func(input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, _ input.Emit) error { <-ctx.Done(); return nil }), nil
		}
		r.start()
		<-in.up
		next := *r.cfg
		next.Inputs = sections("in", "slow")
		r.cfg = &next
		r.e.Reload()
		synctest.Wait() // it waits for the input to listen
		begun := time.Now()
		r.mustStop()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestNothingToReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.e.Reload()
		synctest.Wait()
		if len(r.log.with("no configuration file to reload")) != 1 {
			t.Error("nobody says that there is nothing to reload")
		}
		r.mustStop()
	})
}

func TestNoticesComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.reloadable()
		r.addInput("in", in.build)
		var got []Notice
		r.opt.Notify = func(n Notice) { got = append(got, n) }
		r.start()
		r.reload(func(*config.Config) {})
		synctest.Wait()
		r.mustStop()
		want := []Notice{Listening, Reloading, Reloaded, Stopping}
		if len(got) != len(want) {
			t.Fatalf("notices %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("notices %v, want %v", got, want)
			}
		}
	})
}

func TestLimitsFollowAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.reloadable()
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression = 64<<10, 1<<20, "none"
		out.send = func(_ context.Context, b *output.Batch) error {
			if b.First == 1 {
				b.Reject(0, "bad")
				return nil
			}
			return errRefused
		}
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, "refused for good")
		eventually(t, "dead letter", func() bool { return r.output("out").DeadLetters == 1 })
		fill := func() {
			for ok := true; ok; ok, _ = r.e.Ready() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				in.trySend(ctx, strings.Repeat("x", 10_000))
				cancel()
			}
		}
		fill()
		r.reload(func(c *config.Config) { c.Queue.MaxSize = 2 << 20 })
		eventually(t, "room", func() bool { ok, _ := r.e.Ready(); return ok })
		if got := r.e.status().Queue.MaxBytes; got != 2<<20 {
			t.Errorf("the status says max_size is %d", got)
		}
		if got := r.e.dead.queue.Load().Status().MaxSize; got != 2<<20 {
			t.Errorf("max_size of the dead letters is %d", got)
		}
		fill()
		r.reload(func(c *config.Config) { c.Queue.WhenFull = "drop_oldest" })
		in.send(t, "the newest")
		r.mustStop()
	})
}

func TestPositionsAreThoseOfTheInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.reloadable()
		var mu sync.Mutex // guards found
		found := map[string]map[string][]byte{}
		builds := map[string]func(input.Env) (input.Input, error){}
		for _, name := range []string{"a", "ab"} {
			builds[name] = func(env input.Env) (input.Input, error) {
				return runFunc(func(ctx context.Context, emit input.Emit) error {
					mu.Lock()
					found[name] = env.Positions.Load()
					mu.Unlock()
					env.Ready("here")
					p := linesPack("one\n")
					p.Source, p.Position = "in/"+name+"/file", []byte("1")
					receipt, err := emit(ctx, p)
					if err != nil {
						t.Error(err)
					}
					env.Positions.Set("empty", []byte("0"))
					env.Positions.Set("gone", []byte("0"))
					env.Positions.Forget("gone")
					if now := env.Positions.Load(); string(now["file"]) != "1" {
						t.Errorf("the position of an accepted pack is not found: %q", now)
					}
					if err := receipt.Wait(ctx); err != nil {
						t.Error(err)
					}
					<-ctx.Done()
					return nil
				}), nil
			}
			r.addInput(name, builds[name])
		}
		r.start()
		r.reload(func(c *config.Config) { c.Inputs = sections("other:a", "ab") })
		check := func(when string, names ...string) {
			t.Helper()
			for _, name := range names {
				if got := found[name]; len(got) != 2 || string(got["file"]) != "1" || string(got["empty"]) != "0" {
					t.Errorf("%s input %s finds %q", when, name, got)
				}
			}
		}
		check("after a reload", "a")
		r.mustStop()
		clear(found)
		r.start()
		check("after a restart", "a", "ab")
		r.mustStop()
	})
}
