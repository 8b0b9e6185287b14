// Package input holds the ends at which records come in: one file per kind, one line each in the table of kinds.
//
// An input turns what it reads into packs and hands each one to Emit. It knows nothing of the disk behind Emit, starts
// nothing before Run, and gives everything back before Run returns.
package input

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"logmule/forward/config"
	"logmule/forward/input/tail"
	"logmule/forward/pack"
)

// shutdownGrace is how long after the end of Run's context an input may still hand over or acknowledge what it has
// read. Longer would cost the outputs their share of shutdown_timeout when the queue is full.
const shutdownGrace = 2 * time.Second

// ErrDropped is what Emit returns when the queue is full and its policy dropped and counted the pack. Inputs whose
// sender cannot be told go on with the next pack; the others refuse, so that the sender tries again.
var ErrDropped = errors.New("queue is full: pack dropped by policy")

// ErrTooLarge is what Emit returns for a pack that the queue can never hold, however empty it is.
var ErrTooLarge = errors.New("too large for the queue")

// ErrDisk is what Emit returns when its context has ended while the disk under the queue refused data, or did not answer.
var ErrDisk = errors.New("the queue cannot store anything now")

// Emit hands a pack to the queue and returns when it is accepted; p and its Body may be reused at once. On an error
// nothing of the pack was stored: ErrDropped, the context's error, or a failure of the queue. A pack larger than a
// frame is split, all of it stored or none. Any number of goroutines may call it.
type Emit func(ctx context.Context, p *pack.Pack) (Receipt, error)

// Receipt tells when an accepted pack is durable. The zero Receipt stands for a pack that needs no waiting.
type Receipt struct {
	Sequence uint64 // of the pack's last record
	Log      interface {
		WaitDurable(ctx context.Context, sequence uint64) error
	}
}

// Wait returns nil once the pack and every pack accepted before it are on stable storage, or an error when ctx ends
// first or the queue fails; whether the pack survives is unknown then.
func (r Receipt) Wait(ctx context.Context) error {
	if r.Log == nil {
		return nil
	}
	return r.Log.WaitDurable(ctx, r.Sequence)
}

// Input is one configured source of records. Run is called once. It returns nil when ctx ended or when the source has
// no more to give (stdin at its end), and an error that names the input and the next step when it cannot go on.
type Input interface {
	Run(ctx context.Context, emit Emit) error
}

// Counters are what an input counts, for the engine to export. Read them at any time.
type Counters struct {
	Connections      atomic.Int64  // open now
	Refused          atomic.Uint64 // attempts to accept a connection that failed, for want of descriptors for example
	Broken           atomic.Uint64 // connections that ended in an error instead of a clean end
	Unfinished       atomic.Uint64 // partial records left behind at a broken connection or at shutdown
	Truncated        atomic.Uint64 // records of which only the head was kept
	TooLarge         atomic.Uint64 // records refused because the queue can never hold them at once, and lost
	BadFrames        atomic.Uint64 // stretches of bytes, thrown away, where the framing allows no record
	DecodeErrors     atomic.Uint64 // records that the codec could not read, kept as they were
	Dropped          atomic.Uint64 // datagrams that the kernel dropped because they were not read in time, or that could not be stored before the stop
	Rebinds          atomic.Uint64 // times that the file of a unix socket had gone, and was made again
	RejectedRequests atomic.Uint64 // http requests answered with anything but 200
	Unauthorized     atomic.Uint64 // those of them whose credentials were missing or wrong
	RepeatedRequests atomic.Uint64 // http requests whose Idempotency-Key said that they are stored already
	Panics           atomic.Uint64 // connections and requests ended by a panic

	Files tail.Counters // of an input that follows files
}

// Env is what the engine gives an input. Zero fields get a working default in New.
type Env struct {
	Name     string               // of the section [input.NAME]; part of the source key
	Hostname string               // of this machine, for the attributes
	Log      *slog.Logger         // nil: silent
	Memory   *Budget              // shared by all inputs; nil: one of its own
	Ready    func(address string) // called once, when the input listens on address; nil: nobody asks
	Counters *Counters            // nil: nobody reads them

	Repeats   *Repeats  // outlives the input, so that a reload forgets nothing; nil: one of its own
	Positions Positions // how far the sources of this input were read; nil: kept in memory only
	// Kept returns when all positions that were set are durable, or when ctx ends; nil: nobody keeps them.
	Kept func(ctx context.Context) error
}

// Positions is where an input finds again how far it had read its sources. A position comes with a pack, under the
// pack's Source, and is durable together with its records; keys are what follows "in/NAME/" there. All methods may be
// called from several goroutines.
type Positions interface {
	// Load returns the newest positions, those of packs that were accepted and are not durable yet included.
	Load() map[string][]byte
	// Set notes a position that comes with no record. It is durable soon, in the order of the packs, but nobody waits.
	Set(key string, value []byte)
	// Forget removes positions of sources that will not come back.
	Forget(keys ...string)
}

func (e Env) withDefaults() Env {
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Memory == nil {
		e.Memory = NewBudget(defaultMemory)
	}
	if e.Repeats == nil {
		e.Repeats = NewRepeats()
	}
	if e.Kept == nil {
		e.Kept = func(context.Context) error { return nil }
	}
	if e.Ready == nil {
		e.Ready = func(string) {}
	}
	if e.Counters == nil {
		e.Counters = new(Counters)
	}
	return e
}

// attributes are those of a plain line from logger; the timestamp comes with each read.
func (e *Env) attributes(logger string) pack.Attributes {
	return pack.Attributes{Type: e.Name, Logger: logger, Hostname: e.Hostname, Severity: 7}
}

// source is the key under which the queue keeps the positions of this input.
func (e *Env) source() string { return "in/" + e.Name }

// panicked counts and logs what was recovered in a goroutine that the engine's own containment does not see.
func (e *Env) panicked(where string, value any) {
	e.Counters.Panics.Add(1)
	e.Log.Error("panic in input, contained", "input", e.Name, "where", where, "panic", value, "stack", string(debug.Stack()))
}

// kinds is the table of kinds; read-only.
var kinds = map[string]func(decode func(into any) error, env Env) (Input, error){
	"file":     newFile,
	"generate": newGenerate,
	"http":     newHTTP,
	"stdin":    newStdin,
	"tcp":      newTCP,
	"udp":      newUDP,
	"unix":     newUnix,
}

// Kinds lists the values that the key type of an [input.NAME] section may have, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// New builds an input of the given kind. decode fills a struct with toml tags from the section, strictly. New has no
// side effect; its errors are about the configuration and say what to change.
func New(kind string, decode func(into any) error, env Env) (Input, error) {
	build, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("type = %q is not known%s; use one of %s", kind, config.Suggest(kind, Kinds()), strings.Join(Kinds(), ", "))
	}
	return build(decode, env.withDefaults())
}

// withGrace returns a context that ends shutdownGrace after ctx, for handing over what was read when ctx ended.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(shutdownGrace, cancel)
		context.AfterFunc(late, func() { timer.Stop() })
	})
	return late, func() { stop(); cancel() }
}

// sparing lets one call a second through, so that a flood of bad records is not a flood of log lines. The zero value
// is ready; any number of goroutines may share it.
type sparing struct{ last atomic.Int64 }

func (s *sparing) allow(now time.Time) bool {
	last := s.last.Load()
	return (last == 0 || now.UnixNano()-last >= int64(time.Second)) && s.last.CompareAndSwap(last, now.UnixNano())
}
