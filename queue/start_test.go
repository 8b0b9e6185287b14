package queue

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// TestNewestIsNotedAtOnce: an output that begins at the end stands there from then on, however soon the process is
// killed: the next start would find a later end, and pass over what was accepted between the two.
func TestNewestIsNotedAtOnce(t *testing.T) {
	b := newBench(t, nil)
	b.fill(10, 10)
	b.q.Reader("out", Newest)
	noted, err := checkpoint.WithRecent(checkpoint.NewMemory(), b.fsys, filepath.Join(b.opt.Dir, "checkpoints.recent"))
	if err != nil {
		t.Fatal(err)
	}
	defer noted.Close()
	positions, err := noted.Load()
	if err != nil {
		t.Fatal(err)
	}
	if at := positions[checkpoint.Key("out")].Floor; at != 11 {
		t.Errorf("a kill would leave %d, want 11", at)
	}
}

// TestOldestWhileSegmentsGo: an output that begins while delivered segments are being deleted begins behind all of them;
// what it never could have had is no loss.
func TestOldestWhileSegmentsGo(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	want := b.fill(100, 8000)
	var once sync.Once
	deleting, goOn := make(chan struct{}), make(chan struct{})
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Remove && isSeg(op) {
			once.Do(func() { close(deleting); <-goOn })
		}
		return nil
	})
	for range 90 {
		if _, err := r.Next(b.ctx, new(segment.Frame)); err != nil {
			t.Fatal(err)
		}
	}
	r.Done(nil, checkpoint.Range{First: 1, Last: 90}) // several segments at once, when nothing is read any more
	<-deleting
	late := make(chan *Reader)
	go func() { late <- b.q.Reader("late", Oldest) }()
	time.AfterFunc(100*time.Millisecond, func() { close(goOn) })
	l := <-late
	<-goOn
	waitFor(t, "deleted", func() bool { return b.q.Status().First > 70 })
	first := b.q.Status().First
	got, lost := b.take(l, int(101-first))
	if lost != 0 || got[0] != want[first-1] || len(b.ledger()) != 0 {
		t.Errorf("begins with %.10q, want %.10q; %d lost, ledger %+v", got[0], want[first-1], lost, b.ledger())
	}
}
