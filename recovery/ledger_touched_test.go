package recovery

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"logmule/queue/vfs"
)

// TestLedgerTouched: what somebody does to the file of an open ledger costs no line that is added later, nor, where it is deleted,
// one that was there.
func TestLedgerTouched(t *testing.T) {
	path := filepath.Join(testDir, ledgerFile)
	for name, test := range map[string]struct {
		touch func(t *testing.T, fsys vfs.FS)
		want  []uint64
	}{
		"deleted": {func(t *testing.T, fsys vfs.FS) {
			if err := fsys.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, []uint64{1, 2, 3, 4}},
		"emptied":       {func(t *testing.T, fsys vfs.FS) { cut(t, fsys, path, func(int64) int64 { return 0 }) }, []uint64{3, 4}},
		"cut in a line": {func(t *testing.T, fsys vfs.FS) { cut(t, fsys, path, func(n int64) int64 { return n - 9 }) }, []uint64{1, 3, 4}},
		"grown":         {func(t *testing.T, fsys vfs.FS) { cut(t, fsys, path, func(n int64) int64 { return n + 9 }) }, []uint64{1, 2, 3, 4}},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := newLedgerFS(t)
			l := openLedger(t, fsys)
			err := l.Add(lossAt(1), lossAt(2))
			test.touch(t, fsys)
			if err = errors.Join(err, l.Add(lossAt(3)), l.Add(lossAt(4)), l.Close()); err != nil {
				t.Fatal(err)
			}
			losses, err := ReadLedger(fsys, testDir)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for _, loss := range losses {
				got = append(got, loss.First/10)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("read %v, want %v", got, test.want)
			}
		})
	}
}

// cut gives a file another size.
func cut(t *testing.T, fsys vfs.FS, path string, size func(int64) int64) {
	t.Helper()
	f, err := fsys.OpenWrite(path)
	if err != nil {
		t.Fatal(err)
	}
	n, err := f.Size()
	if err = errors.Join(err, f.Truncate(size(n)), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestLedgerBlownUp: a line that never ends takes little memory, and a hole no time.
func TestLedgerBlownUp(t *testing.T) {
	dir := t.TempDir()
	fsys, path := vfs.OS(), filepath.Join(dir, ledgerFile)
	l, err := OpenLedger(fsys, dir)
	if err = errors.Join(err, l.Add(lossAt(1)), l.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	long := make([]byte, 5*maxLine)
	for i := range long {
		long[i] = 'x'
	}
	_, err = f.WriteAt(long, 4096)
	if err = errors.Join(err, f.Truncate(1<<40), f.Close()); err != nil {
		t.Skip(err)
	}
	long = nil
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err = OpenLedger(fsys, dir)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 8*maxLine {
		t.Errorf("%d bytes were allocated", took)
	}
	if err = errors.Join(err, l.Add(lossAt(2)), l.Close()); err != nil {
		t.Fatal(err)
	}
	if losses, err := ReadLedger(fsys, dir); err != nil || len(losses) != 2 {
		t.Errorf("%v, %v", losses, err)
	}
}
