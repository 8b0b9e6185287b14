package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"logmule/queue/vfs"
)

const (
	fileSize    = 256 << 10 // bytes that a new database takes, written
	allocSize   = 64 << 10  // bytes by which bbolt lets a larger one grow
	lockTimeout = time.Second
)

// Missing is the What of the Problem that there was no database. On the first start of a queue it is none.
const Missing = "there is no checkpoint database"

// Problem is what Open found wrong and put right.
type Problem struct {
	What    string // what was found
	MovedTo string // where the file is now, unchanged; empty where there was none or it could not be moved
}

// Bolt is the Store on a bbolt database.
type Bolt struct {
	path string

	mu     sync.Mutex // guards all below, and is held while bbolt works
	values table      // what is saved
	db     *bbolt.DB  // nil: none, the next Save makes a new file
	// What stands at path is damaged. It goes into quarantine before a new file takes its place.
	damaged bool
	closed  bool
}

// Open opens the database at path, checkpoints.db in a directory whose lock the caller holds, and makes one where there
// is none. A damaged one is moved to quarantine/ beside it, and a new one made of the positions in it that are sound; the
// problems say so. Where there is no room to make one, the positions stay in memory and every Save tries again.
//
// An error is never about damage: it means that no file could be made or moved there, or that another process uses it.
func Open(path string) (*Bolt, []Problem, error) {
	b := &Bolt{path: path, values: make(table)}
	findings, err := b.open()
	if err != nil {
		return nil, nil, fmt.Errorf("open checkpoints %s: %w", path, err)
	}
	if len(findings) == 0 {
		return b, nil, nil
	}
	moved, err := b.replace(b.values)
	problems := []Problem{{What: strings.Join(findings, "; "), MovedTo: moved}}
	if isFull(err) {
		return b, append(problems, Problem{What: fmt.Sprintf("no new one can be made yet: %v", err)}), nil
	}
	if err != nil {
		return nil, problems, fmt.Errorf("open checkpoints: make %s anew: %w", path, err)
	}
	return b, problems, nil
}

// open reads the database that is there, and opens it where nothing is wrong with it.
func (b *Bolt) open() (findings []string, err error) {
	file, err := vfs.ReadFile(vfs.OS(), b.path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []string{Missing}, nil
	case passing(err):
		return nil, err
	case err != nil:
		b.damaged = true
		return []string{err.Error()}, nil
	}
	b.values, findings = readTable(file)
	if len(findings) == 0 {
		if b.db, err = openBolt(b.path); err == nil {
			return nil, nil
		}
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("another process has it open: %w", err)
		}
		findings = []string{err.Error()}
	}
	b.damaged = true
	return findings, nil
}

// replace makes a new database of the values and opens it. It returns where it moved a damaged one.
func (b *Bolt) replace(values table) (moved string, err error) {
	if b.damaged {
		if moved, err = quarantine(b.path); err != nil {
			return "", err
		}
		b.damaged = false
	}
	if err := create(b.path, values); err != nil {
		return moved, err
	}
	b.db, err = openBolt(b.path)
	return moved, err
}

// quarantine moves a file out of the way, whatever it is.
func quarantine(path string) (string, error) {
	fsys, dir := vfs.OS(), filepath.Dir(path)
	moved := filepath.Join(dir, "quarantine", fmt.Sprintf("%s.%d", filepath.Base(path), time.Now().UnixNano()))
	err := fsys.MkdirAll(filepath.Dir(moved))
	if err == nil {
		err = fsys.Rename(path, moved)
	}
	if err == nil {
		err = fsys.SyncDir(filepath.Dir(moved))
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		return "", fmt.Errorf("move to quarantine: %w", err)
	}
	return moved, nil
}

// create makes a whole database under a temporary name and renames it, over what may stand there.
func create(path string, values table) error {
	fsys, temp := vfs.OS(), path+".tmp"
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what a crash left: %w", err)
	}
	err := createTemp(temp, values)
	if err == nil {
		err = fsys.Rename(temp, path)
	}
	if err != nil {
		_ = fsys.Remove(temp) // frees the room; what is left the next call removes
		return err
	}
	return fsys.SyncDir(filepath.Dir(path))
}

// createTemp makes a database that is complete and synced, but for its name.
func createTemp(temp string, values table) error {
	db, err := openBolt(temp)
	if err != nil {
		return err
	}
	err = guard(func() error { return db.Update(func(tx *bbolt.Tx) error { return write(tx, values, values, nil) }) })
	if err = errors.Join(err, closeBolt(db, err)); err != nil {
		return err
	}
	return fill(temp)
}

// fill writes a file anew over itself and zeros behind it, so that none of it is a hole. Only for a file that nobody
// relies on yet.
func fill(name string) error {
	file, err := vfs.ReadFile(vfs.OS(), name, maxFile)
	if err != nil {
		return err
	}
	f, err := vfs.OS().OpenWrite(name)
	if err != nil {
		return err
	}
	full := make([]byte, max(len(file), fileSize))
	copy(full, file)
	_, err = f.WriteAt(full, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// write puts positions into a transaction, takes out those that are gone, and adds the sum over all that are left.
func write(tx *bbolt.Tx, moved, all table, gone []string) error {
	sealed, err := all.seal()
	if err != nil {
		return err
	}
	positions, err := tx.CreateBucketIfNotExists(positionsBucket)
	if err != nil {
		return err
	}
	for key := range moved {
		if err := positions.Put([]byte(key), sealed[key]); err != nil {
			return fmt.Errorf("position of %s: %w", key, err)
		}
	}
	for _, key := range gone {
		if err := positions.Delete([]byte(key)); err != nil {
			return fmt.Errorf("position of %s: %w", key, err)
		}
	}
	sum, err := tx.CreateBucketIfNotExists(sumBucket)
	if err != nil {
		return err
	}
	return sum.Put(sumKey, sumOf(sealed, uint64(tx.ID())))
}

// Load implements Store.
func (b *Bolt) Load() (map[string]Position, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, fmt.Errorf("load checkpoints: %w", ErrClosed)
	}
	return b.values.clone(), nil
}

// Save implements Store. After an error that leaves the state of the file unknown, the next Save makes a new file.
func (b *Bolt) Save(positions map[string]Position, gone ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("save checkpoints: %w", ErrClosed)
	}
	moved, err := b.values.forward(positions)
	gone = slices.DeleteFunc(slices.Clone(gone), func(key string) bool { _, there := b.values[key]; return !there })
	if err == nil && (len(moved)+len(gone) > 0 || b.db == nil) {
		all := maps.Clone(b.values)
		maps.Copy(all, moved)
		for _, key := range gone {
			delete(all, key)
			delete(moved, key)
		}
		if err = b.saveLocked(moved, all, gone); err == nil {
			b.values = all
		}
	}
	if err != nil {
		return fmt.Errorf("save checkpoints in %s: %w", b.path, err)
	}
	return nil
}

func (b *Bolt) saveLocked(moved, all table, gone []string) error {
	if b.db == nil {
		_, err := b.replace(all)
		return err
	}
	err := guard(func() error { return b.db.Update(func(tx *bbolt.Tx) error { return write(tx, moved, all, gone) }) })
	if err == nil || isFull(err) && isWrite(err) {
		return err
	}
	// After a failed sync the kernel may take for written what is not, and bbolt would build on it.
	var p *panicError
	b.damaged = errors.As(err, &p)
	err = errors.Join(err, closeBolt(b.db, err))
	b.db = nil
	return err
}

// Close implements Store.
func (b *Bolt) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	db := b.db
	if db == nil {
		return nil
	}
	b.db = nil
	if err := closeBolt(db, nil); err != nil {
		return fmt.Errorf("close checkpoints %s: %w", b.path, err)
	}
	return nil
}

// openBolt opens a database that was checked, or makes an empty one.
func openBolt(path string) (db *bbolt.DB, err error) {
	reserve(path)
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:         lockTimeout,
			PageSize:        pageSize,
			InitialMmapSize: fileSize,
			MaxSize:         maxFile,
			NoStatistics:    true,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				return os.OpenFile(name, flag|syscall.O_NOFOLLOW, mode)
			},
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bbolt: %w", err)
	}
	db.AllocSize = allocSize
	return db, nil
}

// reserve gives a database the room again that it was made with, where a copy or a cut took it. Without it the database
// works too, until the disk is full.
func reserve(path string) {
	f, err := vfs.OS().OpenWrite(path)
	if err != nil {
		return
	}
	if size, err := f.Size(); err == nil && size > 0 {
		_ = f.Allocate(0, max(size, fileSize))
	}
	_ = f.Close()
}

// closeBolt closes a database, after the error of what was last done with it. After a panic bbolt may hold its locks for
// ever, and closing would wait for them; such a one is left to the garbage collector.
func closeBolt(db *bbolt.DB, last error) error {
	var p *panicError
	if errors.As(last, &p) {
		return nil
	}
	return guard(db.Close)
}

// panicError is a panic of bbolt, or a fault in the memory it maps the file to.
type panicError struct{ cause any }

func (e *panicError) Error() string { return fmt.Sprintf("bbolt gave up: %v", e.cause) }

// guard turns panics and faults into errors.
func guard(call func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = &panicError{cause}
		}
	}()
	return call()
}

// passing tells whether an error of opening or reading says nothing about the file.
func passing(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// isFull tells whether there was no room.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// isWrite tells whether it was a write that failed, and not a sync: bbolt still stands where it stood before.
func isWrite(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Op == "write"
}
