package tail

import (
	"os"
	"testing"
	"time"
)

// at sets the time of a file.
func (g *rig) at(name string, when time.Time) { must(g.t, os.Chtimes(g.path(name), when, when)) }

// TestFaultsAreForgotten: files that could not be read and were removed since must not be remembered for ever.
func TestFaultsAreForgotten(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.faults.note("file that was removed", os.ErrPermission, "")
	for _, c := range []struct {
		after time.Duration
		known int
	}{{goneAfter + time.Hour, 1}, {forgetFault + time.Hour, 0}} {
		g.now = time.Now().Add(c.after)
		g.look()
		if n := len(g.faults.since); n != c.known {
			t.Errorf("after %v %d failures are known, want %d", c.after, n, c.known)
		}
	}
}

// A clock that is set back an hour while files are rotated loses and doubles nothing, as long as the file that was read is
// left.
func TestClockSetBack(t *testing.T) {
	for _, style := range []string{"rename", "copytruncate", "both"} {
		for _, down := range []bool{false, true} {
			g := newRig(t, t.TempDir(), nil)
			g.write("a.log", "1\n")
			g.settle()
			back := g.now.Add(-time.Hour)
			do := func() {
				g.write("a.log", "2\n")
				if style != "rename" {
					b, err := os.ReadFile(g.path("a.log"))
					must(t, err)
					g.write("a.log.1", string(b))
					must(t, os.Truncate(g.path("a.log"), 0))
				} else {
					g.rename("a.log", "a.log.1")
				}
				g.at("a.log.1", back)
				g.write("a.log", "3\n")
				if style == "both" {
					g.rename("a.log.1", "a.log.2")
					g.rename("a.log", "a.log.1")
					g.at("a.log.1", back.Add(time.Minute))
					g.write("a.log", "4\n")
				}
				g.at("a.log", back.Add(2*time.Minute))
				g.now = back.Add(3 * time.Minute)
			}
			want := []string{"2", "3"}
			if style == "both" {
				want = append(want, "4")
			}
			if down {
				g.down(do)
			} else {
				do()
				want = append([]string{"1"}, want...)
			}
			g.settle()
			t.Run(style, func(t *testing.T) { g.t = t; g.want(want...); t.Log(down) })
		}
	}
}

// Nor does the silence after which bytes without LF are a record depend on the clock: it may be set back meanwhile.
func TestPartialLineWhileClockIsSet(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "half")
	g.now = time.Now()
	g.settle()
	if tr := g.byPath[g.path("a.log")]; tr.state.restAt.Round(0) == tr.state.restAt {
		t.Error("the time since which it is silent is that of the clock on the wall")
	}
}
