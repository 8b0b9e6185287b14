package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// both runs a test on the real file system and on faultfs, so that the second can stand in for the first.
func both(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	t.Run("faultfs", func(t *testing.T) {
		fsys := faultfs.New()
		must(t, fsys.MkdirAll("/tmp/test"))
		test(t, fsys, "/tmp/test")
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func write(t *testing.T, fsys vfs.FS, name, data string) {
	t.Helper()
	must(t, vfs.WriteFile(fsys, name, []byte(data)))
}

func wantFile(t *testing.T, fsys vfs.FS, name, want string) {
	t.Helper()
	got, err := vfs.ReadFile(fsys, name, 1<<20)
	must(t, err)
	if string(got) != want {
		t.Fatalf("%s holds %q, want %q", name, got, want)
	}
}

func wantNames(t *testing.T, fsys vfs.FS, dir string, want ...string) {
	t.Helper()
	infos, err := fsys.ReadDir(dir)
	must(t, err)
	got := []string{}
	for _, info := range infos {
		got = append(got, info.Name())
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s holds %q, want %q", dir, got, want)
	}
}

func TestFileReadsBackWhatWasWritten(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f, err := fsys.Create(filepath.Join(dir, "a"))
		must(t, err)
		n, err := f.WriteVec([][]byte{[]byte("one "), nil, []byte("two "), []byte("three")}, 3)
		must(t, err)
		if n != 13 {
			t.Fatalf("wrote %d bytes, want 13", n)
		}
		_, err = f.WriteAt([]byte("TWO"), 7)
		must(t, err)
		must(t, f.Sync())

		b := make([]byte, 32)
		m, err := f.ReadAt(b, 0)
		wantErr(t, err, io.EOF)
		if want := "\x00\x00\x00one TWO three"; string(b[:m]) != want {
			t.Fatalf("read %q, want %q", b[:m], want)
		}
		if m, err = f.ReadAt(b, 100); m != 0 || err != io.EOF {
			t.Fatalf("reading beyond the end gives %d, %v", m, err)
		}
		must(t, f.Truncate(5))
		must(t, f.Truncate(8))
		must(t, f.Close())
		wantFile(t, fsys, filepath.Join(dir, "a"), "\x00\x00\x00on\x00\x00\x00")
		if err := f.Close(); err == nil {
			t.Fatal("a second Close succeeds")
		}
		_, err = f.WriteVec([][]byte{[]byte("late")}, 0)
		wantErr(t, err, fs.ErrClosed)
		wantErr(t, f.Sync(), fs.ErrClosed)
		wantErr(t, f.Allocate(0, 1), fs.ErrClosed)
	})
}

func TestWriteVecTakesAnyNumberOfBuffers(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		for _, count := range []int{0, 1, 8, 9, 1023, 1024, 1025, 3000} {
			name := filepath.Join(dir, fmt.Sprint(count))
			f, err := fsys.Create(name)
			must(t, err)
			var bufs [][]byte
			var want bytes.Buffer
			for i := range count {
				b := []byte(strings.Repeat("x", i%3) + fmt.Sprint(i))
				bufs = append(bufs, b)
				want.Write(b)
			}
			n, err := f.WriteVec(bufs, 0)
			must(t, err)
			if n != int64(want.Len()) {
				t.Fatalf("%d buffers: wrote %d bytes, want %d", count, n, want.Len())
			}
			must(t, f.Close())
			wantFile(t, fsys, name, want.String())
		}
	})
}

func TestAllocateExtendsWithZeros(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		f, err := fsys.Create(name)
		must(t, err)
		_, err = f.WriteAt([]byte("ab"), 0)
		must(t, err)
		if err := f.Allocate(0, 6); errors.Is(err, errors.ErrUnsupported) {
			t.Skip("this file system cannot allocate")
		} else if err != nil {
			t.Fatal(err)
		}
		must(t, f.Allocate(1, 2))
		size, err := f.Size()
		must(t, err)
		if size != 6 {
			t.Fatalf("size is %d, want 6", size)
		}
		must(t, f.Close())
		wantFile(t, fsys, name, "ab\x00\x00\x00\x00")
	})
}

func TestNames(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		a, b, sub := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "x", "y")
		write(t, fsys, a, "A")
		_, err := fsys.Create(a)
		wantErr(t, err, fs.ErrExist)
		must(t, fsys.Link(a, b))
		wantErr(t, fsys.Link(a, b), fs.ErrExist)
		wantNames(t, fsys, dir, "a", "b")

		must(t, fsys.MkdirAll(sub))
		must(t, fsys.MkdirAll(sub))
		wantErr(t, fsys.MkdirAll(filepath.Join(a, "z")), syscall.ENOTDIR)
		must(t, fsys.Rename(b, filepath.Join(sub, "b")))
		wantNames(t, fsys, dir, "a", "x")
		wantNames(t, fsys, sub, "b")
		must(t, fsys.Remove(a))
		wantFile(t, fsys, filepath.Join(sub, "b"), "A")

		write(t, fsys, a, "new")
		must(t, fsys.Rename(a, filepath.Join(sub, "b")))
		wantFile(t, fsys, filepath.Join(sub, "b"), "new")
		must(t, fsys.SyncDir(sub))

		for _, err := range []error{
			fsys.Remove(a), fsys.Rename(a, b), fsys.Link(a, b), fsys.SyncDir(a),
			second(fsys.Open(a)), second(fsys.OpenWrite(a)), second(fsys.Stat(a)), second(fsys.ReadDir(a)),
			second(fsys.Create(filepath.Join(dir, "none", "a"))),
		} {
			wantErr(t, err, fs.ErrNotExist)
		}
		if err := fsys.Remove(filepath.Join(dir, "x")); err == nil {
			t.Fatal("a directory that is not empty was removed")
		}
		write(t, fsys, a, "A")
		wantErr(t, fsys.Rename(a, sub), fs.ErrExist)
		wantErr(t, fsys.Link(sub, b), fs.ErrPermission)
		wantErr(t, second(fsys.Create(filepath.Join(a, "b"))), syscall.ENOTDIR)
		wantErr(t, second(fsys.Lock(filepath.Join(a, "b"), "x")), syscall.ENOTDIR)
		wantErr(t, second(fsys.ReadDir(a)), syscall.ENOTDIR)
		must(t, fsys.Rename(a, a))
		wantNames(t, fsys, dir, "a", "x")

		info, err := fsys.Stat(filepath.Join(sub, "b"))
		must(t, err)
		if info.Name() != "b" || info.Size() != 3 || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
			t.Fatalf("Stat gives %s, %d, %v", info.Name(), info.Size(), info.Mode())
		}
		info, err = fsys.Stat(sub)
		must(t, err)
		if !info.IsDir() || info.Mode().Perm() != 0o700 {
			t.Fatalf("Stat of a directory gives %v", info.Mode())
		}
	})
}

// second is the error of two results.
func second[T any](_ T, err error) error { return err }

func TestOpenRefusesDirectories(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		_, err := fsys.Open(dir)
		wantErr(t, err, fs.ErrInvalid)
		_, err = fsys.OpenWrite(dir)
		wantErr(t, err, fs.ErrInvalid)
		_, err = fsys.Create(dir)
		wantErr(t, err, fs.ErrExist)
	})
}

func TestOpenFileOutlivesItsName(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		write(t, fsys, name, "still here")
		f, err := fsys.Open(name)
		must(t, err)
		must(t, fsys.Remove(name))
		b := make([]byte, 5)
		_, err = f.ReadAt(b, 0)
		must(t, err)
		if _, err := f.WriteAt(b, 0); err == nil {
			t.Fatal("a file that was opened for reading was written")
		}
		must(t, f.Close())
	})
}

func TestLock(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		first, err := fsys.Lock(name, "the first holder, a long line")
		must(t, err)
		_, err = fsys.Lock(name, "fsck")
		var locked *vfs.LockedError
		if !errors.As(err, &locked) || locked.Holder != "the first holder, a long line" || locked.Name != name {
			t.Fatalf("the second Lock gives %v", err)
		}
		if !strings.Contains(err.Error(), "the first holder") {
			t.Fatalf("the error does not name the holder: %v", err)
		}
		must(t, first.Close())
		again, err := fsys.Lock(name, "second")
		must(t, err)
		if err := first.Close(); err == nil {
			t.Fatal("a lock was released twice")
		}
		_, err = fsys.Lock(name, "third")
		if !errors.As(err, &locked) || locked.Holder != "second" {
			t.Fatalf("the lock of another is gone after a second Close: %v", err)
		}
		must(t, again.Close())
		wantFile(t, fsys, name, "second\n")
	})
}

func TestSpace(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		s, err := fsys.Space(dir)
		must(t, err)
		if s.Free <= 0 || s.Total < s.Free {
			t.Fatalf("Space gives %+v", s)
		}
		_, err = fsys.Space(filepath.Join(dir, "none"))
		wantErr(t, err, fs.ErrNotExist)
	})
}

func TestReadFileRefusesALargerFile(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		write(t, fsys, name, "12345")
		if _, err := vfs.ReadFile(fsys, name, 4); err == nil || !strings.Contains(err.Error(), name) {
			t.Fatalf("reading 5 bytes with a limit of 4 gives %v", err)
		}
		if _, err := vfs.ReadFile(fsys, name, 5); err != nil {
			t.Fatal(err)
		}
		_, err := vfs.ReadFile(fsys, filepath.Join(dir, "b"), 5)
		wantErr(t, err, fs.ErrNotExist)
	})
}

func TestWriteFileReplacesWhatACrashLeft(t *testing.T) {
	both(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := filepath.Join(dir, "a")
		write(t, fsys, name+".tmp", "left by a crash, and longer")
		write(t, fsys, name, "x")
		wantFile(t, fsys, name, "x")
		wantNames(t, fsys, dir, "a")
	})
}

// TestWriteFileIsAtomic cuts the power at each operation of WriteFile, which must leave the old bytes or the new ones,
// and the new ones once it has returned.
func TestWriteFileIsAtomic(t *testing.T) {
	prepare := func() *faultfs.FS {
		fsys := faultfs.New()
		write(t, fsys, "a", "old")
		return fsys
	}
	for n, done := 1, false; !done; n++ {
		fsys := prepare()
		fsys.CrashAt(fsys.Ops() + n)
		err := vfs.WriteFile(fsys, "a", bytes.Repeat([]byte("new"), 1000))
		done = err == nil
		for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
			for seed := range uint64(16) {
				got, readErr := vfs.ReadFile(fsys.Crash(mode, seed), "a", 1<<20)
				must(t, readErr)
				isNew := bytes.Equal(got, bytes.Repeat([]byte("new"), 1000))
				if !isNew && (done || string(got) != "old") {
					t.Fatalf("crash at operation %d, %v, seed %d: %d bytes, WriteFile returned %v", n, mode, seed, len(got), err)
				}
			}
		}
	}
}

func TestWriteFileFailureLeavesTheOldFile(t *testing.T) {
	for n, done := 1, false; !done; n++ {
		fsys := faultfs.New()
		write(t, fsys, "a", "old")
		fsys.FailAt(fsys.Ops()+n, syscall.EIO)
		err := vfs.WriteFile(fsys, "a", []byte("new"))
		done = fsys.Ops() < n
		if err == nil {
			wantFile(t, fsys, "a", "new")
			done = true
			continue
		}
		wantErr(t, err, syscall.EIO)
		got, err := vfs.ReadFile(fsys, "a", 10)
		must(t, err)
		if string(got) != "old" && string(got) != "new" {
			t.Fatalf("operation %d failed: the file holds %q", n, got)
		}
	}
}
