package output

import (
	"errors"
	"fmt"
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
