package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
	l.left, l.given, l.burial = b.Pending(), 0, burial{}
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
		failure := l.settle(hard, sent)
		if failure != nil {
			err, more = failure, false
		} else if sent {
			l.works()
			return
		}
		if l.left < before && failure == nil {
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
// pending any more. Where letters cannot be stored the others are marked all the same; it is to be called again.
func (l *lane) settle(hard context.Context, sent bool) error {
	b := &l.hand.batch
	left := b.Pending()
	if sent {
		left = 0
	}
	if left == l.left && l.burial.stored == len(b.Rejected()) {
		return nil
	}
	stored := l.burial.stored
	err := l.storeLetters(hard)
	if left == l.left && l.burial.stored == stored {
		return err
	}
	if l.left == b.Len()-b.Filtered() { // the first time
		l.feed.route.filtered(uint64(b.Filtered()))
	}
	given := b.Len() - b.Filtered() - left - len(b.Rejected())
	l.records.Add(uint64(given - l.given))
	l.left, l.given = left, given
	var state []byte
	if s, ok := l.out.(output.Stateful); ok {
		state = s.State()
	}
	if left == 0 && err == nil {
		l.feed.finish(&l.hand, state)
		return nil
	}
	l.reader.Done(state, l.done(sent)...)
	return err
}

// done are the records of the batch that are: accepted, filtered out, or stored as dead letters.
func (l *lane) done(sent bool) (done []checkpoint.Range) {
	b := &l.hand.batch
	waits := map[int]bool{}
	for _, r := range b.Rejected()[l.burial.stored:] {
		waits[r.Index] = true
	}
	open := func(i int) bool { return !sent && b.IsPending(i) || waits[i] }
	for from := 0; from < b.Len(); {
		to := from
		for to < b.Len() && !open(to) {
			to++
		}
		if to > from {
			done = append(done, checkpoint.Range{First: b.First + uint64(from), Last: b.First + uint64(to-1)})
		}
		from = to + 1
	}
	return done
}

// burial is what has become of the rejections of a batch, which are in the order of their records then.
type burial struct {
	taken  int    // by their queue
	stored int    // of these, those that are durable
	last   uint64 // sequence of the last one that is taken
}

// storeLetters makes dead letters of what the destination has rejected. It returns when they are durable, or soon with an
// error; what is stored by then is not stored again.
func (l *lane) storeLetters(hard context.Context) error {
	rejected, n := l.hand.batch.Rejected(), &l.burial
	var full error
	if rest := rejected[n.taken:]; len(rest) > 0 {
		slices.SortFunc(rest, func(a, b output.Rejection) int { return cmp.Compare(a.Index, b.Index) })
		taken, last, err := l.dead.add(hard, lettersOf(l.name, time.Now(), l.hand.runs, rest))
		if n.taken += taken; taken > 0 {
			n.last = last
		}
		full = err
	}
	var slow error
	if stored := n.taken - n.stored; stored > 0 {
		if slow = l.dead.wait(hard, n.last); slow == nil {
			n.stored = n.taken
			l.deadLettered.Add(uint64(stored))
			l.tellLetters(stored, rejected[n.stored-1].Reason)
		}
	}
	if err := cmp.Or(full, slow); err != nil {
		return fmt.Errorf("store %d dead letters: %w", len(rejected)-n.stored, err)
	}
	return nil
}

func (l *lane) tellLetters(n int, reason string) {
	if l.lettersTold.allow(time.Now()) {
		l.log.Warn("records refused for good; they are kept as dead letters in data_dir/deadletter, see logmule cat",
			"records", n, "so_far", l.deadLettered.Load(), "reason", reason)
	}
}
