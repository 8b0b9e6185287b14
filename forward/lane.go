package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"logmule/forward/output"
	"logmule/queue"
)

// lane delivers one batch after the other, each until nothing of it is pending. The lanes of a consumer share its reader;
// with one of them, the order of records is kept.
type lane struct {
	*consumer
	number int
	built  output.Output // for the first time it is opened
	out    output.Output // nil: to be opened
	limit  int           // bytes of a batch
	delays delays
	hand   hand
	left   int // records of the batch that were pending when it was last settled
	given  int // records of the batch that the destination had accepted by then
	burial burial
	seen   uint64 // sheddings when the batch was filled
	fails  bool   // since its last success
}

// run delivers until stop ends; the request in flight then has until hard ends. Whatever panics is built anew, and what is
// not done of its batch comes again.
func (l *lane) run(stop, hard context.Context) {
	for stop.Err() == nil {
		err := contain(func() error { l.deliverAll(stop, hard); return nil })
		if err == nil {
			break
		}
		l.close()
		l.giveUp(stop, true)
		l.rest(stop, l.failed(err))
	}
	l.close()
	l.enter(stateStopped)
}

// close closes the output, if there is one and it wants that.
func (l *lane) close() {
	out := l.out
	l.out = nil
	closer, ok := out.(io.Closer)
	if !ok {
		return
	}
	if err := contain(closer.Close); err != nil {
		l.log.Warn("output did not close cleanly; what was not accepted is sent again", "error", err)
	}
}

// deliverAll returns when stop ends.
func (l *lane) deliverAll(stop, hard context.Context) {
	for l.out == nil {
		if err := l.open(); err != nil && !pause(stop, l.failed(err)) {
			return
		}
	}
	l.panics.started()
	for stop.Err() == nil {
		err := l.next(stop)
		switch {
		case stop.Err() != nil || errors.Is(err, queue.ErrClosed):
			return
		case err == nil && l.hand.batch.Len() == 0:
		case err != nil && !errors.Is(err, errLost):
			l.rest(stop, l.failed(fmt.Errorf("read queue: %w", err)))
		default:
			l.deliver(stop, hard)
		}
	}
}

// open builds the output and hands it its state.
func (l *lane) open() error {
	out := l.built
	l.built = nil
	if out == nil {
		var err error
		if out, err = l.build(); err != nil {
			return err
		}
	}
	l.out = out
	s, ok := out.(output.Stateful)
	if state := l.reader.State(); ok && len(state) > 0 && !bytes.HasPrefix(state, []byte(cutsMagic)) { // of another type
		if err := s.Restore(state); err != nil {
			l.log.Warn("state of the output is of no use; it starts as if it had none", "error", err)
		}
	}
	l.limit = defaultBatch
	if m, ok := out.(output.BatchLimit); ok {
		l.limit = m.MaxBatch()
	}
	if l.limiter != nil {
		l.limit = min(l.limit, l.limiter.Burst())
	}
	return nil
}

// next puts the next batch into the lane's hand. It leaves the hand empty, and returns nil, when it is to be called
// again: it waits where there is nothing to deliver. errLost says that the output has lost its connection.
func (l *lane) next(stop context.Context) error {
	f := &l.feed
	f.release(&l.hand)
	if f.several {
		l.enter(stateIdle)
	}
	if !f.turn.take(stop) {
		return context.Cause(stop)
	}
	defer f.turn.give()
	if l.swamped() {
		l.shedNow()
	}
	if f.tooFar() {
		return l.waitForOthers(stop)
	}
	l.seen = l.sheddings.Load()
	if err := f.fill(stop, &l.hand, l.limit); err != nil || l.hand.batch.Len() > 0 {
		return err
	}
	l.enter(stateIdle)
	if err := l.wait(stop); !errors.Is(err, errYield) {
		return err
	}
	return nil
}

// wait returns nil when there is something to deliver, errLost when the output has lost its connection first, or another
// error when ctx ends, when another lane needs the turn or when the queue cannot be read.
func (l *lane) wait(ctx context.Context) error {
	ctx, back := l.feed.turn.lend(ctx)
	defer back()
	b, ok := l.out.(output.Breakable)
	if !ok {
		return l.feed.wait(ctx)
	}
	lost := b.Lost() // here, where a panic of the output is contained
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-lost:
			cancel(errLost)
		case <-ctx.Done():
		}
	})
	err := l.feed.wait(ctx)
	cancel(nil)
	watch.Wait()
	return err
}

// waitForOthers waits until a lane has finished a batch.
func (l *lane) waitForOthers(ctx context.Context) error {
	ctx, back := l.feed.turn.lend(ctx)
	defer back()
	select {
	case <-l.feed.moved:
	case <-ctx.Done():
	}
	return nil
}

// giveUp makes what is not done of the batch come again, in a batch with the same end where that is wanted.
func (l *lane) giveUp(stop context.Context, same bool) {
	if l.feed.turn.demand(stop) {
		defer l.feed.turn.give()
		l.feed.giveBack(&l.hand, same)
	}
}

func (l *lane) enter(state string) { l.enterAs(l.number, state) }

// failed notes a failure, and returns how long to wait.
func (l *lane) failed(err error) time.Duration {
	if !l.fails {
		l.fails = true
		l.troubled.Add(1)
	}
	return l.failedAs(l.number, l.delays, err)
}

// works notes that a batch was delivered.
func (l *lane) works() {
	l.delays.Reset()
	if !l.fails {
		return
	}
	l.fails = false
	if l.troubled.Add(-1) == 0 {
		l.trouble.over()
	}
}
