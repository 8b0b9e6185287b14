package queue

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// creating is told before a file is made.
type creating struct {
	*faultfs.FS
	before func(name string)
}

func (c *creating) Create(name string) (vfs.File, error) {
	c.before(name)
	return c.FS.Create(name)
}

// TestCopyHoldsUpNobody: a disk that does not answer while damaged bytes are copied holds up those who have met damage, and nobody
// else: others give up records, get on, and have it saved. Two who are at the same damage copy it once, and write it down once.
func TestCopyHoldsUpNobody(t *testing.T) {
	b := newBench(t, nil)
	b.q.Reader("out", Oldest)
	b.q.Reader("other", Oldest)
	b.q.Reader("slow", Oldest)
	b.fill(20, 8000)
	b.damage(3)
	var copies atomic.Int32
	held, begun := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	b.close()
	b.opt.FS = &creating{FS: b.fsys, before: func(name string) {
		if strings.HasPrefix(name, "/data/quarantine/") {
			copies.Add(1)
			begin()
			<-held
		}
	}}
	b.open()
	var readers sync.WaitGroup
	lost := make(chan checkpoint.Range, 2)
	for _, name := range []string{"out", "other"} {
		r := b.q.Reader(name, Oldest)
		readers.Go(func() {
			defer r.Close()
			var f segment.Frame
			for range 3 {
				gone, err := r.Next(b.ctx, &f)
				if err != nil {
					t.Error(err)
				}
				if gone.Last > 0 {
					lost <- gone
				}
			}
		})
	}
	<-begun
	slow, free := b.q.Reader("slow", Oldest), make(chan struct{})
	go func() {
		defer close(free)
		if n := slow.Shed(1); n == 0 {
			t.Error("nothing was given up")
		}
		b.append("more")
		if err := slow.Checkpoint(b.ctx); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-free:
	case <-b.ctx.Done():
		t.Error("who has met no damage waits for the copy")
	}
	close(held)
	<-free
	readers.Wait()
	close(lost)
	for gone := range lost {
		if gone != (checkpoint.Range{First: 3, Last: 3}) {
			t.Errorf("%v is lost", gone)
		}
	}
	if got := b.ranges("checksum", "") + b.ranges("zeroed", ""); got != "3-3" {
		t.Errorf("the ledger has %q lost to damage, want 3-3: %+v", got, b.ledger())
	}
	if n := copies.Load(); n != 1 {
		t.Errorf("%d copies were made", n)
	}
}
