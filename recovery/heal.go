package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

const (
	healingSuffix = ".healing" // of the healed copy of a segment while it is made, beside it
	damagedSuffix = ".damaged" // of the damaged file in quarantine; a second one ends in .damaged.2
)

// HealOptions of Heal. The zero value works.
type HealOptions struct {
	// Room says whether there is room for so many bytes more; nil: the file system knows.
	Room func(size int64) error
	// Hold is called when the healed copy is durable. It keeps the segment from being deleted until release is called, and
	// answers false where it is no longer wanted. nil: nobody else changes the directory.
	Hold func() (release func(), wanted bool)
}

// Healed is what Heal found and did.
type Healed struct {
	*segment.Healing        // what there is to be made good; not nil where Heal returns no error
	Gains            []Gain // what is won, in the order of a report
	Replaced         bool   // the segment is healed on the disk
	Quarantine       string // what was damaged, relative to the data directory; empty where only bytes of it were copied
	Waits            error  // why it is not replaced, or not durably, though something can be won; read it with Over meanwhile
}

// Gain is a place of a segment that is made good. fsck and Heal have them from the same function.
type Gain struct {
	segment.Span
	Cause string // of the damage, as in a report
	Data  bool   // header or frames, which only parity or another copy gives back; else what is made of them
}

// action is how a report calls it.
func (g Gain) action(heal, rebuild string) string {
	if g.Data {
		return heal
	}
	return rebuild
}

// gains are what a healing makes of the file f.
func gains(h *segment.Healing, f io.ReaderAt) []Gain {
	var all []Gain
	t, header := h.Trailer, segment.Span{Size: segment.HeaderSize}
	for _, s := range h.Parity {
		all = append(all, Gain{s, causeChecksum, false})
	}
	if h.Header {
		all = append(all, Gain{header, causeHeader, true})
	}
	for _, s := range h.Altered(f) {
		if from := max(s.Offset, header.Size); h.Header && s.Offset < header.Size {
			s = segment.Span{Offset: from, Size: s.End() - from}
		}
		if s.Size > 0 {
			all = append(all, Gain{s, causeChecksum, true})
		}
	}
	index := t.Parity - t.IndexA
	if h.IndexA {
		all = append(all, Gain{segment.Span{Offset: t.IndexA, Size: index}, causeIndex, false})
	}
	if h.IndexB {
		all = append(all, Gain{segment.Span{Offset: t.IndexB, Size: index}, causeIndex, false})
	}
	if h.Seal {
		all = append(all, Gain{segment.Span{Offset: h.Size - segment.TrailerSize, Size: segment.TrailerSize}, causeTrailer, false})
	}
	return all
}

// Heal makes a damaged segment of the data directory dir good from what it keeps twice, as far as that goes. What was
// damaged is kept in quarantine, under a second name, before the healed copy takes its place by a rename; where nothing is
// won nothing is touched. It may be cut short at any point and done again. The caller sees to it that nobody writes to
// the segment. The error says why nothing can be known of the segment: it was never sealed, its index is lost, it is gone.
func Heal(fsys vfs.FS, dir string, name segment.Name, opt HealOptions) (Healed, error) {
	f, err := fsys.Open(segmentPath(dir, name))
	if err != nil {
		return Healed{}, fmt.Errorf("heal segment: %w", err)
	}
	defer f.Close() // it was only read
	size, err := f.Size()
	if err != nil {
		return Healed{}, fmt.Errorf("heal segment %s: %w", name, err)
	}
	h, err := segment.Diagnose(f, size, name)
	if err != nil {
		return Healed{}, err
	}
	if is := h.Trailer.Header.Name(); is != name {
		return Healed{}, fmt.Errorf("segment %s is %s by its header: left alone; rename it to that to have it read", name, is)
	}
	x := exchange{
		fsys: fsys, dir: dir, name: name, opt: opt, f: f, size: size, want: h.Size, changed: h.Changed(),
		fill:   func(into vfs.File) error { return h.Write(into, f) },
		proven: func(made io.ReaderAt) error { return healedAs(made, h, name) },
	}
	healed := Healed{Healing: h, Gains: gains(h, f)}
	switch {
	case !h.Won():
	case h.Unread:
		healed.Waits = fmt.Errorf("segment %s has bytes that cannot be read and that its parity does not give back; it is healed in memory only, "+
			"since the disk may yet give them; fsck --repair gives them up", name)
	default:
		healed.Waits = x.run()
		healed.Replaced, healed.Quarantine = x.replaced, x.kept
	}
	return healed, nil
}

// exchange puts another file in the place of a damaged segment, which stays in quarantine.
type exchange struct {
	fsys vfs.FS
	dir  string
	name segment.Name
	opt  HealOptions
	f    vfs.File // the damaged file
	size int64    // of it

	want    int64                        // bytes of the other file
	fill    func(into vfs.File) error    // makes it
	proven  func(made io.ReaderAt) error // looks whether it is what it should be
	changed []segment.Span               // of the damaged file, what is not in the other one

	replaced bool
	kept     string // the damaged file in quarantine
}

func (x *exchange) run() error {
	if x.opt.Room != nil {
		if err := x.opt.Room(x.want); err != nil {
			return fmt.Errorf("heal segment %s: %w", x.name, err)
		}
	}
	path := segmentPath(x.dir, x.name)
	temp := path + healingSuffix
	err := x.write(temp)
	if err == nil {
		err = x.swap(temp, path)
	}
	if err == nil {
		return nil
	}
	if !x.replaced {
		_ = x.fsys.Remove(temp) // the next start does, where this cannot
	}
	if isFull(err) {
		return fmt.Errorf("heal segment %s: %w; free %d bytes there, it is tried again", x.name, err, x.want)
	}
	return fmt.Errorf("heal segment %s: %w", x.name, err)
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// write makes the healed copy, durable but for its name, and looks whether it is what it should be: whatever went wrong
// between the two disks shows in its checksums.
func (x *exchange) write(temp string) error {
	if err := x.fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := x.fsys.Create(temp)
	if err != nil {
		return err
	}
	err = x.fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = x.proven(f)
	}
	return errors.Join(err, f.Close())
}

// healedAs is an error where a file is not what this healing makes of the segment.
func healedAs(made io.ReaderAt, want *segment.Healing, name segment.Name) error {
	h, err := segment.Diagnose(made, want.Size, name)
	if err != nil {
		return fmt.Errorf("the healed copy is no segment: %w", err)
	}
	if h.Won() || !slices.Equal(h.Bad, want.Bad) || !slices.Equal(h.BadParity, want.BadParity) {
		return errors.New("the healed copy is not what it should be: the disk gives other bytes each time; nothing was replaced")
	}
	return nil
}

// swap puts the healed copy in the place of the segment.
func (x *exchange) swap(temp, path string) error {
	if x.opt.Hold != nil {
		release, wanted := x.opt.Hold()
		defer release()
		if !wanted {
			return errors.New("it is no longer wanted")
		}
	}
	if err := x.keep(path); err != nil {
		return fmt.Errorf("keep the damaged file: %w", err)
	}
	if err := x.fsys.Rename(temp, path); err != nil {
		return err
	}
	x.replaced = true
	return x.fsys.SyncDir(filepath.Dir(path))
}

// keep gives the damaged file a second name in quarantine. Where the file system has no such thing, the bytes that are
// about to be replaced are copied.
func (x *exchange) keep(path string) error {
	var err error
	x.kept, err = keepFile(x.fsys, x.dir, path, x.name.String()+damagedSuffix, io.NewSectionReader(patient{x.f}, 0, x.size))
	if errors.Is(err, errNoLink) {
		return x.copy()
	}
	return err
}

// errNoLink says that the file system gives a file no second name.
var errNoLink = errors.New("no second name")

// keepFile gives the file at path, which holds these bytes, a second name in quarantine, as or as.2 and so on, and returns
// that, relative to dir. It is durable when it returns nil. A second call finds the name that the first one gave. errNoLink
// where the file system has no such thing.
func keepFile(fsys vfs.FS, dir, path, as string, whole *io.SectionReader) (string, error) {
	quarantine := filepath.Join(dir, quarantineDir)
	if err := fsys.MkdirAll(quarantine); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		name := filepath.Join(quarantineDir, as)
		if n > 1 {
			name = fmt.Sprintf("%s.%d", name, n)
		}
		err := fsys.Link(path, filepath.Join(dir, name))
		if errors.Is(err, fs.ErrExist) {
			same := sameFile(fsys, path, filepath.Join(dir, name)) // one that was cut short; parts of it may not be readable
			if !same {
				same, err = holds(context.Background(), fsys, filepath.Join(dir, name), whole)
				if err != nil {
					return "", err
				}
			}
			if !same {
				continue
			}
			err = nil
		}
		if linkless(err) {
			err = fmt.Errorf("%w: %w", errNoLink, err)
		}
		if err != nil {
			return "", err
		}
		return name, fsys.SyncDir(quarantine)
	}
}

// sameFile tells whether two names are of one file.
func sameFile(fsys vfs.FS, a, b string) bool {
	x, err := fsys.Stat(a)
	y, berr := fsys.Stat(b)
	return err == nil && berr == nil && vfs.NodeOf(x).ID == vfs.NodeOf(y).ID
}

// linkless tells whether an error says that a file cannot have a second name there.
func linkless(err error) bool {
	return slices.ContainsFunc([]error{errors.ErrUnsupported, syscall.EPERM, syscall.EXDEV, syscall.EMLINK}, func(e error) bool { return errors.Is(err, e) })
}

func (x *exchange) copy() error {
	for _, s := range x.changed {
		if _, err := Quarantine(x.fsys, x.dir, x.f, x.name.String(), s.Offset, s.Size); err != nil {
			return err
		}
	}
	return nil
}

// isHealing tells whether a file of the segment directory is what a healing that was cut short has left.
func isHealing(base string) bool {
	name, ok := strings.CutSuffix(base, healingSuffix)
	_, is := segment.ParseName(name)
	return ok && is
}

// removeHealing removes leftovers. One that stays is in nobody's way.
func removeHealing(fsys vfs.FS, dir string) {
	infos, err := fsys.ReadDir(filepath.Join(dir, SegmentDir))
	if err != nil {
		return
	}
	for _, info := range infos {
		if isHealing(info.Name()) && info.Mode().IsRegular() {
			_ = fsys.Remove(filepath.Join(dir, SegmentDir, info.Name()))
		}
	}
}
