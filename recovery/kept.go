package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// Kinds of what is in quarantine.
const (
	KeptSegment     = "segment"     // a whole segment file, as it was before a healed or repaired one took its place
	KeptStray       = "stray"       // a whole file that was in the way among the segments
	KeptBytes       = "bytes"       // a range of a segment
	KeptCheckpoints = "checkpoints" // a checkpoint database
	KeptLeftover    = "leftover"    // a copy that was cut short; what it was to be of was not changed
	KeptOther       = "other"
)

// Kept is one file in quarantine. Its JSON form is that of "quarantine list --json": members are added, never renamed.
type Kept struct {
	Name         string    `json:"name"` // in quarantine/
	Kind         string    `json:"kind"`
	Size         int64     `json:"size"`
	Room         int64     `json:"room"` // bytes that dropping it frees
	Since        time.Time `json:"since"`
	Segment      string    `json:"segment,omitempty"` // that it is from
	Offset       int64     `json:"offset"`            // in that segment
	Length       int64     `json:"length"`
	Cause        string    `json:"cause"`    // as the loss ledger has it, or what the file itself says
	Lost         []Gap     `json:"lost"`     // sequences that are lost with these bytes, as the loss ledger has it
	Count        uint64    `json:"records"`  // how many, and of those that never had a sequence
	Stranger     bool      `json:"stranger"` // the queue did not put it there; it is never dropped
	Replaced     bool      `json:"replaced"` // something sound stands in its place
	LosesNothing bool      `json:"loses_nothing"`
	Why          string    `json:"why"` // the last two, in words

	id    any
	mode  fs.FileMode
	named segment.Name // the segment that it is from
}

// ListQuarantine lists what is in the quarantine of the data directory dir, oldest first. It only reads, also beside a running
// daemon. Segments that were replaced are read as a whole, to see whether everything in them stands in their replacement too.
func ListQuarantine(fsys vfs.FS, dir string) ([]Kept, error) {
	if err := IsDataDir(fsys, dir); err != nil {
		return nil, err
	}
	all, err := listQuarantine(fsys, dir)
	if err != nil {
		return nil, err
	}
	l := &keptLook{fsys: fsys, dir: dir, all: slices.Clone(all)}
	if err := l.readLedger(); err != nil {
		return nil, err
	}
	for i := range all {
		l.explain(&all[i])
	}
	return all, nil
}

// listQuarantine lists the files in quarantine, oldest first, as far as their names and the file system tell.
func listQuarantine(fsys vfs.FS, dir string) ([]Kept, error) {
	infos, err := fsys.ReadDir(filepath.Join(dir, quarantineDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %s of %s: %w", quarantineDir, dir, err)
	}
	var all []Kept
	for _, info := range infos {
		if info.Name() == asideLock {
			continue
		}
		k := keptNamed(info.Name())
		node := vfs.NodeOf(info)
		k.Size, k.Since, k.id, k.mode = info.Size(), node.Changed.UTC(), node.ID, info.Mode()
		if info.Mode().IsRegular() {
			k.Room = node.Room
		} else {
			k.Kind, k.Segment = KeptOther, ""
		}
		if k.Kind == KeptSegment || k.Kind == KeptStray {
			k.Length = k.Size
		}
		all = append(all, k)
	}
	for i := range all {
		shared := slices.ContainsFunc(all[:i], func(o Kept) bool { return o.id == all[i].id })
		if shared || all[i].Kind == KeptSegment && all[i].standsIn(fsys, dir) {
			all[i].Room = 0
		}
	}
	slices.SortStableFunc(all, func(a, b Kept) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// standsIn tells whether the file is the very segment: then nothing has taken its place, and it takes no room of its own.
func (k *Kept) standsIn(fsys vfs.FS, dir string) bool {
	info, err := fsys.Stat(segmentPath(dir, k.named))
	return err == nil && vfs.NodeOf(info).ID == k.id
}

// keptNamed is what the name of a file in quarantine says of it.
func keptNamed(name string) Kept {
	k := Kept{Name: name, Kind: KeptOther, Lost: []Gap{}}
	const nameLength = len("00000000000000000000-0000000000000000.seg")
	whole := strings.TrimSuffix(name, ".tmp")
	rest := whole
	if len(rest) > nameLength {
		if of, ok := segment.ParseName(rest[:nameLength]); ok {
			k.named, k.Segment, rest = of, of.String(), rest[nameLength:]
		}
	}
	switch {
	case k.Segment == "":
		if n, ok := strings.CutPrefix(rest, CheckpointFile); ok && (isNumbered(n, damagedSuffix) || isNumbered(n, "") && n != "") {
			k.Kind = KeptCheckpoints
		} else {
			k.Stranger = !isOwn(rest)
		}
	case isNumbered(rest, damagedSuffix):
		k.Kind = KeptSegment
	case isNumbered(rest, straySuffix):
		k.Kind = KeptStray
	case k.parseRange(rest):
		k.Kind = KeptBytes
	default:
		k.Stranger = true
	}
	if whole != name && !k.Stranger {
		return Kept{Name: name, Kind: KeptLeftover, Lost: []Gap{}}
	}
	k.Stranger = k.Stranger || whole != name
	return k
}

// isOwn tells whether a name is what something gets that stood in the place of a file of the queue, or the bytes of such a file.
func isOwn(name string) bool {
	return slices.ContainsFunc(slices.Concat(ownFiles, ownDirs), func(own string) bool {
		rest, ok := strings.CutPrefix(name, own)
		return ok && (isNumbered(strings.TrimPrefix(rest, ".tmp"), damagedSuffix) || (&Kept{}).parseRange(rest))
	})
}

// parseRange reads "-OFFSET-LENGTH.bin".
func (k *Kept) parseRange(rest string) bool {
	at := strings.Index(rest, ".bin")
	if at < 0 || !isNumbered(rest[at:], ".bin") {
		return false
	}
	parts := strings.Split(rest[:at], "-")
	if len(parts) != 3 || parts[0] != "" || !isNumber(parts[1]) || !isNumber(parts[2]) {
		return false
	}
	k.Offset, _ = strconv.ParseInt(parts[1], 10, 64)
	k.Length, _ = strconv.ParseInt(parts[2], 10, 64)
	return true
}

// isNumbered tells whether text is suffix, or suffix, a dot and a number.
func isNumbered(text, suffix string) bool {
	rest, ok := strings.CutPrefix(text, suffix)
	return ok && (rest == "" || rest[0] == '.' && isNumber(rest[1:]))
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 63)
	return err == nil
}

// policies are the causes of losses that no damage has caused.
var policies = []string{CauseRewind, CauseEpoch, CauseBacklog, CauseForgotten, "drop_oldest", "drop_newest"}

// keptLook looks into what is in one quarantine.
type keptLook struct {
	fsys vfs.FS
	dir  string
	all  []Kept // that are there; none: nobody asks what else has the same bytes

	losses map[string][]Loss // by the copy of the bytes, relative to the data directory
	lost   checkpoint.Ranges // sequences that damage has cost some output
	bad    int               // lines of the ledger that cannot be read
}

func (l *keptLook) readLedger() error {
	l.losses, l.lost = map[string][]Loss{}, nil
	state, err := eachLoss(l.fsys, l.dir, func(loss Loss) {
		copied := loss.Quarantine
		if copied == "" && loss.Segment != "" && loss.Length > 0 {
			copied = copyName(loss.Segment, loss.Offset, loss.Length) // it may have been made later
		}
		if copied != "" {
			l.losses[copied] = append(l.losses[copied], loss)
		}
		if !slices.Contains(policies, loss.Cause) {
			l.lost = l.lost.Add(loss.First, loss.Last)
		}
	})
	l.bad = state.bad
	return err
}

// explain fills in what the ledger and the file itself say.
func (l *keptLook) explain(k *Kept) {
	for _, loss := range l.losses[filepath.Join(quarantineDir, k.Name)] {
		k.Cause = loss.Cause
		k.Count += loss.Count
		if loss.First > 0 {
			k.Lost = append(k.Lost, Gap{loss.First, loss.Last})
		}
		if !loss.Time.IsZero() && (k.Since.IsZero() || loss.Time.Before(k.Since)) {
			k.Since = loss.Time.UTC()
		}
	}
	switch k.Kind {
	case KeptSegment:
		l.explainSegment(k)
	case KeptStray:
		if k.Cause == "" {
			k.Cause = "not in the ledger"
		}
		k.Why = "was among the segments: " + Meaning(k.Cause) + "; nothing else has what is in it"
	case KeptLeftover:
		k.LosesNothing, k.Why = true, "a copy that was cut short; what it was to be of was not changed"
	case KeptCheckpoints:
		k.Cause, k.Replaced, k.LosesNothing = "damaged", true, true
		k.Why = "a new database was made of what is sound in it and of the positions in the log"
	case KeptBytes:
		others := l.twins(k, KeptSegment)
		switch {
		case len(others) > 0 && (len(k.Lost) > 0 || k.Count > 0):
			k.Why = fmt.Sprintf("a copy of bytes in which records were lost; they stand in %s too, as long as that is kept", others[0].Name)
		case len(k.Lost) > 0 || k.Count > 0:
			k.Why = "the only copy of bytes in which records were lost"
		case k.Cause != "":
			k.Why = "the only copy of damaged bytes; no record was lost with them"
		default:
			k.Cause = "not in the ledger"
			k.Why = "bytes that no line of the loss ledger tells of: a torn tail, what a failed sync left behind, bytes that were healed, or records of a line that was lost"
		}
	default:
		k.Cause = "not regular"
		if k.mode.IsRegular() {
			k.Cause = "unknown"
		}
		k.Why = "stood where a file of the queue belongs: " + kindOf(k.mode)
		if k.Stranger {
			k.Why = "was put here by someone else, and is left alone: " + kindOf(k.mode)
		}
	}
}

// explainSegment says what became of a segment that was replaced.
func (l *keptLook) explainSegment(k *Kept) {
	k.Cause = "damaged"
	if k.standsIn(l.fsys, l.dir) {
		k.LosesNothing, k.Why = true, "a second name of the segment itself, which was not replaced: it is being healed, or that was cut short"
		return
	}
	h, err := diagnoseKept(l.fsys, l.dir, k)
	if err != nil {
		k.Why = fmt.Sprintf("the only copy of a segment as it was: %v", err)
		return
	}
	last := h.Trailer.Last
	there, whole := l.replacement(k, h)
	k.Replaced = there
	switch lost := l.lost.Without(k.named.First, last); {
	case len(h.Bad) > 0:
		k.Why = l.unhealed(k, h.Bad)
	case checkpoint.Ranges(lost).Count() < last-k.named.First+1 || l.bad > 0 && !there:
		k.Why = "all that was in it can be restored, and the loss ledger tells of records of that segment that were lost later: they may be in here"
	case whole:
		k.LosesNothing, k.Why = true, "all of it was restored from its parity and stands in the segment that took its place"
	case there:
		k.Why = "all that was in it can be restored, and the segment that took its place is damaged, or another one, by now"
	case l.missed(k):
		k.Why = "all that was in it can be restored, and the segment that took its place is gone, with older ones still there: this is the only copy"
	default:
		k.Replaced, k.LosesNothing = true, true
		k.Why = "all of it was restored from its parity, in a segment that is delivered and deleted by now"
	}
}

// replacement tells whether a file stands in the place of a segment that was replaced, and whether all that h makes of the old one is
// in it, as it is or as its parity gives it back.
func (l *keptLook) replacement(k *Kept, h *segment.Healing) (there, whole bool) {
	path := segmentPath(l.dir, k.named)
	if _, err := l.fsys.Stat(path); err != nil {
		return !errors.Is(err, fs.ErrNotExist), false
	}
	f, err := l.fsys.Open(path)
	if err != nil {
		return true, false
	}
	defer f.Close() // it was only read
	size, err := f.Size()
	if err != nil {
		return true, false
	}
	is, err := segment.Diagnose(f, size, k.named)
	return true, err == nil && len(is.Bad) == 0 && is.Trailer.Sum == h.Trailer.Sum
}

// missed tells whether there are segments older than one that is not there: the queue deletes the oldest first.
func (l *keptLook) missed(k *Kept) bool {
	found, _, err := list(l.fsys, l.dir)
	return err != nil || slices.ContainsFunc(found, func(o listed) bool { return o.name.First < k.named.First })
}

func diagnoseKept(fsys vfs.FS, dir string, k *Kept) (*segment.Healing, error) {
	f, err := fsys.Open(filepath.Join(dir, quarantineDir, k.Name))
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	return segment.Diagnose(f, k.Size, k.named)
}

func spanned(spans []segment.Span) (n int64) {
	for _, s := range spans {
		n += s.Size
	}
	return n
}

// kindOf is what a name stands for, in words.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a file"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link, which nothing follows"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device or the like"
}

// QuarantineRoom is how many files are in the quarantine of dir, and the room that they take: what shares its blocks with a
// segment in place, or with another of them, counts once.
func QuarantineRoom(fsys vfs.FS, dir string) (files int, room int64, err error) {
	all, err := listQuarantine(fsys, dir)
	for _, k := range all {
		room += k.Room
	}
	return len(all), room, err
}
