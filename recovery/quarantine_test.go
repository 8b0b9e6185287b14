package recovery

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"logmule/queue/vfs"
)

// TestQuarantineHoles: a copy into quarantine is the same, byte for byte, and takes no room for holes.
func TestQuarantineHoles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 48<<20 + 1234
	for _, at := range []int64{100, 5 << 20, 20<<20 - 3, 30<<20 + 7} {
		if _, err := f.WriteAt([]byte("bytes that are there"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	from, err := vfs.OS().Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	for _, part := range [][2]int64{{0, size}, {99, size - 99}, {1 << 20, 8 << 20}, {size - 10, 10}, {40 << 20, 2 << 20}, {20<<20 - 1, 1}, {5, 0}} {
		for range 2 { // the second finds the copy
			name, err := Quarantine(vfs.OS(), dir, from, "seg", part[0], part[1])
			if err != nil {
				t.Fatal(part, err)
			}
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || !bytes.Equal(got, whole[part[0]:part[0]+part[1]]) {
				t.Errorf("%v: %d bytes, %v", part, len(got), err)
			}
			info, err := os.Stat(filepath.Join(dir, name))
			if err == nil && info.Sys().(*syscall.Stat_t).Blocks*512 > 8<<20 {
				t.Errorf("%v takes %d blocks", part, info.Sys().(*syscall.Stat_t).Blocks)
			}
		}
	}
	if infos, err := os.ReadDir(filepath.Join(dir, quarantineDir)); err != nil || len(infos) != 7 {
		t.Errorf("%v, %v", infos, err)
	}
}

// ends is a file that ends ctx after so many reads.
type ends struct {
	vfs.File
	cancel context.CancelFunc
	reads  int
}

func (e *ends) ReadAt(b []byte, offset int64) (int, error) {
	if e.reads--; e.reads == 0 {
		e.cancel()
	}
	return e.File.ReadAt(b, offset)
}

// TestQuarantineEnds: a long copy ends with its caller, and leaves nothing.
func TestQuarantineEnds(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "long")
	if err := os.WriteFile(path, bytes.Repeat([]byte("long"), 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := vfs.OS().Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	from := &ends{f, cancel, 3}
	if name, err := quarantine(ctx, vfs.OS(), dir, from, "seg", 0, 16<<20); !errors.Is(err, context.Canceled) || from.reads != 0 {
		t.Errorf("%s, %v, %d reads before the end", name, err, from.reads)
	}
	if infos, err := os.ReadDir(filepath.Join(dir, quarantineDir)); len(infos) > 0 || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", infos, err)
	}
}
