package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/recovery"
)

// DeadLetterDir is the dead-letter queue of a data directory.
const DeadLetterDir = recovery.DeadLetterDir

// appendAtOnce and appendBytes bound the records of one append to the dead-letter queue, and their bytes, unless one record
// has more: even the smallest queue takes that.
const (
	appendAtOnce = 256
	appendBytes  = 64 << 10

	// letterSegment is the size of its segments at most: so small that a letter still finds room where the main queue, which
	// leaves min_free, does not.
	letterSegment = 256 << 10

	// letterPatience is how long an append to it waits for room, and a letter until it is durable.
	letterPatience = time.Second
)

// letterRelief is what gives room where letters take max_size.
const letterRelief = "put letters back with logmule replay"

// deadLetters is the queue of the records that destinations refused for good, shared by all outputs. It is opened when the
// first one comes, or at the start where there are some. Nobody reads it here, so it keeps what it is given, up to max_size.
type deadLetters struct {
	open    func() (*queue.Queue, error)
	relieve func() // finds some room on a disk that is full

	mu    sync.Mutex                  // held while the queue is opened, which may take as long as the disk likes
	queue atomic.Pointer[queue.Queue] // nil until it is open
}

// letterOptions are those of a dead-letter queue in dir.
func letterOptions(cfg *config.Config, dir string, log *slog.Logger) queue.Options {
	opt, l := queueOptions(cfg, dir, log.With("queue", "deadletter")), letterLimits(cfg)
	opt.MinFree, opt.WhenFull, opt.ForgetAfter = l.MinFree, l.WhenFull, l.ForgetAfter
	opt.SegmentSize = min(opt.SegmentSize, letterSegment)
	opt.Sync = queue.SyncPolicy{Mode: queue.SyncAlways} // whatever sync says: nobody else has these records any more
	opt.Relief = letterRelief
	opt.NoReserve = true // what there is room for is better used for letters
	return opt
}

// letterLimits are those of [queue] for dead letters. There is no min_free: where the main queue has filled the disk up to
// that, it shrinks only when letters are stored. The newest is never dropped: its output waits, and then the main queue
// does what when_full says. A replay is never forgotten: what it has put back would be put back again.
func letterLimits(cfg *config.Config) queue.Limits {
	l := queueLimits(cfg)
	l.MinFree, l.ForgetAfter = -1, 0
	if l.WhenFull == queue.DropNewest {
		l.WhenFull = queue.Block
	}
	return l
}

// get returns the queue, opened if needed.
func (d *deadLetters) get() (*queue.Queue, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queue.Load(); q != nil {
		return q, nil
	}
	q, err := d.open()
	if err != nil {
		if isFull(err) {
			d.relieve()
		}
		if errors.Is(err, syscall.ENOTDIR) {
			err = fmt.Errorf("%w; something else than a directory stands there: move it away", err)
		}
		return nil, fmt.Errorf("open dead-letter queue: %w", err)
	}
	d.queue.Store(q)
	return q, nil
}

// limit changes the limits of the queue, if it is open; if not, it is opened with those that are in force then.
func (d *deadLetters) limit(l queue.Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queue.Load(); q != nil {
		q.SetLimits(l)
	}
}

// close ends what get has opened. No add may follow.
func (d *deadLetters) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if q := d.queue.Load(); q != nil {
		return q.Close()
	}
	return nil
}

// add appends letters, in order, as many as there is room for; n are taken, the last one with that sequence. They are
// stored when wait returns nil.
func (d *deadLetters) add(ctx context.Context, letters []segment.Run) (n int, last uint64, err error) {
	q, err := d.get()
	for err == nil && n < len(letters) {
		some := letters[n:][:atOnce(letters[n:])]
		err = d.patiently(ctx, q, func(ctx context.Context) error {
			reached, err := q.Append(ctx, some)
			if err == nil {
				n, last = n+len(some), reached
			}
			return err
		})
	}
	return n, last, err
}

// wait returns when the letters up to a sequence are durable.
func (d *deadLetters) wait(ctx context.Context, last uint64) error {
	q, err := d.get()
	if err != nil {
		return err
	}
	return d.patiently(ctx, q, func(ctx context.Context) error { return q.WaitDurable(ctx, last) })
}

// patiently makes a step that may have to wait, but not for long: the error says what it waits for.
func (d *deadLetters) patiently(ctx context.Context, q *queue.Queue, step func(context.Context) error) error {
	attempt, cancel := context.WithTimeout(ctx, letterPatience)
	defer cancel()
	err := step(attempt)
	if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch s := q.Status(); {
	case s.Fault != "":
		return fmt.Errorf("the disk takes no data: %s", s.Fault)
	case s.Full:
		if s.FullDisk {
			d.relieve()
		}
		return fmt.Errorf("dead-letter queue is full: %s", strings.TrimPrefix(s.FullWhy, "queue is full: "))
	default:
		return fmt.Errorf("dead-letter queue has stored nothing for %v; the disk is slow", letterPatience)
	}
}

// atOnce is how many of the letters go into one append.
func atOnce(letters []segment.Run) int {
	n, size := 0, 0
	for n < min(len(letters), appendAtOnce) {
		size += len(letters[n].Attributes) + len(letters[n].Body)
		if n > 0 && size > appendBytes {
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
