package forward

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// TestReplayOfRefusedLetters: dead letters that the disk does not give are asked for again; those that it never gives are
// counted as lost, and do not keep the others.
func TestReplayOfRefusedLetters(t *testing.T) {
	for name, refusals := range map[string]int{"for a while": 20, "for good": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMorgue(t)
				m.deliverTo("api", "web")
				m.bury(0, 60)
				const sector = 8 << 10
				left := refusals
				m.fs.FailReads(func(name string, offset int64, size int) error {
					if left == 0 || !strings.HasPrefix(name, "/data/deadletter/") || offset > sector || offset+int64(size) <= sector {
						return nil
					}
					left--
					return syscall.EIO
				})
				done := m.replay(nil)
				m.fs.FailReads(nil)
				if done.Records+done.Lost != 60 || done.Records == 0 || done.Lost == 0 != (refusals > 0) {
					t.Errorf("%+v", done)
				}
				back := m.back()
				if uint64(len(back)) != done.Records || !slices.Contains(back, "to/web: letter 59") {
					t.Errorf("put back: %q", back)
				}
			})
		})
	}
}
