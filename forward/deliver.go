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
func (l *lane) deliver(stop, hard context.Context) {
	b := &l.hand.batch
	if b.Len() > 0 {
		b.ID = l.id(&l.hand)
		l.feed.plan(&l.hand)
	}
	l.left, l.buried = b.Pending(), 0
	paced := false
	sent := false // nothing is pending any more; only dead letters may still have to be stored
	for again := 0; ; {
		before := l.left
		var err error
		if !sent {
			if !paced && !l.keepPace(stop) {
				return
			}
			l.enter(stateSending)
			err = l.send(stop, hard)
			sent = err == nil || before > 0 && b.Pending() == 0
		}
		more := errors.Is(err, output.ErrAgain)
		if failure := l.settle(stop, hard, sent); failure != nil {
			err, more = failure, false
		} else if sent {
			l.works()
			return
		}
		if l.left < before {
			l.delays.Reset()
			again = 0
		}
		if stop.Err() != nil {
			if hard.Err() != nil {
				l.log.Warn("request in flight given up at the end of shutdown_timeout; its records stay in the queue and are sent again")
			}
			return
		}
		if again++; more && again <= patience {
			paced = true
			continue
		}
		if !l.rest(stop, l.failed(err)) {
			return
		}
		paced = false
		l.retries.Add(1)
	}
}

// id names a batch for ever.
func (l *lane) id(h *hand) string {
	epoch := h.runs[0].epoch
	id := fmt.Sprintf("%s-%d.%016x", l.queue, epoch.Starts, epoch.Random)
	if stream := l.reader.Stream(); stream > 0 { // after a rewind nothing is a repeat of what was sent before it
		id += fmt.Sprintf("-s%d", stream)
	}
	return id + fmt.Sprintf("-%d-%d%s", h.batch.First, h.batch.Last, l.routed)
}

// send makes one attempt.
func (l *lane) send(stop, hard context.Context) error {
	if s, ok := l.out.(output.Stateful); ok && l.hand.batch.Len() > 0 {
		state, err := s.Prepare(&l.hand.batch)
		if err != nil {
			return err
		}
		if state != nil {
			l.reader.Done(state)
			if err := l.reader.Checkpoint(stop); err != nil {
				return fmt.Errorf("store the state of the output: %w", err)
			}
		}
	}
	if l.keys.MaxBacklog > 0 {
		defer l.watch(stop)()
	}
	return l.out.Send(hard, &l.hand.batch)
}

// settle stores what became of the batch since the last time: rejected records become dead letters, and when those are
// durable, they and the accepted ones are marked as done, together with the output's state. sent says that nothing is
// pending any more. After an error nothing is marked; it is to be called again.
func (l *lane) settle(stop, hard context.Context, sent bool) error {
	b := &l.hand.batch
	left := b.Pending()
	if sent {
		left = 0
	}
	if left == l.left {
		return nil
	}
	rejected := b.Rejected()[l.buried:]
	if len(rejected) > 0 {
		if err := l.dead.add(stop, hard, l.name, l.hand.runs, rejected); err != nil {
			return fmt.Errorf("store %d dead letters: %w", len(rejected), err)
		}
		l.buried += len(rejected)
		l.deadLettered.Add(uint64(len(rejected)))
		if l.lettersTold.allow(time.Now()) {
			l.log.Warn("records refused for good; they are kept as dead letters in data_dir/deadletter, see logmule cat",
				"records", len(rejected), "so_far", l.deadLettered.Load(), "reason", rejected[0].Reason)
		}
	}
	var state []byte
	if s, ok := l.out.(output.Stateful); ok {
		state = s.State()
	}
	l.records.Add(uint64(l.left - left - len(rejected)))
	if l.left == b.Len()-b.Filtered() { // the first time
		l.feed.route.filtered(uint64(b.Filtered()))
	}
	l.left = left
	if left == 0 {
		l.feed.finish(&l.hand, state)
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
	l.reader.Done(state, done...)
	return nil
}
