package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A start between the copy and the cut, where neither the file nor its copy was ever seen.
func TestACopyOfAnUnknownFile(t *testing.T) {
	for _, size := range []int{1, 100, 10_000} { // lines
		for _, globs := range []string{"a.log", "a.log*"} {
			for _, part := range []string{"whole", "grown", "several", "compressed"} {
				if size == 1 && (part == "grown" || part == "compressed") {
					continue // so few bytes may stand at the beginning of two files: see TestASmallFileCutAndWrittenAnew
				}
				t.Run(fmt.Sprint(size, globs, part), func(t *testing.T) {
					g := newRig(t, t.TempDir(), func(o *Options) { o.Paths = []string{filepath.Join(filepath.Dir(o.Paths[0]), globs)} })
					g.settle()
					var want []string
					add := func(n int) {
						for range n {
							want = append(want, fmt.Sprintf("line %06d", len(want)))
							g.write("a.log", want[len(want)-1]+"\n")
						}
					}
					g.down(func() {
						add(size)
						g.copy("a.log", "a.log.1")
						switch part {
						case "grown":
							add(1 + size)
						case "several":
							must(t, os.Truncate(g.path("a.log.1"), 5))
							g.rename("a.log.1", "a.log.2")
							g.copy("a.log", "a.log.1")
						case "compressed":
							g.gzip("a.log.1", "a.log.2.gz")
							add(1)
							g.copy("a.log", "a.log.1")
						}
					})
					g.want(want...)
					g.truncate("a.log")
					g.settle()
					g.want(want...)
					add(1)
					g.settle()
					g.want(want...)
					g.down(func() {})
					g.want()
				})
			}
		}
	}
}

// A small file that was written to since it was copied was cut in between, if its bytes do not say otherwise: so no line is
// lost where each content begins in the same way.
func TestASmallFileCutAndWrittenAnew(t *testing.T) {
	for _, known := range []bool{false, true} {
		g := newRig(t, t.TempDir(), nil)
		if known {
			g.write("a.log", "started\n")
		}
		g.settle()
		g.down(func() {
			if !known {
				g.write("a.log", "started\n")
			}
			g.write("a.log", "ended\n")
			g.copy("a.log", "a.log.1")
			g.tickAfter("a.log.1")
			g.truncate("a.log")
			g.write("a.log", "started\nended\nstarted again\n")
		})
		want := []string{"started", "ended", "started", "ended", "started again"}
		if known {
			want = want[1:]
		}
		g.want(want...)
	}
}

// Lines that were read after the copy was made are not read again with it, however short it is.
func TestASmallCopyOfAFileThatWasReadSince(t *testing.T) {
	for _, down := range []bool{false, true} {
		g := newRig(t, t.TempDir(), nil)
		g.write("a.log", "1\n2\n")
		g.settle()
		g.copy("a.log", "a.log.1")
		g.tickAfter("a.log.1")
		g.write("a.log", "3\n")
		g.mu.Lock()
		g.offerLocked(g.byPath[g.path("a.log")]) // a reader is told of it before a look sees the copy
		g.mu.Unlock()
		g.turns(1)
		g.settle()
		g.want("1", "2", "3")
		cut := func() {
			g.truncate("a.log")
			g.write("a.log", "4\n")
		}
		if down {
			g.down(cut)
			g.want("4")
		} else {
			cut()
			g.settle()
			g.want("1", "2", "3", "4")
		}
	}
}

// While a file may be cut at any moment, and its bytes would not show it, it is not read.
func TestHeldUntilItIsCut(t *testing.T) {
	for _, cut := range []bool{true, false} {
		g := newRig(t, t.TempDir(), nil)
		g.write("a.log", "a\n")
		g.settle()
		g.copy("a.log", "a.log.1")
		g.now = time.Now().Add(time.Second)
		g.look()
		g.tickAfter("a.log.1")
		if cut {
			g.truncate("a.log")
			g.write("a.log", "a\na\n")
		}
		g.look()
		if g.turns(1) {
			t.Errorf("cut %v: it is read", cut)
		}
		g.settle()
		want := []string{"a"}
		if cut {
			want = append(want, "a", "a")
		}
		g.want(want...)
	}
}

// The clues of the histories that lead to a copy and a younger file which begins like it.
func TestJudge(t *testing.T) {
	const second = int64(1e9)
	small := clues{begins: true, repeats: true, live: true, made: 100 * second, written: 100 * second, changed: 90 * second, now: 200 * second}
	for name, c := range map[string]struct {
		change func(*clues)
		want   judgment
	}{
		"copied, nothing since":                  {func(*clues) {}, within},
		"other bytes":                            {func(k *clues) { k.begins = false }, apart},
		"written to since":                       {func(k *clues) { k.changed = 150 * second }, apart},
		"written to since, bytes do not repeat":  {func(k *clues) { k.changed, k.repeats = 150*second, false }, within},
		"written to since, a copy broken off":    {func(k *clues) { k.changed, k.torn = 150*second, true }, within},
		"written to since, no times":             {func(k *clues) { k.changed, k.made = 150*second, 0 }, within},
		"written to and read since, as before":   {func(k *clues) { k.changed, k.read = 150*second, 140*second }, within},
		"read before, written to since":          {func(k *clues) { k.changed, k.read = 150*second, 90*second }, apart},
		"written to, the copy is just made":      {func(k *clues) { k.changed, k.now = 101*second, 101*second }, unsure},
		"written to between two copies":          {func(k *clues) { k.changed, k.now, k.live = 101*second, 101*second, false }, apart},
		"the clock was set back since":           {func(k *clues) { k.changed, k.now = 101*second, 50*second }, apart},
		"copied twice, with the time":            {func(k *clues) { k.live, k.kept, k.written, k.changed = false, true, 110*second, 110*second }, within},
		"the copy is of what came before":        {func(k *clues) { k.begun = 100 * second }, apart},
		"the content is older than the copy":     {func(k *clues) { k.begun = 99 * second }, within},
		"overwritten since the content began":    {func(k *clues) { k.begun, k.written = 105*second, 110*second }, within},
		"of what came before, bytes are its own": {func(k *clues) { k.begun, k.repeats = 100*second, false }, apart},
	} {
		k := small
		c.change(&k)
		if got := k.judge(); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Files that begin with the same lines are no copies where one was there before the other.
func TestTheSameBeginningIsNoCopy(t *testing.T) {
	for _, second := range []string{"started\n", "started\nmore\n"} {
		g := newRig(t, t.TempDir(), nil)
		g.settle()
		g.down(func() {
			g.write("a.log", "started\n")
			g.rename("a.log", "a.log.1")
			g.tickAfter("a.log.1")
			g.write("a.log", second)
		})
		g.want(append([]string{"started"}, strings.Split(strings.TrimSuffix(second, "\n"), "\n")...)...)
	}
}

func born(path string) int64 {
	at, _ := bornAt(path)
	return at
}

// tickAfter waits until a file that is created now is younger than the one called name.
func (g *rig) tickAfter(name string) {
	first := born(g.path(name))
	if first == 0 {
		g.t.Skip("this file system does not say when a file was created")
	}
	for g.write("tick", ""); born(g.path("tick")) == first; g.write("tick", "") {
		g.remove("tick")
	}
	g.remove("tick")
}

// A program that goes on writing to a file after it has begun the next one does not make that the older one.
func TestNumbersGoUpWhateverIsWrittenLate(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.Paths = []string{filepath.Join(filepath.Dir(o.Paths[0]), "a.log-*")} })
	g.settle()
	g.down(func() {
		for i := 1; i <= 2; i++ {
			name := fmt.Sprintf("a.log-0000%d", i)
			g.write(name, fmt.Sprintf("%d\n", i))
			g.tickAfter(name)
		}
		g.write("a.log-00001", "late\n")
	})
	g.want("1", "late", "2")
}

// The file that was cut, and renamed at the next rotation, is older than the copy, which holds what came before.
func TestACopyAndThenARename(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n2\n3\n")
	g.settle()
	g.down(func() {
		g.tickAfter("a.log")
		g.copy("a.log", "a.log.2")
		g.truncate("a.log")
		g.write("a.log", "4\n")
		g.rename("a.log", "a.log.1")
		g.write("a.log", "5\n")
	})
	g.want("4", "5")
}
