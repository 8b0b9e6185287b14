package tail

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// sight is one regular file as a look found it.
type sight struct {
	rotation
	path        string // without links
	name        string // as paths matches it; empty: it only may be a rotated form of one that paths matches
	pattern     string // that matches it
	group       string
	id          fileID
	size, mtime int64
	born        int64 // see birth
	asked       bool
	copied      bool   // it was found to be a copy of what a file had held that was cut then
	taken       *track // whose content it holds
}

// view is all that one look saw.
type view struct {
	t       *tailer
	files   map[string]*sight // by path without links
	groups  map[string][]*sight
	lists   map[string]listing // directories without links, or as patterns name them
	real    map[string]string  // directories, and what they are without links
	dirs    map[string]fileID  // that were read
	errs    map[string]error   // files that could not be looked at, by path without links where that is known
	skipped map[string]string  // paths that match, and why they are not read
	visited map[[2]string]bool // pattern and directory
	names   map[string]parsed  // what the names of files say
}

type listing struct {
	entries []os.DirEntry
	err     error
}

// see looks for all files that paths matches, and for their rotated forms.
func (t *tailer) see() *view {
	v := &view{
		t: t, files: map[string]*sight{}, groups: map[string][]*sight{}, lists: map[string]listing{}, real: map[string]string{},
		dirs: map[string]fileID{}, errs: map[string]error{}, skipped: map[string]string{}, visited: map[[2]string]bool{}, names: map[string]parsed{},
	}
	for i := range t.patterns {
		p := &t.patterns[i]
		w := walker{
			read:  v.list,
			found: func(path string) { v.found(path, p.text) },
			dir: func(path string) bool {
				key := [2]string{p.text, path}
				if v.visited[key] {
					return false
				}
				v.visited[key] = true
				return true
			},
		}
		w.walk(p)
		if real := v.realDir(p.base); real != p.base {
			p.real = real
		}
	}
	v.siblings()
	t.names = v.names
	for _, s := range v.files {
		v.groups[s.group] = append(v.groups[s.group], s)
	}
	lives := map[string]bool{}
	for _, tr := range t.tracks {
		lives[tr.base] = true
	}
	for group, files := range v.groups {
		slices.SortFunc(files, func(a, b *sight) int { return compareText(a.path, b.path) })
		sortByAge(files, countsUp(files, v.files[group] != nil || lives[group]))
	}
	return v
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// list reads a directory, once in a look.
func (v *view) list(dir string) ([]os.DirEntry, error) {
	if l, ok := v.lists[dir]; ok {
		return l.entries, l.err
	}
	// The watch has to be there before the directory is read, else a file that appears in between is seen late.
	if info, err := os.Stat(dir); err == nil {
		real := v.realDir(dir)
		v.dirs[real] = idOf(info)
		if v.t.onDir != nil {
			v.t.onDir(real, idOf(info))
		}
	}
	entries, err := os.ReadDir(dir)
	v.lists[dir] = listing{entries, err}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.t.faults.note("directory "+dir, err, "what is in it is read when it can be listed again; let the daemon read and enter the directory")
	} else {
		v.t.faults.over("directory " + dir)
	}
	return entries, err
}

// listed says whether it is known which files are in the directory.
func (v *view) listed(dir string) bool {
	_, err := v.list(dir)
	return err == nil
}

// realDir is dir without links.
func (v *view) realDir(dir string) string {
	if r, ok := v.real[dir]; ok {
		return r
	}
	r, err := filepath.EvalSymlinks(dir)
	if err != nil {
		r = dir
	}
	v.real[dir] = r
	return r
}

// found takes up a file that a pattern matches.
func (v *view) found(path, pattern string) {
	if g := anyMatch(v.t.opt.Exclude, path); g != "" {
		v.skipped[path] = "excluded by " + asWritten(g)
		return
	}
	real := filepath.Join(v.realDir(filepath.Dir(path)), filepath.Base(path))
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			v.fault(path, path, err)
			return
		}
		real = target
	}
	if s := v.files[real]; s != nil {
		if s.name != path {
			v.skipped[path] = "the same file as " + s.name
		}
		return
	}
	v.look(real, path, pattern)
}

// fault notes that a file cannot be looked at. That it does not exist is no fault: it was deleted in this moment.
func (v *view) fault(path, real string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		v.skipped[path] = "does not exist, or points to what does not"
		return
	}
	v.errs[real] = err
	v.skipped[path] = err.Error()
	v.t.faults.note("state of "+path, err, "the file is read on when it can be looked at again; let the daemon enter its directory")
}

// look takes up the file at path, which paths matches as name.
func (v *view) look(path, name, pattern string) *sight {
	info, err := os.Stat(path)
	if err != nil {
		v.fault(path, path, err)
		return nil
	}
	v.t.faults.over("state of " + path)
	if !info.Mode().IsRegular() {
		v.skipped[path] = "not a regular file"
		if name != "" {
			v.t.once("not a regular file", path)
		}
		return nil
	}
	s := &sight{path: path, name: name, pattern: pattern, id: idOf(info), size: info.Size(), mtime: info.ModTime().UnixNano()}
	s.group, s.rotation = v.parse(path)
	v.files[path] = s
	return s
}

// parse is groupOf, done once for each name as long as the file is there.
func (v *view) parse(path string) (string, rotation) {
	p, ok := v.t.names[path]
	if !ok {
		p.group, p.rotation = groupOf(path)
	}
	v.names[path] = p
	return p.group, p.rotation
}

// siblings takes up the files that paths does not match, and that may be rotated forms of those that it does.
func (v *view) siblings() {
	lives := map[string]map[string]bool{} // names by directory
	add := func(path string) {
		dir, name := filepath.Split(path)
		dir = filepath.Clean(dir)
		if lives[dir] == nil {
			lives[dir] = map[string]bool{}
		}
		lives[dir][name] = true
	}
	for path := range v.files {
		add(path)
	}
	for _, tr := range v.t.tracks {
		add(tr.base)
	}
	for dir := range v.lists {
		if dir = v.realDir(dir); lives[dir] == nil {
			lives[dir] = nil
		}
	}
	for dir, names := range lives {
		entries, _ := v.list(dir)
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if v.files[path] != nil || !e.Type().IsRegular() && e.Type() != fs.ModeIrregular {
				continue
			}
			if slices.ContainsFunc(livesOf(e.Name()), func(live string) bool {
				return names[live] || v.matching(filepath.Join(dir, live)) != ""
			}) {
				if g := anyMatch(v.t.opt.Exclude, path); g != "" {
					v.skipped[path] = "excluded by " + asWritten(g)
				}
				v.look(path, "", "")
			}
		}
	}
	for _, tr := range v.t.tracks { // under a name of no meaning
		if tr.at != nil && v.files[tr.at.path] == nil && v.errs[tr.at.path] == nil {
			if s := v.look(tr.at.path, "", ""); s != nil {
				s.group, _ = groupOf(tr.base)
			}
		}
	}
}

// matching is the first pattern that matches path, which need not exist; empty where none does.
func (v *view) matching(path string) string {
	if anyMatch(v.t.opt.Exclude, path) != "" {
		return ""
	}
	return anyMatch(v.t.opt.Paths, path)
}

// search looks for the inode id among all files of a directory, whatever their names.
func (v *view) search(dir string, id fileID) *sight {
	entries, _ := v.list(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if v.files[path] != nil || e.IsDir() {
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && idOf(info) == id {
			return v.look(path, "", "")
		}
	}
	return nil
}
