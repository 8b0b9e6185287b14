package tail

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rotation is what a file's name says about its place among the files of one log. Several make a group: they have the same
// directory and the same name without what rotation adds to it.
//
//	app.log               the live file
//	app.log.1             counted; a larger number is older, unless the times of the files say otherwise
//	app.log-20261120.gz   dated and compressed
//	app-2026-11-20.log    dated, before the extension
type rotation struct {
	gzip  bool
	dated []uint64 // numbers of the date inside the name; empty: none
	after []uint64 // numbers at the end of the name; empty: none
	count bool     // after is one small number, which counts
}

// live says whether the name is one that a program writes to, as far as can be told.
func (r *rotation) live() bool { return !r.gzip && len(r.after) == 0 && len(r.dated) == 0 }

const digits = `\d{1,14}(?:[-._T:]?\d{1,9}){0,6}`

var (
	atEnd  = regexp.MustCompile(`^(.*?[^\d._-].*?)[._-](` + digits + `)$`)
	inside = regexp.MustCompile(`^(.*?[^\d._-].*?)[._-](` + digits + `)(\.[A-Za-z][A-Za-z0-9]*)$`)
	number = regexp.MustCompile(`\d+`)
)

// parseName takes a file name apart: the name of its group, and its place there.
func parseName(name string) (group string, r rotation) {
	group, r.gzip = strings.CutSuffix(name, ".gz")
	if m := atEnd.FindStringSubmatch(group); m != nil {
		numbers, dated := numbersOf(m[2])
		if dated || len(numbers) == 1 && len(m[2]) <= 5 {
			group, r.after, r.count = m[1], numbers, !dated
		}
	}
	if m := inside.FindStringSubmatch(group); m != nil {
		if numbers, dated := numbersOf(m[2]); dated {
			group, r.dated = m[1]+m[3], numbers
		}
	}
	return group, r
}

// numbersOf returns the numbers in s, and whether they look like a date or a time: 2026-11-20, 20261120-1830, seconds
// since 1970.
func numbersOf(s string) (numbers []uint64, dated bool) {
	all := 0
	parts := number.FindAllString(s, -1)
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
		all += len(part)
	}
	first := parts[0]
	year := strings.HasPrefix(first, "19") || strings.HasPrefix(first, "20")
	return numbers, all >= 6 && len(first) >= 4 && (year || len(first) >= 10 || len(first) == 6)
}

// livesOf returns the names of files of which the file called name may be a rotated form: as it is without .gz, without
// what stands at its end, without the date inside it.
func livesOf(name string) []string {
	plain, gzip := strings.CutSuffix(name, ".gz")
	var lives []string
	if gzip {
		lives = append(lives, plain)
	}
	group, r := parseName(plain)
	if group != plain {
		lives = append(lives, group)
	}
	if m := atEnd.FindStringSubmatch(plain); m != nil && len(r.after) > 0 && m[1] != group {
		lives = append(lives, m[1])
	}
	return lives
}

// groupOf returns the path that stands for the group of a file.
func groupOf(path string) (group string, r rotation) {
	dir, name := filepath.Split(path)
	name, r = parseName(name)
	return dir + name, r
}

// sortByAge sorts the files of one group, the oldest first.
func sortByAge(files []*sight, up bool) {
	slices.SortStableFunc(files, func(a, b *sight) int { return compareAge(a, b, up) })
}

// compareAge is negative where a is older than b. up says that larger counts are younger.
func compareAge(a, b *sight, up bool) int {
	if c := compareDates(a.dated, b.dated); c != 0 {
		return c
	}
	switch {
	case len(a.after) == 0 || len(b.after) == 0:
		if len(a.after) != len(b.after) {
			return len(b.after) - len(a.after) // without a number: the live file, the youngest
		}
		if a.gzip != b.gzip {
			if a.gzip {
				return -1
			}
			return 1
		}
	case a.count && b.count:
		if c := cmp.Compare(b.after[0], a.after[0]); c != 0 {
			if up {
				return -c
			}
			return c
		}
	case !a.count && !b.count:
		if c := slices.Compare(a.after, b.after); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.mtime, b.mtime)
}

// compareDates compares the dates inside two names; one without is the youngest.
func compareDates(a, b []uint64) int {
	if len(a) == 0 || len(b) == 0 {
		return cmp.Compare(len(b), len(a))
	}
	return slices.Compare(a, b)
}

// countsUp says whether larger counts are younger in a group: where files that are not compressed, which may be younger than
// what they hold, say so, and none says otherwise. shifted says that there is a live file without a number, from which those
// with one come.
func countsUp(files []*sight, shifted bool) bool {
	var counted []*sight
	for _, s := range files {
		if s.count && !s.gzip {
			counted = append(counted, s)
		}
	}
	if len(counted) < 2 {
		return false
	}
	slices.SortFunc(counted, func(a, b *sight) int { return cmp.Compare(a.after[0], b.after[0]) })
	var written, born []int64
	for _, s := range counted {
		written = append(written, s.mtime)
		if shifted {
			continue // a copy of the live file is older than that, and created later
		}
		if at := s.birth(); at > 0 && at <= s.mtime { // else it was restored, or the file system does not say
			born = append(born, at)
		}
	}
	// Who goes on writing to a file after the next one is there makes it look younger.
	if len(born) == len(counted) && born[0] != born[len(born)-1] {
		return slices.IsSorted(born)
	}
	return slices.IsSorted(written) && len(slices.Compact(written)) == len(counted)
}
