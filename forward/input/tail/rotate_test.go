package tail

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func (g *rig) rename(from, to string) {
	g.t.Helper()
	must(g.t, os.Rename(g.path(from), g.path(to)))
}

func (g *rig) truncate(name string) {
	g.t.Helper()
	must(g.t, os.Truncate(g.path(name), 0))
}

func (g *rig) remove(name string) {
	g.t.Helper()
	must(g.t, os.Remove(g.path(name)))
}

func (g *rig) copy(from, to string) {
	g.t.Helper()
	b, err := os.ReadFile(g.path(from))
	must(g.t, err)
	must(g.t, os.WriteFile(g.path(to), b, 0o644))
}

func (g *rig) gzip(from, to string) {
	g.t.Helper()
	(&world{t: g.t}).gzip(g.path(from), g.path(to))
}

// down is a stop, after which all that was handed over is durable; during it do happens. What was read before is not
// wanted again.
func (g *rig) down(do func()) {
	g.kill()
	known := g.log.after(len(g.log.steps))
	do()
	g.start(known)
	g.settle()
}

func TestStartAtEnd(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.FromEnd = true })
	g.write("a.log", "old\nold 2\nbeg")
	g.write("b.log", strings.Repeat("no line feed in it ", 20_000))
	g.settle()
	g.wait(time.Hour)
	g.want()
	g.write("a.log", "un\nnew\n")
	g.write("b.log", "\nafter\n")
	g.write("c.log", "appeared\n")
	g.settle()
	g.wantAny("begun", "new", "after", "appeared")
	g.down(func() { g.write("d.log", "while down\n"); g.write("a.log", "more\n") })
	g.wantAny("more", "while down")
}

func TestANewPatternStartsAtTheEnd(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.FromEnd = true })
	g.write("a.log", "old\n")
	g.write("b.txt", "old\n")
	g.settle()
	g.opt.Paths = append(g.opt.Paths, g.path("*.txt"))
	g.down(func() { g.write("b.txt", "still old\n"); g.write("new.log", "new\n") })
	g.write("b.txt", "now\n")
	g.settle()
	g.wantAny("new", "now")
}

func TestSeveralRotationsWhileDown(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n2\n3")
	g.settle()
	g.down(func() {
		g.write("a.log", "3\n4\n")
		g.rename("a.log", "a.log.1")
		g.write("a.log", "5\nno end")
		g.gzip("a.log.1", "a.log.2.gz")
		g.remove("a.log.1")
		g.rename("a.log", "a.log.1")
		g.write("a.log", "7\n")
	})
	g.want("33", "4", "5")
	g.wait(2 * time.Second)
	g.want("33", "4", "5", "no end", "7")
	if g.count.LostBytes.Load() != 0 {
		t.Error("bytes count as lost")
	}
}

func TestCopytruncateWhileBehind(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n2\n")
	g.settle()
	g.write("a.log", "3\n4\nhalf")
	g.copy("a.log", "a.log.1")
	g.truncate("a.log")
	g.write("a.log", "5\n")
	g.settle()
	g.want("1", "2", "3", "4", "half", "5")
	if n := g.count.Truncations.Load(); n != 0 && n != 1 {
		t.Errorf("%d truncations", n)
	}
}

// A file that is cut, and has grown beyond the old offset when it is seen again.
func TestCopytruncateAndGrown(t *testing.T) {
	for _, open := range []bool{true, false} {
		g := newRig(t, t.TempDir(), nil)
		g.write("a.log", "1\n2\n")
		g.settle()
		if !open {
			g.wait(2 * idleAfter)
			g.tick(g.now)
		}
		g.write("a.log", "3\n")
		g.copy("a.log", "a.log.1")
		g.truncate("a.log")
		g.write("a.log", strings.Repeat("new\n", 3))
		g.settle()
		g.want("1", "2", "3", "new", "new", "new")
	}
}

func TestTruncatedWithoutACopy(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n2\n")
	g.settle()
	g.write("a.log", "lost\n")
	g.look() // it is seen
	g.truncate("a.log")
	g.write("a.log", "3\n")
	g.settle()
	g.want("1", "2", "3")
	if n := g.count.LostBytes.Load(); n != 5 {
		t.Errorf("%d bytes lost, want 5", n)
	}
	if !strings.Contains(g.out.String(), "bytes of a file are lost") {
		t.Errorf("the log says\n%s", &g.out)
	}
	if g.count.Truncations.Load() != 1 {
		t.Errorf("%d truncations", g.count.Truncations.Load())
	}
}

// A copy that is being made, and is complete before the file is cut, is no new file at any time.
func TestACopyIsNoNewFile(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.Paths = []string{filepath.Join(filepath.Dir(o.Paths[0]), "a.log*")} })
	text := strings.Repeat("a line of some length\n", 100)
	g.write("a.log", text)
	g.settle()
	n := len(g.log.lines(len(g.log.steps)))
	g.write("a.log", "unread\n")
	all := text + "unread\n"
	for _, size := range []int{0, 1, 50, 1500, len(all) - 1, len(all)} {
		must(t, os.WriteFile(g.path("a.log.1"), []byte(all[:size]), 0o644))
		g.look() // nobody reads
	}
	g.truncate("a.log")
	g.write("a.log", "after\n")
	g.settle()
	got := g.log.lines(len(g.log.steps))
	if len(got) != n+2 || got[n] != "unread" || got[n+1] != "after" {
		t.Errorf("records after the copy: %q", got[n:])
	}
}

func TestCompressedWhileRead(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n")
	g.settle()
	g.write("a.log", "2\n3\n")
	g.rename("a.log", "a.log.1")
	g.look()
	g.gzip("a.log.1", "a.log.1.gz")
	g.look()
	g.remove("a.log.1")
	g.write("a.log", "4\n")
	g.settle()
	g.want("1", "2", "3", "4")
	g.down(func() { g.rename("a.log.1.gz", "a.log.2.gz"); g.write("a.log", "5\n") })
	g.want("5")
}

// A compressed file that breaks off is read as far as it goes, and on when it grows.
func TestCompressedFileGrows(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) {
		o.Paths = []string{filepath.Join(filepath.Dir(o.Paths[0]), "*.gz")}
		o.PartialAfter = 24 * time.Hour
	})
	var text strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&text, "line %d %x\n", i, i*7919)
	}
	g.write("whole", text.String())
	g.gzip("whole", "tmp")
	b, err := os.ReadFile(g.path("tmp"))
	must(t, err)
	for _, end := range []int{5, 100, len(b) / 2, len(b) - 3, len(b)} {
		must(t, os.WriteFile(g.path("a.gz"), b[:end], 0o644))
		g.wait(retryMost)
	}
	got := strings.Join(g.log.lines(len(g.log.steps)), "\n") + "\n"
	if got != text.String() {
		t.Errorf("%d bytes of records, want %d\n%s", len(got), text.Len(), &g.out)
	}
}

func TestHistoryInOrder(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.Paths = []string{filepath.Join(filepath.Dir(o.Paths[0]), "a.log*")} })
	g.write("x", "1\n")
	g.gzip("x", "a.log.10.gz")
	g.write("a.log.9", "2\n")
	g.write("a.log.2", "3\nend")
	g.write("a.log.1", "4\n")
	g.write("a.log", "5\n")
	old := time.Now().Add(-time.Hour)
	for i, name := range []string{"a.log.10.gz", "a.log.9", "a.log.2", "a.log.1"} {
		must(t, os.Chtimes(g.path(name), old, old.Add(time.Duration(i)*time.Minute)))
	}
	g.settle()
	g.want("1", "2", "3", "end", "4", "5")
}

func TestRotatedFilesFromBeforeAreHistory(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log.1", "history\n")
	g.write("b.log-20261119", "history\n")
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(g.path("a.log.1"), old, old))
	must(t, os.Chtimes(g.path("b.log-20261119"), old, old))
	g.write("a.log", "1\n")
	g.settle()
	g.down(func() { g.rename("a.log.1", "a.log.2"); g.rename("a.log", "a.log.1"); g.write("a.log", "2\n") })
	g.write("b.log", "b\n")
	g.settle()
	g.wantAny("2", "b")
}

// Files that are removed while they are read, and read on through the open descriptor.
func TestRemoved(t *testing.T) {
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "1\n")
	g.settle()
	w, err := os.OpenFile(g.path("a.log"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer w.Close()
	w.WriteString("2\n")
	g.remove("a.log")
	g.write("a.log", "4\n")
	w.WriteString("3\nend")
	g.settle()
	g.wait(2 * time.Second)
	g.want("1", "2", "3", "end", "4")
	if g.count.LostBytes.Load() != 0 {
		t.Error("bytes count as lost")
	}
	g.wait(2 * removedAfter)
	g.tick(g.now)
	if n := g.count.Open.Load(); n != 1 {
		t.Errorf("%d files are open, want 1: the removed one is closed", n)
	}
	for range 3 {
		g.wait(goneAfter)
	}
	if n := g.count.Known.Load(); n != 1 {
		t.Errorf("%d files are known, want 1", n)
	}
}

// The number of a deleted file is used again by another one, of the same size even.
func TestInodeUsedAgain(t *testing.T) {
	g := newRig(t, t.TempDir(), func(o *Options) { o.MaxOpen = 1 })
	g.write("a.log", "old\n")
	g.settle()
	g.wait(2 * idleAfter)
	g.tick(g.now)
	for i, text := range []string{"new", "nex"} {
		before := len(g.log.lines(len(g.log.steps)))
		if i == 0 {
			// In place is the surest way to have another file with the same number.
			must(t, os.WriteFile(g.path("a.log"), []byte(text+"\n"), 0o644))
			g.rename("a.log", "z.log")
			g.settle()
		} else {
			before = 0
			g.down(func() {
				must(t, os.WriteFile(g.path("z.log"), []byte(text+"\n"), 0o644))
				g.rename("z.log", "a.log")
			})
		}
		if got := g.log.lines(len(g.log.steps))[before:]; len(got) != 1 || got[0] != text {
			t.Errorf("%q is read as %q", text, got)
		}
		g.wait(2 * idleAfter)
		g.tick(g.now)
	}
}

// Who does not append goes on writing where it was after its file was cut: the hole before it is no record.
func TestHoleAtTheBeginning(t *testing.T) {
	for _, size := range []int{1000, 3 << 20} {
		g := newRig(t, t.TempDir(), nil)
		g.write("a.log", strings.Repeat("x", size)+"\n")
		g.settle()
		before := len(g.log.lines(len(g.log.steps)))
		g.copy("a.log", "a.log.1")
		g.truncate("a.log")
		g.settle()
		must(t, os.Truncate(g.path("a.log"), int64(size)))
		g.settle()
		g.write("a.log", "after\n")
		g.settle()
		if got := g.log.lines(len(g.log.steps))[before:]; len(got) != 1 || got[0] != "after" {
			t.Errorf("%d records, the first %.50q", len(got), got)
		}
	}
	g := newRig(t, t.TempDir(), nil)
	g.write("a.log", "\x00\x00 bytes as they are\n")
	g.settle()
	g.want("\x00\x00 bytes as they are")
}
