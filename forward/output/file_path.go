package output

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// pathPattern is a path with strftime conversions in it, in local time.
type pathPattern struct {
	text  string
	fixed bool // no conversion depends on the time
}

// conversions is the table of them; read-only.
var conversions = map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'j': "002", '%': "%"}

// parsePath checks the conversions of a path.
func parsePath(path string) (pathPattern, error) {
	const known = "the conversions are %Y %m %d %H %M %S %j, and %% for a percent sign"
	p := pathPattern{text: path, fixed: true}
	if path == "" {
		return p, errors.New(`path is missing; add one, such as path = "/srv/logs/app.log"`)
	}
	if strings.HasSuffix(path, "/") || strings.IndexByte(path, 0) >= 0 {
		return p, fmt.Errorf(`path = %q does not name a file; write one such as "/srv/logs/app.log"`, path)
	}
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		i++
		if i == len(path) {
			return p, fmt.Errorf("path = %q ends in a single %%; %s", path, known)
		}
		if _, ok := conversions[path[i]]; !ok {
			return p, fmt.Errorf("path = %q has the unknown conversion %%%c; %s", path, path[i], known)
		}
		p.fixed = p.fixed && path[i] == '%'
	}
	return p, nil
}

// isIn tells whether the files of the pattern are in a directory, as far as they are in one that no time decides on.
func (p pathPattern) isIn(dir string) bool {
	if dir == "" {
		return false
	}
	fixed := p.at(time.Time{})
	if !p.fixed {
		before, _, _ := strings.Cut(p.text, "%")
		fixed = filepath.Dir(before + "x")
	}
	rel, err := filepath.Rel(resolved(dir), resolved(fixed))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// resolved is an absolute path without symbolic links, as far as it exists.
func resolved(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return path
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

// at returns the path at a time.
func (p pathPattern) at(t time.Time) string {
	var b []byte
	for i := 0; i < len(p.text); i++ {
		if p.text[i] != '%' {
			b = append(b, p.text[i])
			continue
		}
		i++
		b = t.AppendFormat(b, conversions[p.text[i]])
	}
	return string(b)
}
