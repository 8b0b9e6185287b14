package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"logmule/checkpoint"
	"logmule/forward/output"
)

// deliver sends the batch until nothing of it is pending, or stop ends. An empty batch is sent until that works once.
func (c *consumer) deliver(stop, hard context.Context) {
	if c.batch.Len() > 0 {
		epoch := c.feed.runs[0].epoch
		c.batch.ID = fmt.Sprintf("%s-%d.%016x", c.queue, epoch.Starts, epoch.Random)
		if stream := c.reader.Stream(); stream > 0 { // after a rewind nothing is a repeat of what was sent before it
			c.batch.ID += fmt.Sprintf("-s%d", stream)
		}
		c.batch.ID += fmt.Sprintf("-%d-%d", c.batch.First, c.batch.Last)
		c.reader.Plan(c.batch.Last)
	}
	c.left, c.buried = c.batch.Len(), 0
	sent := false // nothing is pending any more; only dead letters may still have to be stored
	for again := 0; ; {
		before := c.left
		var err error
		if !sent {
			c.enter(stateSending)
			err = c.send(stop, hard)
			sent = err == nil || before > 0 && c.batch.Pending() == 0
		}
		more := errors.Is(err, output.ErrAgain)
		if failure := c.settle(stop, hard, sent); failure != nil {
			err, more = failure, false
		} else if sent {
			c.delays.Reset()
			c.trouble.over()
			return
		}
		if c.left < before {
			c.delays.Reset()
			again = 0
		}
		if stop.Err() != nil {
			if hard.Err() != nil {
				c.log.Warn("request in flight given up at the end of shutdown_timeout; its records are sent again after the next start")
			}
			return
		}
		if again++; more && again <= patience {
			continue
		}
		if !pause(stop, c.failed(err)) {
			return
		}
		c.retries.Add(1)
	}
}

// send makes one attempt.
func (c *consumer) send(stop, hard context.Context) error {
	if s, ok := c.out.(output.Stateful); ok && c.batch.Len() > 0 {
		state, err := s.Prepare(&c.batch)
		if err != nil {
			return err
		}
		if state != nil {
			c.reader.Done(state)
			if err := c.reader.Checkpoint(stop); err != nil {
				return fmt.Errorf("store the state of the output: %w", err)
			}
		}
	}
	return c.out.Send(hard, &c.batch)
}

// settle stores what became of the batch since the last time: rejected records become dead letters, and when those are
// durable, they and the accepted ones are marked as done, together with the output's state. sent says that nothing is
// pending any more. After an error nothing is marked; it is to be called again.
func (c *consumer) settle(stop, hard context.Context, sent bool) error {
	b := &c.batch
	left := b.Pending()
	if sent {
		left = 0
	}
	if left == c.left {
		return nil
	}
	rejected := b.Rejected()[c.buried:]
	if len(rejected) > 0 {
		if err := c.dead.add(stop, hard, c.name, c.feed.runs, rejected); err != nil {
			return fmt.Errorf("store %d dead letters: %w", len(rejected), err)
		}
		c.buried += len(rejected)
		c.deadLettered.Add(uint64(len(rejected)))
		if time.Since(c.lettersTold) >= foldFor {
			c.lettersTold = time.Now()
			c.log.Warn("records refused for good; they are kept as dead letters in data_dir/deadletter, see logmule cat",
				"records", len(rejected), "so_far", c.deadLettered.Load(), "reason", rejected[0].Reason)
		}
	}
	var state []byte
	if s, ok := c.out.(output.Stateful); ok {
		state = s.State()
	}
	c.records.Add(uint64(c.left - left - len(rejected)))
	c.left = left
	if left == 0 {
		c.reader.Done(state, checkpoint.Range{First: b.First, Last: b.Last})
		return nil
	}
	var done []checkpoint.Range
	for from := 0; from < b.Len(); {
		to := from
		for to < b.Len() && !b.IsPending(to) {
			to++
		}
		if to > from {
			done = append(done, checkpoint.Range{First: b.First + uint64(from), Last: b.First + uint64(to-1)})
		}
		from = to + 1
	}
	c.reader.Done(state, done...)
	return nil
}
