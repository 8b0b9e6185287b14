// Package output holds the ends at which records leave: one file per kind, one line each in the table of kinds.
//
// An output gets batches from the engine and says what became of them. It never moves a checkpoint, never retries by
// itself and never waits in back-off: the engine does that, the same for every kind.
package output

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"logmule/forward/config"
)

// Output delivers batches. The engine makes one call at a time, of Send and of the optional methods below alike, and
// closes an output that is also an io.Closer after the last one.
//
// Send delivers the pending records of b, in order. nil: every one of them was accepted by the destination. ErrAgain:
// some were, call again at once for the rest. Any other error: what is still pending in b has to be sent again after a
// back-off; a *RetryError says how long. Single records may have been accepted or rejected before any of these.
// Send returns soon after ctx ends. An empty batch asks for nothing but a working connection.
type Output interface {
	Send(ctx context.Context, b *Batch) error
}

// ErrAgain is what Send returns when it accepted a part of the batch and the rest needs a new Prepare. The engine marks
// what was accepted as done, together with State, and calls Prepare and Send again without back-off.
var ErrAgain = errors.New("part of the batch was accepted, call again for the rest")

// Stateful is an output that keeps a little state beside the position in the queue, at most 256 bytes, so that it can
// take back after a crash what it wrote beyond that position. For every batch the engine does this:
//
//	state, err := Prepare(b)   state not nil: store it, with all that was done so far, durably, before Send
//	err = Send(ctx, b)         nil: mark the batch as done, with State()
//	                           ErrAgain: mark what was accepted as done, with State(); back to Prepare with the rest
//	                           other errors: mark what was accepted likewise, back off, back to Prepare with the rest
//
// "With" means in one checkpoint: a state that is newer or older than the records marked as done would make the output
// cut away, or leave and write again, what lies between.
type Stateful interface {
	// Restore hands over the state of the last checkpoint. It is called once, before anything else, where there is one.
	// An error says that the state is of no use; the output works as if it had none.
	Restore(state []byte) error
	// Prepare gets ready to send the first pending records of b. Its errors are retried as those of Send are. It returns a
	// state again until Send is called, which tells it that the state is stored.
	Prepare(b *Batch) (state []byte, err error)
	// State returns the state after the last Send. The slice is the engine's to keep.
	State() []byte
}

// Breakable is an output with a connection that can break while there is nothing to send. The engine calls Send, with an
// empty batch where there is nothing else, each time Lost signals. A signal that nobody waited for is kept.
type Breakable interface {
	Lost() <-chan struct{}
}

// BatchLimit is an output that wants no more than MaxBatch bytes of records in a batch. One record may be larger, and
// so may one frame: the output then divides the batch by itself.
type BatchLimit interface {
	MaxBatch() int
}

// Concurrent is an output of which the engine may build several, each with a connection of its own, to send different
// batches at once: neither the order of batches nor anything else binds them together. It is neither Stateful nor
// Breakable.
type Concurrent interface {
	Concurrent()
}

// RetryError is an error of Send for which the destination named the time of the next attempt.
type RetryError struct {
	After time.Duration // from now; always above 0
	Err   error
}

// Error is the text of the cause, and when the destination wants to be asked again.
func (e *RetryError) Error() string {
	return fmt.Sprintf("%v (to be retried after %s)", e.Err, e.After)
}

// Unwrap returns the cause.
func (e *RetryError) Unwrap() error { return e.Err }

// ConnectError is an error of Send from before there was a connection. What the attempt took counts as a part of the wait for the
// next one: an attempt that hangs in a network that is gone must not double the time until it is noticed that the network is back.
type ConnectError struct {
	Took time.Duration
	Err  error
}

// Error is the text of the cause.
func (e *ConnectError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// Counters are what an output counts, for the engine to export. Read them at any time.
type Counters struct {
	Requests   atomic.Uint64 // attempts to deliver: requests of http, writes of the others
	Errors     atomic.Uint64 // attempts that failed, those to connect or to open included
	BytesSent  atomic.Uint64 // bytes of records that were accepted
	Reconnects atomic.Uint64 // connections or files opened after the first one
	Resent     atomic.Uint64 // bytes that tcp sent a second time because a connection broke
	CutBytes   atomic.Uint64 // bytes that file cut off because they are written again
}

// Env is what the engine gives an output. Zero fields get a working default in New.
type Env struct {
	Name     string       // of the section [output.NAME]
	DataDir  string       // the queue's, where no output may write; empty: not known
	Log      *slog.Logger // nil: silent. Only for what Send cannot return as an error
	Counters *Counters    // nil: nobody reads them
}

func (e Env) withDefaults() Env {
	if e.Log == nil {
		e.Log = slog.New(slog.DiscardHandler)
	}
	if e.Counters == nil {
		e.Counters = new(Counters)
	}
	return e
}

// kinds is the table of kinds; read-only.
var kinds = map[string]func(decode func(into any) error, env Env) (Output, error){
	"file":   newFile,
	"http":   newHTTP,
	"stdout": newStdout,
	"tcp":    newTCP,
	"udp":    newUDP,
	"unix":   newUnix,
}

// Kinds lists the values that the key type of an [output.NAME] section may have, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// New builds an output of the given kind. decode fills a struct with toml tags from the section, strictly. New has no
// side effect; its errors are about the configuration and say what to change.
func New(kind string, decode func(into any) error, env Env) (Output, error) {
	build, ok := kinds[kind]
	if !ok {
		return nil, fmt.Errorf("type = %q is not known%s; use one of %s", kind, config.Suggest(kind, Kinds()), strings.Join(Kinds(), ", "))
	}
	return build(decode, env.withDefaults())
}
