package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLinksAndPatternsOfOneFile(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) {
		dir := filepath.Dir(o.Paths[0])
		o.Paths = []string{dir + "/links/*.log", dir + "/links/a*", dir + "/pods/**/*.log"}
	})
	must(t, os.MkdirAll(g.path("pods/x"), 0o755))
	must(t, os.MkdirAll(g.path("links"), 0o755))
	g.write("pods/x/0.log", "1\n")
	must(t, os.Symlink(g.path("pods/x/0.log"), g.path("links/a.log")))
	must(t, os.Link(g.path("pods/x/0.log"), g.path("pods/x/hard.log")))
	must(t, os.Symlink(g.path("pods/x/none"), g.path("links/dangling.log")))
	must(t, os.Symlink(g.path("pods"), g.path("pods/x/loop")))
	g.settle()
	g.want("1")
	if l := g.log.steps[len(g.log.steps)-1].logger; l != g.path("links/a.log") {
		t.Errorf("logger is %s", l)
	}
	// Rotated where the link points to, as in Kubernetes.
	g.write("pods/x/0.log", "2\n")
	g.remove("pods/x/hard.log")
	g.rename("pods/x/0.log", "pods/x/0.log.20261120-093000")
	g.write("pods/x/0.log", "3\n")
	g.settle()
	g.want("1", "2", "3")
	// The link is set to another file.
	g.write("pods/x/1.log", "4\n")
	g.remove("links/a.log")
	must(t, os.Symlink(g.path("pods/x/1.log"), g.path("links/a.log")))
	g.write("pods/x/0.log", "5\n")
	g.settle()
	g.wantAny("1", "2", "3", "4", "5")
	g.down(func() {})
	g.want()
}

func TestOnlyRegularFiles(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.Exclude = []string{"*.skip.log"} })
	must(t, syscall.Mkfifo(g.path("fifo.log"), 0o644))
	must(t, os.Mkdir(g.path("dir.log"), 0o755))
	must(t, os.Symlink("/dev/null", g.path("device.log")))
	g.write("a.skip.log", "no\n")
	g.write("a.log", "yes\n")
	g.settle()
	g.settle()
	g.want("yes")
	for _, name := range []string{"fifo.log", "/dev/null"} {
		if n := strings.Count(g.out.String(), name); n != 1 {
			t.Errorf("%d lines tell of %s:\n%s", n, name, &g.out)
		}
	}
}

// The page says of what cannot be looked at why that is.
func TestPlanWithoutDirectory(t *testing.T) {
	plan := func(g *rig, known map[string][]byte) string {
		var got strings.Builder
		for _, p := range Plan(g.opt, known) {
			fmt.Fprintf(&got, "%s %d %v %s\n", filepath.Base(p.Path), p.Size, p.Read, strings.ReplaceAll(p.Why, g.dir+"/", ""))
		}
		return got.String()
	}
	g := newRig(t, t.TempDir(), func(o *Options) { o.Paths = []string{filepath.Dir(o.Paths[0]) + "/logs/*.log"} })
	for _, dir := range []string{filepath.Dir(g.dir), g.dir} {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.Mkdir(g.path("logs"), 0o755))
	g.write("logs/a.log", "1\n")
	must(t, os.Link(g.path("logs/a.log"), g.path("logs/hard.log")))
	g.settle()
	known := g.log.after(len(g.log.steps))
	must(t, os.Chmod(g.path("logs/a.log"), 0))
	g.write("logs/b.log", "b\n")
	must(t, os.Chmod(g.path("logs/b.log"), 0))
	check := func(want string) {
		t.Helper()
		var got string
		asNobody(t, func() { got = plan(g, known) })
		if got != want {
			t.Errorf("plan\n%swant\n%s", got, want)
		}
	}
	check("a.log 2 true known\nb.log 2 false permission denied\nhard.log 2 false the same file as logs/a.log\n")
	must(t, os.Chmod(g.path("logs"), 0))
	check("a.log 0 false known; its directory cannot be read: permission denied\nlogs 0 false the directory cannot be read: permission denied\n")
	must(t, os.Chmod(g.path("logs"), 0o755))
	g.rename("logs", "mnt")
	check("a.log 0 false known; its directory is away\nlogs 0 false the directory does not exist\n")
}

// A directory that goes away and comes back, as when a file system is unmounted, or is replaced by an empty one.
func TestDirectoryAway(t *testing.T) {
	for _, empty := range []bool{false, true} {
		for _, down := range []bool{false, true} {
			t.Run(fmt.Sprintf("empty %v down %v", empty, down), func(t *testing.T) {
				top := t.TempDir()
				must(t, os.Mkdir(filepath.Join(top, "logs"), 0o755))
				g := newRig(t, top, func(o *Options) { o.Paths = []string{filepath.Join(top, "logs/*.log")}; o.MaxOpen = 1 })
				g.write("logs/a.log", "1\n2\n")
				g.write("logs/b.log", "b\n")
				g.settle()
				g.wantAny("1", "2", "b")
				away := func() {
					g.rename("logs", "mnt")
					if empty {
						must(t, os.Mkdir(g.path("logs"), 0o755))
					}
				}
				if down {
					g.down(away)
					g.log.steps = append([]step{{lines: []string{"1", "2", "b"}, key: "x", value: []byte("x")}}, g.log.steps...)
				} else {
					away()
				}
				g.settle()
				g.wait(time.Minute)
				if empty {
					g.remove("logs")
				}
				g.rename("mnt", "logs")
				g.write("logs/a.log", "3\n")
				g.settle()
				g.wantAny("1", "2", "3", "b")
			})
		}
	}
}

func TestDirectoryRenamed(t *testing.T) {
	top := t.TempDir()
	must(t, os.Mkdir(filepath.Join(top, "app"), 0o755))
	g := newRig(t, top, func(o *Options) { o.Paths = []string{filepath.Join(top, "**/*.log")} })
	g.write("app/a.log", "1\n")
	g.settle()
	g.write("app/a.log", "2\n")
	g.rename("app", "app.old")
	must(t, os.Mkdir(g.path("app"), 0o755))
	g.write("app/a.log", "3\n")
	g.settle()
	g.wantAny("1", "2", "3")
}

func TestUnderAnyName(t *testing.T) {
	for _, name := range []string{"old-a", "a.log.old", "a.log.2.bak", "x.tmp"} {
		g := newRig(t, t.TempDir(), func(o *Options) { o.MaxOpen = 1 })
		g.write("a.log", "1\n")
		g.settle()
		g.down(func() {
			g.write("a.log", "2\n")
			g.rename("a.log", name)
			g.write("a.log", "3\n")
		})
		g.wait(time.Second)
		g.write(name, "late\n")
		g.settle()
		g.wantAny("2", "3", "late")
		g.down(func() { g.write(name, "later\n") })
		g.want("later")
	}
}

// A file that may not be read for a while is counted, told of once, and read on when it may be.
func TestUnreadable(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	must(t, os.Chmod(g.dir, 0o755))
	must(t, os.Chmod(filepath.Dir(g.dir), 0o755))
	g.write("a.log", "1\n")
	g.settle()
	g.kill()
	known := g.log.after(len(g.log.steps))
	g.write("a.log", "2\n")
	g.write("b.log", "b\n")
	must(t, os.Chmod(g.path("a.log"), 0))
	must(t, os.Chmod(g.path("b.log"), 0))
	g.start(known)
	asNobody(t, func() {
		for range 5 {
			g.wait(retryMost)
		}
		g.want()
		if n := strings.Count(g.out.String(), "permission denied"); n != 2 {
			t.Errorf("%d lines tell of two files:\n%s", n, &g.out)
		}
		if g.count.ReadErrors.Load() < 4 {
			t.Errorf("%d read errors", g.count.ReadErrors.Load())
		}
	})
	must(t, os.Chmod(g.path("a.log"), 0o644))
	must(t, os.Chmod(g.path("b.log"), 0o644))
	g.wait(retryMost)
	g.wantAny("2", "b")
	if n := strings.Count(g.out.String(), "can be read again"); n != 2 {
		t.Errorf("%d lines tell of two files that are well again:\n%s", n, &g.out)
	}
}

func TestBadPositionIsNeverSeen(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n")
	g.settle()
	g.kill()
	known := g.log.after(len(g.log.steps))
	for k := range known {
		known[k] = known[k][:len(known[k])-1]
	}
	g.start(known)
	g.settle()
	g.want("1")
	if n := strings.Count(g.out.String(), "cannot be read"); n != 2 {
		t.Errorf("the log says\n%s", &g.out)
	}
}

func TestIdleWritesNothing(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.FromEnd = true; o.MaxOpen = 3 })
	for i := range 20 {
		g.write(fmt.Sprintf("%d.log", i), "some\nlines\nand a half")
	}
	g.settle()
	g.write("1.log", "\nmore\n")
	g.write("empty.log", "")
	g.settle()
	g.wait(time.Hour)
	n := len(g.log.steps)
	for range 20 {
		g.wait(time.Hour)
	}
	if len(g.log.steps) != n {
		t.Errorf("%d steps without a change", len(g.log.steps)-n)
	}
	g.down(func() {})
	n = len(g.log.steps)
	for range 3 {
		g.wait(time.Minute)
	}
	if len(g.log.steps) != n {
		t.Errorf("%d steps without a change after a start: %+v", len(g.log.steps)-n, g.log.steps[n:])
	}
	if open := g.count.Open.Load(); open > 3 {
		t.Errorf("%d files are open", open)
	}
}

func TestPlan(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.Exclude = []string{"x*"} })
	g.write("a.log", "1\n2\n")
	g.settle()
	g.kill()
	n := len(g.log.steps)
	known := g.log.after(n)
	g.write("a.log", "3\n")
	g.rename("a.log", "a.log.2")
	g.write("a.log.1", "4\n")
	g.write("a.log", "5\n")
	g.write("x.log", "6\n")
	var got strings.Builder
	for _, p := range Plan(g.opt, known) {
		fmt.Fprintf(&got, "%s %v %d %v %s\n", filepath.Base(p.Path), p.Read, p.Offset, p.Done, strings.ReplaceAll(p.Why, g.dir+"/", ""))
	}
	want := "a.log.2 true 4 false known, was a.log\na.log.1 true 0 false new, a rotated form of a.log\na.log true 0 false new\n" +
		"x.log false 0 false excluded by x*\n"
	if got.String() != want {
		t.Errorf("plan\n%swant\n%s", &got, want)
	}
	if len(g.log.steps) != n {
		t.Error("a plan sets positions")
	}
}
