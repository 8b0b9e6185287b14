package forward

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
)

// reload puts a changed copy of the configuration in force and waits until the reload has ended.
func (r *rig) reload(edit func(*config.Config)) {
	r.t.Helper()
	before := r.e.reloads.ok.Load() + r.e.reloads.failed.Load()
	next := *r.cfg
	edit(&next)
	r.cfg = &next
	r.e.Reload()
	eventually(r.t, "reloaded", func() bool { return r.e.reloads.ok.Load()+r.e.reloads.failed.Load() > before })
}

// reloadable makes the engine read r.cfg at a reload.
func (r *rig) reloadable() {
	r.opt.Load = func() (*config.Config, error) {
		next := *r.cfg
		return &next, nil
	}
}

func sections(names ...string) []config.Section {
	var all []config.Section
	for _, name := range names {
		kind, bare, found := strings.Cut(name, ":")
		if !found {
			kind, bare = "fake", name
		}
		all = append(all, config.Section{Name: bare, Type: kind})
	}
	return all
}

// input is the status of an input, and whether there is one.
func (r *rig) input(name string) (InputStatus, bool) {
	for _, in := range r.e.status().Inputs {
		if in.Name == name {
			return in, true
		}
	}
	return InputStatus{}, false
}

func TestReloadChangesOnlyWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.reloadable()
		var mu sync.Mutex        // guards what follows
		runs := map[string]int{} // of inputs
		taps := map[string]*tap{}
		for _, name := range []string{"same", "changed", "gone", "new"} {
			r.inputs[name] = func(env input.Env) (input.Input, error) {
				in := &tap{env: env, up: make(chan struct{})}
				return runFunc(func(ctx context.Context, emit input.Emit) error {
					mu.Lock()
					runs[name]++
					taps[name] = in
					mu.Unlock()
					return in.Run(ctx, emit)
				}), nil
			}
		}
		sinks := map[string][]*sink{}
		for _, name := range []string{"same", "changed", "gone", "new"} {
			r.outputs[name] = func(output.Env) (output.Output, error) {
				o := new(sink)
				o.send = func(_ context.Context, b *output.Batch) error {
					mu.Lock()
					if o.sends() == 1 {
						sinks[name] = append(sinks[name], o)
					}
					mu.Unlock()
					o.take(b, 0, b.Len())
					return nil
				}
				return o, nil
			}
		}
		r.cfg.Inputs, r.cfg.Outputs = sections("same", "changed", "gone"), sections("same", "changed", "gone")
		r.start()
		taps["same"].send(t, "one")
		eventually(t, "delivered", func() bool { return r.output("gone").BacklogRecords == 0 && r.output("changed").BacklogRecords == 0 })
		time.Sleep(time.Minute)
		ctx, stay := taps["same"], sinks["same"]
		r.reload(func(c *config.Config) {
			c.Inputs, c.Outputs = sections("new", "same", "other:changed"), sections("other:changed", "new", "same")
		})
		if _, there := r.input("gone"); there || runs["gone"] != 1 {
			t.Error("a removed input is still there")
		}
		taps["same"].send(t, "two")
		taps["changed"].send(t, "three")
		taps["new"].send(t, "four")
		eventually(t, "delivered", func() bool {
			return r.output("changed").BacklogRecords == 0 && r.output("new").BacklogRecords == 0 && r.output("same").BacklogRecords == 0
		})
		if taps["same"] != ctx || len(sinks["same"]) != len(stay) || runs["same"] != 1 || stay[0].closed != 0 {
			t.Error("what did not change was touched")
		}
		if runs["changed"] != 2 || runs["new"] != 1 {
			t.Errorf("runs of inputs: %v", runs)
		}
		expect(t, "same", sinks["same"][0].records(), []string{"one", "two", "three", "four"})
		expect(t, "changed, before", sinks["changed"][0].records(), []string{"one"})
		expect(t, "changed, after", sinks["changed"][1].records(), []string{"two", "three", "four"})
		expect(t, "gone", sinks["gone"][0].records(), []string{"one"})
		expect(t, "new", sinks["new"][0].records(), []string{"one", "two", "three", "four"})
		if sinks["gone"][0].closed != 1 || sinks["changed"][0].closed != 1 {
			t.Error("who ended was not closed once")
		}
		if held := r.e.status().Queue.Detached; len(held) != 1 || held[0] != "gone" {
			t.Errorf("held outputs: %q, want gone", held)
		}
		if got := r.log.with("configuration reloaded", `added="input new, output new"`, `removed="input gone, output gone"`, `changed="input changed, output changed"`, "unchanged=2"); len(got) != 1 {
			t.Errorf("the log says %q", r.log.with("configuration reloaded"))
		}
		r.reload(func(c *config.Config) { c.Outputs = sections("gone") })
		eventually(t, "delivered", func() bool { return r.output("gone").BacklogRecords == 0 })
		expect(t, "gone, back again", sinks["gone"][1].records(), []string{"two", "three", "four"})
		r.mustStop()
	})
}

func TestBadReloadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.reloadable()
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.outputs["bad"] = func(output.Env) (output.Output, error) { return nil, errors.New("url is missing; add it") }
		r.inputs["bad"] = func(input.Env) (input.Input, error) { return nil, errors.New("listen is missing; add it") }
		r.inputs["panics"] = func(input.Env) (input.Input, error) { panic("boom") }
		r.start()
		good := r.e.status().Config.LoadedAt
		time.Sleep(time.Second)
		for what, edit := range map[string]func(*config.Config){
			"url is missing": func(c *config.Config) { c.Inputs, c.Outputs = nil, sections("bad") },
			"listen is miss": func(c *config.Config) { c.Inputs, c.Outputs = sections("bad"), nil },
			"boom":           func(c *config.Config) { c.Inputs = sections("panics") },
			"data_dir":       func(c *config.Config) { c.Inputs, c.DataDir = nil, "/elsewhere" },
		} {
			old := *r.cfg
			r.reload(edit)
			r.cfg = &old
			s := r.e.status()
			if len(r.log.with("not reloaded, nothing is changed", what)) != 1 || !strings.Contains(s.Config.Error, what) {
				t.Errorf("neither log nor status say %s: %q", what, s.Config.Error)
			}
			if s.Config.LoadedAt != good || len(s.Inputs) != 1 || len(s.Outputs) != 1 {
				t.Errorf("%s: status %+v", what, s)
			}
		}
		in.send(t, "one")
		eventually(t, "delivered", func() bool { return len(out.records()) == 1 })
		r.reload(func(*config.Config) {})
		if s := r.e.status().Config; s.Error != "" || s.Reloads != 1 || s.FailedReloads != 4 || !s.LoadedAt.After(good) {
			t.Errorf("after a good one: %+v", s)
		}
		if out.closed != 0 || len(out.records()) != 1 {
			t.Error("the output was touched")
		}
		r.mustStop()
	})
}

// user is an input that uses something.
type user struct {
	runFunc
	claim string
}

func (u user) Claim() string { return u.claim }

func TestReloadWaitsForWhatIsInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.reloadable()
		var inUse atomic.Int32
		use := func(address string) func(env input.Env) (input.Input, error) {
			return func(env input.Env) (input.Input, error) {
				return user{func(ctx context.Context, _ input.Emit) error {
					if inUse.Add(1) != 1 {
						t.Error("the address is used twice")
					}
					env.Ready(address)
					<-ctx.Done()
					time.Sleep(time.Second)
					inUse.Add(-1)
					return nil
				}, address}, nil
			}
		}
		r.inputs["a"], r.inputs["b"] = use("port"), use("port")
		r.cfg.Inputs = sections("a")
		r.start()
		r.reload(func(c *config.Config) { c.Inputs = sections("b") })
		if in, there := r.input("b"); !there || in.State != stateListening || r.e.status().State != engineReady {
			t.Errorf("after the reload b is %+v", in)
		}
		r.reload(func(c *config.Config) { c.Inputs = sections("a", "b") })
		if len(r.log.with("port is used by input.a already")) != 1 {
			t.Error("two inputs with one address were not refused")
		}
		r.mustStop()
	})
}

func TestReloadedInputThatCannotStartIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.reloadable()
		r.addInput("in", in.build)
		tries := 0
		r.inputs["late"] = func(env input.Env) (input.Input, error) {
			return runFunc(func(ctx context.Context, _ input.Emit) error {
				switch tries++; tries {
				case 1:
					return errors.New("address already in use")
				case 2:
					panic("boom")
				}
				env.Ready("here")
				<-ctx.Done()
				return nil
			}), nil
		}
		r.start()
		r.reload(func(c *config.Config) { c.Inputs = sections("in", "late") })
		if got := r.log.with("level=WARN", "input=late", "already in use"); len(got) != 1 {
			t.Errorf("%d loud lines", len(got))
		}
		in.send(t, "one")
		if ok, why := r.e.Ready(); ok || !strings.Contains(why, "input late does not listen: address already in use") {
			t.Errorf("Ready = %v, %s", ok, why)
		}
		eventually(t, "it listens", func() bool { ok, _ := r.e.Ready(); return ok })
		r.mustStop()
	})
}

func TestHungOutputDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, other := newRig(t), newTap(), new(sink)
		r.reloadable()
		r.addInput("in", in.build)
		release := make(chan struct{})
		var second *sink
		r.addOutput("stuck", func(output.Env) (output.Output, error) {
			o := new(sink)
			if r.e != nil {
				second = o
				return o, nil
			}
			o.send = func(_ context.Context, b *output.Batch) error { <-release; return nil }
			return o, nil
		})
		r.outputs["other"] = other.build
		r.start()
		in.send(t, "one")
		eventually(t, "request in flight", func() bool { return r.output("stuck").State == stateSending })
		begun := time.Now()
		r.reload(func(c *config.Config) { c.Outputs = sections("other:stuck", "other") })
		if took := time.Since(begun); took > time.Second {
			t.Errorf("the reload took %v", took)
		}
		in.send(t, "two")
		eventually(t, "the other output delivers", func() bool { return len(other.records()) == 2 })
		time.Sleep(time.Minute)
		if len(second.records()) != 0 || r.output("stuck").State != stateStarting || len(r.e.status().Leaving) != 1 {
			t.Errorf("two goroutines deliver for one output: %+v", r.e.status())
		}
		if len(r.log.with("waits for what it replaces", "output=stuck")) != 1 {
			t.Error("nobody says what the output waits for")
		}
		close(release)
		eventually(t, "the output delivers again", func() bool { return len(second.records()) == 1 })
		expect(t, "stuck", second.records(), []string{"two"}) // the first was accepted by the one before
		r.mustStop()
	})
}

func TestRemovedOutputFinishesItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.reloadable()
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(ctx context.Context, b *output.Batch) error {
			if !pause(ctx, time.Duration(b.First)*6*time.Second) {
				return ctx.Err()
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		in.send(t, "one")
		eventually(t, "request in flight", func() bool { return r.output("out").State == stateSending })
		r.reload(func(c *config.Config) { c.Outputs = nil })
		eventually(t, "it has ended", func() bool { return len(r.e.leaving.left()) == 0 })
		expect(t, "out", out.records(), []string{"one"})
		r.reload(func(c *config.Config) { c.Outputs = sections("out") })
		in.send(t, "two")
		eventually(t, "request in flight", func() bool { return r.output("out").State == stateSending })
		begun := time.Now()
		r.reload(func(c *config.Config) { c.Outputs = nil })
		eventually(t, "it has ended", func() bool { return len(r.e.leaving.left()) == 0 })
		if took, limit := time.Since(begun), time.Duration(r.cfg.ShutdownTimeout); took < limit || took > limit+time.Second {
			t.Errorf("a request that takes too long was given up after %v, want shutdown_timeout", took)
		}
		r.mustStop()
	})
}
