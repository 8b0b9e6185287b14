package forward

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"logmule/forward/config"
)

// Notice tells the owner of the process how it is.
type Notice uint8

// What Options.Notify is told.
const (
	Listening Notice = iota // every input listens, for the first time
	Reloading               // a reload begins
	Reloaded                // it has ended, well or not
	Stopping                // a stop begins
)

// settleTime bounds how long a reload waits for the inputs that it has started before it reports.
const settleTime = 5 * time.Second

// reloads is what has become of the wishes to reload.
type reloads struct {
	asked      chan struct{} // holds a token while a reload is wanted
	ok, failed atomic.Uint64

	mu     sync.Mutex // guards everything below
	loaded time.Time  // when the configuration in force was read
	error  string     // why the last reload failed; empty: it did not
}

// note books a reload.
func (r *reloads) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed.Add(1)
		r.error = err.Error()
		return
	}
	r.ok.Add(1)
	r.loaded, r.error = time.Now(), ""
}

// state is when the configuration in force was read, and why a later reload failed.
func (r *reloads) state() (loaded time.Time, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loaded, r.error
}

// Reload asks for the configuration to be read again and returns at once. Wishes that come while a reload is under way
// become one more reload after it.
func (e *Engine) Reload() {
	select {
	case e.reloads.asked <- struct{}{}:
	default:
	}
}

// serveReloads reloads when asked to, and looks whether all is done when inputs have ended, until ctx ends.
func (e *Engine) serveReloads(ctx context.Context, s *stopper) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.reloads.asked:
			e.opt.Notify(Reloading)
			e.reload(ctx, s)
			e.opt.Notify(Reloaded)
			e.lookForEnd(s) // an input that had not ended may be gone
		case <-e.finish.ended:
			e.lookForEnd(s)
		case <-e.finish.onward.C:
			e.lookForEnd(s)
		}
	}
}

// reload reads the configuration, judges all of it, and only then changes what differs.
func (e *Engine) reload(ctx context.Context, s *stopper) {
	if e.opt.Load == nil {
		e.log.Warn("there is no configuration file to reload: the quick start runs; start with -c FILE to use one")
		return
	}
	cfg, next, warnings, err := e.read()
	if ctx.Err() != nil {
		return
	}
	log := e.log.With("reload", e.reloads.ok.Load()+e.reloads.failed.Load()+1)
	if err != nil {
		e.reloads.note(err)
		if caught, ok := errors.AsType[*panicError](err); ok {
			log.Error("panic while the configuration was read, contained", "panic", caught.text, "stack", string(caught.stack))
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			log.Error("configuration not reloaded, nothing is changed", "error", line)
		}
		return
	}
	for _, w := range slices.Concat(cfg.Warnings, warnings) {
		log.Warn("configuration", "warning", w.Error())
	}
	did := e.replace(ctx, s, cfg, next)
	e.reloads.note(nil)
	log.Info("configuration reloaded", "added", list(did.added), "removed", list(did.removed), "changed", list(did.changed), "unchanged", did.unchanged)
}

// read reads the configuration again, builds all of it, and tries what it names on this machine, without side effects. A panic is an error like any other.
func (e *Engine) read() (cfg *config.Config, next *roster, warnings []*config.Error, err error) {
	err = contain(func() (err error) {
		if cfg, err = e.opt.Load(); cfg == nil {
			return err
		}
		var unfit, faults error
		warnings, unfit = cfg.Replace(e.settings.Load())
		next, faults = e.build(cfg)
		if err = config.Join(err, unfit, faults); err == nil {
			err = config.Join(e.judge(next))
		}
		return err
	})
	return cfg, next, warnings, err
}

// changes is what a reload does.
type changes struct {
	added, removed, changed []string
	unchanged               int
	ending                  []*stay
}

// member is an input or an output.
type member interface{ seat() *stay }

// compare puts those of now that next does not change into its place, and returns the others of next, which are to be
// started.
func compare[M member](did *changes, now, next []M) (starting []M) {
	index := func(all []M, who string) int {
		return slices.IndexFunc(all, func(m M) bool { return m.seat().who == who })
	}
	for i, m := range next {
		who := m.seat().who
		was := index(now, who)
		switch {
		case was < 0:
			did.added = append(did.added, who)
			starting = append(starting, m)
		case now[was].seat().section.Equal(m.seat().section):
			did.unchanged++
			next[i] = now[was]
		default:
			did.changed = append(did.changed, who)
			did.ending = append(did.ending, now[was].seat())
			starting = append(starting, m)
		}
	}
	for _, m := range now {
		if who := m.seat().who; index(next, who) < 0 {
			did.removed = append(did.removed, who)
			did.ending = append(did.ending, m.seat())
		}
	}
	return starting
}

// replace puts a configuration in force. Who is not in it ends; who is new starts; who differs ends and starts, as soon
// as what it was before has ended; who is as before is not touched.
func (e *Engine) replace(ctx context.Context, s *stopper, cfg *config.Config, next *roster) changes {
	var did changes
	now := e.roster.Load()
	inputs, outputs := compare(&did, now.sources, next.sources), compare(&did, now.consumers, next.consumers)
	e.limit(e.settings.Swap(cfg), cfg) // the queue of dead letters may be opened at any time, with what is in force then
	for _, ending := range did.ending {
		e.leaving.send(ending, time.Duration(cfg.ShutdownTimeout))
	}
	left := e.leaving.left()
	for _, c := range outputs {
		e.startOutput(s, c, c.before(left))
	}
	for _, in := range inputs {
		e.startInput(s, in, in.before(left))
	}
	if e.opt.Level != nil {
		e.opt.Level.Set(cfg.Log.Least())
	}
	e.roster.Store(next)
	e.greet()
	e.settle(ctx, inputs)
	return did
}

// limit puts the limits of the queues in force, where they differ.
func (e *Engine) limit(was, cfg *config.Config) {
	limits := queueLimits(cfg)
	if limits == queueLimits(was) {
		return
	}
	e.queue.Load().SetLimits(limits)
	e.dead.limit(letterLimits(cfg))
}

// settle waits until inputs listen or have failed, so that whoever asked for the reload sees the end of it. It does not
// wait for ever for one that has to wait itself.
func (e *Engine) settle(ctx context.Context, inputs []*source) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for _, in := range inputs {
		await(ctx, in.tried)
	}
}

// list names several, or says that there is none.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
