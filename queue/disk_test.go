package queue

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestWaitDisk: it waits while the disk refuses, or does not answer, and no longer, also where nothing else is appended.
func TestWaitDisk(t *testing.T) {
	b := newBench(t, func(o *Options) { o.stallAfter = 20 * time.Millisecond })
	if err := b.q.WaitDisk(b.ctx); err != nil {
		t.Fatal(err)
	}
	waits := func() bool {
		ctx, cancel := context.WithTimeout(b.ctx, time.Millisecond)
		defer cancel()
		err := b.q.WaitDisk(ctx)
		if err != nil && (!errors.Is(err, ErrDisk) || !errors.Is(err, context.DeadlineExceeded)) {
			t.Errorf("%v is not ErrDisk and the end of the context", err)
		}
		return err != nil
	}
	held := make(chan struct{})
	for name, refuse := range map[string]func(faultfs.Op) error{
		"refuses": func(op faultfs.Op) error { return syscall.EIO },
		"stalls":  func(op faultfs.Op) error { <-held; return nil },
	} {
		over := make(chan struct{})
		b.fsys.FailMatching(func(op faultfs.Op) error {
			select {
			case <-over:
				return nil
			default:
			}
			if op.Kind == faultfs.Sync && isSeg(op) {
				return refuse(op)
			}
			return nil
		})
		if _, err := b.q.Append(b.ctx, []segment.Run{linesRun(name)}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the disk "+name, waits)
		ended := make(chan error)
		go func() { ended <- b.q.WaitDisk(b.ctx) }()
		close(over)
		if name == "stalls" {
			close(held)
		}
		if err := <-ended; err != nil {
			t.Errorf("after the disk %s: %v", name, err)
		}
	}
}

// TestWaitDiskWithoutRecords: a fault that is over where nothing is left to be stored keeps nobody waiting.
func TestWaitDiskWithoutRecords(t *testing.T) {
	b := newBench(t, nil)
	b.append("one")
	b.q.setFault(errors.New("of something that is not wanted any more"))
	b.q.work.poke()
	if err := b.q.WaitDisk(b.ctx); err != nil {
		t.Error(err)
	}
}
