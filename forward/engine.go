// Package forward is the engine: it runs the inputs, the queue and the outputs of a configuration.
//
// An input's way ends in the queue and an output's way begins there (ingest.go, feed.go); no record goes from one
// goroutine to another but through the disk. What a plugin does not have to know is done here: retries and back-off, the
// positions of outputs, dead letters, panics, counting, status.
//
// Goroutines: one for each input, one for each request that an output may have under way, one for the admin pages, one for
// reloads and the end of all inputs, and one that waits beside an idle output with a connection. Run owns them all.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"logmule/forward/admin"
	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/segment"
)

// grace is how much longer than shutdown_timeout a stop waits for plugins that do not mind their context, and for the
// queue to close.
const grace = 5 * time.Second

// outside is what an engine is made from. Tests replace it.
type outside struct {
	input  func(kind string, decode func(into any) error, env input.Env) (input.Input, error)
	output func(kind string, decode func(into any) error, env output.Env) (output.Output, error)
	queue  func(queue.Options) (*queue.Queue, error)
	admin  func(listen string, insecure bool, source admin.Source) (pages, error)
}

// pages is what answers questions about the engine while it runs.
type pages interface {
	Address() string
	Serve(ctx context.Context) error
}

// reality is the outside of every engine but those of tests.
func reality() outside {
	return outside{
		input: input.New, output: output.New, queue: queue.Open,
		admin: func(listen string, insecure bool, source admin.Source) (pages, error) {
			return admin.New(listen, insecure, source)
		},
	}
}

// Options are what an engine is given beside its configuration. The zero value works.
type Options struct {
	Log    *slog.Logger                   // gets what happens; nil: nobody is told
	Level  *slog.LevelVar                 // follows log.level at a reload; nil: nobody reads it
	Load   func() (*config.Config, error) // reads the configuration again, for a reload; nil: there is nothing to read
	Notify func(Notice)                   // is told how the process is, in order; nil: nobody asks
}

// Engine runs a configuration, and another one after a reload.
type Engine struct {
	opt      Options
	log      *slog.Logger
	outside  outside
	hostname string
	memory   *input.Budget
	repeats  sync.Map // *input.Repeats of inputs by name, those that are gone included: they may come back
	started  time.Time

	settings atomic.Pointer[config.Config] // what is in force
	roster   atomic.Pointer[roster]        // who runs
	leaving  leaving                       // who was told to end by a reload
	reloads  reloads
	finish   finish
	dead     *deadLetters
	queue    atomic.Pointer[queue.Queue] // nil until it has recovered
	stopping atomic.Bool
	greeted  sync.Once // the line that says that all inputs listen
}

// New builds every input and output of a configuration, without side effects. The error is a *config.Error with file
// and line, or several joined.
func New(cfg *config.Config, opt Options) (*Engine, error) {
	return newEngine(cfg, opt, reality())
}

// Check builds every input and output of a configuration without side effects, to see whether they can be built. Its
// errors are those of New.
func Check(cfg *config.Config) error {
	_, err := New(cfg, Options{})
	return err
}

func newEngine(cfg *config.Config, opt Options, outside outside) (*Engine, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Notify == nil {
		opt.Notify = func(Notice) {}
	}
	e := &Engine{
		opt: opt, log: opt.Log, outside: outside, started: time.Now(), memory: input.NewBudget(int64(cfg.MemoryLimit)),
		finish: newFinish(), reloads: reloads{asked: make(chan struct{}, 1), loaded: time.Now()},
	}
	e.settings.Store(cfg)
	e.dead = &deadLetters{open: func() (*queue.Queue, error) {
		now := e.settings.Load()
		return outside.queue(letterOptions(now, filepath.Join(now.DataDir, DeadLetterDir), e.log))
	}, relieve: func() { e.queue.Load().GiveReserve() }}
	var err error
	if e.hostname, err = os.Hostname(); err != nil || e.hostname == "" {
		e.hostname = "localhost"
		e.log.Warn("host name unknown; records say localhost", "error", err)
	}
	first, err := e.build(cfg)
	e.roster.Store(first)
	return e, err
}

// roster is the inputs and outputs of a configuration. It is never changed once it is complete.
type roster struct {
	sources   []*source
	consumers []*consumer
	claims    map[string]string // what is used, by whom
}

// build makes what a configuration asks for, without side effects.
func (e *Engine) build(cfg *config.Config) (*roster, error) {
	r := &roster{claims: map[string]string{"address " + cfg.Admin.Listen: "admin"}}
	var errs []error
	for _, s := range cfg.Inputs {
		errs = append(errs, e.addInput(r, s))
	}
	for _, s := range cfg.Outputs {
		errs = append(errs, e.addOutput(r, s, cfg))
	}
	return r, config.Join(errs...)
}

func (e *Engine) addInput(r *roster, section config.Section) error {
	s := &source{plugin: newPlugin("input", section.Name, section.Type, e.log, inputWords), onReady: e.greet, onEnd: e.finish.poke, tried: make(chan struct{})}
	repeats, _ := e.repeats.LoadOrStore(section.Name, input.NewRepeats())
	s.build = func() (input.Input, error) {
		positions := &positions{queue: func() sourceKeeper { return e.queue.Load() }, prefix: "in/" + section.Name + "/"}
		in, err := e.outside.input(section.Type, section.Decode, input.Env{
			Name: section.Name, Hostname: e.hostname, Log: e.log, Memory: e.memory, Ready: s.ready, Counters: &s.counters,
			Repeats:   repeats.(*input.Repeats),
			Positions: positions, Kept: positions.Kept,
		})
		return in, section.Place(err)
	}
	r.sources = append(r.sources, s)
	var err error
	s.built, err = s.build()
	return errors.Join(err, r.claim(section, "input", s.built, &s.stay))
}

func (e *Engine) addOutput(r *roster, section config.Section, cfg *config.Config) error {
	c := &consumer{plugin: newPlugin("output", section.Name, section.Type, e.log, outputWords), keys: NewOutputKeys()}
	build := func(keys *OutputKeys) (output.Output, error) {
		decode := func(into any) error { return section.DecodeAll(into, keys) }
		out, err := e.outside.output(section.Type, decode, output.Env{Name: section.Name, DataDir: cfg.DataDir, Log: e.log, Counters: &c.counters})
		return out, section.Place(err)
	}
	c.build = func() (output.Output, error) { return build(NewOutputKeys()) }
	r.consumers = append(r.consumers, c)
	var err error
	if c.built, err = build(c.keys); err != nil {
		c.built = nil
	}
	errs := []error{err}
	for _, err := range c.check(cfg.InputNames()) {
		errs = append(errs, section.Place(err))
	}
	return errors.Join(append(errs, r.claim(section, "output", c.built, &c.stay))...)
}

// claimer is an input or output that uses something which no other may use: an address to listen on, a file to write.
type claimer interface{ Claim() string }

// claim refuses a section that uses what another one uses.
func (r *roster) claim(section config.Section, role string, built any, s *stay) error {
	s.who, s.section = role+" "+section.Name, section
	c, ok := built.(claimer)
	if !ok || c.Claim() == "" {
		return nil
	}
	if other, taken := r.claims[c.Claim()]; taken {
		return section.Place(fmt.Errorf("%s is used by %s already; give each its own", c.Claim(), other))
	}
	r.claims[c.Claim()] = role + "." + section.Name
	s.claim = c.Claim()
	return nil
}

// queueOptions are those of [queue] for a queue in dir.
func queueOptions(cfg *config.Config, dir string, log *slog.Logger) queue.Options {
	q, l := cfg.Queue, queueLimits(cfg)
	opt := queue.Options{
		Dir: dir, SegmentSize: int64(q.SegmentSize), MaxSize: l.MaxSize, MinFree: l.MinFree, WhenFull: l.WhenFull,
		Sync:    queue.SyncPolicy{Mode: queue.SyncMode(q.Sync.Mode), Every: time.Duration(q.Sync.Every)},
		Codec:   segment.Snappy,
		KeepFor: l.KeepFor, KeepSize: l.KeepSize, ForgetAfter: l.ForgetAfter, ScrubRate: l.ScrubRate,
		Holder: fmt.Sprintf("logmule run, process %d", os.Getpid()),
		Log:    log,
		Source: SourceName,
	}
	if q.Compression == "none" {
		opt.Codec = segment.None
	}
	return opt
}

// queueLimits are those of [queue]. They can change while the queue is open; forget_after is not for dead letters.
func queueLimits(cfg *config.Config) queue.Limits {
	q := cfg.Queue
	l := queue.Limits{
		MaxSize: int64(q.MaxSize), MinFree: int64(q.MinFree),
		KeepFor: time.Duration(q.KeepFor), KeepSize: int64(q.KeepSize), ForgetAfter: time.Duration(q.ForgetAfter),
		ScrubRate: int64(q.ScrubRate),
	}
	if q.MinFree == 0 {
		l.MinFree = -1 // none
	}
	switch q.WhenFull {
	case "drop_oldest":
		l.WhenFull = queue.DropOldest
	case "drop_newest":
		l.WhenFull = queue.DropNewest
	}
	return l
}

// Run runs until ctx ends, or the standard input and every other input has ended and all is delivered, then stops in order and returns nil: inputs, requests in flight (for at most
// shutdown_timeout), queue. It returns an error where it cannot start, and where something would not stop; records that
// were acknowledged are on the disk even then. It is called once.
func (e *Engine) Run(ctx context.Context) error {
	if err := contain(func() error { return e.probe(new(roster), e.roster.Load()) }); err != nil {
		return err
	}
	stopAdmin, err := e.serveAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	cfg := e.settings.Load()
	if cfg.Queue.Sync.Mode == config.SyncNever {
		e.log.Warn(`sync = "never": acknowledged records can be lost when the power fails`)
	}
	opt := queueOptions(cfg, cfg.DataDir, e.log)
	opt.Until = ctx
	q, err := e.outside.queue(opt)
	switch {
	case err != nil && ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		e.log.Info("stopped before the queue was open")
		return nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("open queue in %s: %w; data_dir has to be a directory that this user may make, or read and write", cfg.DataDir, err)
	case err != nil:
		return fmt.Errorf("open queue in %s: %w", cfg.DataDir, err)
	}
	e.queue.Store(q)
	e.reportStart(q)
	e.reopenLetters(cfg)

	s := newStopper(ctx)
	first := e.roster.Load()
	for _, c := range first.consumers {
		e.startOutput(s, c, nil)
	}
	for _, o := range q.Status().Outputs {
		if !o.Attached {
			e.log.Warn("an output that is not configured any more holds its records until it is configured again, or forgotten",
				"output", o.Name, "backlog_records", o.BacklogRecords, "forgotten_in", o.ForgottenIn.Round(time.Second))
		}
	}
	for _, in := range first.sources {
		in.needed = true
		e.startInput(s, in, nil)
	}
	e.greet()
	reloader := ended(func() {
		pprof.Do(s.inputsUntil, pprof.Labels("reload", "configuration"), func(ctx context.Context) { e.serveReloads(ctx, s) })
	})
	<-s.inputsUntil.Done()
	e.stopping.Store(true)
	e.opt.Notify(Stopping)
	if failure := s.failure(); failure != nil {
		e.log.Error("stopping, because an input cannot start", "error", failure)
	} else {
		e.log.Info("stopping")
	}
	err = errors.Join(s.failure(), e.stop(s, q, reloader))
	e.log.Info("stopped")
	return err
}

// serveAdmin starts the admin pages, which answer until the function that it returns is called.
func (e *Engine) serveAdmin(ctx context.Context) (stop func(), err error) {
	cfg := e.settings.Load()
	server, err := e.outside.admin(cfg.Admin.Listen, cfg.Admin.Insecure, e)
	if err != nil {
		return nil, err
	}
	e.log.Info("admin pages listen", "address", server.Address())
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var served sync.WaitGroup
	served.Go(func() {
		pprof.Do(ctx, pprof.Labels("admin", "pages"), func(ctx context.Context) {
			if err := server.Serve(ctx); err != nil {
				e.log.Error("admin pages have ended; records are forwarded without them", "error", err)
			}
		})
	})
	return func() { cancel(); served.Wait() }, nil
}

// reopenLetters opens the dead-letter queue where there is one already, so that status tells of it.
func (e *Engine) reopenLetters(cfg *config.Config) {
	if _, err := os.Lstat(filepath.Join(cfg.DataDir, DeadLetterDir)); err != nil {
		return // it is made with the first letter
	}
	if _, err := e.dead.get(); err != nil {
		e.log.Warn("dead letters cannot be stored; that is tried again with the next one", "error", err)
	}
}

// reportStart logs what the recovery found.
func (e *Engine) reportStart(q *queue.Queue) {
	r := q.Recovered()
	e.log.Info("queue recovered", "segments", r.Segments, "records", r.Records, "bytes", r.Bytes, "next", q.Status().Next,
		"torn_tail_bytes", r.TornTailBytes, "healed_bytes", r.HealedBytes)
	for _, d := range r.Damage {
		about := []any{"segment", d.Segment, "offset", d.Offset, "length", d.Length, "cause", d.Cause,
			"action", d.Action, "first_lost", d.FirstLost, "last_lost", d.LastLost}
		if d.Lost != nil {
			about = append(about, "lost", d.Lost.String(), "delivered", d.Lost.Delivered())
		}
		e.log.Error("damage found at start", about...)
	}
	for _, note := range r.Notes {
		e.log.Warn("note from the start", "note", note)
	}
}

// greet says once that everything runs.
func (e *Engine) greet() {
	if e.queue.Load() == nil || e.absent() != nil || e.stopping.Load() {
		return
	}
	e.greeted.Do(func() {
		now := e.roster.Load()
		e.log.Info("ready", "inputs", len(now.sources), "outputs", len(now.consumers))
		e.opt.Notify(Listening)
	})
}
