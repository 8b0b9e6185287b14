package tail

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// away is a directory of logs, below another one, with a program that has one of them open.
type away struct {
	*rig
	f *os.File
}

func newAway(t *testing.T, glob string) *away {
	top := t.TempDir()
	g := newRig(t, top, func(o *Options) { o.Paths = []string{filepath.Join(top, glob)} })
	must(t, os.MkdirAll(g.path("srv/logs"), 0o755))
	f, err := os.OpenFile(g.path("srv/logs/a.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	a := &away{g, f}
	a.print("1")
	a.settle()
	return a
}

func (a *away) print(line string) {
	_, err := io.WriteString(a.f, line+"\n")
	must(a.t, err)
}

// said wants so many lines of the log with each of these texts.
func (a *away) said(want map[string]int) {
	a.t.Helper()
	for text, n := range want {
		if got := strings.Count(a.out.String(), text); got != n {
			a.t.Errorf("%d lines say %q, want %d:\n%s", got, text, n, &a.out)
		}
	}
}

// What is written while a directory is away is read as it comes, through the open file, and once; the log says that it is
// away and that it is back.
func TestOpenFilesOfDirectoryAway(t *testing.T) {
	for _, name := range []string{"srv", "srv/logs"} {
		for _, glob := range []string{"srv/logs/*.log", "srv/*/*.log", "**/*.log"} {
			t.Run(name+" "+glob, func(t *testing.T) {
				a := newAway(t, glob)
				a.rename(name, "mnt")
				if !a.view.moved() {
					t.Error("nobody sees that it is away")
				}
				if strings.HasPrefix(glob, "**") {
					// Mnt is found, too: the file has another name
					a.settle()
					a.print("2")
					a.wait(time.Second)
					a.want("1", "2")
					return
				}
				a.settle()
				for i := range 3 {
					a.print(fmt.Sprint("away ", i))
					a.wait(namelessPoll)
				}
				a.wait(retryMost)
				a.want("1", "away 0", "away 1", "away 2")
				a.said(map[string]int{"directory is away": 1, "directory=" + a.path("srv/logs"): 1, "directory is back": 0})
				if n := a.count.ReadErrors.Load(); n != 1 || !a.searching {
					t.Errorf("%d errors, searching %v", n, a.searching)
				}
				a.rename("mnt", name)
				a.print("back")
				a.settle()
				a.wait(time.Second)
				a.want("1", "away 0", "away 1", "away 2", "back")
				a.said(map[string]int{"directory is away": 1, "directory is back": 1})
				if a.searching {
					t.Error("it is looked for although it is there")
				}
				a.rename(name, "mnt")
				a.settle()
				a.said(map[string]int{"directory is away": 2})
			})
		}
	}
}

// Another directory with files of the same names: both are read, once; and the first one may come back.
func TestDirectoryInPlaceOfOneAway(t *testing.T) {
	for _, seen := range []bool{false, true} {
		t.Run(fmt.Sprint("away is seen ", seen), func(t *testing.T) {
			a := newAway(t, "srv/logs/*.log")
			a.rename("srv/logs", "mnt")
			a.print("2")
			if seen {
				a.settle()
			}
			must(t, os.Mkdir(a.path("srv/logs"), 0o755))
			a.write("srv/logs/a.log", "new\n")
			a.settle()
			a.wait(time.Second)
			a.wantAny("1", "2", "new")
			a.wait(time.Minute)
			a.print("3")
			a.wait(time.Second)
			a.wantAny("1", "2", "new", "3")
			a.said(map[string]int{"another directory is in the place": 1, "directory is back": 0, "lost": 0})
			a.rename("srv/logs", "srv/other")
			a.rename("mnt", "srv/logs")
			a.print("4")
			a.settle()
			a.wait(time.Second)
			a.wantAny("1", "2", "new", "3", "4")
			a.said(map[string]int{"another directory is in the place": 1, "directory is back": 1, "lost": 0})
		})
	}
}

// A directory that is removed is read to the end through its open files, which are then closed. Below a wildcard that is
// how things end, and forgotten after a while.
func TestDirectoryRemoved(t *testing.T) {
	for _, glob := range []string{"srv/logs/*.log", "srv/*/*.log"} {
		t.Run(glob, func(t *testing.T) {
			a := newAway(t, glob)
			a.print("2")
			must(t, os.RemoveAll(a.path("srv/logs")))
			a.settle()
			a.print("3")
			a.wait(time.Second)
			a.want("1", "2", "3")
			a.wait(removedAfter + time.Second)
			a.wait(removedAfter + time.Second)
			if n := a.count.Open.Load(); n != 0 {
				t.Errorf("%d files are open", n)
			}
			level, errors, known := "level=WARN", uint64(1), 1
			if strings.Contains(glob, "srv/*") {
				level, errors, known = "level=INFO", 0, 0
			}
			a.said(map[string]int{level + ` msg="directory is away"`: 1, "lost": 0})
			if n := a.count.ReadErrors.Load(); n != errors {
				t.Errorf("%d errors, want %d", n, errors)
			}
			a.wait(goneAfter + time.Hour)
			if len(a.tracks) != known {
				t.Errorf("%d positions are known, want %d", len(a.tracks), known)
			}
		})
	}
}

// Closed as idle before, it has to wait until the directory is back; nobody tries all the time.
func TestClosedFileOfDirectoryAway(t *testing.T) {
	a := newAway(t, "srv/logs/*.log")
	a.wait(2 * idleAfter)
	if n := a.count.Open.Load(); n != 0 {
		t.Fatalf("%d files are open", n)
	}
	a.rename("srv", "mnt")
	a.print("2")
	a.settle()
	a.wait(time.Minute)
	a.want("1")
	a.rename("mnt", "srv")
	a.settle()
	a.want("1", "2")
	a.said(map[string]int{"directory is away": 1, "directory is back": 1})
}

// A start while it is away says so, and reads nothing twice later.
func TestStartWithoutDirectory(t *testing.T) {
	a := newAway(t, "srv/logs/*.log")
	a.rename("srv", "mnt")
	a.restart(len(a.log.steps))
	a.settle()
	a.wait(time.Minute)
	a.said(map[string]int{"directory is away": 1})
	a.rename("mnt", "srv")
	a.print("2")
	a.settle()
	a.want("2")
}

// A file system that is detached while its files are open, and comes back. Nobody is told of either.
func TestFileSystemAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	top := t.TempDir()
	real, mnt := filepath.Join(top, "real"), filepath.Join(top, "mnt")
	must(t, os.Mkdir(real, 0o755))
	must(t, os.Mkdir(mnt, 0o755))
	if err := syscall.Mount("none", real, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	defer syscall.Unmount(real, syscall.MNT_DETACH)
	mount := func() { must(t, syscall.Mount(real, mnt, "", syscall.MS_BIND, "")) }
	mount()
	defer syscall.Unmount(mnt, syscall.MNT_DETACH)
	g := newRig(t, mnt, nil)
	g.write("a.log", "1\n")
	g.settle()
	f, err := os.OpenFile(filepath.Join(real, "a.log"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	a := &away{g, f}
	must(t, syscall.Unmount(mnt, syscall.MNT_DETACH))
	if !a.view.moved() {
		t.Error("nobody sees that it is away")
	}
	a.settle()
	a.print("2")
	a.wait(time.Second)
	a.want("1", "2")
	mount()
	if !a.view.moved() {
		t.Error("nobody sees that it is back")
	}
	a.print("3")
	a.settle()
	a.want("1", "2", "3")
	a.said(map[string]int{"another directory is in the place": 1, "directory is back": 1, "lost": 0})
}
