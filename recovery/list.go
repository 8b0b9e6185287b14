package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// namedSuffix is of a segment that had the name of another one and waits until its own is free.
const namedSuffix = ".named"

// listed is a file of the segment directory that has a segment's name.
type listed struct {
	name    segment.Name
	path    string
	size    int64
	changed time.Time
}

// errLeadsNowhere is of a disk that is not mounted, say: nothing is lost by that.
var errLeadsNowhere = errors.New(SegmentDir + " in the data directory is a symbolic link to what is not there; mount or make what it leads to")

// list returns the segments of dir in order, and notes on what is in their directory besides. A missing directory holds
// none, nor does what is none (see oddNames).
func list(fsys vfs.FS, dir string) ([]listed, []string, error) {
	path := filepath.Join(dir, SegmentDir)
	infos, err := fsys.ReadDir(path)
	if info, _ := fsys.Stat(path); errors.Is(err, fs.ErrNotExist) && info != nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, nil, errLeadsNowhere
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list segments of %s: %w; let this user read the directory", dir, err)
	}
	var found []listed
	var notes []string
	for _, info := range infos {
		name, ok := segment.ParseName(strings.TrimSuffix(info.Name(), namedSuffix))
		switch {
		case isHealing(info.Name()): // of no use to anybody, and the next start removes it
		case !ok || name.First == 0 || name.First > segment.MaxSequence:
			notes = append(notes, fmt.Sprintf("%s/%s is no segment: left alone", SegmentDir, info.Name()))
		case !info.Mode().IsRegular():
			notes = append(notes, fmt.Sprintf("%s/%s is no regular file: not opened, left alone", SegmentDir, info.Name()))
		default:
			found = append(found, listed{name: name, path: filepath.Join(dir, SegmentDir, info.Name()), size: info.Size(), changed: info.ModTime()})
		}
	}
	slices.SortStableFunc(found, func(a, b listed) int { return cmp.Compare(a.name.First, b.name.First) })
	orderTwins(fsys, found)
	return found, notes, nil
}

// orderTwins puts segments that begin with the same sequence in the order in which they were made: the last one counts.
// They are the leftovers of starts that took no record, and of segments given up after a failed sync.
func orderTwins(fsys vfs.FS, found []listed) {
	for i := 0; i < len(found); {
		j := i + 1
		for j < len(found) && found[j].name.First == found[i].name.First {
			j++
		}
		if j > i+1 {
			sortTwins(fsys, found[i:j])
		}
		i = j
	}
}

// sortTwins sorts by start; within one start a segment follows the one that it names as its previous. One that has nothing but a
// header comes before others that name the same one: it was given up, and could not be deleted. The clock says no more than
// that, since it may have been set back.
func sortTwins(fsys vfs.FS, twins []listed) {
	headers := make(map[segment.Name]segment.Header)
	left := make(map[uint64]segment.Header) // by salt
	for _, l := range twins {
		h := headerOf(fsys, l)
		headers[l.name], left[h.Salt] = h, h
	}
	slices.SortStableFunc(twins, func(a, b listed) int {
		x, y := headers[a.name], headers[b.name]
		full := cmp.Compare(min(a.size, segment.HeaderSize+1), min(b.size, segment.HeaderSize+1))
		return cmp.Or(cmp.Compare(x.Epoch.Starts, y.Epoch.Starts), full, cmp.Compare(x.Created, y.Created))
	})
	for i := range twins {
		for j := i; j < len(twins); j++ {
			h := headers[twins[j].name]
			if before, waits := left[h.Previous.Salt]; waits && before.Epoch == h.Epoch && before.Salt != h.Salt {
				continue
			}
			delete(left, h.Salt)
			next := twins[j]
			copy(twins[i+1:j+1], twins[i:j])
			twins[i] = next
			break
		}
	}
}

// headerOf is the header of a segment, zero where it cannot be read.
func headerOf(fsys vfs.FS, l listed) segment.Header {
	f, err := fsys.Open(l.path)
	if err != nil {
		return segment.Header{}
	}
	defer f.Close()
	h, _ := segment.ReadHeader(f, l.size, l.name)
	return h
}
