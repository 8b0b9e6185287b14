package forward

import (
	"errors"
	"log/slog"
	"slices"
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
		doing     []doing // one for each request that may be under way at once
		lastError string
		lastAt    time.Time
	}
}

// doing is what one goroutine of a plugin does.
type doing struct {
	state     string
	nextRetry time.Time // zero: not waiting
}

// States of plugins, as status shows them.
const (
	stateStarting  = "starting"
	stateListening = "listening" // inputs
	stateEnded     = "ended"     // inputs that have no more to give
	stateIdle      = "idle"      // outputs
	stateSending   = "sending"   // outputs
	stateLimited   = "limited"   // outputs that wait for rate_limit
	stateRetrying  = "retrying"
	statePanicked  = "panicked"
	stateStopped   = "stopped"
)

func newPlugin(side, name, kind string, log *slog.Logger, words troubleWords) *plugin {
	log = log.With(side, name)
	p := &plugin{name: name, kind: kind, log: log, delays: newDelays(), trouble: trouble{log: log, words: words}}
	p.parallel(1)
	return p
}

// parallel says how many goroutines there are.
func (p *plugin) parallel(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.doing = make([]doing, n)
	for i := range p.mu.doing {
		p.mu.doing[i].state = stateStarting
	}
}

func (p *plugin) enter(state string) { p.enterAs(0, state) }

// enterAs is enter for one of several goroutines.
func (p *plugin) enterAs(number int, state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.doing[number] = doing{state: state}
}

// failed notes a failure or a contained panic, logs it, and returns how long to wait: as long as the error asks for, else
// the next delay.
func (p *plugin) failed(err error) time.Duration { return p.failedAs(0, p.delays, err) }

// failedAs is failed for one of several goroutines, with delays of its own.
func (p *plugin) failedAs(number int, delays delays, err error) time.Duration {
	delay := delays.next()
	if named, ok := errors.AsType[*output.RetryError](err); ok && named.After > 0 {
		delay = named.After
	} else if none, ok := errors.AsType[*output.ConnectError](err); ok {
		delay = less(delay, none.Took)
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
	p.mu.doing[number] = doing{state: state, nextRetry: now.Add(delay)}
	p.mu.lastError, p.mu.lastAt = err.Error(), now
	return delay
}

// isOver says whether it has stopped or ended for good.
func (p *plugin) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.mu.doing {
		if d.state != stateStopped && d.state != stateEnded {
			return false
		}
	}
	return true
}

// states are in the order in which they are worth showing.
var states = []string{
	statePanicked, stateRetrying, stateSending, stateLimited, stateListening, stateIdle, stateStarting, stateEnded, stateStopped,
}

// shown is what is most worth knowing of what its goroutines do, and when the first of them tries again. p.mu is held.
func (p *plugin) shown() doing {
	worst := p.mu.doing[0]
	for _, d := range p.mu.doing[1:] {
		next := d.nextRetry
		if next.IsZero() || !worst.nextRetry.IsZero() && worst.nextRetry.Before(next) {
			next = worst.nextRetry
		}
		if slices.Index(states, d.state) < slices.Index(states, worst.state) {
			worst = d
		}
		worst.nextRetry = next
	}
	return worst
}
