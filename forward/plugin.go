package forward

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"logmule/forward/output"
)

// plugin is what inputs and outputs have in common: a name, a state that status shows, and a way to bear failures.
// The goroutine that runs the plugin owns it; show may be called from any.
type plugin struct {
	name, kind string
	log        *slog.Logger
	delays     delays
	trouble    trouble
	panics     panics

	mu struct { // guards what status shows
		sync.Mutex
		state     string
		lastError string
		lastAt    time.Time
		nextRetry time.Time // zero: not waiting
	}
}

// States of plugins, as status shows them.
const (
	stateStarting  = "starting"
	stateListening = "listening" // inputs
	stateEnded     = "ended"     // inputs that have no more to give
	stateIdle      = "idle"      // outputs
	stateSending   = "sending"   // outputs
	stateRetrying  = "retrying"
	statePanicked  = "panicked"
	stateStopped   = "stopped"
)

func newPlugin(side, name, kind string, log *slog.Logger, words troubleWords) *plugin {
	log = log.With(side, name)
	p := &plugin{name: name, kind: kind, log: log, delays: newDelays(), trouble: trouble{log: log, words: words}}
	p.mu.state = stateStarting
	return p
}

func (p *plugin) enter(state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.state, p.mu.nextRetry = state, time.Time{}
}

// failed notes a failure or a contained panic, logs it, and returns how long to wait: as long as the error asks for, else
// the next delay.
func (p *plugin) failed(err error) time.Duration {
	delay := p.delays.next()
	if named, ok := errors.AsType[*output.RetryError](err); ok && named.After > 0 {
		delay = named.After
	}
	state := stateRetrying
	if caught, ok := errors.AsType[*panicError](err); ok {
		state = statePanicked
		p.panics.add(p.log, caught)
	} else {
		p.trouble.failed(err, delay)
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.state, p.mu.lastError, p.mu.lastAt, p.mu.nextRetry = state, err.Error(), now, now.Add(delay)
	return delay
}

// isOver says whether it has stopped or ended for good.
func (p *plugin) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.state == stateStopped || p.mu.state == stateEnded
}
