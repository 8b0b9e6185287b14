package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// maxDepth is how many directories deep ** goes.
const maxDepth = 64

// pattern is one glob of paths.
type pattern struct {
	text     string
	base     string   // directory before the first part with a wildcard
	real     string   // the same without links, when it was there last
	glob     string   // the rest
	parts    []string // of glob, by level; nil where it has ** or alternatives that span levels
	maxDepth int
}

// CheckExclude says what is wrong with a glob of exclude.
func CheckExclude(text string) error {
	if text == "" {
		return errors.New(`is empty; write a file name such as "*.gz", or a path`)
	}
	return CheckPattern(wholePath(text))
}

// wholePath makes the glob of a file name, or of the end of a path, that of a whole path.
func wholePath(text string) string {
	if filepath.IsAbs(text) {
		return text
	}
	return "/**/" + text
}

// asWritten is wholePath the other way round.
func asWritten(glob string) string { return strings.TrimPrefix(glob, "/**/") }

// CheckPattern says what is wrong with a glob of paths.
func CheckPattern(text string) error {
	switch {
	case text == "":
		return errors.New("is empty; write an absolute path, which may hold *, ?, [a-z], {a,b} and **")
	case !filepath.IsAbs(text):
		return fmt.Errorf("%q is not an absolute path; write it from / on, which does not depend on where the daemon was started", text)
	case !doublestar.ValidatePattern(text):
		return fmt.Errorf("%q is not a glob; check its brackets and braces, and write a backslash before one that is meant as it is", text)
	}
	return nil
}

func newPattern(text string) pattern {
	p := pattern{text: text, maxDepth: maxDepth}
	p.base, p.glob = doublestar.SplitPattern(filepath.Clean(text))
	if !strings.Contains(p.glob, "**") && !strings.Contains(p.glob, "{") {
		p.parts = strings.Split(p.glob, "/")
		p.maxDepth = len(p.parts)
	}
	return p
}

// walker finds the files of patterns, and the directories in which more of them may appear.
type walker struct {
	found func(path string)                        // a file whose name matches; it may be anything
	dir   func(path string) bool                   // a directory, before it is read; false where that was done already
	read  func(path string) ([]os.DirEntry, error) // lists a directory
}

// walk looks for the files of one pattern.
func (w *walker) walk(p *pattern) {
	base := p.base
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		for errors.Is(err, fs.ErrNotExist) && base != filepath.Dir(base) {
			base = filepath.Dir(base)
			_, err = os.Stat(base)
		}
		w.read(base) // so that it is seen when the missing one appears
		return
	}
	w.walkDir(p, base, "", 1)
}

// walkDir reads the directory at path, which is rel below the base of the pattern.
func (w *walker) walkDir(p *pattern, path, rel string, depth int) {
	if !w.dir(path) {
		return
	}
	entries, _ := w.read(path)
	for _, e := range entries {
		name, below := filepath.Join(path, e.Name()), e.Name()
		if rel != "" {
			below = rel + "/" + below
		}
		// An escaped name cannot go wrong: the pattern was checked.
		if ok, _ := doublestar.Match(p.glob, below); ok && !e.IsDir() {
			w.found(name)
		}
		if depth >= p.maxDepth || !p.mayDescend(depth, e.Name()) {
			continue
		}
		if e.IsDir() || e.Type()&fs.ModeSymlink != 0 && p.parts != nil && isDir(name) {
			w.walkDir(p, name, below, depth+1)
		}
	}
}

// mayDescend says whether a directory of that name, depth levels below the base, can hold files of the pattern.
func (p *pattern) mayDescend(depth int, name string) bool {
	if p.parts == nil {
		return true
	}
	ok, _ := doublestar.Match(p.parts[depth-1], name)
	return ok
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// anyMatch says which of the globs path matches, "" where none does.
func anyMatch(globs []string, path string) string {
	for _, g := range globs {
		if ok, _ := doublestar.Match(g, path); ok {
			return g
		}
	}
	return ""
}
