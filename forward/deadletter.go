package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
)

// DeadLetterDir is the dead-letter queue of a data directory.
const DeadLetterDir = "deadletter"

// buryAtOnce and buryBytes bound the records of one append to the dead-letter queue, and their bytes, unless one record has
// more: even the smallest queue takes that.
const (
	buryAtOnce = 256
	buryBytes  = 64 << 10

	// buryGrace is how long after the stop there may still be room for a dead letter.
	buryGrace = time.Second
)

// deadLetters is the queue of the records that destinations refused for good, shared by all outputs. It is opened when the
// first one comes. Nobody reads it here, so it keeps what it is given, within the limits of its own; when it is full,
// when_full decides as in the main queue.
type deadLetters struct {
	open func() (*queue.Queue, error)

	mu    sync.Mutex // guards queue
	queue *queue.Queue
}

// get returns the queue, opened if needed.
func (d *deadLetters) get() (*queue.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue != nil {
		return d.queue, nil
	}
	q, err := d.open()
	if err != nil {
		return nil, fmt.Errorf("open dead-letter queue: %w", err)
	}
	d.queue = q
	return q, nil
}

// limit changes the limits of the queue, if it is open; if not, it is opened with those that are in force then.
func (d *deadLetters) limit(l queue.Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue != nil {
		l.ForgetAfter = 0 // a replay is never forgotten: what it has put back would be put back again
		d.queue.SetLimits(l)
	}
}

// close ends what get has opened. No add may follow.
func (d *deadLetters) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil {
		return nil
	}
	return d.queue.Close()
}

// add stores the rejected records of a batch, whose runs are given, and returns when they are durable. Waiting for room
// ends a moment after stop, all else with hard: a stop that kept a refusal from being stored would make what was accepted
// with it come again.
func (d *deadLetters) add(stop, hard context.Context, outputName string, runs []part, rejected []output.Rejection) error {
	q, err := d.get()
	if err != nil {
		return err
	}
	room, cancel := context.WithCancel(hard)
	defer cancel()
	defer context.AfterFunc(stop, func() { pause(room, buryGrace); cancel() })()
	var last uint64
	for rest := lettersOf(outputName, time.Now(), runs, rejected); len(rest) > 0; {
		letters := rest[:burial(rest)]
		rest = rest[len(letters):]
		n, err := q.Append(room, letters)
		if errors.Is(err, queue.ErrDropped) {
			continue // counted, and in the ledger of the dead-letter queue
		}
		if err != nil {
			return fmt.Errorf("append to dead-letter queue: %w", err)
		}
		last = n
	}
	if err := q.WaitDurable(hard, last); err != nil {
		return fmt.Errorf("wait for dead-letter queue: %w", err)
	}
	return nil
}

// burial is how many of the letters go into one append.
func burial(letters []segment.Run) int {
	n, size := 0, 0
	for n < min(len(letters), buryAtOnce) {
		size += len(letters[n].Attributes) + len(letters[n].Body)
		if n > 0 && size > buryBytes {
			break
		}
		n++
	}
	return n
}

// lettersOf makes one run of each rejected record: its own bytes as they are, and its attributes with fields in front of
// them that say who refused it, why, when, and which sequence it had. Nothing is decoded, so that a record that cannot be
// is kept too.
func lettersOf(outputName string, now time.Time, runs []part, rejected []output.Rejection) []segment.Run {
	rejected = slices.SortedFunc(slices.Values(rejected), func(a, b output.Rejection) int { return cmp.Compare(a.Index, b.Index) })
	letters := make([]segment.Run, 0, len(rejected))
	index := 0 // of the record that comes next
	for i := range runs {
		run := &runs[i].run
		end := index + run.Count
		rest := run.Body
		for len(rejected) > 0 && rejected[0].Index < end {
			r := rejected[0]
			var own []byte
			count := 0
			for ; index <= r.Index; index++ {
				own, count, rest = pack.Split(run.Form, rest, 0)
			}
			form := run.Form
			if count == 0 { // the body is malformed here: what is left of it is the payload
				form, own = pack.Records, pack.AppendOwn(nil, (&pack.Record{Attributes: pack.Attributes{Severity: 7}, Payload: own}).Append(nil))
			}
			letters = append(letters, segment.Run{
				Form: segment.Form(form), Count: 1, Raw: uint32(len(own)), Body: own,
				Attributes: Letter{Output: outputName, Reason: r.Reason, Time: now, Sequence: runs[i].last() - uint64(end-1-r.Index)}.before(run.Attributes),
			})
			rejected = rejected[1:]
		}
		index = end
	}
	return letters
}
