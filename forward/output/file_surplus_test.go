package output

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestFileSurplus: what a crash has left of this output's own lines stays or is written again, once; what somebody else has
// appended while it was down is never destroyed.
func TestFileSurplus(t *testing.T) {
	zeros := strings.Repeat("\x00", 5000)
	for _, c := range []struct {
		name, left string // behind "one\ntwo\n"
		kept       string // in a file beside
		at         int    // where that stood
		cut        uint64
	}{
		{"nothing", "", "", 0, 0},
		{"one batch", "three\nfour\n", "", 0, 0},
		{"two batches and a part", "three\nfour\nfive\nsi", "", 0, 7},
		{"all", "three\nfour\nfive\nsix\nseven\n", "", 0, 0},
		{"torn", "thr", "", 0, 3},
		{"zeros", "three\nfo" + zeros, "", 0, uint64(8 + len(zeros))},
		{"foreign", "theirs\n", "theirs\n", 8, 0},
		{"foreign without an end", "theirs", "theirs", 8, 0},
		{"foreign, and it begins alike", "three men\n", "three men\n", 8, 0},
		{"ours, then foreign", "three\nfour\ntheirs\n", "theirs\n", 19, 0},
		{"within a batch", "three\ntheirs\n", "theirs\n", 14, 6},
		{"behind everything", "three\nfour\nfive\nsix\nseven\ntheirs\n", "theirs\n", 34, 0},
		{"torn, then foreign", "three\nfotheirs\n", "fotheirs\n", 14, 6},
		{"damaged", "three\n\x00\x00\x00\x00\nfive\n", "\x00\x00\x00\x00\nfive\n", 14, 6},
		{"large", strings.Repeat("theirs\n", 50000), strings.Repeat("theirs\n", 50000), 8, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.log")
			first, _ := newTestFile(t, path)
			mustDeliver(t, first, batchOf("1", linesRun("one", "two")))
			state := first.State()
			must(t, first.Close())
			must(t, appendTo(path, c.left))
			second, log := newTestFile(t, path)
			must(t, second.Restore(state))
			for _, b := range []*Batch{batchOf("2", linesRun("three", "four")), batchOf("3", linesRun("five"), recordsRun("six")), batchOf("4", linesRun("seven")), batchOf("5", linesRun("eight"))} {
				mustDeliver(t, second, b)
			}
			if c.kept == "" && c.cut == 0 && log.Len() > 0 {
				t.Errorf("logged %s", log)
			}
			mustHold(t, path, "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n")
			if n := second.env.Counters.CutBytes.Load(); n != c.cut {
				t.Errorf("%d bytes counted as cut, want %d", n, c.cut)
			}
			beside, err := filepath.Glob(path + ".surplus*")
			must(t, err)
			if c.kept == "" {
				if len(beside) > 0 {
					t.Errorf("there is %v", beside)
				}
				return
			}
			mustHold(t, path+".surplus-"+strconv.Itoa(c.at), c.kept)
			if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), beside[0]) {
				t.Errorf("logged %s", log)
			}
		})
	}
}

// TestFileSurplusKeptOnce: where the file cannot be cut, its foreign bytes are kept once, however often that is tried; where they
// cannot be kept, nothing is cut.
func TestFileSurplusKeptOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.log")
	first, _ := newTestFile(t, path)
	mustDeliver(t, first, batchOf("1", linesRun("one")))
	state := first.State()
	must(t, first.Close())
	must(t, appendTo(path, "theirs\n"))
	must(t, os.WriteFile(path+".surplus-4", []byte("of another time\n"), 0o600))
	o, _ := newTestFile(t, path)
	must(t, o.Restore(state))
	truncate := o.ops.truncate
	o.ops.truncate = func(*os.File, int64) error { return errInjected }
	b := batchOf("2", linesRun("two"))
	for range 3 {
		if _, err := deliver(o, b); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		mustHold(t, path, "one\ntheirs\n")
	}
	o.ops.truncate = truncate
	mustDeliver(t, o, b)
	mustHold(t, path, "one\ntwo\n")
	mustHold(t, path+".surplus-4.2", "theirs\n")
	if beside, err := filepath.Glob(path + ".surplus*"); err != nil || len(beside) != 2 {
		t.Errorf("%v, %v", beside, err)
	}
}

// TestFileSurplusIsSynced: lines that are there already count when they are synced, and are written over for that: a sync that
// failed in another life may have left them in memory only.
func TestFileSurplusIsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	first, _ := newTestFile(t, path)
	mustDeliver(t, first, batchOf("1", linesRun("one")))
	state := first.State()
	must(t, first.Close())
	must(t, appendTo(path, "two\nthree\n"))
	o, _ := newTestFile(t, path)
	must(t, o.Restore(state))
	write, sync := o.ops.write, o.ops.sync
	written := ""
	o.ops.write = func(f *os.File, p []byte) (int, error) { written += string(p); return write(f, p) }
	o.ops.sync = func(*os.File) error { return errInjected }
	b := batchOf("2", linesRun("two"))
	if _, err := deliver(o, b); !errors.Is(err, errInjected) || b.Pending() != 1 {
		t.Fatalf("%v, %d pending", err, b.Pending())
	}
	mustHold(t, path, "one\ntwo\nthree\n")
	o.ops.sync = sync
	mustDeliver(t, o, b)
	if written != "two\ntwo\n" {
		t.Errorf("wrote %q", written)
	}
	if m, _, err := decodeMark(o.State()); err != nil || m.size != 8 {
		t.Errorf("%+v, %v", m, err)
	}
	mustHold(t, path, "one\ntwo\nthree\n")
}

// TestFileSurplusOfAnotherHour: before another file is opened it is settled, since what comes for it later is appended.
func TestFileSurplusOfAnotherHour(t *testing.T) {
	dir := t.TempDir()
	first, _ := newTestFile(t, filepath.Join(dir, "%H.log"))
	mustDeliver(t, first, batchOf("1", at(6, linesRun("a"))))
	state := first.State()
	must(t, first.Close())
	six := filepath.Join(dir, "06.log")
	must(t, appendTo(six, "b\ntheirs\n"))
	o, _ := newTestFile(t, filepath.Join(dir, "%H.log"))
	must(t, o.Restore(state))
	mustDeliver(t, o, batchOf("2", at(6, linesRun("b"))))
	mustHold(t, six, "a\nb\ntheirs\n")
	mustDeliver(t, o, batchOf("3", at(7, linesRun("c")), at(6, linesRun("d"))))
	mustHold(t, six, "a\nb\nd\n")
	mustHold(t, filepath.Join(dir, "07.log"), "c\n")
	mustHold(t, six+".surplus-4", "theirs\n")
}

// TestFileTakesBackItsOwn: what somebody has appended during a failed write is not cut with it.
func TestFileTakesBackItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	o, _ := newTestFile(t, path)
	mustDeliver(t, o, batchOf("1", linesRun("one")))
	write := o.ops.write
	o.ops.write = func(f *os.File, p []byte) (int, error) {
		n, err := write(f, p[:len(p)/2])
		return n, errors.Join(errInjected, err, appendTo(path, "their long line\n"))
	}
	b := batchOf("2", linesRun("two", "three"))
	if _, err := deliver(o, b); !errors.Is(err, errInjected) {
		t.Fatal(err)
	}
	o.ops.write = write
	mustDeliver(t, o, b)
	mustHold(t, path, "one\ntwo\nthree\n")
	beside, err := filepath.Glob(path + ".surplus*")
	if err != nil || len(beside) != 1 {
		t.Fatal(beside, err)
	}
	if text, err := os.ReadFile(beside[0]); err != nil || !strings.Contains(string(text), "their long line\n") {
		t.Errorf("%q, %v", text, err)
	}
}

// TestFileNotInDataDir: a file among those of the queue would be one of them, or overwrite one.
func TestFileNotInDataDir(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	must(t, os.Mkdir(data, 0o700))
	must(t, os.Symlink(data, filepath.Join(dir, "link")))
	t.Chdir(dir)
	for path, in := range map[string]bool{
		data + "/segments/00000000000000000001-00000000000000ff.seg": true,
		data + "/x.log":            true,
		data + "/new/%Y/%m.log":    true,
		data + "/%Y.log":           true,
		"data/x":                   true,
		"./other/../data/x":        true,
		"link/x.log":               true,
		"link/deep/%d.log":         true,
		data:                       true,
		data + "2/x.log":           false,
		data + "-%Y.log":           false,
		"x.log":                    false,
		"%Y/data/x.log":            false,
		"data/../x.log":            false,
		filepath.Dir(dir) + "/y":   false,
		dir + "/100%%/%Y/data.log": false,
	} {
		_, err := newFile(func(into any) error { into.(*fileKeys).Path = path; return nil }, Env{DataDir: "data"}.withDefaults())
		if got := err != nil && strings.Contains(err.Error(), "is in data_dir, data, which belongs to the queue alone; "); got != in {
			t.Errorf("%s: %v", path, err)
		}
	}
}
