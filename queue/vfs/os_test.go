//go:build unix

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOpenRefusesWhatIsNoRegularFile would hang on the FIFO if it were opened in the usual way.
func TestOpenRefusesWhatIsNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	make := map[string]func(name string) error{
		"link":     func(name string) error { return os.Symlink(target, name) },
		"dangling": func(name string) error { return os.Symlink(filepath.Join(dir, "none"), name) },
		"fifo":     func(name string) error { return unix.Mkfifo(name, 0o600) },
		"dir":      func(name string) error { return os.Mkdir(name, 0o700) },
	}
	for kind, make := range make {
		name := filepath.Join(dir, kind)
		if err := make(name); err != nil {
			t.Fatal(err)
		}
		calls := map[string]func() error{
			"Open":      func() error { _, err := OS().Open(name); return err },
			"OpenWrite": func() error { _, err := OS().OpenWrite(name); return err },
			"Create":    func() error { _, err := OS().Create(name); return err },
			"Lock":      func() error { _, err := OS().Lock(name, "test"); return err },
		}
		for call, do := range calls {
			if err := do(); err == nil {
				t.Errorf("%s of a %s succeeds", call, kind)
			}
		}
		info, err := OS().Stat(name)
		if err != nil || info.Mode().IsRegular() {
			t.Errorf("Stat of a %s gives %v, %v", kind, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a dangling link was followed")
	}
}

func TestDescriptorsAreNotInherited(t *testing.T) {
	f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags, err := unix.FcntlInt(f.(*osFile).file.Fd(), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Fatalf("descriptor flags are %x, %v", flags, err)
	}
}

func TestMkdirAllAcceptsALinkToADirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := OS().MkdirAll(filepath.Join(dir, "link", "sub")); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "sub")); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
}

func TestLockHolderIsOneShortLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS().Lock(name, "pid 1")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := os.WriteFile(name, []byte("ab\xffc"+strings.Repeat("x", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := OS().Lock(name, "pid 2"); !errors.As(err, &locked) || len(locked.Holder) > 256 || !strings.HasPrefix(locked.Holder, "abcx") {
		t.Fatalf("the error is %v", err)
	}
	if got := (&LockedError{Name: "LOCK"}).Error(); got != "LOCK is locked by another process" {
		t.Fatal(got)
	}
}

func TestErrorsKeepTheErrno(t *testing.T) {
	f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Allocate(0, 0); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Allocate gives %v", err)
	}
	_, err = f.WriteVec([][]byte{[]byte("x")}, -1)
	var path *fs.PathError
	if !errors.As(err, &path) {
		t.Errorf("WriteVec gives %v", err)
	}
}

func TestRetryEndsWithAnythingButEINTR(t *testing.T) {
	results := []error{unix.EINTR, unix.EINTR, unix.EIO, nil}
	calls := 0
	err := retry(func() error { calls++; return results[calls-1] })
	if calls != 3 || err != unix.EIO {
		t.Fatalf("%d calls, then %v", calls, err)
	}
}

// TestCloseWaitsForCalls: a call that comes too late must not reach another file under the same number.
func TestCloseWaitsForCalls(t *testing.T) {
	for range 50 {
		f, err := OS().Create(filepath.Join(t.TempDir(), "a"))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			for {
				if _, err := f.WriteVec([][]byte{[]byte("x")}, 0); err != nil {
					done <- err
					return
				}
			}
		}()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("writing ends with %v", err)
		}
	}
}

// TestUnlinked: an open file tells when its last name is gone.
func TestUnlinked(t *testing.T) {
	fsys, name := OS(), filepath.Join(t.TempDir(), "f")
	f, err := fsys.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := fsys.Link(name, name+"2"); err != nil {
		t.Skipf("no second names here: %v", err)
	}
	for _, gone := range []string{name, name + "2"} {
		if Unlinked(f) {
			t.Errorf("before %s is removed it has no name", gone)
		}
		if err := fsys.Remove(gone); err != nil {
			t.Fatal(err)
		}
	}
	if !Unlinked(f) {
		t.Error("a file without a name has one")
	}
}
