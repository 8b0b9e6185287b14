package checkpoint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// newBolt makes a database that holds positions under the keys a and b.
func newBolt(t *testing.T, dir string) (path string, b *Bolt, want map[string]Position) {
	t.Helper()
	path = filepath.Join(dir, "checkpoints.db")
	b, _, err := Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	want = map[string]Position{"a": full(), "b": {Floor: 5}}
	must(t, b.Save(want))
	return path, b, want
}

// wantProblem opens what must be found damaged, and returns where it was moved.
func wantProblem(t *testing.T, path, what string) (*Bolt, string) {
	t.Helper()
	b, problems, err := Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	if len(problems) == 0 || !strings.Contains(problems[0].What, what) {
		t.Fatalf("problems are %q, want one with %q", problems, what)
	}
	moved := problems[0].MovedTo
	if filepath.Dir(moved) != filepath.Join(filepath.Dir(path), "quarantine") || !strings.HasPrefix(filepath.Base(moved), "checkpoints.db.") {
		t.Fatalf("moved to %q", moved)
	}
	return b, moved
}

// TestNewFileIsWrittenInFull looks at the file before it is opened again, which would fill holes too, but not on every
// file system.
func TestNewFileIsWrittenInFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints.db")
	must(t, createTemp(path, table{"a": full()}))
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Size != fileSize || st.Blocks*512 < fileSize || st.Mode&0o777 != 0o600 {
		t.Fatalf("size %d, blocks %d, mode %o", st.Size, st.Blocks, st.Mode)
	}
	wantValues(t, mustOpen(t, path), map[string]Position{"a": full()})
}

// TestWhatACrashLeft: whatever a creation that did not end has left under the temporary name does no harm.
func TestWhatACrashLeft(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	must(t, b.Close())
	whole, err := os.ReadFile(path)
	must(t, err)
	for name, left := range map[string][]byte{
		"empty": nil, "metas": whole[:2*pageSize], "all": whole, "noise": bytes.Repeat([]byte("noise"), 10000),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "checkpoints.db")
			must(t, os.WriteFile(path+".tmp", left, 0o600))
			b, problems, err := Open(path)
			must(t, err)
			if len(problems) != 1 || problems[0].What != Missing {
				t.Fatalf("problems: %q", problems)
			}
			wantValues(t, b, map[string]Position{})
			must(t, b.Close())
			if _, err := os.Lstat(path + ".tmp"); err == nil {
				t.Fatal("the temporary file is still there")
			}
		})
	}
	must(t, os.WriteFile(path+".tmp", []byte("beside a whole one"), 0o600))
	wantValues(t, mustOpen(t, path), want)
}

func TestNotARegularFile(t *testing.T) {
	for name, make := range map[string]func(path, other string) error{
		"directory": func(path, other string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
		"link":      func(path, other string) error { return os.Symlink(other, path) },
		"dangling":  func(path, other string) error { return os.Symlink(other+".none", path) },
		"fifo":      func(path, other string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			other, b, _ := newBolt(t, t.TempDir())
			must(t, b.Close())
			before, err := os.ReadFile(other)
			must(t, err)

			path := filepath.Join(t.TempDir(), "checkpoints.db")
			must(t, make(path, other))
			b, moved := wantProblem(t, path, "checkpoints.db")
			if _, err := os.Lstat(moved); err != nil {
				t.Fatal(err)
			}
			must(t, b.Save(map[string]Position{"x": {Floor: 1}}))
			if after, err := os.ReadFile(other); err != nil || !bytes.Equal(before, after) {
				t.Fatalf("the link was followed: %v", err)
			}
		})
	}
}

func TestHugeFile(t *testing.T) {
	path, b, _ := newBolt(t, t.TempDir())
	must(t, b.Close())
	must(t, os.Truncate(path, 1<<40))
	b, _ = wantProblem(t, path, "1099511627776 bytes")
	wantValues(t, b, map[string]Position{})
}

// TestSalvage: what is sound of a damaged database is taken over, and stays when it is opened again.
func TestSalvage(t *testing.T) {
	cases := []struct {
		name   string
		damage func(file []byte)
		lost   string
	}{
		{"free list", func(file []byte) { clear(page(file, newest(file).freelist)) }, ""},
		{"older meta", func(file []byte) { clear(page(file, (newest(file).transaction+1)%2)) }, ""},
		{"one value", func(file []byte) { damageValue(t, file, "a") }, "a"},
		{"root", func(file []byte) { clear(page(file, newest(file).root)) }, "a b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path, b, want := newBolt(t, t.TempDir())
			must(t, b.Close())
			file, err := os.ReadFile(path)
			must(t, err)
			c.damage(file)
			must(t, os.WriteFile(path, file, 0o600))
			for _, key := range strings.Fields(c.lost) {
				delete(want, key)
			}
			b, moved := wantProblem(t, path, "")
			wantValues(t, b, want)
			must(t, b.Close())
			wantValues(t, mustOpen(t, path), want)
			if kept, err := os.ReadFile(moved); err != nil || !bytes.Equal(kept, file) {
				t.Fatalf("quarantine holds something else: %v", err)
			}
		})
	}
}

// damageValue changes a bit in the middle of a position.
func damageValue(t *testing.T, file []byte, key string) {
	t.Helper()
	elements, err := parseElements(inline(t, file), leafPage)
	must(t, err)
	for _, e := range elements {
		if string(e.key) == key {
			e.value[len(e.value)/2] ^= 1
		}
	}
}

// TestNewestMetaBad: the positions of the save before come back, and it is reported that they are.
func TestNewestMetaBad(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	must(t, b.Save(map[string]Position{"b": {Floor: 6}}))
	must(t, b.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	clear(page(file, newest(file).transaction%2))
	must(t, os.WriteFile(path, file, 0o600))
	b, _ = wantProblem(t, path, "bad checksum")
	wantValues(t, b, want)
}

func TestDatabaseInUse(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	if other, problems, err := Open(path); err == nil || other != nil || len(problems) > 0 {
		t.Fatalf("opened twice: %v, %v", problems, err)
	}
	must(t, b.Save(map[string]Position{"a": {Stream: 9}}))
	want["a"] = Position{Stream: 9}
	must(t, b.Close())
	wantValues(t, mustOpen(t, path), want)
}

func TestNoDirectory(t *testing.T) {
	if _, _, err := Open(filepath.Join(t.TempDir(), "none", "checkpoints.db")); err == nil {
		t.Fatal("a database was made nowhere")
	}
}

// TestFileCutWhileOpen takes the pages away from under bbolt's memory map, which without care ends the process.
func TestFileCutWhileOpen(t *testing.T) {
	for _, size := range []int64{0, pageSize, 2 * pageSize, 3*pageSize + 100} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path, b, want := newBolt(t, t.TempDir())
			must(t, os.Truncate(path, size))
			save := map[string]Position{"b": {Floor: 7}}
			want["b"] = Position{Floor: 7}
			err := b.Save(save)
			if err == nil { // bbolt wrote what was missing; the next start finds what still is
				return
			}
			if !strings.Contains(err.Error(), "bbolt gave up") {
				t.Fatalf("the error is %v", err)
			}
			must(t, b.Save(save))
			wantValues(t, b, want)
			must(t, b.Close())
			wantValues(t, mustOpen(t, path), want)
			if names, err := os.ReadDir(filepath.Join(filepath.Dir(path), "quarantine")); err != nil || len(names) != 1 {
				t.Fatalf("quarantine: %v, %v", names, err)
			}
		})
	}
}

func TestFileCutBehindThePagesInUse(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	must(t, b.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	must(t, os.Truncate(path, int64(newest(file).inUse*pageSize)))
	wantValues(t, mustOpen(t, path), want)
	if info, err := os.Stat(path); err != nil || info.Size() != fileSize {
		t.Errorf("the room was not taken again: %v, %v", info.Size(), err)
	}
}

// TestFailedSaveMakesANewFile stands in for a failed sync: an error that leaves the state of the file unknown.
func TestFailedSaveMakesANewFile(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	must(t, b.db.Close())
	var before, after unix.Stat_t
	must(t, unix.Stat(path, &before))
	save := map[string]Position{"b": {Floor: 7}}
	if err := b.Save(save); err == nil {
		t.Fatal("saved in a closed database")
	}
	wantValues(t, b, want)
	must(t, b.Save(nil)) // takes the chance though there is nothing new
	must(t, unix.Stat(path, &after))
	if before.Ino == after.Ino {
		t.Fatal("the file is the same")
	}
	must(t, b.Save(save))
	want["b"] = Position{Floor: 7}
	must(t, b.Close())
	wantValues(t, mustOpen(t, path), want)
}

func TestNothingNewIsNotWritten(t *testing.T) {
	path, b, want := newBolt(t, t.TempDir())
	before, err := os.ReadFile(path)
	must(t, err)
	must(t, b.Save(want))
	must(t, b.Save(map[string]Position{"b": {Floor: 4}}))
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Fatal("the file has changed")
	}
}

func TestErrorsAreToldApart(t *testing.T) {
	write := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err         error
		full, write bool
	}{
		{write, true, true},
		{fmt.Errorf("save: %w", write), true, true},
		{&os.PathError{Op: "write", Err: syscall.EDQUOT}, true, true},
		{&os.PathError{Op: "write", Err: syscall.EIO}, false, true},
		{syscall.ENOSPC, true, false}, // of fdatasync
		{nil, false, false},
	} {
		if isFull(c.err) != c.full || isWrite(c.err) != c.write {
			t.Errorf("%v: full %v, write %v", c.err, isFull(c.err), isWrite(c.err))
		}
	}
}
