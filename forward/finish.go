package forward

import (
	"slices"
	"time"

	"logmule/queue"
)

// How often an engine whose inputs have ended looks whether all is delivered: soon at first, then less often. When that
// takes longer than finishSoon it says what it waits for.
const (
	finishFirst = 20 * time.Millisecond
	finishLast  = time.Second
	finishSoon  = 5 * time.Second
)

// finish ends an engine that reads the standard input, once every input has ended by itself and all is delivered. Made-up
// records are to try things out with, so that a generator that has ended ends nothing by itself. One goroutine uses it.
type finish struct {
	ended chan struct{} // holds a token when an input has ended

	since  time.Time // when all of them had ended; zero: they have not
	told   bool      // what is waited for
	pause  time.Duration
	onward *time.Timer
}

func newFinish() finish {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return finish{ended: make(chan struct{}, 1), onward: timer}
}

// poke says that an input has ended.
func (f *finish) poke() {
	select {
	case f.ended <- struct{}{}:
	default:
	}
}

// lookForEnd stops the engine when there is nothing left to do, and else sees to it that it is called again.
func (e *Engine) lookForEnd(s *stopper) {
	f := &e.finish
	if !e.inputsEnded() {
		f.since, f.told = time.Time{}, false
		return
	}
	if f.since.IsZero() {
		f.since, f.pause = time.Now(), finishFirst
		e.log.Info("all inputs have ended; stopping as soon as everything is delivered")
	}
	waits := e.undelivered()
	if len(waits) == 0 {
		e.log.Info("all inputs have ended, and everything is delivered")
		s.stopInputs(nil)
		return
	}
	if !f.told && time.Since(f.since) >= finishSoon {
		f.told = true
		e.log.Warn("all inputs have ended; the records that wait for these outputs are on the disk, a stop or another start loses none", "outputs", list(waits))
	}
	f.onward.Reset(f.pause)
	f.pause = min(2*f.pause, finishLast)
}

// inputsEnded tells whether there is a standard input, and every input has no more to give.
func (e *Engine) inputsEnded() bool {
	sources := e.roster.Load().sources
	return slices.ContainsFunc(sources, func(s *source) bool { return s.kind == "stdin" }) &&
		!slices.ContainsFunc(sources, func(s *source) bool { return !s.isEnded() })
}

// undelivered names the outputs that have not done all there is.
func (e *Engine) undelivered() []string {
	outputs := e.queue.Load().Status().Outputs
	var waits []string
	for _, c := range e.roster.Load().consumers {
		done := slices.ContainsFunc(outputs, func(o queue.OutputStatus) bool {
			return o.Name == c.name && o.Attached && o.BacklogRecords == 0
		})
		if !done {
			waits = append(waits, c.name)
		}
	}
	return waits
}

// isEnded tells whether the input has no more to give.
func (s *source) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown().state == stateEnded
}
