package faultfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/vfs"
)

// outcomes is every tree that a crash at this moment may leave, as far as 200 seeds find them.
func outcomes(t *testing.T, fsys *FS) map[string]bool {
	t.Helper()
	seen := make(map[string]bool)
	for seed := range uint64(200) {
		seen[strings.Join(tree(t, fsys.Crash(Reorder, seed)), " ")] = true
	}
	return seen
}

func wantOutcomes(t *testing.T, fsys *FS, want ...string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(outcomes(t, fsys)))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("a crash leaves one of\n%.200q, want\n%.200q", got, want)
	}
}

// synced is a file system that durably holds the files given as "name=data".
func synced(t *testing.T, files ...string) *FS {
	t.Helper()
	fsys := New()
	must(t, fsys.MkdirAll("d"))
	for _, file := range files {
		name, data, _ := strings.Cut(file, "=")
		must(t, vfs.WriteFile(fsys, name, []byte(data)))
	}
	return fsys
}

// TestNamesNeedSyncDir: name changes, what each mode leaves of them, and what SyncDir of which directory does.
func TestNamesNeedSyncDir(t *testing.T) {
	cases := []struct {
		name     string
		do       func(fsys *FS) error
		drop     string   // what Drop leaves
		keep     string   // what Keep leaves
		syncDirs []string // after which Drop leaves what Keep does
		others   []string // what else Reorder may leave
	}{
		{"remove", func(f *FS) error { return f.Remove("a") }, "a=A b=B", "b=B", []string{"/"}, nil},
		{"link", func(f *FS) error { return f.Link("a", "d/a") }, "a=A b=B", "a=A b=B d/a=A", []string{"d"}, nil},
		{"rename", func(f *FS) error { return f.Rename("a", "c") }, "a=A b=B", "b=B c=A", []string{"/"}, nil},
		{"replace", func(f *FS) error { return f.Rename("a", "b") }, "a=A b=B", "b=A", []string{"/"}, nil},
		{"move", func(f *FS) error { return f.Rename("a", "d/a") }, "a=A b=B", "b=B d/a=A", []string{"d", "/"}, nil},
		{"move, other order", func(f *FS) error { return f.Rename("a", "d/a") }, "a=A b=B", "b=B d/a=A", []string{"/"}, nil},
		{"create", func(f *FS) error { return second(f.Create("c")) }, "a=A b=B", "a=A b=B c=", []string{"/"}, nil},
		{"two", func(f *FS) error { return first(f.Remove("a"), f.Remove("b")) }, "a=A b=B", "", []string{"/"}, []string{"a=A", "b=B"}},
		{
			"the later change of a name brings the earlier one",
			func(f *FS) error { return first(f.Rename("a", "c"), second(f.Create("a"))) },
			"a=A b=B", "a= b=B c=A", []string{"/"}, []string{"b=B c=A"},
		},
		{
			"replaced in turn",
			func(f *FS) error { return first(f.Rename("a", "c"), f.Rename("b", "c")) },
			"a=A b=B", "c=B", []string{"/"}, []string{"b=B c=A"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fsys := synced(t, "a=A", "b=B")
			must(t, c.do(fsys))
			wantJoined(t, fsys.Crash(Keep, 0), c.keep)
			wantJoined(t, fsys.Crash(Drop, 0), c.drop)
			wantOutcomes(t, fsys, append(c.others, c.drop, c.keep)...)
			for _, dir := range c.syncDirs {
				must(t, fsys.SyncDir(dir))
			}
			wantJoined(t, fsys.Crash(Drop, 0), c.keep)
			wantOutcomes(t, fsys, c.keep)
		})
	}
}

func second[T any](_ T, err error) error { return err }

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func wantJoined(t *testing.T, fsys *FS, want string) {
	t.Helper()
	if got := strings.Join(tree(t, fsys), " "); got != want {
		t.Fatalf("the file system holds %q, want %q", got, want)
	}
}

// TestMoveSyncedAtTheTarget: the new name is safe, the old one not gone.
func TestMoveSyncedAtTheTarget(t *testing.T) {
	fsys := synced(t, "a=A")
	must(t, fsys.Rename("a", "d/a"))
	must(t, fsys.SyncDir("d"))
	wantOutcomes(t, fsys, "a=A d/a=A", "d/a=A")
}

// TestMoveSyncedAtTheSource brings the new name with it, and what the new name was before does not come back.
func TestMoveSyncedAtTheSource(t *testing.T) {
	fsys := synced(t, "a=A")
	create(t, fsys, "d/x", "earlier")
	must(t, fsys.Rename("a", "d/x"))
	must(t, fsys.SyncDir("/"))
	wantOutcomes(t, fsys, "d/x=A")
}

// TestCrashAfterCrash: what a crash left is durable, and the rules hold from there on.
func TestCrashAfterCrash(t *testing.T) {
	fsys := synced(t, "a=A", "d/b=B")
	after := fsys.Crash(Keep, 0)
	wantOutcomes(t, after, "a=A d/b=B")
	must(t, after.Remove("a"))
	f, err := after.OpenWrite("d/b")
	must(t, err)
	write(t, f, "X", 0)
	wantTree(t, after.Crash(Drop, 0), "a=A", "d/b=B")
	wantTree(t, fsys, "a=A", "d/b=B")
}

func TestSyncDirForgetsHistory(t *testing.T) {
	fsys := synced(t, "a=A")
	must(t, fsys.Rename("a", "d/x"))
	must(t, fsys.Remove("d/x"))
	must(t, fsys.Rename("d", "e")) // a change of another name waits
	must(t, fsys.SyncDir("e"))
	wantTree(t, fsys.Crash(Keep, 0))
	for seed := range uint64(50) {
		after := fsys.Crash(Reorder, seed)
		if all := tree(t, after); slices.Contains(all, "d/x=A") || slices.Contains(all, "e/x=A") {
			t.Fatalf("a removed name is back: %q", all)
		}
	}
}

func TestTwoNamesStayOneFile(t *testing.T) {
	fsys := synced(t, "a=A")
	must(t, fsys.Link("a", "b"))
	after := fsys.Crash(Keep, 0)
	f, err := after.OpenWrite("a")
	must(t, err)
	write(t, f, "X", 0)
	wantTree(t, after, "a=X", "b=X")
	must(t, after.Remove("a"))
	wantTree(t, after, "b=X")
}

func TestDirectoryThatWasNotSynced(t *testing.T) {
	fsys := New()
	fsys.FailMatching(func(op Op) error {
		if op.Kind == SyncDir && op.Name == "." && len(fsys.trace) > 1 {
			return syscall.EIO
		}
		return nil
	})
	wantErr(t, fsys.MkdirAll("d"), syscall.EIO)
	fsys.FailMatching(nil)
	must(t, vfs.WriteFile(fsys, "d/a", []byte("A")))
	wantTree(t, fsys.Crash(Drop, 0))
	must(t, fsys.MkdirAll("d")) // the next start makes good for it
	wantTree(t, fsys.Crash(Drop, 0), "d/a=A")
}

func TestBytesNeedSync(t *testing.T) {
	fsys := synced(t, "a=old")
	f, err := fsys.OpenWrite("a")
	must(t, err)
	write(t, f, "new", 0)
	wantTree(t, fsys, "a=new")
	wantTree(t, fsys.Crash(Keep, 0), "a=new")
	wantTree(t, fsys.Crash(Drop, 0), "a=old")
	wantOutcomes(t, fsys, "a=new", "a=old")
	must(t, f.Sync())
	wantOutcomes(t, fsys, "a=new")
}

func TestNeitherSyncDoesTheOthersWork(t *testing.T) {
	fsys := New()
	f := create(t, fsys, "a", "A")
	must(t, f.Sync())
	wantTree(t, fsys.Crash(Drop, 0))
	must(t, fsys.SyncDir("/"))
	wantTree(t, fsys.Crash(Drop, 0), "a=A")
	create(t, fsys, "b", "B")
	must(t, fsys.SyncDir("/"))
	wantTree(t, fsys.Crash(Drop, 0), "a=A", "b=")
}

// TestFailedSync is the trap that databases fell into: the second Sync succeeds and the bytes are not there.
func TestFailedSync(t *testing.T) {
	fsys := synced(t, "a=old")
	f, err := fsys.OpenWrite("a")
	must(t, err)
	write(t, f, "new", 0)
	fsys.FailAt(fsys.Ops()+1, syscall.EIO)
	wantErr(t, f.Sync(), syscall.EIO)
	wantTree(t, fsys, "a=new")
	must(t, f.Sync())
	wantTree(t, fsys.Crash(Drop, 0), "a=old")
	wantOutcomes(t, fsys, "a=new", "a=old")

	write(t, f, "NEW", 0) // writing it again is what helps
	must(t, f.Sync())
	wantOutcomes(t, fsys, "a=NEW")
}

// TestForgottenSyncs plants the bugs that faultfs is there to find.
func TestForgottenSyncs(t *testing.T) {
	replace := func(fsys *FS, sync, syncDir bool) {
		f := create(t, fsys, "a.tmp", "new")
		if sync {
			must(t, f.Sync())
		}
		must(t, fsys.Rename("a.tmp", "a"))
		if syncDir {
			must(t, fsys.SyncDir("/"))
		}
	}
	for _, c := range []struct {
		sync, syncDir bool
		lost          string
	}{{true, false, "a=old"}, {false, true, "a="}, {false, true, "a=\x00\x00\x00"}} {
		fsys := synced(t, "a=old")
		replace(fsys, c.sync, c.syncDir)
		if !outcomes(t, fsys)[c.lost] {
			t.Errorf("sync %v, syncdir %v: a crash never leaves %q", c.sync, c.syncDir, c.lost)
		}
	}
	fsys := synced(t, "a=old")
	replace(fsys, true, true)
	wantOutcomes(t, fsys, "a=new")
}

func TestTruncatedBytesDoNotComeBack(t *testing.T) {
	fsys := synced(t, "a="+strings.Repeat("x", 2000))
	f, err := fsys.OpenWrite("a")
	must(t, err)
	must(t, f.Truncate(10))
	must(t, f.Truncate(1200))
	whole, cut := strings.Repeat("x", 2000), "xxxxxxxxxx"
	zeros := func(size int) string { return "a=" + cut + strings.Repeat("\x00", size-10) }
	wantOutcomes(t, fsys, "a="+whole, "a="+cut, zeros(512), zeros(1024), zeros(1200))
	wantTree(t, fsys.Crash(Drop, 0), "a="+whole)
	must(t, f.Sync())
	wantOutcomes(t, fsys, zeros(1200))
}

// TestSectorsAreNotTorn: behind the end of the file the kernel writes zeros, not what the disk held there.
func TestSectorsAreNotTorn(t *testing.T) {
	fsys := synced(t, "a=oo")
	f, err := fsys.OpenWrite("a")
	must(t, err)
	must(t, f.Truncate(0))
	write(t, f, "n", 0)
	wantOutcomes(t, fsys, "a=oo", "a=n", "a=n\x00", "a=\x00", "a=")
}

func TestCrashIsDeterministic(t *testing.T) {
	build := func() *FS {
		fsys := synced(t, "a="+strings.Repeat("a", 5000))
		f, err := fsys.OpenWrite("a")
		must(t, err)
		write(t, f, strings.Repeat("b", 5000), 300)
		for i := range 5 {
			must(t, vfs.WriteFile(fsys, fmt.Sprintf("d/%d", i), []byte("x")))
			must(t, fsys.Remove(fmt.Sprintf("d/%d", i)))
		}
		return fsys
	}
	one, two := build(), build()
	for seed := range uint64(20) {
		if !slices.Equal(tree(t, one.Crash(Reorder, seed)), tree(t, two.Crash(Reorder, seed))) {
			t.Fatalf("seed %d gives two results", seed)
		}
	}
	if len(outcomes(t, one)) < 100 {
		t.Fatal("seeds make hardly a difference")
	}
}
