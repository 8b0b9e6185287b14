package queue

import (
	"path/filepath"
	"testing"

	"logmule/checkpoint"
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
