package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/vfs"
)

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

// create makes a file that holds data, nothing of it synced.
func create(t *testing.T, fsys *FS, name, data string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	write(t, f, data, 0)
	return f
}

func write(t *testing.T, f vfs.File, data string, offset int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(data), offset)
	must(t, err)
}

// tree is all files with their bytes, as "path=bytes" in order.
func tree(t *testing.T, fsys *FS) []string {
	t.Helper()
	var all []string
	var walk func(dir string)
	walk = func(dir string) {
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		for _, info := range infos {
			name := strings.TrimPrefix(dir+"/"+info.Name(), "/")
			if info.IsDir() {
				walk("/" + name)
				continue
			}
			data, err := vfs.ReadFile(fsys, name, 1<<30)
			must(t, err)
			all = append(all, name+"="+string(data))
		}
	}
	walk("")
	return all
}

func wantTree(t *testing.T, fsys *FS, want ...string) {
	t.Helper()
	if got := tree(t, fsys); !slices.Equal(got, want) {
		t.Fatalf("the file system holds %q, want %q", got, want)
	}
}

func TestOperationsAreCounted(t *testing.T) {
	fsys := New()
	must(t, fsys.MkdirAll("d/e"))
	f := create(t, fsys, "d/a", "1234")
	_, err := f.WriteVec([][]byte{[]byte("12"), []byte("3")}, 4)
	must(t, err)
	must(t, f.Allocate(0, 100))
	must(t, f.Truncate(50))
	must(t, f.Sync())
	must(t, fsys.Link("d/a", "d/b"))
	must(t, fsys.Rename("d/b", "d/c"))
	must(t, fsys.Remove("d/c"))
	wantErr(t, fsys.Remove("d/c"), fs.ErrNotExist)
	must(t, fsys.SyncDir("d"))
	lock, err := fsys.Lock("LOCK", "x")
	must(t, err)

	var got []string
	for i, op := range fsys.Trace() {
		if op.N != i+1 {
			t.Fatalf("operation %d has number %d", i+1, op.N)
		}
		_, s, _ := strings.Cut(op.String(), ": ")
		got = append(got, s)
	}
	want := []string{
		"mkdir d", "syncdir .", "mkdir d/e", "syncdir d",
		"create d/a", "write d/a [0, 4)", "write d/a [4, 7)", "allocate d/a [0, 100)", "truncate d/a to 50", "sync d/a",
		"link d/a to d/b", "rename d/b to d/c", "remove d/c", "remove d/c", "syncdir d", "lock LOCK",
	}
	// Before it makes a level, MkdirAll syncs the deepest one that was there.
	want = append([]string{"syncdir ."}, want...)
	if !slices.Equal(got, want) {
		t.Fatalf("operations are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	// Looking is no operation, and neither is Close.
	tree(t, fsys)
	_, err = fsys.Space(".")
	must(t, err)
	must(t, f.Close())
	must(t, lock.Close())
	wantErr(t, f.Sync(), fs.ErrClosed)
	if fsys.Ops() != len(want) {
		t.Fatalf("%d operations after looking, want %d", fsys.Ops(), len(want))
	}
}

func TestFailures(t *testing.T) {
	fsys := New()
	f := create(t, fsys, "a", "old")
	fsys.FailAt(fsys.Ops()+2, syscall.EIO)
	must(t, f.Sync())
	_, err := f.WriteAt([]byte("new"), 0)
	wantErr(t, err, syscall.EIO)
	wantTree(t, fsys, "a=old")
	write(t, f, "one", 0) // FailAt was for one operation

	fsys.FailFrom(fsys.Ops()+1, syscall.EROFS)
	wantErr(t, f.Truncate(0), syscall.EROFS)
	wantErr(t, fsys.Remove("a"), syscall.EROFS)
	_, err = fsys.Create("b")
	wantErr(t, err, syscall.EROFS)
	wantErr(t, fsys.MkdirAll("d"), syscall.EROFS)
	_, err = fsys.Lock("LOCK", "x")
	wantErr(t, err, syscall.EROFS)
	wantTree(t, fsys, "a=one")
	fsys.FailFrom(0, nil)
	must(t, f.Truncate(2))

	var seen []Op
	fsys.FailMatching(func(op Op) error {
		seen = append(seen, op)
		if op.Kind == Rename && op.To == "b" {
			return syscall.ENOSPC
		}
		return nil
	})
	err = fsys.Rename("a", "b")
	wantErr(t, err, syscall.ENOSPC)
	if !strings.Contains(err.Error(), "rename a") {
		t.Fatalf("the error does not say what failed: %v", err)
	}
	must(t, fsys.Rename("a", "c"))
	if len(seen) != 2 || seen[1].N != fsys.Ops() {
		t.Fatalf("the function saw %v", seen)
	}
	fsys.FailMatching(nil)
	must(t, fsys.Rename("c", "b"))
	wantTree(t, fsys, "b=on")
}

func TestFailReads(t *testing.T) {
	fsys := New()
	f := create(t, fsys, "a", "data")
	ops := fsys.Ops()
	fsys.FailReads(func(name string, offset int64, size int) error {
		if name == "a" && offset <= 2 && 2 < offset+int64(size) {
			return syscall.EIO
		}
		return nil
	})
	b := make([]byte, 2)
	_, err := f.ReadAt(b, 1)
	wantErr(t, err, syscall.EIO)
	if _, err = f.ReadAt(b[:1], 3); err != nil || b[0] != 'a' {
		t.Fatalf("%v, %q", err, b)
	}
	fsys.FailReads(nil)
	wantTree(t, fsys, "a=data")
	if fsys.Ops() != ops {
		t.Fatal("reading was counted")
	}
}

func TestCrashAtStopsEverything(t *testing.T) {
	fsys := New()
	f := create(t, fsys, "a", "before")
	fsys.CrashAt(fsys.Ops() + 1)
	wantTree(t, fsys, "a=before") // the power is on until somebody asks for that operation
	_, err := f.WriteAt([]byte("after!"), 0)
	wantErr(t, err, ErrCrashed)
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantErr(t, err, ErrCrashed)
	_, err = f.Size()
	wantErr(t, err, ErrCrashed)
	_, err = fsys.Open("a")
	wantErr(t, err, ErrCrashed)
	_, err = fsys.Stat("a")
	wantErr(t, err, ErrCrashed)
	_, err = fsys.ReadDir("/")
	wantErr(t, err, ErrCrashed)
	_, err = fsys.Space("/")
	wantErr(t, err, ErrCrashed)
	_, err = fsys.Lock("LOCK", "")
	wantErr(t, err, ErrCrashed)
	wantErr(t, f.Sync(), ErrCrashed)
	wantErr(t, fsys.MkdirAll("d"), ErrCrashed)
	must(t, f.Close())

	after := fsys.Crash(Keep, 0)
	wantTree(t, after, "a=before")
	if after.Ops() != 0 {
		t.Fatalf("the new file system begins at operation %d", after.Ops())
	}
	create(t, after, "b", "works")
}

func TestSpaceRunsOut(t *testing.T) {
	fsys := New()
	f := create(t, fsys, "a", strings.Repeat("a", 1000)) // two sectors
	fsys.SetFree(3 * sectorSize)
	s, err := fsys.Space("/")
	must(t, err)
	if s.Free != 3*sectorSize || s.Total != 5*sectorSize {
		t.Fatalf("Space gives %+v", s)
	}
	wantErr(t, f.Allocate(0, 6*sectorSize), syscall.ENOSPC)
	must(t, f.Allocate(0, 3*sectorSize))
	if size, _ := f.Size(); size != 3*sectorSize {
		t.Fatalf("the file has %d bytes", size)
	}

	// A write that finds no room has written what fits, up to the boundary of a sector.
	n, err := f.WriteVec([][]byte{make([]byte, 1000), []byte(strings.Repeat("b", 4000))}, 1000)
	wantErr(t, err, syscall.ENOSPC)
	if n != 5*sectorSize-1000 {
		t.Fatalf("wrote %d bytes", n)
	}
	if size, _ := f.Size(); size != 5*sectorSize {
		t.Fatalf("the file has %d bytes", size)
	}
	write(t, f, "what has a place already", 0)
	n, err = f.WriteVec([][]byte{[]byte("x")}, 100*sectorSize)
	if n != 0 {
		t.Fatalf("wrote %d bytes", n)
	}
	wantErr(t, err, syscall.ENOSPC)

	must(t, f.Truncate(sectorSize+1))
	wantFree(t, fsys, 3*sectorSize)
	must(t, fsys.Remove("a"))
	wantFree(t, fsys, 3*sectorSize)
	must(t, f.Close())
	wantFree(t, fsys, 5*sectorSize)

	create(t, fsys, "b", "b")
	must(t, fsys.Link("b", "c"))
	must(t, fsys.Remove("b"))
	after := fsys.Crash(Keep, 0)
	wantFree(t, after, 4*sectorSize)
	must(t, after.Remove("c"))
	wantFree(t, after, 5*sectorSize)
}

func wantFree(t *testing.T, fsys *FS, want int64) {
	t.Helper()
	if s, err := fsys.Space("/"); err != nil || s.Free != want {
		t.Fatalf("free are %d bytes, %v, want %d", s.Free, err, want)
	}
}

func TestHugeOffsetsAreErrors(t *testing.T) {
	f := create(t, New(), "a", "")
	for _, offset := range []int64{-1, maxFile, 1<<63 - 1} {
		if _, err := f.WriteAt([]byte("x"), offset); err == nil {
			t.Errorf("writing at %d succeeds", offset)
		}
		if err := f.Allocate(offset, 1); err == nil {
			t.Errorf("allocating at %d succeeds", offset)
		}
	}
	wantErr(t, f.Truncate(-1), syscall.EINVAL)
	wantErr(t, f.Truncate(maxFile+1), syscall.EFBIG)
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("reading at -1 succeeds")
	}
}

func TestLocksEndWithTheMachine(t *testing.T) {
	fsys := New()
	_, err := fsys.Lock("LOCK", "first")
	must(t, err)
	must(t, fsys.SyncDir("/"))
	after := fsys.Crash(Drop, 0)
	if _, err = after.Lock("LOCK", "second"); err != nil {
		t.Fatal(err)
	}
	_, err = fsys.Lock("LOCK", "third")
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Holder != "first" {
		t.Fatalf("Crash took the lock from the living: %v", err)
	}
}

func ExampleFS_CrashAt() {
	for n := 1; ; n++ {
		fsys := New()
		fsys.CrashAt(n)
		err := vfs.WriteFile(fsys, "a", []byte("new"))
		_, missing := fsys.Crash(Drop, 0).Stat("a")
		fmt.Println(n, err == nil, missing == nil)
		if fsys.Ops() < n {
			break
		}
	}
	// Output:
	// 1 false false
	// 2 false false
	// 3 false false
	// 4 false false
	// 5 false false
	// 6 false false
	// 7 true true
}
