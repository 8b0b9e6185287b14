package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// locking is a file system on which one file may not be opened while it is locked away.
type locking struct {
	vfs.FS
	path string
	away *atomic.Bool
}

func (l locking) Open(name string) (vfs.File, error) {
	if name == l.path && l.away.Load() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return l.FS.Open(name)
}

// TestNotOurs: where a segment belongs to somebody else, the error and the log of the scrubber say who cannot read it and what
// to type. Nothing is given up, and it goes on when that is done.
func TestNotOurs(t *testing.T) {
	var log liveLog
	b := newBench(t, func(o *Options) {
		o.KeepFor, o.ScrubRate, o.scrubEvery, o.Log = time.Hour, 1<<40, time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	})
	all := b.fill(40, 6000)
	b.close()
	away := &atomic.Bool{}
	b.opt.FS = locking{b.opt.FS, b.firstPath(), away}
	b.open()
	away.Store(true)
	want := fmt.Sprintf("permission denied; the daemon runs as user %d, who may not read it: give it back with \"chown -R %d '/data' && chmod", os.Geteuid(), os.Geteuid())
	r := b.q.Reader("out", Oldest)
	var f segment.Frame
	if _, err := r.Next(b.ctx, &f); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) {
		t.Errorf("the reader says %v", err)
	}
	waitFor(t, "the scrubber to tell of it", func() bool { return log.has("who may not read it") })
	away.Store(false)
	if got, lost := b.take(r, 40); lost > 0 || len(got) != len(all) {
		t.Errorf("%d records, %d lost", len(got), lost)
	}
}
