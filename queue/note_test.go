package queue

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/vfs/faultfs"
)

// TestUnnotedPositionIsTold: each time that positions begin to be lost for a kill, not only the first time.
func TestUnnotedPositionIsTold(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	b.fill(40, 10)
	r := b.q.Reader("out", Oldest)
	refuse := b.refuseIf(syscall.EIO, func(op faultfs.Op) bool {
		return op.Kind == faultfs.Write && strings.Contains(op.Name, "checkpoints.recent")
	})
	for at := range uint64(40) {
		refuse.Store(at/10%2 == 1)
		r.Done(nil, checkpoint.Range{First: at + 1, Last: at + 1})
	}
	b.close()
	if n := strings.Count(log.String(), "recent position not noted"); n != 2 {
		t.Errorf("the log says %d times that positions are not noted, want 2", n)
	}
}

// TestRecentPositionIsTheNewest: when several requests of an output are done at once, what a kill leaves behind is the last
// position, never one that was on its way to the disk when a newer one overtook it.
func TestRecentPositionIsTheNewest(t *testing.T) {
	b := newBench(t, nil)
	const rounds, many = 300, 8
	b.fill(rounds*many, 10)
	r := b.q.Reader("out", Oldest)
	for round := range uint64(rounds) {
		var all sync.WaitGroup
		for i := range uint64(many) {
			at := round*many + i + 1
			all.Go(func() { r.Done(nil, checkpoint.Range{First: at, Last: at}) })
		}
		all.Wait()
		noted, err := checkpoint.WithRecent(checkpoint.NewMemory(), b.fsys, filepath.Join(b.opt.Dir, "checkpoints.recent"))
		if err != nil {
			t.Fatal(err)
		}
		positions, err := noted.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := positions[checkpoint.Key("out")].Floor, (round+1)*many+1; got != want {
			t.Fatalf("round %d: a kill would go back to %d, everything before %d is done", round, got, want)
		}
		if err := noted.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
