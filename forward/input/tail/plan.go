package tail

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"logmule/forward/pack"
)

// Planned is one file as Plan finds it.
type Planned struct {
	Path   string
	Name   string // the logger of its records
	Size   int64  // in bytes, as it is on the disk
	Read   bool   // it is read, or would be; else Why says why not
	Offset int64  // where it is read on: of a compressed file in the decompressed stream
	Known  bool   // it was read before, or seen
	Done   bool   // there is nothing left to read
	Why    string
}

// Plan says what a start with these positions would read, and from where: the files of one log together, in the order in
// which they would be read, and last those that would not be. It only reads.
func Plan(opt Options, positions map[string][]byte) []Planned {
	t := newTailer(opt, Env{
		Log: slog.New(slog.DiscardHandler), Counters: new(Counters), Truncated: new(atomic.Uint64), Positions: kept(positions),
		Now: time.Now, Emit: func(context.Context, *pack.Pack) (bool, error) { return true, nil },
	})
	t.dry = true
	known := map[string]bool{}
	for key := range t.tracks {
		known[key] = true
	}
	t.look()
	var tracks []*track
	for _, tr := range t.tracks {
		tracks = append(tracks, tr)
	}
	slices.SortFunc(tracks, func(a, b *track) int {
		return cmp.Or(compareText(a.group, b.group), cmp.Compare(a.gen, b.gen), compareText(a.key, b.key))
	})
	var all []Planned
	for _, tr := range tracks {
		all = append(all, t.planned(tr, known[tr.key]))
	}
	for _, path := range slices.Sorted(maps.Keys(t.view.skipped)) {
		p := Planned{Path: path, Why: strings.TrimPrefix(t.view.skipped[path], "open "+path+": ")}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			p.Size = info.Size()
		}
		all = append(all, p)
	}
	for _, dir := range slices.Sorted(maps.Keys(t.view.lists)) {
		if err := t.view.lists[dir].err; errors.Is(err, fs.ErrNotExist) {
			all = append(all, Planned{Path: dir, Why: "the directory does not exist"})
		} else if err != nil {
			all = append(all, Planned{Path: dir, Why: "the directory cannot be read: " + reason(err)})
		}
	}
	return all
}

// whyNone says why a known file was not found.
func (v *view) whyNone(path string) string {
	_, err := v.list(filepath.Dir(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "known; its directory is away"
	case err != nil:
		return "known; its directory cannot be read: " + reason(err)
	case v.errs[path] != nil:
		return "known; it cannot be looked at: " + reason(v.errs[path])
	default:
		return "gone; its position is kept for a day"
	}
}

// reason is err without the path, which stands beside it.
func reason(err error) string {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		err = at.Err
	}
	return err.Error()
}

func (t *tailer) planned(tr *track, known bool) Planned {
	p := Planned{Path: tr.base, Name: tr.pos.name, Offset: tr.pos.offset, Known: known}
	if tr.at == nil {
		p.Why = t.view.whyNone(tr.base)
		return p
	}
	p.Path, p.Size, p.Read = tr.at.path, tr.at.size, true
	switch {
	case tr.done():
		p.Done, p.Why = true, "known, all of it read"
		if !known {
			p.Why = "new, not read: start_at = \"end\""
		}
	case !known && tr.pos.offset > 0:
		p.Why = "new, begun at its end: start_at = \"end\""
	case !known && tr.at.name == "":
		p.Why = "new, a rotated form of " + tr.base
	case !known:
		p.Why = "new"
	case tr.at.path != tr.base:
		p.Why = "known, was " + tr.base
	default:
		p.Why = "known"
	}
	if !tr.gzip() && tr.pos.offset >= tr.at.size {
		p.Done = true
	}
	return p
}

// kept are positions that nothing changes.
type kept map[string][]byte

func (k kept) Load() map[string][]byte { return k }
func (k kept) Set(string, []byte)      {}
func (k kept) Forget(...string)        {}
