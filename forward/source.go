package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"logmule/forward/input"
)

var inputWords = troubleWords{
	first: "input failed; it is started again",
	still: "input still fails",
	over:  "input runs again",
}

// source is one input and what keeps it running.
type source struct {
	*plugin
	stay
	build    func() (input.Input, error)
	built    input.Input // for the first run
	ingest   ingest
	counters input.Counters
	onReady  func() // called each time the input has become ready
	onEnd    func() // called when it has no more to give
	needed   bool   // the process is not to start without it
	first    sync.Once
	tried    chan struct{} // closed when it has listened, failed or ended for the first time

	listens  atomic.Bool // it is ready and runs, or has no more to give
	address  atomic.Pointer[string]
	restarts atomic.Uint64
}

// ready is the input's call that it listens now. address is empty for an input that does not listen.
func (s *source) ready(address string) {
	s.address.Store(&address)
	s.listens.Store(true)
	s.enter(stateListening)
	s.trouble.over()
	s.wasTried()
	if address != "" {
		s.log.Info("input listens", "address", address)
	}
	s.onReady()
}

func (s *source) wasTried() { s.first.Do(func() { close(s.tried) }) }

// run keeps the input running until ctx ends or the input has no more to give; both return nil. At the start of the
// process a first run that fails before the input was ready is returned as an error: the configuration asks for what
// cannot be had, and a person has to see it. A panic is not, even then.
func (s *source) run(ctx context.Context) error {
	defer s.wasTried()
	for ctx.Err() == nil {
		started := time.Now()
		err := contain(func() error { return s.once(ctx) })
		s.listens.Store(false)
		if ctx.Err() != nil {
			if err != nil {
				s.log.Warn("input did not stop cleanly; what it had not handed over comes again where its source can send or be read again", "error", err)
			}
			break
		}
		if err == nil {
			s.end()
			return nil
		}
		_, panicked := errors.AsType[*panicError](err)
		if s.needed && s.restarts.Load() == 0 && s.address.Load() == nil && !panicked {
			return fmt.Errorf("start input %s: %w", s.name, err)
		}
		if time.Since(started) >= healthyAfter {
			s.delays.Reset()
		}
		delay := s.failed(err)
		s.wasTried()
		if !pause(ctx, delay) {
			break
		}
		s.enter(stateStarting)
		s.restarts.Add(1)
	}
	s.enter(stateStopped)
	return nil
}

// once runs the input one time. What it started ends with its context, however it returns.
func (s *source) once(ctx context.Context) error {
	in := s.built
	s.built = nil
	if in == nil {
		var err error
		if in, err = s.build(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.panics.started()
	return in.Run(ctx, s.ingest.emit)
}

// end is for an input that has no more to give: there is nothing to listen for, so it is ready for ever.
func (s *source) end() {
	s.listens.Store(true)
	s.enter(stateEnded)
	s.log.Info("input has ended", "records", s.ingest.records.Load())
	s.onReady()
	s.onEnd()
}
