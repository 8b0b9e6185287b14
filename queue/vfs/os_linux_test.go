package vfs

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs mounts a small file system for a test that needs a full one.
func tmpfs(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// TestFullDisk has pwritev write less than it was given: as much as there was room for.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=64k")
	s, err := OS().Space(dir)
	if err != nil || s.Total != 64<<10 || s.Free != 64<<10 {
		t.Fatalf("Space gives %+v, %v", s, err)
	}
	f, err := OS().Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := f.WriteVec([][]byte{make([]byte, 40<<10), make([]byte, 40<<10)}, 0)
	if n != 64<<10 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("WriteVec gives %d, %v", n, err)
	}
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := f.Allocate(0, 128<<10); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Allocate gives %v", err)
	}
	if err := f.Allocate(0, 60<<10); err != nil {
		t.Fatal(err)
	}
	if _, err := OS().Create(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if s, err = OS().Space(dir); err != nil || s.Free != 4<<10 {
		t.Fatalf("Space gives %+v, %v", s, err)
	}
}

// TestLockOnAFullDisk: the line of the holder is not worth refusing to start.
func TestLockOnAFullDisk(t *testing.T) {
	dir := tmpfs(t, "size=16k")
	f, err := OS().Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Allocate(0, 16<<10); err != nil {
		t.Fatal(err)
	}
	lock, err := OS().Lock(filepath.Join(dir, "LOCK"), "test")
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
}

func TestBytesOfDoesNotOverflow(t *testing.T) {
	for _, c := range []struct {
		blocks, unit uint64
		want         int64
	}{{0, 4096, 0}, {10, 4096, 40960}, {10, 0, 0}, {math.MaxUint64, 1, math.MaxInt64}, {1 << 62, 4, math.MaxInt64}, {1<<61 - 1, 4, 1<<63 - 4}} {
		if got := bytesOf(c.blocks, c.unit); got != c.want {
			t.Errorf("%d blocks of %d are %d, want %d", c.blocks, c.unit, got, c.want)
		}
	}
}

// TestWriteVecAllocations: up to eight buffers cost nothing; more need the one array that the system call reads.
func TestWriteVecAllocations(t *testing.T) {
	f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct{ bufs, allocs int }{{1, 0}, {8, 0}, {64, 4}} {
		bufs := make([][]byte, c.bufs)
		for i := range bufs {
			bufs[i] = []byte("x")
		}
		got := testing.AllocsPerRun(50, func() {
			if _, err := f.WriteVec(bufs, 0); err != nil {
				t.Fatal(err)
			}
		})
		if int(got) > c.allocs {
			t.Errorf("%d buffers: %v allocations, want at most %d", c.bufs, got, c.allocs)
		}
	}
}

func TestSkip(t *testing.T) {
	for n := range 7 {
		bufs := skip([][]byte{[]byte("a"), nil, []byte("bcd"), []byte("ef")}, n)
		if got := string(bytes.Join(bufs, nil)); got != "abcdef"[n:] {
			t.Errorf("after %d bytes %q is left", n, got)
		}
		if slices.ContainsFunc(bufs[:min(len(bufs), 1)], func(b []byte) bool { return len(b) == 0 }) {
			t.Errorf("after %d bytes the first buffer is empty", n)
		}
	}
}

// TestForget: the hint changes no byte, for whole pages and parts of them, and is none of a closed file's.
func TestForget(t *testing.T) {
	f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("abcdefg"), 10_000)
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.(*osFile).forget(0, int64(len(want))); err != nil {
		t.Errorf("this system cannot: %v", err)
	}
	Forget(f, 5000, 20)
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes: %v", len(got), err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	Forget(f, 0, 4096)
}
