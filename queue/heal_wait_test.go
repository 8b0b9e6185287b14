package queue

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"logmule/queue/segment"
)

// TestHealingIsNotWaitedForLonger: whoever waits for others who heal a segment, on a disk that does not answer, or for the seal of it,
// goes when its context ends, and has given up nothing.
func TestHealingIsNotWaitedForLonger(t *testing.T) {
	for _, what := range []string{"healing", "seal"} {
		t.Run(what, func(t *testing.T) {
			b, all, _ := hurt(t, nil)
			begun, held := make(chan struct{}), make(chan struct{})
			release := sync.OnceFunc(func() { close(held) })
			defer context.AfterFunc(b.ctx, release)()
			h := &hooked{FS: b.fsys, create: func() { close(begun); <-held }, rename: func() {}}
			b.opt.FS = h
			b.open()
			first, second := b.q.Reader("first", Oldest), b.q.Reader("second", Oldest)
			healed := make(chan struct{})
			if what == "healing" {
				go func() {
					defer close(healed)
					got, lost := b.take(first, len(all))
					if len(got) != len(all) || lost > 0 {
						t.Errorf("%d came, %d are lost", len(got), lost)
					}
				}()
				<-begun
			} else {
				h.create = func() {}
				f := b.q.files.snapshot()[0]
				f.settled.Store(false)
				s := &sealing{done: make(chan struct{}), stuck: make(chan struct{}), file: f}
				was := b.q.sealing.Swap(s)
				go func() {
					defer close(healed)
					<-held
					f.settled.Store(true)
					b.q.sealing.Store(was)
					close(s.done)
				}()
			}
			ctx, cancel := context.WithTimeoutCause(b.ctx, 30*time.Millisecond, errStop)
			defer cancel()
			var f segment.Frame
			for came := 0; ; came++ {
				lost, err := second.Next(ctx, &f)
				if lost.Last > 0 {
					t.Fatalf("%v is lost", lost)
				}
				if errors.Is(err, errStop) {
					break
				}
				if err != nil || came == len(all) {
					t.Fatalf("%d came, and then: %v", came, err)
				}
			}
			if b.ctx.Err() != nil {
				t.Fatal("it has waited for others")
			}
			release()
			<-healed
			second.Rewind()
			if got, lost := b.take(second, len(all)); len(got) != len(all) || lost > 0 {
				t.Errorf("%d came, %d are lost", len(got), lost)
			}
			first.Close()
			second.Close()
		})
	}
}

var errStop = errors.New("stop")
