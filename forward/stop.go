package forward

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"logmule/queue"
)

// stopper holds the goroutines of an engine and the contexts that end them, in this order.
type stopper struct {
	inputsUntil   context.Context // ends when the engine is to stop, or an input could not start
	outputsUntil  context.Context // then outputs begin nothing new
	requestsUntil context.Context // then requests in flight are given up

	stopInputs   context.CancelCauseFunc
	stopOutputs  context.CancelFunc
	stopRequests context.CancelFunc

	inputs, outputs sync.WaitGroup
}

// startError is why an input could not start.
type startError struct{ error }

func newStopper(ctx context.Context) *stopper {
	s := new(stopper)
	s.inputsUntil, s.stopInputs = context.WithCancelCause(ctx)
	s.outputsUntil, s.stopOutputs = context.WithCancel(context.WithoutCancel(ctx))
	s.requestsUntil, s.stopRequests = context.WithCancel(context.WithoutCancel(ctx))
	return s
}

// fail ends everything because an input could not start.
func (s *stopper) fail(err error) { s.stopInputs(startError{err}) }

// failure is what fail was called with first; nil: the stop was wanted.
func (s *stopper) failure() error {
	if e, ok := errors.AsType[startError](context.Cause(s.inputsUntil)); ok {
		return e.error
	}
	return nil
}

// stop ends what run has started, in order: inputs, then outputs, whose requests in flight have what is left of
// shutdown_timeout, then the queue. An output in back-off, or idle, ends at once. What does not mind its context is
// left behind after grace; the error names it.
func (e *Engine) stop(s *stopper, q *queue.Queue, reloader <-chan struct{}) error {
	timeout := time.Duration(e.settings.Load().ShutdownTimeout)
	all, cancelAll := context.WithTimeout(context.Background(), timeout)
	defer cancelAll()
	half, cancelHalf := context.WithTimeout(all, timeout/2) // a slow input must not cost the outputs all their time
	defer cancelHalf()

	await(half, reloader) // it starts nothing from now on
	inputs := ended(s.inputs.Wait)
	await(half, inputs)
	if err := q.Sync(half); err != nil {
		e.log.Warn("queue not synced in its share of shutdown_timeout; its closing waits for that", "error", err)
	}
	s.stopOutputs()
	outputs := ended(s.outputs.Wait)
	await(all, outputs)
	s.stopRequests()

	return errors.Join(e.leave(timeout, inputs, outputs), e.closeQueues(q))
}

// leave waits for grace more and then names what still runs.
func (e *Engine) leave(timeout time.Duration, inputs, outputs <-chan struct{}) error {
	last, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if await(last, outputs) && await(last, inputs) {
		return nil
	}
	return fmt.Errorf("stop: %s did not stop within %v; nothing is lost: every acknowledged record is on the disk, and what was not delivered is sent after the next start",
		strings.Join(e.running(), ", "), timeout+grace)
}

func (e *Engine) closeQueues(q *queue.Queue) error {
	last, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var err error
	if !await(last, ended(func() { err = errors.Join(e.closed(e.dead.close()), e.closed(q.Close())) })) {
		return fmt.Errorf("stop: queue in %s did not close within %v; nothing is lost: every acknowledged record is on the disk", e.settings.Load().DataDir, grace)
	}
	return err
}

// closed passes on the error of closing a queue, unless it only had no room: what could not be stored then was never
// acknowledged, and its sources, or the main queue, still have it.
func (e *Engine) closed(err error) error {
	if isFull(err) {
		e.log.Warn("queue closed without room; nothing that was acknowledged is lost", "error", err)
		return nil
	}
	return err
}

// isFull says whether there was no room.
func isFull(err error) bool {
	_, full := errors.AsType[*queue.FullError](err)
	return full || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// running names the plugins that have not stopped.
func (e *Engine) running() []string {
	var names []string
	for _, s := range e.leaving.left() {
		names = append(names, s.who)
	}
	for _, in := range e.roster.Load().sources {
		if !in.isOver() {
			names = append(names, "input "+in.name)
		}
	}
	for _, c := range e.roster.Load().consumers {
		if !c.isOver() {
			names = append(names, "output "+c.name)
		}
	}
	return names
}

// ended calls fn in a goroutine of its own; the channel is closed when it has returned.
func ended(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	return done
}

// await waits for done, false when ctx ends first.
func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done: // both
		return true
	default:
		return false
	}
}
