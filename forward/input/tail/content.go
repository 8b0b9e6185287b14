package tail

import (
	"math"
	"path/filepath"
)

// later leaves a group as it is, because its files changed while they were looked at, or cannot be read. They are looked
// at again soon.
func (c *claims) later(group string) {
	c.doubt[group] = true
	c.t.recheck = true
}

// byInode looks for contents whose file is away under any name in the same directory.
func (c *claims) byInode() {
	for _, tr := range c.t.tracks {
		dir := filepath.Dir(tr.where())
		if c.at[tr] != nil || c.cut[tr] || !tr.missing.IsZero() || !c.v.listed(dir) || c.v.errs[tr.where()] != nil {
			continue
		}
		if s := c.v.search(dir, tr.id); s != nil {
			s.group = c.groupOf(tr)
			if c.keeps(tr, s) {
				c.claim(tr, s)
			}
		}
	}
}

// byContent looks for contents that no inode leads to among the files of their group: copies, compressed ones, and files
// that were restored. The oldest content comes first, and of several files that may hold it the oldest.
func (c *claims) byContent() {
	for _, all := range c.group {
		for _, tr := range all {
			if c.at[tr] == nil && !c.unknown(tr) {
				c.search(tr)
			}
		}
	}
}

// unknown says whether it cannot be told if the file of a content is away.
func (c *claims) unknown(tr *track) bool {
	return !c.v.listed(filepath.Dir(tr.where())) || c.v.errs[tr.where()] != nil
}

// readAt is the time of the file when it was read. One that is still to come was that of a clock that was set back since,
// or was set by somebody: other times cannot be compared with it.
func (c *claims) readAt(p *position) int64 {
	if p.mtime > c.now.UnixNano()+clockTick {
		return math.MinInt64
	}
	return p.mtime
}

func (c *claims) search(tr *track) {
	t := c.t
	t.mu.Lock()
	busy, st, p := tr.busy, tr.state, tr.pos
	_, open := t.open[tr]
	t.mu.Unlock()
	group := c.groupOf(tr)
	if busy {
		c.doubt[group], t.trouble = true, true
		return
	}
	if p.head.n == 0 {
		return
	}
	s, upto, ok := c.holder(group, tr, &p)
	switch {
	case !ok:
		c.later(group)
		return
	case s == nil:
		return
	case open && !c.cut[tr] && !(st.atEnd && st.rest == 0):
		s.taken = tr // the open file is read to its end first
		return
	}
	var err error
	if c.cuts(s) {
		s, upto, err = c.last(group, s, upto, &p)
	}
	if err == nil {
		s, err = c.unpacked(s)
	}
	if err != nil || !c.placed(group) || !c.partsHold(group) { // its own file may only have another name
		c.later(group)
		return
	}
	t.faults.over("content of " + s.path)
	if t.move(tr, s, &p, upto, c.cut[tr] && s.id != p.id) {
		c.claim(tr, s)
	} else {
		c.doubt[group], t.trouble = true, true
	}
}

// holder finds the file that holds the content at p: the oldest one with all that was read of it, else with a part of
// that. Those come first whose times allow it, since bytes may repeat; where there is none the clock may have been set.
// It is false where one cannot be judged yet.
func (c *claims) holder(group string, tr *track, p *position) (found *sight, upto int64, ok bool) {
	for _, timely := range []bool{true, false} {
		if !timely && p.head.n < headSize {
			break
		}
		for _, s := range c.v.groups[group] {
			if s.taken != nil || s.size == 0 || c.after(s, p) != timely {
				continue
			}
			yes, end, err := c.mayHold(tr, s, p)
			switch {
			case c.passing(s, err): // it may be the one
				return nil, 0, false
			case err != nil:
				c.t.faults.note("content of "+s.path, err, "it is looked at again; let the daemon read it")
			case yes && end >= p.offset:
				return s, end, true
			case yes && found == nil:
				found, upto = s, end
			}
		}
		if found != nil {
			break
		}
	}
	return found, upto, true
}

// unpacked is the file from which s is being compressed, if it is still there, else s.
func (c *claims) unpacked(s *sight) (*sight, error) {
	if !s.gzip {
		return s, nil
	}
	for _, other := range c.v.groups[s.group] {
		if other.taken != nil || other.gzip || other.live() || other.size == 0 {
			continue
		}
		if unlikeTimes(s, other) {
			continue
		}
		if same, err := copyOf(s, other); same || err != nil {
			return other, err
		}
	}
	return s, nil
}

// move says that the content is in another file now. It is false where a reader has come before it.
func (t *tailer) move(tr *track, s *sight, p *position, upto int64, cut bool) bool {
	if !t.hold(tr) {
		return false
	}
	defer t.giveBack(tr)
	if tr.pos.offset != p.offset {
		return false
	}
	back := upto < p.offset && s.id == p.id && !tr.trusted // the file itself, cut while nobody looked
	if back {
		upto = p.proven(upto)
	}
	head, err := s.window(headSize)
	if err != nil {
		return false
	}
	var window []byte
	if upto < p.offset {
		if window, err = s.window(upto); err != nil {
			return false
		}
	}
	t.close(tr)
	t.mu.Lock()
	defer t.mu.Unlock()
	tr.id, tr.pos.id = s.id, s.id
	tr.born = s.birth()
	tr.pos.born = tr.born
	tr.pos.flags &^= flagGzip | flagDone
	if s.gzip {
		tr.pos.flags |= flagGzip
	}
	if back {
		tr.pos.flags &^= flagSkipLine | flagSkipGroup // that was further on
	}
	if upto < p.offset {
		tr.pos.offset, tr.pos.tail, tr.pos.marks = upto, fingerprintOf(window), nil
	}
	tr.pos.head = fingerprintOf(head) // more, if it has grown; less, if the copy is shorter
	s.copied = cut && !s.gzip
	tr.state = state{}
	tr.trusted = true
	t.env.Log.Debug("content is in another file now", "input", t.env.Name, "file", tr.name, "now", s.path, "key", tr.key, "offset", tr.pos.offset)
	if !t.dry {
		t.env.Positions.Set(tr.key, tr.pos.append(nil))
	}
	return true
}
