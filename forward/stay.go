package forward

import (
	"context"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"logmule/forward/config"
)

// stay is the time of one input or output in the engine, from its start until its goroutine has ended.
type stay struct {
	who     string // such as "input app"
	section config.Section
	claim   string // what it uses that no other may use; empty: nothing

	end  context.CancelFunc // it begins nothing new
	drop context.CancelFunc // it gives up what it has begun
	done chan struct{}      // closed when its goroutine has ended
}

func (s *stay) seat() *stay { return s }

// before returns those of left that have to end before s can begin: the same by name, and who uses what it will use.
func (s *stay) before(left []*stay) []*stay {
	var before []*stay
	for _, l := range left {
		if l.who == s.who || l.claim != "" && l.claim == s.claim {
			before = append(before, l)
		}
	}
	return before
}

// begin makes the contexts that end the stay.
func (s *stay) begin(until, hard context.Context) (context.Context, context.Context) {
	s.done = make(chan struct{})
	until, s.end = context.WithCancel(until)
	hard, s.drop = context.WithCancel(hard)
	return until, hard
}

// over is for the goroutine of the stay, when it ends.
func (s *stay) over() {
	s.end()
	s.drop()
	close(s.done)
}

// startInput starts the goroutine of an input. It begins when all those before it have ended.
func (e *Engine) startInput(s *stopper, in *source, before []*stay) {
	q := e.queue.Load()
	in.ingest.queue, in.ingest.disk = q, q
	until, _ := in.begin(s.inputsUntil, context.Background())
	s.inputs.Go(func() {
		defer in.over()
		pprof.Do(until, pprof.Labels("input", in.name), func(ctx context.Context) {
			if !follow(ctx, in.log, before) {
				in.enter(stateStopped)
				return
			}
			if err := in.run(ctx); err != nil {
				s.fail(err)
			}
		})
	})
}

// startOutput starts the goroutine of an output. It begins when all those before it have ended, one of which may have
// been this output as it was configured before.
func (e *Engine) startOutput(s *stopper, c *consumer, before []*stay) {
	q := e.queue.Load()
	until, hard := c.begin(s.outputsUntil, s.requestsUntil)
	if len(before) == 0 {
		c.attach(q, e.dead)
	}
	s.outputs.Go(func() {
		defer c.over()
		pprof.Do(until, pprof.Labels("output", c.name), func(stop context.Context) {
			if !follow(stop, c.log, before) {
				c.enter(stateStopped)
				return
			}
			if len(before) > 0 {
				c.attach(q, e.dead)
			}
			c.run(stop, hard)
			if s.outputsUntil.Err() == nil {
				c.detach()
			}
		})
	})
}

// follow waits until all those before have ended, false when ctx ends first.
func follow(ctx context.Context, log *slog.Logger, before []*stay) bool {
	for _, b := range before {
		short, cancel := context.WithTimeout(ctx, grace)
		if !await(short, b.done) && ctx.Err() == nil {
			log.Warn("waits for what it replaces, which has not stopped yet", "waits_for", b.who)
		}
		cancel()
		if !await(ctx, b.done) {
			return false
		}
	}
	return true
}

// leaving are the stays that a reload has ended and whose goroutines may still run.
type leaving struct {
	mu    sync.Mutex // guards stays
	stays []*stay
}

// send ends a stay; a request in flight has the time given.
func (l *leaving) send(s *stay, timeout time.Duration) {
	l.mu.Lock()
	l.stays = append(l.stays, s)
	l.mu.Unlock()
	s.end()
	time.AfterFunc(timeout, s.drop)
}

// left returns the stays that have not ended.
func (l *leaving) left() []*stay {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []*stay
	for _, s := range l.stays {
		select {
		case <-s.done:
		default:
			left = append(left, s)
		}
	}
	l.stays = left
	return slices.Clone(left)
}
