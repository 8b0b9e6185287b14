package tail

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// Many files that are there at once are begun in a time that grows with their number, not with its square: what a look
// allocates says how much it did.
func TestLookAtManyNewFiles(t *testing.T) {
	each := func(files int) uint64 {
		g := newRig(t, t.TempDir(), func(o *Options) { o.MaxOpen = 1 })
		g.settle()
		for i := range files {
			must(t, os.WriteFile(g.path(fmt.Sprintf("%d.log", i)), fmt.Appendf(nil, "line %d\n", i), 0o644))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g.look()
		runtime.ReadMemStats(&after)
		if len(g.tracks) != files {
			t.Fatalf("%d files are known, want %d", len(g.tracks), files)
		}
		return (after.Mallocs - before.Mallocs) / uint64(files)
	}
	if few, many := each(100), each(1000); many > 2*few {
		t.Errorf("%d allocations for each of 100 files, %d for each of 1000", few, many)
	}
}
