package queue

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"logmule/queue/vfs"
	"logmule/recovery"
)

// plainFS hides what else a file system can do: in this one no directory can be locked.
type plainFS struct{ vfs.FS }

// TestLockDeleted: an open queue stays locked when somebody deletes the lock file, and where directories cannot be locked that
// file is lock enough.
func TestLockDeleted(t *testing.T) {
	for name, test := range map[string]struct {
		fsys    vfs.FS
		deleted bool
	}{"deleted": {vfs.OS(), true}, "no directory can be locked": {plainFS{vfs.OS()}, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			opt := Options{FS: test.fsys, Dir: dir, SegmentSize: 64 << 10, MinFree: -1, Holder: "first"}
			q, err := Open(opt)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { q.Close() }()
			if test.deleted {
				if err := os.Remove(filepath.Join(dir, recovery.LockFile)); err != nil {
					t.Fatal(err)
				}
			}
			var held *vfs.LockedError
			if _, err := recovery.Repair(t.Context(), test.fsys, dir, recovery.RepairOptions{Holder: "second"}); !errors.As(err, &held) {
				t.Errorf("fsck --repair: %v", err)
			}
			if again, err := Open(opt); !errors.As(err, &held) {
				t.Errorf("a second one: %v, %v", again, err)
			} else if want := map[bool]string{false: "first"}[test.deleted]; held.Holder != want {
				t.Errorf("held by %q", held.Holder)
			}
			if s, err := recovery.TakeSurvey(test.fsys, dir); err != nil || !s.Running {
				t.Errorf("stat does not see it: %v", err)
			}
			if r, err := recovery.Check(t.Context(), test.fsys, dir, recovery.CheckOptions{}); err != nil || !r.Running {
				t.Errorf("fsck does not see it: %v", err)
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
			if q, err = Open(opt); err != nil {
				t.Fatal(err)
			}
		})
	}
}
