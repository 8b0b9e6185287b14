// Package forward is the engine: it runs the inputs, the queue and the outputs of a configuration.
//
// An input's way ends in the queue and an output's way begins there (ingest.go, feed.go); no record goes from one
// goroutine to another but through the disk. What a plugin does not have to know is done here: retries and back-off, the
// positions of outputs, dead letters, panics, counting, status.
//
// Goroutines: one for each input and each output, one for the admin pages, and one that waits beside an idle output with
// a connection. Run owns them all.
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
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

// engine is one run of a configuration.
type engine struct {
	cfg     *config.Config
	log     *slog.Logger
	outside outside
	started time.Time

	claims    map[string]string // what is used, by whom
	sources   []*source
	consumers []*consumer
	dead      *deadLetters
	queue     atomic.Pointer[queue.Queue] // nil until it has recovered
	stopping  atomic.Bool
	greeted   sync.Once // the line that says that all inputs listen
}

// Check builds every input and output of a configuration without side effects, to see whether they can be built. The
// error is a *config.Error with file and line, or several joined.
func Check(cfg *config.Config) error {
	_, err := newEngine(cfg, slog.New(slog.DiscardHandler), reality())
	return err
}

// Run runs a configuration until ctx ends, then stops in order and returns nil: inputs, requests in flight (for at most
// shutdown_timeout), queue. It returns an error where it cannot start, and where something would not stop; records that
// were acknowledged are on the disk even then. log gets what happens; nil: nobody is told.
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	e, err := newEngine(cfg, log, reality())
	if err != nil {
		return err
	}
	return e.run(ctx)
}

// newEngine builds everything that has no side effect.
func newEngine(cfg *config.Config, log *slog.Logger, outside outside) (*engine, error) {
	e := &engine{cfg: cfg, log: log, outside: outside, started: time.Now(), claims: map[string]string{"address " + cfg.Admin.Listen: "admin"}}
	e.dead = &deadLetters{open: func() (*queue.Queue, error) {
		opt := e.queueOptions(filepath.Join(cfg.DataDir, DeadLetterDir))
		opt.Sync = queue.SyncPolicy{Mode: queue.SyncAlways} // whatever sync says: nobody else has these records any more
		opt.Log = log.With("queue", "deadletter")
		return outside.queue(opt)
	}}
	hostname, err := os.Hostname()
	if err != nil || hostname == "" {
		hostname = "localhost"
		log.Warn("host name unknown; records say localhost", "error", err)
	}
	var errs []error
	memory := input.NewBudget(int64(cfg.MemoryLimit))
	for _, s := range cfg.Inputs {
		errs = append(errs, e.addInput(s, hostname, memory))
	}
	for _, s := range cfg.Outputs {
		errs = append(errs, e.addOutput(s))
	}
	return e, config.Join(errs...)
}

func (e *engine) addInput(section config.Section, hostname string, memory *input.Budget) error {
	s := &source{plugin: newPlugin("input", section.Name, section.Type, e.log, inputWords), onReady: e.greet}
	s.build = func() (input.Input, error) {
		in, err := e.outside.input(section.Type, section.Decode, input.Env{
			Name: section.Name, Hostname: hostname, Log: e.log, Memory: memory, Ready: s.ready, Counters: &s.counters,
		})
		return in, section.Place(err)
	}
	e.sources = append(e.sources, s)
	var err error
	s.built, err = s.build()
	return errors.Join(err, e.claim(section, "input", s.built))
}

func (e *engine) addOutput(section config.Section) error {
	c := &consumer{plugin: newPlugin("output", section.Name, section.Type, e.log, outputWords)}
	c.build = func() (output.Output, error) {
		out, err := e.outside.output(section.Type, section.Decode, output.Env{Name: section.Name, Log: e.log, Counters: &c.counters})
		return out, section.Place(err)
	}
	e.consumers = append(e.consumers, c)
	var err error
	c.built, err = c.build()
	return errors.Join(err, e.claim(section, "output", c.built))
}

// claimer is an input or output that uses something which no other may use: an address to listen on, a file to write.
type claimer interface{ Claim() string }

// claim refuses a section that uses what another one uses.
func (e *engine) claim(section config.Section, role string, built any) error {
	c, ok := built.(claimer)
	if !ok || c.Claim() == "" {
		return nil
	}
	if other, taken := e.claims[c.Claim()]; taken {
		return section.Place(fmt.Errorf("%s is used by %s already; give each its own", c.Claim(), other))
	}
	e.claims[c.Claim()] = role + "." + section.Name
	return nil
}

// queueOptions are those of [queue] for a queue in dir.
func (e *engine) queueOptions(dir string) queue.Options {
	q := e.cfg.Queue
	opt := queue.Options{
		Dir: dir, SegmentSize: int64(q.SegmentSize), MaxSize: int64(q.MaxSize), MinFree: int64(q.MinFree),
		Sync:    queue.SyncPolicy{Mode: queue.SyncMode(q.Sync.Mode), Every: time.Duration(q.Sync.Every)},
		Codec:   segment.Snappy,
		KeepFor: time.Duration(q.KeepFor),
		Holder:  fmt.Sprintf("logmule run, process %d", os.Getpid()),
		Log:     e.log,
	}
	if q.MinFree == 0 {
		opt.MinFree = -1 // none
	}
	if q.Compression == "none" {
		opt.Codec = segment.None
	}
	switch q.WhenFull {
	case "drop_oldest":
		opt.WhenFull = queue.DropOldest
	case "drop_newest":
		opt.WhenFull = queue.DropNewest
	}
	return opt
}

// run is Run.
func (e *engine) run(ctx context.Context) error {
	stopAdmin, err := e.serveAdmin(ctx)
	if err != nil {
		return err
	}
	defer stopAdmin()
	if e.cfg.Queue.Sync.Mode == config.SyncNever {
		e.log.Warn(`sync = "never": acknowledged records can be lost when the power fails`)
	}
	q, err := e.outside.queue(e.queueOptions(e.cfg.DataDir))
	if err != nil {
		return fmt.Errorf("open queue in %s: %w", e.cfg.DataDir, err)
	}
	e.queue.Store(q)
	e.reportStart(q)

	s := newStopper(ctx)
	for _, c := range e.consumers {
		c.attach(q, e.dead)
		s.outputs.Go(func() {
			pprof.Do(s.outputsUntil, pprof.Labels("output", c.name), func(stop context.Context) { c.run(stop, s.requestsUntil) })
		})
	}
	for _, o := range q.Status().Outputs {
		if !o.Attached {
			e.log.Warn("an output that is not configured any more holds its records until it is configured again",
				"output", o.Name, "backlog_records", o.BacklogRecords)
		}
	}
	for _, in := range e.sources {
		in.ingest.queue = q
		s.inputs.Go(func() {
			pprof.Do(s.inputsUntil, pprof.Labels("input", in.name), func(ctx context.Context) {
				if err := in.run(ctx); err != nil {
					s.fail(err)
				}
			})
		})
	}
	e.greet()
	<-s.inputsUntil.Done()
	e.stopping.Store(true)
	e.log.Info("stopping")
	err = errors.Join(s.failure(), e.stop(s, q))
	e.log.Info("stopped")
	return err
}

// serveAdmin starts the admin pages, which answer until the function that it returns is called.
func (e *engine) serveAdmin(ctx context.Context) (stop func(), err error) {
	server, err := e.outside.admin(e.cfg.Admin.Listen, e.cfg.Admin.Insecure, e)
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

// reportStart logs what the recovery found.
func (e *engine) reportStart(q *queue.Queue) {
	r := q.Recovered()
	e.log.Info("queue recovered", "segments", r.Segments, "records", r.Records, "bytes", r.Bytes, "next", q.Status().Next,
		"torn_tail_bytes", r.TornTailBytes, "healed_bytes", r.HealedBytes)
	for _, d := range r.Damage {
		e.log.Error("damage found at start", "segment", d.Segment, "offset", d.Offset, "length", d.Length, "cause", d.Cause,
			"action", d.Action, "first_lost", d.FirstLost, "last_lost", d.LastLost)
	}
	for _, note := range r.Notes {
		e.log.Warn("note from the start", "note", note)
	}
}

// greet says once that everything runs.
func (e *engine) greet() {
	if ok, _ := e.Ready(); ok {
		e.greeted.Do(func() { e.log.Info("ready", "inputs", len(e.sources), "outputs", len(e.consumers)) })
	}
}
