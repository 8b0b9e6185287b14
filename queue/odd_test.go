//go:build unix

package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// oddThings are what may stand where a file belongs.
var oddThings = map[string]func(path, outside string) error{
	"directory": func(path, _ string) error {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(path, "inside"), []byte("x"), 0o600)
	},
	"link":     func(path, outside string) error { return os.Symlink(outside, path) },
	"dangling": func(path, _ string) error { return os.Symlink("nowhere", path) },
	"fifo":     func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
}

// openReal opens a queue on the real file system and takes its records.
func openReal(t *testing.T, dir string, log *liveLog, want int) {
	t.Helper()
	q, err := Open(Options{Dir: dir, SegmentSize: 64 << 10, MinFree: -1, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	b := &bench{T: t, q: q, ctx: t.Context()}
	r := q.Reader("out", Oldest)
	b.append("another")
	if got, lost := b.take(r, want); len(got) != want || lost > 0 {
		t.Errorf("%q, %d lost", got, lost)
	}
}

// TestOddThings: whatever stands where a file of the queue belongs, it starts by itself, opens and follows nothing of that,
// keeps it, and has every record. Live tools do not mind either.
func TestOddThings(t *testing.T) {
	for _, name := range []string{"identity", "LOCK", "losses.jsonl", "checkpoints.recent", "checkpoints.db", "reserve", "identity.tmp", "losses.jsonl.tmp", "checkpoints.db.tmp", "quarantine", "deadletter"} {
		for kind, put := range oddThings {
			if (name == "quarantine" || name == "deadletter") && kind != "fifo" {
				continue // a directory belongs there, and it may be a link to one
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				var log liveLog
				dir, outside := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "outside")
				if err := os.WriteFile(outside, []byte("not ours"), 0o600); err != nil {
					t.Fatal(err)
				}
				openReal(t, dir, &log, 1)
				path := filepath.Join(dir, name)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := put(path, outside); err != nil {
					t.Fatal(err)
				}
				if s, err := recovery.TakeSurvey(vfs.OS(), dir); err != nil || !strings.Contains(fmt.Sprint(s.Notes), name+" is ") {
					t.Errorf("stat: %+v, %v", s, err)
				}
				if r, err := recovery.Check(t.Context(), vfs.OS(), dir, recovery.CheckOptions{}); err != nil || !strings.Contains(fmt.Sprint(r.Notes), name+" is ") {
					t.Errorf("fsck: %+v, %v", r, err)
				}
				began := time.Now()
				openReal(t, dir, &log, 1)
				t.Logf("opened in %v", time.Since(began))
				if !log.has("set aside what stood in the place of a file of the queue") {
					t.Error("the log does not tell of it")
				}
				into := filepath.Join(dir, "quarantine")
				if name == "quarantine" {
					into = dir
				}
				kept, err := os.Lstat(filepath.Join(into, name+".damaged.1"))
				if err != nil || kept.Mode().IsRegular() {
					t.Errorf("%v, %v", kept, err)
				}
				if text, err := os.ReadFile(outside); err != nil || string(text) != "not ours" {
					t.Errorf("outside is %q, %v", text, err)
				}
				if r, err := recovery.Check(t.Context(), vfs.OS(), dir, recovery.CheckOptions{}); err != nil || !r.Clean || r.LastSequence != 2 {
					t.Errorf("fsck: %+v, %v", r, err)
				}
				if name == "quarantine" {
					return
				}
				all, err := recovery.ListQuarantine(vfs.OS(), dir)
				if err != nil || len(all) == 0 {
					t.Fatalf("%+v, %v", all, err)
				}
				_, err = recovery.DropQuarantined(vfs.OS(), dir, all)
				if _, serr := os.Lstat(filepath.Join(into, name+".damaged.1", "inside")); kind == "directory" && (err == nil || serr != nil) || kind != "directory" && err != nil {
					t.Errorf("%v, %v", err, serr)
				}
				if _, err := os.Stat(outside); err != nil {
					t.Errorf("dropping it has followed a link: %v", err)
				}
			})
		}
	}
}

// TestOddLockOnce: of many who start at the same time on a directory whose lock is no file, one gets it.
func TestOddLockOnce(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var held []func() error
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if lock, _, err := recovery.Lock(vfs.OS(), dir, "test"); err == nil {
					mu.Lock()
					held = append(held, lock.Close)
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if len(held) != 1 {
			t.Fatalf("%d hold the lock", len(held))
		}
		if err := held[0](); err != nil {
			t.Error(err)
		}
	}
}

// TestDanglingDirs: a link that is to lead to a directory, and leads nowhere, is told of and stays: its disk may come back.
func TestDanglingDirs(t *testing.T) {
	var log liveLog
	dir := filepath.Join(t.TempDir(), "data")
	openReal(t, dir, &log, 1)
	if err := os.Symlink("nowhere", filepath.Join(dir, "deadletter")); err != nil {
		t.Fatal(err)
	}
	openReal(t, dir, &log, 1)
	if r, err := recovery.Check(t.Context(), vfs.OS(), dir, recovery.CheckOptions{}); err != nil || !r.Clean || !strings.Contains(fmt.Sprint(r.Notes), "deadletter is a symbolic link that leads to no directory: ") {
		t.Errorf("fsck: %+v, %v", r, err)
	}
	if s, err := recovery.TakeSurvey(vfs.OS(), dir); err != nil || !strings.Contains(fmt.Sprint(s.Notes), "deadletter is a symbolic link that leads to no directory: ") {
		t.Errorf("stat: %+v, %v", s, err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "deadletter")); err != nil || to != "nowhere" {
		t.Errorf("%q, %v", to, err)
	}
	if _, err := Open(Options{Dir: filepath.Join(dir, "deadletter")}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a queue in its place: %v", err)
	}
}

// TestOddSegments: a segment directory that is none is set aside, and a link to one is not.
func TestOddSegments(t *testing.T) {
	var log liveLog
	dir := filepath.Join(t.TempDir(), "data")
	openReal(t, dir, &log, 1)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	segments := filepath.Join(dir, recovery.SegmentDir)
	if err := os.Rename(segments, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, segments); err != nil {
		t.Fatal(err)
	}
	openReal(t, dir, &log, 1)
	if log.has("set aside") {
		t.Error("an operator's link was set aside")
	}
	if err := os.Remove(segments); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segments, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	q, err := Open(Options{Dir: dir, SegmentSize: 64 << 10, MinFree: -1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil || !log.has("set aside") {
		t.Errorf("%v", err)
	}
}

// TestOddSegmentLive: where a directory takes the place of a segment while the queue is open, a reader asks for the file for a while,
// writes its records down as lost then, and goes on.
func TestOddSegmentLive(t *testing.T) {
	b := newBench(t, func(o *Options) { o.readPatience = 50 * time.Millisecond })
	r := b.q.Reader("out", Oldest)
	b.fill(40, 8000)
	waitFor(t, "all but the newest are sealed", func() bool {
		all := b.q.files.snapshot()
		return len(all) > 4 && !slices.ContainsFunc(all[:len(all)-1], func(f *file) bool { return !f.settled.Load() })
	})
	names := b.old()
	lost := names[2].First - names[1].First
	if err := errors.Join(b.fsys.Remove(segPath(names[1])), b.fsys.MkdirAll(segPath(names[1]))); err != nil {
		t.Fatal(err)
	}
	var came, gone uint64
	var refused error
	waitFor(t, "everything else", func() bool {
		var f segment.Frame
		ok, missing, err := r.TryNext(b.ctx, &f)
		if err != nil {
			refused = err
			return false
		}
		gone += countOf(missing)
		if ok {
			came += uint64(f.Count)
			r.Done(nil, rangeOf(&f))
		}
		return came+gone == 40
	})
	if refused == nil || gone != lost || b.inLedger("missing segment") != lost {
		t.Errorf("%d came, %d of %d lost, %d in the ledger; it was refused with %v", came, gone, lost, b.inLedger(""), refused)
	}
	if _, err := b.q.scrubAll(); err != nil && !errors.Is(err, fs.ErrInvalid) { // it may still be there, or deleted as delivered
		t.Error(err)
	}
	b.checkpoint(r)
	waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() == 1 })
	r.Close()
	b.reopen()
	if report := b.fsck(); !report.Clean || b.inLedger("") != lost {
		t.Errorf("fsck: %+v", report)
	}
}

// TestHugeTail: a segment that was being written and has grown far beyond what one can be gives its records, without a look at
// all of it. Where there is nothing but a hole behind them it is as ever; bytes there are not destroyed.
func TestHugeTail(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		var log liveLog
		dir, killed := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "killed")
		b := &bench{T: t, ctx: t.Context()}
		var err error
		if b.q, err = Open(Options{Dir: dir, SegmentSize: 64 << 10, MinFree: -1}); err != nil {
			t.Fatal(err)
		}
		b.q.Reader("holds", Oldest)
		b.append("one")
		err = os.CopyFS(killed, os.DirFS(dir))
		b.close()
		if err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(killed, recovery.SegmentDir, "*.seg"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		if err := os.Truncate(names[0], 64<<30); err != nil {
			t.Skipf("no such file here: %v", err)
		}
		if foreign {
			writeTo(t, names[0], 40<<30)
		}
		began := time.Now()
		openReal(t, killed, &log, 2)
		t.Logf("foreign bytes %v: %v", foreign, time.Since(began))
		if time.Since(began) > 20*time.Second {
			t.Error("all of it was read")
		}
		if _, err := os.Stat(names[0]); foreign && err == nil {
			info, err := os.Stat(names[0])
			if err != nil || info.Size() != 64<<30 {
				t.Errorf("%v, %v", info, err)
			}
		}
	}
}

// writeTo puts foreign bytes into a file.
func writeTo(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("not ours"), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestHugeSegment: a file with the name of a segment that is nothing but a hole, or almost, much larger than a segment can be,
// costs neither the start nor stat nor fsck any time.
func TestHugeSegment(t *testing.T) {
	for _, test := range []struct {
		name segment.Name
		at   []int64 // where something else stands
	}{{segment.Name{First: 1, Salt: 7}, nil}, {segment.Name{First: 1 << 40, Salt: 7}, nil}, {segment.Name{First: 7, Salt: 7}, []int64{9000, 1 << 30, 40 << 30}}} {
		name := test.name
		var log liveLog
		dir := filepath.Join(t.TempDir(), "data")
		openReal(t, dir, &log, 1)
		huge := filepath.Join(dir, recovery.SegmentDir, name.String())
		if err := os.WriteFile(huge, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(huge, 64<<30); err != nil {
			t.Skipf("no such file here: %v", err)
		}
		for _, at := range test.at {
			writeTo(t, huge, at)
		}
		began := time.Now()
		if _, err := recovery.TakeSurvey(vfs.OS(), dir); err != nil {
			t.Error(err)
		}
		t.Logf("stat after %v", time.Since(began))
		if _, err := recovery.Check(t.Context(), vfs.OS(), dir, recovery.CheckOptions{}); err != nil {
			t.Error(err)
		}
		t.Logf("fsck after %v", time.Since(began))
		q, err := Open(Options{Dir: dir, SegmentSize: 64 << 10, MinFree: -1})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("started after %v", time.Since(began))
		if time.Since(began) > 20*time.Second { // reading it takes minutes
			t.Errorf("all of it took %v", time.Since(began))
		}
	}
}
