package recovery

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"logmule/queue/vfs"
)

// Odd is a name of the data directory under which something else stands than the queue puts there: a directory, a symbolic
// link, a named pipe. Nothing of it is opened.
type Odd struct {
	Name string // in the data directory
	Kind string // what stands there, in words
	To   string // where it was moved, relative to the data directory; empty: it was not

	stays bool // it is never moved
}

func (o Odd) String() string {
	if o.stays {
		return fmt.Sprintf("%s is %s: nothing can be stored there until it does, or is moved away", o.Name, o.Kind)
	}
	if o.To == "" {
		return fmt.Sprintf("%s is %s: it is not opened, and the next start sets it aside", o.Name, o.Kind)
	}
	return fmt.Sprintf("%s was %s: it was not opened, and is %s now", o.Name, o.Kind, o.To)
}

// reserveFile is what the queue sets aside of the disk.
const reserveFile = "reserve"

// DeadLetterDir is where the queue of dead letters is, in the data directory of the one that it is for.
const DeadLetterDir = "deadletter"

// ownFiles and ownDirs are the names that the queue uses in its data directory.
var (
	ownFiles = []string{LockFile, identityFile, ledgerFile, CheckpointFile, RecentFile, reserveFile}
	ownDirs  = []string{SegmentDir, quarantineDir, DeadLetterDir}
)

// oddNames finds what stands in the place of the queue's own files and directories. A symbolic link in the place of a directory
// may be an operator's, who wants it elsewhere, and stays even where it leads nowhere, which is told.
func oddNames(fsys vfs.FS, dir string) (odd []Odd) {
	for _, name := range ownFiles {
		for _, n := range []string{name, name + ".tmp"} {
			if info, err := fsys.Stat(filepath.Join(dir, n)); err == nil && !info.Mode().IsRegular() {
				odd = append(odd, Odd{Name: n, Kind: kindOf(info.Mode())})
			}
		}
	}
	for _, n := range ownDirs {
		path := filepath.Join(dir, n)
		info, err := fsys.Stat(path)
		switch {
		case err != nil || info.IsDir():
		case info.Mode()&fs.ModeSymlink == 0:
			odd = append(odd, Odd{Name: n, Kind: kindOf(info.Mode())})
		default:
			if _, err := fsys.ReadDir(path); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				odd = append(odd, Odd{Name: n, Kind: "a symbolic link that leads to no directory", stays: true})
			}
		}
	}
	return odd
}

// SetAside moves what stands in the place of the queue's own files to quarantine, so that the queue can make its own there. The
// caller holds the lock of the data directory dir. It does nothing where nothing is odd.
func SetAside(fsys vfs.FS, dir string) ([]Odd, error) {
	odd := slices.DeleteFunc(oddNames(fsys, dir), func(o Odd) bool { return o.stays })
	for i := range odd {
		path, into := filepath.Join(dir, odd[i].Name), quarantineDir
		if odd[i].Name == quarantineDir {
			into = "."
		}
		to, err := moveAway(fsys, dir, path, into)
		if err == nil {
			err = fsys.SyncDir(dir)
		}
		if err != nil {
			return odd[:i], fmt.Errorf("set aside what stands at %s, %s: %w; move it away", path, odd[i].Kind, err)
		}
		odd[i].To = to
	}
	return odd, nil
}

// moveAway renames what stands at path to into/<its name>.damaged.N in the data directory, without opening it.
func moveAway(fsys vfs.FS, dir, path, into string) (string, error) {
	if err := fsys.MkdirAll(filepath.Join(dir, into)); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		to := filepath.Join(into, fmt.Sprintf("%s%s.%d", filepath.Base(path), damagedSuffix, n))
		if _, err := fsys.Stat(filepath.Join(dir, to)); err == nil {
			continue
		}
		if err := fsys.Rename(path, filepath.Join(dir, to)); err != nil {
			return "", err
		}
		return to, fsys.SyncDir(filepath.Join(dir, into))
	}
}

// Lock takes the lock of the data directory dir for holder, without waiting: on the directory itself where that can be, since the
// lock file may be deleted under who holds it, and on that file, which says who holds it and is all there is elsewhere.
func Lock(fsys vfs.FS, dir, holder string) (lock io.Closer, aside *Odd, err error) {
	whole, err := vfs.LockDir(fsys, dir)
	if err != nil {
		path := filepath.Join(dir, LockFile)
		return nil, nil, &vfs.LockedError{Name: path, Holder: lockLine(fsys, path)}
	}
	file, aside, err := lockFile(fsys, dir, holder)
	if err != nil {
		return nil, aside, errors.Join(err, whole.Close())
	}
	return locks{file, whole}, aside, nil
}

// locks are released together.
type locks []io.Closer

func (l locks) Close() (err error) {
	for _, one := range l {
		err = errors.Join(err, one.Close())
	}
	return err
}

// lockFile takes the lock on the lock file. What stands there and is no file is set aside first: nobody can hold a lock on it. Of
// two who find it only one does that, since both would need the lock for that in quarantine, and who comes second looks again.
func lockFile(fsys vfs.FS, dir, holder string) (lock io.Closer, aside *Odd, err error) {
	path := filepath.Join(dir, LockFile)
	odd := func() bool {
		info, err := fsys.Stat(path)
		return err == nil && !info.Mode().IsRegular()
	}
	if !odd() {
		lock, err = fsys.Lock(path, holder)
		return lock, nil, err
	}
	quarantine := filepath.Join(dir, quarantineDir)
	if err := fsys.MkdirAll(quarantine); err != nil {
		return nil, nil, fmt.Errorf("%s is no file and cannot be set aside: %w; move it away", path, err)
	}
	guard, err := fsys.Lock(filepath.Join(quarantine, asideLock), holder)
	if err != nil {
		return nil, nil, fmt.Errorf("%s is no file and cannot be set aside: %w; move it away", path, err)
	}
	if info, serr := fsys.Stat(path); serr == nil && odd() {
		o := Odd{Name: LockFile, Kind: kindOf(info.Mode())}
		if o.To, err = moveAway(fsys, dir, path, quarantineDir); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("set aside what stands at %s, %s: %w; move it away", path, o.Kind, err), guard.Close())
		}
		aside = &o
	}
	lock, err = fsys.Lock(path, holder)
	return lock, aside, errors.Join(err, guard.Close())
}
