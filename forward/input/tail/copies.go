package tail

import (
	"os"
	"path/filepath"
	"slices"
)

// copied says what a file that holds nothing known is a copy of, so that it is not read; empty: of nothing.
func (c *claims) copied(group string, s *sight) (of string, err error) {
	live := c.liveBeside(s)
	earlier := live != nil && live.finished(s)
	tr, err := c.isCopy(group, s, earlier)
	if err != nil {
		return "", err
	}
	if tr != nil {
		if yes, err := beginningOf(s, c.at[tr]); yes && err == nil {
			c.t.copies[s.id] = copyNote{verdict{id: s.id, size: s.size, mtime: s.mtime}, tr}
		}
		return tr.where(), nil
	}
	if live == nil || earlier {
		return "", nil
	}
	all := c.sort(group)
	if all.unsure {
		c.later(group)
	}
	if of := all.of[s]; of != s && of != nil {
		return of.path, nil
	}
	return "", all.errs[s]
}

// pair is a copy and what it is a copy of.
type pair struct{ part, whole *sight }

// partsHold says whether what was found to be copies in a group still is: not where a file was cut since.
func (c *claims) partsHold(group string) bool {
	return !slices.ContainsFunc(c.parts[group], func(p pair) bool {
		yes, err := beginningOf(p.part, p.whole)
		return !yes || err != nil
	})
}

// isCopy finds the content that a file is a copy of: one whose live file it was copied from to be cut next, or whose
// rotated file is being compressed. earlier says that s was there before the live file.
func (c *claims) isCopy(group string, s *sight, earlier bool) (of *track, err error) {
	for _, tr := range c.group[group] {
		at := c.at[tr]
		if at == nil || at == s || filepath.Dir(s.path) != filepath.Dir(at.path) {
			continue
		}
		live := at.path == tr.base && s.formOf(at)
		packed := s.gzip != at.gzip // one is being compressed, or was
		if !packed && (earlier || !live && (s.size != at.size || !c.cuts(s))) {
			continue
		}
		if packed && !live && unlikeTimes(s, at) {
			continue
		}
		yes := false
		if live || !packed {
			yes, err = c.copies(group, s, at)
		} else {
			yes, err = copyOf(at, s)
		}
		if err != nil {
			return nil, err
		}
		if yes {
			return tr, nil
		}
	}
	return nil, nil
}

// copies says whether s is a copy of what the file at holds, or the other way round.
func (c *claims) copies(group string, s, at *sight) (bool, error) {
	files := c.v.groups[group]
	if !s.formOf(at) && slices.Index(files, s) > slices.Index(files, at) {
		s, at = at, s
	}
	k, err := c.compare(s, at)
	if err != nil {
		return false, err
	}
	j := k.judge()
	if j == unsure {
		c.later(group)
	}
	return j == within, nil
}

// cuts says whether s may be a copy that was made to cut the live file. Where there is none, or it is younger, files with
// the same bytes are several.
func (c *claims) cuts(s *sight) bool {
	if live := c.liveBeside(s); live != nil {
		return !live.finished(s)
	}
	return slices.ContainsFunc(livesOf(filepath.Base(s.path)), func(name string) bool {
		_, err := os.Lstat(filepath.Join(filepath.Dir(s.path), name)) // one that is not looked at
		return err == nil
	})
}

// unlikeTimes says whether the times of two files, one of them compressed, show that none is made from the other: who
// compresses a file gives the result its time, perhaps in whole seconds, or leaves it the time of the compressing.
func unlikeTimes(a, b *sight) bool {
	if !a.gzip {
		a, b = b, a
	}
	if same := a.mtime == b.mtime || a.mtime == b.mtime-b.mtime%1e9; same {
		return false
	}
	born := a.birth()
	return born != 0 && a.mtime < born || b.gzip
}

// copyNote says that a file, as it is, was found to be a copy of a content that was still in another one.
type copyNote struct {
	verdict
	of *track
}

// mayHold is holds for a file that may have been noted as a copy: of one with few bytes a position beyond them has no hash.
func (c *claims) mayHold(tr *track, s *sight, p *position) (yes bool, upto int64, err error) {
	if note := c.t.copies[s.id]; note.of == tr && note.verdict.of(s) && !s.gzip {
		return true, min(s.size, p.offset), nil
	}
	if yes, upto, err = s.holds(p); yes || err != nil || s.gzip || s.size >= int64(p.head.n) {
		return yes, upto, err
	}
	// Its bytes are too few to know it by. Made before the content was read the last time, it is a copy of that.
	begun := c.begunOf(p)
	return s.formOf(&sight{path: tr.base}) && begun != 0 && s.birth() > begun && s.birth() < c.readAt(p), s.size, nil
}

// liveBeside is the live file of which s may be a copy, made to cut it.
func (c *claims) liveBeside(s *sight) *sight {
	for _, name := range livesOf(filepath.Base(s.path)) {
		if live := c.v.files[filepath.Join(filepath.Dir(s.path), name)]; live != nil && live.live() {
			return live
		}
	}
	return nil
}

// finished says whether s was there, or was written to for the last time, before the live file was created. Then it is
// a file that was renamed, and no copy, even if both begin with the same lines.
func (live *sight) finished(s *sight) bool {
	born := live.birth()
	if born == 0 {
		return false
	}
	at := s.birth()
	last := s.mtime
	if s.gzip && at > last && live.mtime > born {
		last-- // it has the time of what was compressed, perhaps the tick of the clock in which the next file was created
	}
	return at != 0 && at < born || live.mtime >= born && last < born
}

// beginningOf says whether what part holds stands at the beginning of whole, where there may be more: then it is a copy
// that was made of it, or of what it is a copy of.
func beginningOf(part, whole *sight) (bool, error) {
	x, i, err := openSource(part.path, part.id, part.gzip)
	if err != nil {
		return false, err
	}
	defer x.close()
	y, j, err := openSource(whole.path, whole.id, whole.gzip)
	if err != nil {
		return false, err
	}
	defer y.close()
	if !part.gzip && !whole.gzip && i.Size() > j.Size() {
		return false, nil
	}
	same, short, err := sameAt(x, y, 0, headSize)
	if same && !short {
		same, short, err = sameAt(x, y, 0, sameHead)
	}
	if !same || err != nil {
		return false, err
	}
	if (!whole.gzip || y.ended()) && x.length(i) > y.length(j) { // of a compressed part that is what was read of it
		return false, nil
	}
	if short || part.gzip || whole.gzip {
		return true, nil
	}
	end := i.Size()
	same, _, err = sameAt(x, y, max(0, end-sameTail), min(end, sameTail))
	return same, err
}
