package recovery

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// loadStore takes over the positions beside the log, as far as they are sound.
func (r *repairer) loadStore() error {
	b := lookBeside(r.fsys, r.dir, r.options.Store)
	if b.err != nil {
		return fmt.Errorf("%w; let this user read it", b.err)
	}
	r.stored, r.storeBad = b.positions, b.findings
	return nil
}

// restoreStore makes a checkpoint database that is lost or damaged again, from what is sound in it and from the log.
func (r *repairer) restoreStore() error {
	lost := slices.Equal(r.storeBad, []string{checkpoint.Missing}) && !r.storeOdd
	if len(r.storeBad) == 0 || lost && len(r.Outputs) == 0 {
		return nil
	}
	positions := make(map[string]checkpoint.Position)
	for name, p := range r.Outputs {
		positions[checkpoint.Key(name)] = p
	}
	path := filepath.Join(r.dir, CheckpointFile)
	size, err := r.replaceFile(path, func(temp string) error { return r.options.MakeStore(temp, positions) })
	if err != nil {
		const room = 512 << 10 // twice what a new one takes
		return r.give(CheckpointFile+" is not made again", room, err)
	}
	r.Report.Repaired = true
	r.Report.note(fmt.Sprintf("%s: %s; made again with the positions of %s", CheckpointFile, strings.Join(r.storeBad, "; "), countOf(uint64(len(positions)), "output")))
	if lost {
		return nil
	}
	r.Report.add(Damage{Segment: CheckpointFile, Length: size, Cause: causeStore, Action: didRebuild})
	return nil
}

// replaceFile puts the file that fill makes at a temporary name in the place of one that keeps a second name in quarantine, and
// returns the size of that.
func (r *repairer) replaceFile(path string, fill func(temp string) error) (size int64, err error) {
	temp := path + ".tmp"
	if err := fill(temp); err != nil {
		return 0, err
	}
	if size, err = r.keepOld(path); err == nil {
		err = r.fsys.Rename(temp, path)
	}
	if err != nil {
		_ = r.fsys.Remove(temp) // the next run does, where this cannot
		return 0, err
	}
	return size, r.fsys.SyncDir(filepath.Dir(path))
}

// keepOld gives a file that is about to be replaced a second name in quarantine. What cannot have one is moved there.
func (r *repairer) keepOld(path string) (int64, error) {
	if _, err := r.fsys.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	base := filepath.Base(path)
	f, err := r.fsys.Open(path)
	if err != nil {
		_, err = moveAway(r.fsys, r.dir, path, quarantineDir)
		return 0, err
	}
	defer f.Close() // it was only read
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	_, err = keepFile(r.fsys, r.dir, path, base+damagedSuffix, io.NewSectionReader(patient{f}, 0, size))
	if errors.Is(err, errNoLink) {
		_, err = Quarantine(r.fsys, r.dir, f, base, 0, size)
	}
	return size, err
}

// restoreIdentity makes an identity that is lost again, as far as the segments tell it. It counts no start.
func (r *repairer) restoreIdentity() error {
	_, _, lost, err := readIdentity(r.fsys, r.dir)
	if err != nil || lost == nil || r.Queue == (segment.ID{}) {
		return err
	}
	var starts uint64
	for _, p := range r.parts {
		if p.normal() {
			starts = max(starts, p.header.Epoch.Starts)
		}
	}
	path := filepath.Join(r.dir, identityFile)
	_, err = r.keepOld(path)
	if err == nil {
		err = writeIdentity(r.fsys, r.dir, r.Queue, starts)
	}
	if err != nil {
		return r.give(identityFile+" is not made again", diskBlock, err)
	}
	r.Report.Repaired = true
	r.Report.note(fmt.Sprintf("the identity was lost and is made again from the segments (%v)", lost))
	return nil
}
