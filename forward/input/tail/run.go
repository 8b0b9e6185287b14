package tail

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How often the planner does something at most.
const (
	eventPause   = 20 * time.Millisecond // between two batches of notifications, which the kernel puts together meanwhile
	lookPause    = 50 * time.Millisecond // between two looks, and lookShare times what the last one took
	lookShare    = 20
	recheckPause = 200 * time.Millisecond // after a look that could not judge a file
	pollShare    = 100                    // the same for looks at directories that nothing is told of
)

// Run follows the files until ctx ends; then it returns nil. An error is one of handing over.
func Run(ctx context.Context, opt Options, env Env) error {
	if env.Now == nil {
		env.Now = time.Now
	}
	t := newTailer(opt, env)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		t.ended = true
		t.more.Broadcast()
		t.mu.Unlock()
	})
	defer stop()
	p := &planner{t: t, watch: newWatch(env.Log.With("input", env.Name))}
	if opt.silent != nil {
		p.watch.silent = opt.silent
	}
	t.onDir = p.watch.add
	var readers sync.WaitGroup
	defer func() { // after a panic of the planner too: none of these may still read when the input is built anew
		cancel(nil)
		readers.Wait()
		p.watch.close()
		for tr := range t.open {
			t.close(tr)
		}
	}()
	for range min(4, max(2, runtime.GOMAXPROCS(0))) {
		readers.Go(func() {
			if err := t.readAll(ctx); err != nil {
				cancel(err)
			}
		})
	}
	p.look()
	readers.Go(func() { t.tellReady(ctx) })
	p.run(ctx)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// tellReady says that the input is ready once it is durable which files were there at the first look: what is promised of
// those that appear later holds from then on, whatever is killed.
func (t *tailer) tellReady(ctx context.Context) {
	if t.env.Kept != nil && t.env.Kept(ctx) != nil {
		return
	}
	if t.env.Ready != nil {
		t.env.Ready()
	}
}

// readAll gives files their turns until ctx ends.
func (t *tailer) readAll(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while reading files: %v\n%s", p, debug.Stack())
		}
	}()
	r := t.newReader()
	for tr := t.next(); tr != nil; tr = t.next() {
		err := r.turn(ctx, tr)
		t.finish(tr)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next waits for a file that has something to read; nil when the input ends.
func (t *tailer) next() *track {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if t.ended {
			return nil
		}
		if len(t.ready) == 0 {
			t.more.Wait()
		} else if tr := t.takeLocked(); tr != nil {
			return tr
		}
	}
}

// takeLocked takes the first file in line. It is nil where the planner holds that file, or has found another one that
// comes first: it is put in line again then.
func (t *tailer) takeLocked() *track {
	tr := t.ready[0]
	t.ready[0] = nil
	t.ready = t.ready[1:]
	tr.queued = false
	switch {
	case tr.busy || tr.dropped:
		tr.again = true
		return nil
	case !t.passedLocked(tr):
		t.waiting[tr] = struct{}{}
		return nil
	}
	tr.busy, tr.again = true, false
	return tr
}

// finish ends a turn: a file that has more goes to the end of the line.
func (t *tailer) finish(tr *track) {
	t.mu.Lock()
	st := &tr.state
	tr.busy = false
	if st.fault == nil && !st.changed && !st.moved && (tr.again || !st.atEnd) && !tr.dropped {
		t.enqueueLocked(tr)
	}
	tr.again = false
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// planner is the goroutine that decides what is read.
type planner struct {
	t     *tailer
	watch *watch

	wanted  bool      // a look
	blocked bool      // a group waits for a reader: look when a turn has ended
	after   time.Time // no look before
	safety  time.Time // a look at the latest
	quiet   time.Time // no notifications before
	moved   time.Time // see whether directories are where they were
}

func (p *planner) run(ctx context.Context) {
	t := p.t
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		if t.wantsLook() {
			p.wanted = true
		}
		if !now.Before(p.moved) {
			p.wanted = t.view.moved() || p.wanted
			ended := time.Now()
			p.moved = ended.Add(max(movedPoll, pollShare*ended.Sub(now)))
		}
		if !now.Before(p.safety) || p.wanted && !now.Before(p.after) {
			p.look()
			now = time.Now()
		}
		wait := min(t.tick(t.env.Now()), p.safety.Sub(now), p.moved.Sub(now))
		if p.wanted {
			wait = min(wait, p.after.Sub(now))
		}
		events, wake := p.watch.events, t.wake
		if left := p.quiet.Sub(now); left > 0 {
			events, wake, wait = nil, nil, min(wait, left)
		}
		timer.Reset(max(wait, 0))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-wake:
			p.quiet = time.Now().Add(eventPause)
			p.wanted = p.wanted || p.blocked
		case e := <-events:
			p.told(e)
			p.rest()
		case err := <-p.watch.errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				t.env.Log.Warn("watching directories failed, they are looked at", "input", t.env.Name, "error", err)
			}
			p.wanted = true
		}
	}
}

// rest takes the notifications that came together with one.
func (p *planner) rest() {
	for range 1 << 14 {
		select {
		case e := <-p.watch.events:
			p.told(e)
		default:
			p.quiet = time.Now().Add(eventPause)
			return
		}
	}
}

// told acts on one notification.
func (p *planner) told(e fsnotify.Event) {
	t := p.t
	t.mu.Lock()
	tr := t.byPath[e.Name]
	if tr != nil && e.Op&^(fsnotify.Write|fsnotify.Chmod) == 0 {
		if tr.state.fault != nil {
			tr.state.retryAt = time.Time{}
		}
		if e.Has(fsnotify.Write) || tr.state.fault != nil {
			t.offerLocked(tr)
		}
		p.wanted = p.wanted || tr.held
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	if e.Op&^(fsnotify.Write|fsnotify.Chmod) != 0 {
		p.wanted = true
		if e.Has(fsnotify.Create) {
			t.holdBeside(e.Name)
		}
		return
	}
	// A file that was there and is not read: it was empty, for example, or could not be opened.
	if _, ok := t.view.skipped[e.Name]; ok || e.Has(fsnotify.Chmod) {
		p.wanted = true
	}
}

// holdBeside stops reading a file that may have been copied, to be cut next, until a look has seen the copy.
func (t *tailer) holdBeside(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, live := range livesOf(filepath.Base(name)) {
		if tr := t.byPath[filepath.Join(filepath.Dir(name), live)]; tr != nil {
			tr.held = true
		}
	}
}

// look looks at everything, and says when to do that again.
func (p *planner) look() {
	started := time.Now()
	p.t.look()
	p.watch.keep(p.t.view.dirs)
	ended := time.Now()
	cost := ended.Sub(started)
	p.wanted, p.blocked = false, p.t.trouble
	p.after = ended.Add(max(lookPause, lookShare*cost))
	again := safetyPoll
	if p.watch.polls() {
		again = min(again, max(p.t.opt.Poll, pollShare*cost))
	}
	if p.t.searching {
		again = min(again, max(movedPoll, pollShare*cost))
	}
	if p.t.recheck {
		again = min(again, recheckPause)
	}
	p.safety = ended.Add(again)
}

// wantsLook says whether a turn found out that files are not what they were.
func (t *tailer) wantsLook() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	wanted := t.lookUp
	t.lookUp = false
	return wanted
}
