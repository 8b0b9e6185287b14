package tail

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// home is a directory in which known files were found.
type home struct {
	id    fileID
	was   fileID    // of the one that another one replaced
	since time.Time // it is away; zero: it is there
	loud  bool      // it was said at a level that alarms
}

// homes tells of directories that went away, or were replaced, with the files in them: renamed, they or one above them,
// removed, or not mounted any more. Their files that are open are read on, like files without a name.
func (c *claims) homes() {
	t := c.t
	t.searching = false
	here := map[string][]*track{}
	for _, tr := range t.tracks {
		dir := filepath.Dir(tr.where())
		here[dir] = append(here[dir], tr)
	}
	for dir := range t.homes {
		if here[dir] == nil {
			delete(t.homes, dir)
		}
	}
	for dir, tracks := range here {
		_, err := c.v.list(dir)
		switch {
		case err == nil:
			t.atHome(dir, c.v.dirs[dir], tracks, c.now)
		case errors.Is(err, fs.ErrNotExist):
			t.noHome(dir, tracks)
		}
	}
}

// drift notes whether the directory of a file cannot be listed, so that nobody tells when the file grows.
func (c *claims) drift(tr *track) {
	t, dir := c.t, filepath.Dir(tr.where())
	_, err := c.v.list(dir)
	t.mu.Lock()
	switch {
	case err == nil:
		tr.adrift = time.Time{}
	case tr.adrift.IsZero():
		tr.adrift = c.now
	}
	over := errors.Is(err, fs.ErrNotExist) && c.now.Sub(tr.adrift) > goneAfter && !t.isBase(dir)
	lost := tr.state.size - tr.pos.offset
	gone := tr.away
	t.mu.Unlock()
	if !over || !t.hold(tr) {
		return
	}
	if !gone && !tr.gzip() {
		t.lost(tr, lost, "its directory was removed, or renamed, before it was read")
	}
	t.drop(tr)
	t.giveBack(tr)
}

// atHome is for a directory that is there.
func (t *tailer) atHome(dir string, id fileID, tracks []*track, now time.Time) {
	h := t.homes[dir]
	if h == nil {
		t.homes[dir] = &home{id: id}
		return
	}
	away := h.since
	switch {
	case h.id == id && away.IsZero():
		return
	case h.id == id || h.was == id:
		t.env.Log.Info("directory is back", "input", t.env.Name, "directory", dir)
		h.was = fileID{}
	case missed(tracks, now):
		t.env.Counters.ReadErrors.Add(1)
		t.env.Log.Warn("another directory is in the place of one", "input", t.env.Name, "directory", dir,
			"why", "it was renamed, removed, mounted or unmounted, and its files are not in the new one",
			"next", "those that are open are read on as long as they are written to, the new ones as usual; put it back if it was not meant")
		h.was = h.id
	case !away.IsZero():
		t.env.Log.Info("directory is back", "input", t.env.Name, "directory", dir)
	}
	h.id, h.since, h.loud = id, time.Time{}, false
}

// missed says whether this look was the first one that does not find one of the files.
func missed(tracks []*track, now time.Time) bool {
	for _, tr := range tracks {
		if tr.at == nil && tr.missing.Equal(now) {
			return true
		}
	}
	return false
}

// noHome is for a directory that does not exist. Below a wildcard that is how containers and applications end, if nothing
// is left of it.
func (t *tailer) noHome(dir string, tracks []*track) {
	h := t.homes[dir]
	base := t.isBase(dir)
	if h == nil {
		if !base {
			return
		}
		h = &home{}
		t.homes[dir] = h
	}
	if h.since.IsZero() {
		h.since = t.env.Now()
		args := []any{"input", t.env.Name, "directory", dir, "why", "it, or one above it, was renamed, removed or unmounted",
			"next", "its files that are open are read on, and it is looked for"}
		if h.loud = base || t.named(tracks); h.loud {
			t.env.Counters.ReadErrors.Add(1)
			t.env.Log.Warn("directory is away", args...)
		} else {
			t.env.Log.Info("directory is away", args...)
		}
	}
	t.searching = t.searching || h.loud
}

// named says whether one of the files is open, and has a name somewhere.
func (t *tailer) named(tracks []*track) bool {
	for _, tr := range tracks {
		if !t.hold(tr) {
			return true
		}
		is := false
		if tr.src != nil {
			info, err := tr.src.f.Stat()
			is = err == nil && linksOf(info) > 0
		}
		t.giveBack(tr)
		if is {
			return true
		}
	}
	return false
}

// isBase says whether the files of a pattern cannot be there without the directory.
func (t *tailer) isBase(dir string) bool {
	for i := range t.patterns {
		p := &t.patterns[i]
		for _, base := range []string{p.base, p.real} {
			if base == dir || strings.HasPrefix(base, strings.TrimSuffix(dir, "/")+"/") {
				return true
			}
		}
	}
	return false
}

// moved says whether the look would see other directories than the last one: one above them may have been renamed, a file
// system mounted, a link changed, of all of which nobody is told.
func (v *view) moved() bool {
	for dir, id := range v.dirs {
		if info, err := os.Stat(dir); err != nil || idOf(info) != id {
			return true
		}
	}
	for dir, was := range v.real {
		if dir == was {
			continue
		}
		if now, err := filepath.EvalSymlinks(dir); err != nil || now != was {
			return true
		}
	}
	return false
}
