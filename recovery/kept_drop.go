package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"logmule/queue/vfs"
)

// DropQuarantined deletes these files from the quarantine of dir, and returns those that are gone. What is gone already is no error,
// and a file that has taken the name of another one stays. A second name of a segment that is being healed is left to whoever does
// that. What somebody else put there stays, and so does what is in a directory.
func DropQuarantined(fsys vfs.FS, dir string, files []Kept) (dropped []Kept, err error) {
	where := filepath.Join(dir, quarantineDir)
	running := locked(fsys, dir)
	var failed error
	for _, k := range files {
		if k.Stranger {
			failed = errors.Join(failed, fmt.Errorf("%s was put there by someone else; whoever did can delete it", k.Name))
			continue
		}
		if running && (k.Kind == KeptLeftover || k.Kind == KeptSegment && k.standsIn(fsys, dir)) {
			failed = errors.Join(failed, fmt.Errorf("%s is in use by the daemon; try again in a moment", k.Name))
			continue
		}
		if info, err := fsys.Stat(filepath.Join(where, k.Name)); err == nil && (vfs.NodeOf(info).ID != k.id || info.Size() != k.Size) {
			failed = errors.Join(failed, fmt.Errorf("%s is another file by now; look at it again", k.Name))
			continue
		}
		err := fsys.Remove(filepath.Join(where, k.Name))
		if err != nil && k.mode.IsDir() {
			err = fmt.Errorf("%w; what is in a directory is not the queue's: empty it", err)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("drop %s: %w", k.Name, err))
			continue
		}
		dropped = append(dropped, k)
	}
	if len(dropped) > 0 {
		if err := fsys.SyncDir(where); err != nil {
			failed = errors.Join(failed, fmt.Errorf("sync %s: %w", where, err))
		}
	}
	return dropped, failed
}

// Originals are the segments in a quarantine that healed ones have replaced. Those that lose nothing are deleted, the oldest
// first, where they take too much room. One goroutine uses it.
type Originals struct {
	FS  vfs.FS
	Dir string

	needed map[any]bool // files that have something that nothing else has
}

// Trim deletes what loses nothing until the replaced segments take no more room than limit, and returns what it has deleted.
// ended is asked before each of them, since it has to be read for that.
func (o *Originals) Trim(limit int64, ended func() bool) (dropped []Kept, err error) {
	all, err := listQuarantine(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	var room int64
	var originals []Kept
	for _, k := range all {
		if k.Kind == KeptSegment && k.Room > 0 && !o.needed[k.id] {
			room += k.Room
			originals = append(originals, k)
		}
	}
	if room <= limit {
		return nil, nil
	}
	look := &keptLook{fsys: o.FS, dir: o.Dir}
	if err := look.readLedger(); err != nil {
		return nil, err
	}
	for _, k := range originals {
		if room <= limit || ended() {
			break
		}
		room -= k.Room
		look.explain(&k)
		if !k.LosesNothing || !k.Replaced {
			if o.needed == nil {
				o.needed = map[any]bool{}
			}
			o.needed[k.id] = true
			continue
		}
		if err := o.FS.Remove(filepath.Join(o.Dir, quarantineDir, k.Name)); err != nil {
			return dropped, fmt.Errorf("drop %s from %s: %w", k.Name, quarantineDir, err)
		}
		dropped = append(dropped, k)
	}
	return dropped, nil
}
