package tail

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// A power loss takes from a log what its program had not synced, and the program goes on there before logmule runs again: what it wrote
// since is read, although the file is still shorter than what had been read of it. What is read again begins at a place that is known to be
// the same.
func TestEndLostWhileDown(t *testing.T) {
	for _, c := range []struct{ writes, cut, repeated int }{
		{1, 500, 500},   // nothing but the first bytes is known: all of it is read again
		{4, 3500, 500},  // of a place in the middle, only what is behind that
		{6, 1500, 1500}, // before all places that are known
		{1, 1000, 0},    // nothing is lost but the last byte, which is written again
	} {
		t.Run(fmt.Sprintf("%d of %d", c.cut, c.writes*1000), func(t *testing.T) {
			g := newRig(t, t.TempDir(), nil)
			line := func(what string, i int) string { return fmt.Sprintf("%s line %08d of a log", what, i) }
			n := 0
			for range c.writes {
				var text strings.Builder
				for range 1000 {
					text.WriteString(line("old", n) + "\n")
					n++
				}
				g.write("a.log", text.String())
				g.settle()
			}
			before := g.log.lines(len(g.log.steps))
			if len(before) != n {
				t.Fatalf("%d lines of %d read", len(before), n)
			}
			var want []string
			g.down(func() {
				must(t, os.Truncate(g.path("a.log"), int64(c.cut*(len(line("old", 0))+1))-1))
				g.write("a.log", "\n")
				for i := range 40 {
					want = append(want, line("new", i))
					g.write("a.log", want[i]+"\n")
				}
			})
			got := g.log.lines(len(g.log.steps))
			repeated := slices.Index(got, want[0])
			if repeated < 0 || !slices.Equal(got[repeated:], want) {
				t.Fatalf("%d lines, and not what was written at last", len(got))
			}
			if repeated != c.repeated {
				t.Errorf("%d lines came again, want %d", repeated, c.repeated)
			}
			if repeated > 0 && got[0] != before[c.cut-repeated] {
				t.Errorf("what came again begins with %q", got[0])
			}
		})
	}
}
