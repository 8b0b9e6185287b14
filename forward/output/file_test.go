package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/forward/pack"
)

func newTestFile(t *testing.T, path string) (*file, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	o, err := newFile(func(into any) error { into.(*fileKeys).Path = path; return nil },
		Env{Log: slog.New(slog.NewTextHandler(log, nil))}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.(*file).Close() })
	return o.(*file), log
}

// deliver does what the engine does, and returns the states that had to be made durable.
func deliver(o *file, b *Batch) (states [][]byte, err error) {
	for {
		state, err := o.Prepare(b)
		if err != nil {
			return states, err
		}
		if state != nil {
			states = append(states, state)
		}
		if err = o.Send(context.Background(), b); !errors.Is(err, ErrAgain) {
			return states, err
		}
	}
}

func mustDeliver(t *testing.T, o *file, b *Batch) [][]byte {
	t.Helper()
	states, err := deliver(o, b)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

func mustHold(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %.300q, %v; want %q", filepath.Base(path), got, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func at(hour int, run Run) Run {
	a := pack.Attributes{Timestamp: time.Date(2024, 3, 5, hour, 7, 9, 0, time.Local).UnixNano(), Severity: 7}
	run.Attributes = a.Append(nil)
	return run
}

func TestFileModes(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b", "app.log")
	o, _ := newTestFile(t, path)
	states := mustDeliver(t, o, batchOf("1", linesRun("x")))
	if len(states) != 1 {
		t.Errorf("%d states", len(states))
	}
	if states := mustDeliver(t, o, batchOf("2", linesRun("y"))); len(states) != 0 {
		t.Errorf("%d states for a file that was open", len(states))
	}
	mustHold(t, path, "x\ny\n")
	for name, want := range map[string]os.FileMode{"a": 0o750 | os.ModeDir, "a/b": 0o750 | os.ModeDir, "a/b/app.log": 0o640} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestFilePaths(t *testing.T) {
	for path, want := range map[string]string{
		"/x/app.log":               "/x/app.log",
		"/x/%Y/%m-%d/%H%M%S.%j.%%": "/x/2024/03-05/060708.065.%",
		"%%Y":                      "%Y",
		"":                         "path is missing",
		"/x/":                      `path = "/x/" does not name a file`,
		"/x/%":                     `path = "/x/%" ends in a single %`,
		"/x/%q":                    `path = "/x/%q" has the unknown conversion %q`,
	} {
		p, err := parsePath(path)
		if err != nil {
			if !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%s: %v, want %s", path, err, want)
			}
			continue
		}
		if got := p.at(time.Date(2024, 3, 5, 6, 7, 8, 0, time.Local)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestFileArrivalTime: runs go where the time of their arrival says, in order, however they are mixed.
func TestFileArrivalTime(t *testing.T) {
	dir := t.TempDir()
	o, _ := newTestFile(t, filepath.Join(dir, "%H.log"))
	b := batchOf("1", at(6, linesRun("a", "b")), at(7, recordsRun("c")), at(6, linesRun("d")), at(7, linesRun("e", "f")), linesRun("g"))
	b.Accept(1)
	_, err := o.Prepare(b)
	must(t, err)
	state, err := o.Prepare(b) // storing the first one failed
	must(t, err)
	if m, _, err := decodeMark(state); err != nil || m.path != filepath.Join(dir, "06.log") || m.size != 0 {
		t.Errorf("prepared %+v, %v", m, err)
	}
	if err := o.Send(t.Context(), b); !errors.Is(err, ErrAgain) || b.IsPending(0) || !b.IsPending(2) || b.IsPending(3) {
		t.Fatalf("got %v with %d pending", err, b.Pending())
	}
	mustHold(t, filepath.Join(dir, "06.log"), "a\nd\n")
	if err := o.Send(t.Context(), b); err == nil || errors.Is(err, ErrAgain) || b.Pending() != 4 {
		t.Fatalf("sent without Prepare: %v with %d pending", err, b.Pending())
	}
	if states := mustDeliver(t, o, b); len(states) != 2 || b.Pending() != 0 {
		t.Errorf("%d states, %d pending", len(states), b.Pending())
	}
	mustHold(t, filepath.Join(dir, "07.log"), "c\ne\nf\n")
	mustHold(t, filepath.Join(dir, time.Unix(0, 0).Format("15")+".log"), "g\n")
	if states := mustDeliver(t, o, batchOf("2", at(6, linesRun("h")))); len(states) != 1 {
		t.Errorf("%d states for a file that was left and is opened again", len(states))
	}
	mustHold(t, filepath.Join(dir, "06.log"), "a\nd\nh\n")
}

// TestFileRestore: what is beyond the restored mark is what comes again, or is cut, if it is the same file.
func TestFileRestore(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error // between the lives
		want   string
		logged string
		cut    uint64
	}{
		{"nothing happened", func(string) error { return nil }, "one\ntwo\nthree\n", "", 0},
		{"surplus", func(p string) error { return appendTo(p, "three\n") }, "one\ntwo\nthree\n", "", 0},
		{"torn surplus", func(p string) error { return appendTo(p, "thr") }, "one\ntwo\nthree\n", "cut off", 3},
		{"shorter", func(p string) error { return os.Truncate(p, 4) }, "one\nthree\n", "shorter", 0},
		{"shorter and torn", func(p string) error { return os.Truncate(p, 6) }, "one\ntw\nthree\n", "shorter", 0},
		{"removed", os.Remove, "three\n", "", 0},
		{"rotated", func(p string) error { return os.Rename(p, p+".1") }, "three\n", "moved or removed", 0},
		{"rotated and written to", func(p string) error {
			return errors.Join(os.Rename(p, p+".1"), os.WriteFile(p, []byte("somebody else's\nlines, the last one torn"), 0o600))
		}, "somebody else's\nlines, the last one torn\nthree\n", "moved or removed", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, long := range []string{"", strings.Repeat("/"+strings.Repeat("x", 100), 4)} {
				path := t.TempDir() + long + "/app.log"
				first, _ := newTestFile(t, path)
				mustDeliver(t, first, batchOf("1", linesRun("one", "two")))
				state := first.State()
				if len(state) > 256 {
					t.Fatalf("a state of %d bytes", len(state))
				}
				must(t, first.Close())
				must(t, c.change(path))

				second, log := newTestFile(t, path)
				must(t, second.Restore(state))
				if !bytes.Equal(second.State(), state) {
					t.Error("the state was forgotten before the file was opened")
				}
				mustDeliver(t, second, batchOf("2", linesRun("three")))
				mustHold(t, path, c.want)
				if !strings.Contains(log.String(), c.logged) || c.logged == "" && c.name != "removed" && log.Len() > 0 {
					t.Errorf("logged %q, want %q", log, c.logged)
				}
				if n := second.env.Counters.CutBytes.Load(); n != c.cut {
					t.Errorf("%d bytes counted as cut, want %d", n, c.cut)
				}
			}
		})
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// TestFileChangedUnderUs: rotation of any kind is noticed before the next batch and costs no record.
func TestFileChangedUnderUs(t *testing.T) {
	for _, c := range []struct {
		name      string
		change    func(path string) error
		want, old string
	}{
		{"renamed", func(p string) error { return os.Rename(p, p+".1") }, "two\n", "one\n"},
		{"removed", os.Remove, "two\n", ""},
		{"copied and truncated", func(p string) error { return os.Truncate(p, 0) }, "two\n", ""},
		{"directory removed", func(p string) error { return os.RemoveAll(filepath.Dir(p)) }, "two\n", ""},
		{"replaced", func(p string) error {
			return errors.Join(os.Rename(p, p+".1"), os.WriteFile(p, []byte("new\n"), 0o600))
		}, "new\ntwo\n", "one\n"},
		{"written to", func(p string) error { return appendTo(p, "theirs\n") }, "one\ntheirs\ntwo\n", ""},
		{"written to, half a line", func(p string) error { return appendTo(p, "theirs") }, "one\ntheirs\ntwo\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "logs", "app.log")
			o, _ := newTestFile(t, path)
			mustDeliver(t, o, batchOf("1", linesRun("one")))
			must(t, c.change(path))
			if states := mustDeliver(t, o, batchOf("2", linesRun("two"))); len(states) != 1 {
				t.Errorf("%d states", len(states))
			}
			mustHold(t, path, c.want)
			if c.old != "" {
				mustHold(t, path+".1", c.old)
			}
			if n := o.env.Counters.Reconnects.Load(); n != 1 {
				t.Errorf("%d reconnects", n)
			}
			if states := mustDeliver(t, o, batchOf("3", linesRun("three"))); len(states) != 0 {
				t.Errorf("%d states for a file that did not change", len(states))
			}
			mustHold(t, path, c.want+"three\n")
		})
	}
}

func TestFileRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, name := range []string{"fifo", "."} {
		o, _ := newTestFile(t, dir+"/"+name)
		if _, err := deliver(o, batchOf("1", linesRun("x"))); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMark(t *testing.T) {
	long := strings.Repeat("/long", 100)
	for _, m := range []fileMark{{"/a", 1, 0}, {"/a", 1<<64 - 1, 1<<63 - 1}, {long, 1 << 40, 1 << 40}} {
		state := m.encode()
		got, hashed, err := decodeMark(state)
		if hashed {
			m.path = hashPath(m.path)
		}
		if err != nil || got != m || len(state) > 256 || hashed != (len(m.path) == 32) {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
	fits := fileMark{strings.Repeat("x", 256-1-1-1), 1, 1}
	if m, hashed, err := decodeMark(fits.encode()); err != nil || hashed || m != fits {
		t.Errorf("a path that just fits: hashed %v, %v", hashed, err)
	}
	o, _ := newTestFile(t, "/nowhere")
	for _, bad := range []string{"", "\x00", "\x01", "\x01\x01", "\x01\x01\x01", "\x03\x01\x01/a", "\x02\x01\x01/a", "\x01\xff\xff", "\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01/a"} {
		if err := o.Restore([]byte(bad)); err == nil {
			t.Errorf("%q was taken as %+v", bad, o.restored)
		}
	}
}

func FuzzMark(f *testing.F) {
	f.Add(fileMark{"/a", 1, 2}.encode())
	f.Add(fileMark{strings.Repeat("x", 300), 1, 2}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, hashed, err := decodeMark(b)
		if err != nil {
			return
		}
		if hashed {
			return // the path is not in it
		}
		again, _, err := decodeMark(m.encode())
		if err != nil || len(b) <= markMost && again != m {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

// TestFileTakesBackAtOnce: who reads the file after a failed write finds whole lines, not what will be written again.
func TestFileTakesBackAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.log")
	o, _ := newTestFile(t, path)
	mustDeliver(t, o, batchOf("1", linesRun("one")))
	write := o.ops.write
	o.ops.write = func(f *os.File, p []byte) (int, error) {
		n, err := write(f, p[:len(p)/2])
		return n, errors.Join(errInjected, err)
	}
	b := batchOf("2", linesRun("two", "three"))
	if _, err := deliver(o, b); !errors.Is(err, errInjected) || !strings.Contains(err.Error(), path) || b.Pending() != 2 {
		t.Fatalf("got %v with %d pending", err, b.Pending())
	}
	mustHold(t, path, "one\n")
	o.ops.write = write
	mustDeliver(t, o, b)
	mustHold(t, path, "one\ntwo\nthree\n")
}

var errInjected = fmt.Errorf("injected: %w", syscall.EIO)
