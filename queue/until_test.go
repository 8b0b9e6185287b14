package queue

import (
	"context"
	"errors"
	"maps"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// contents are the segments of a stopped queue.
func (b *bench) contents() map[segment.Name]string {
	b.Helper()
	all := map[segment.Name]string{}
	for _, name := range b.old() {
		all[name] = string(b.content(name))
	}
	return all
}

// TestOpenEnds: a start that is told to stop gives up while it reads, or while it waits for a disk that gives nothing, leaves every
// segment as it was and the directory free, and the next one does all of it.
func TestOpenEnds(t *testing.T) {
	for _, what := range []string{"reads", "waits"} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, func(o *Options) { o.awayPatience = time.Hour })
			want := b.fill(30, 5000)
			left := b.fsys.Crash(faultfs.Keep, 0)
			b.close()
			b.fsys, b.opt.FS = left, left
			was := b.contents()
			ctx, cancel := context.WithCancelCause(b.ctx)
			defer cancel(nil)
			reads := 0
			left.FailReads(func(name string, _ int64, _ int) error {
				if reads++; reads > 3 {
					cancel(errStop)
				}
				if what == "waits" {
					return syscall.EIO
				}
				return nil
			})
			opt := b.opt
			opt.Until = ctx
			if _, err := Open(opt); !errors.Is(err, errStop) {
				t.Fatalf("open: %v", err)
			}
			left.FailReads(nil)
			if !maps.Equal(was, b.contents()) {
				t.Error("segments are not as they were")
			}
			b.open()
			got, lost := b.take(b.q.Reader("out", Oldest), len(want))
			equal(t, "after the next start", got, want)
			if lost > 0 || len(b.ledger()) > 0 {
				t.Errorf("%d are lost, the ledger has %+v", lost, b.ledger())
			}
		})
	}
}
