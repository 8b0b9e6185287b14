package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A start between the copy and the cut, where neither the file nor its copy was ever seen.
func TestACopyOfAnUnknownFile(t *testing.T) {
	for _, size := range []int{1, 100, 10_000} {
		for _, globs := range []string{"a.log", "a.log*"} {
			for _, part := range []string{"whole", "grown", "several", "compressed"} {
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

// tickAfter waits until a file that is created now is younger than the one called name.
func (g *rig) tickAfter(name string) {
	first := bornAt(g.path(name))
	if first == 0 {
		g.t.Skip("this file system does not say when a file was created")
	}
	for g.write("tick", ""); bornAt(g.path("tick")) == first; g.write("tick", "") {
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
