package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/segment"
)

const (
	// defaultBatch is the size of a batch, in bytes, for outputs that do not say what they want.
	defaultBatch = 1 << 20
	// patience is how often an output may ask to be called again at once without having got on.
	patience = 64
)

var outputWords = troubleWords{
	first: "output failed; its records stay in the queue and are sent again",
	still: "output still fails",
	over:  "output delivers again",
}

// errLost is what wait returns when the output has lost its connection.
var errLost = errors.New("connection lost")

// consumer takes the records of the queue to one output. It alone moves the output's position.
type consumer struct {
	*plugin
	stay
	keys        *OutputKeys
	build       func() (output.Output, error)
	built       output.Output // for the first time it is opened
	out         output.Output // nil: to be opened
	queue       segment.ID    // the first part of a batch's ID
	reader      *queue.Reader
	feed        feed
	batch       output.Batch
	left        int // records of the batch that were pending when it was last settled
	buried      int // rejections of the batch that are dead letters by now
	dead        *deadLetters
	lettersTold time.Time // when dead letters were last logged
	counters    output.Counters

	records, retries, deadLettered atomic.Uint64
}

// check judges the keys, once the output is built.
func (c *consumer) check(inputs []string) error {
	if _, ok := c.built.(output.Concurrent); !ok && c.keys.InFlight > 1 {
		return errOrder
	}
	if err := c.keys.check(inputs); err != nil {
		return err
	}
	var err error
	c.feed.match, err = c.keys.compile()
	return err
}

// attach gives the consumer its place in the queue.
func (c *consumer) attach(q *queue.Queue, dead *deadLetters) {
	c.queue = q.ID()
	start, _ := c.keys.start() // check has seen it
	c.reader = q.Reader(c.name, start)
	c.feed.reader = c.reader
	c.dead = dead
}

// detach gives the place back. The queue holds what is not done for whoever attaches under that name.
func (c *consumer) detach() {
	c.feed.rewind()
	c.reader.Close()
}

// run delivers until stop ends; the request in flight then has until hard ends. Whatever panics is built anew, and goes on
// with the oldest record that is not done.
func (c *consumer) run(stop, hard context.Context) {
	for stop.Err() == nil {
		err := contain(func() error { c.deliverAll(stop, hard); return nil })
		if err == nil {
			break
		}
		c.close()
		c.feed.rewind()
		pause(stop, c.failed(err))
	}
	c.close()
	c.enter(stateStopped)
}

// close closes the output, if there is one and it wants that.
func (c *consumer) close() {
	out := c.out
	c.out = nil
	closer, ok := out.(io.Closer)
	if !ok {
		return
	}
	if err := contain(closer.Close); err != nil {
		c.log.Warn("output did not close cleanly", "error", err)
	}
}

// deliverAll returns when stop ends.
func (c *consumer) deliverAll(stop, hard context.Context) {
	for c.out == nil {
		if err := c.open(); err != nil && !pause(stop, c.failed(err)) {
			return
		}
	}
	c.panics.started()
	for stop.Err() == nil {
		err := c.feed.fill(&c.batch)
		if err == nil && c.batch.Len() == 0 {
			c.enter(stateIdle)
			err = c.wait(stop)
			if err == nil {
				continue
			}
		}
		switch {
		case stop.Err() != nil || errors.Is(err, queue.ErrClosed):
			return
		case err != nil && !errors.Is(err, errLost):
			if !pause(stop, c.failed(fmt.Errorf("read queue: %w", err))) {
				return
			}
		default:
			c.deliver(stop, hard)
		}
	}
}

// open builds the output and hands it its state.
func (c *consumer) open() error {
	out := c.built
	c.built = nil
	if out == nil {
		var err error
		if out, err = c.build(); err != nil {
			return err
		}
	}
	c.out = out
	s, ok := out.(output.Stateful)
	if state := c.reader.State(); ok && len(state) > 0 {
		if err := s.Restore(state); err != nil {
			c.log.Warn("state of the output is of no use; it starts as if it had none", "error", err)
		}
	}
	c.feed.limit = defaultBatch
	if l, ok := out.(output.BatchLimit); ok {
		c.feed.limit = l.MaxBatch()
	}
	return nil
}

// wait returns nil when there is something to deliver, errLost when the output has lost its connection first, or another
// error when ctx ends or the queue cannot be read.
func (c *consumer) wait(ctx context.Context) error {
	b, ok := c.out.(output.Breakable)
	if !ok {
		return c.feed.wait(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-b.Lost():
			cancel(errLost)
		case <-ctx.Done():
		}
	})
	err := c.feed.wait(ctx)
	cancel(nil)
	watch.Wait()
	return err
}
