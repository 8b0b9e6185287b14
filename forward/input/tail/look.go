package tail

import (
	"cmp"
	"slices"
	"time"
)

// claims is the state of one look: which file holds which content.
type claims struct {
	t      *tailer
	v      *view
	now    time.Time
	files  []*sight                   // all, by path
	at     map[*track]*sight          // what was found
	cut    map[*track]bool            // whose file is there and holds another content
	begun  map[fileID]*track          // by this look
	fresh  []*track                   // the same, as long as they are not published
	second map[string]map[string]bool // directories, listed again: what unseen says
	sorts  map[string]*sorted         // by group
	parts  map[string][]pair          // by group: copies, found by this look, of files of which nothing was known
	doubt  map[string]bool            // groups in which nothing new may be begun now
	group  map[string][]*track        // by group, the oldest first
}

// look finds out which files there are, in which of them each known content is now, and which contents are new; then it
// says which have something to read. It changes nothing that a reader is using: such a group waits for the next look.
func (t *tailer) look() {
	now := t.env.Now()
	t.trouble, t.recheck = false, false
	c := &claims{t: t, v: t.see(), now: now, at: map[*track]*sight{}, cut: map[*track]bool{}, doubt: map[string]bool{}, parts: map[string][]pair{}, sorts: map[string]*sorted{},
		begun: map[fileID]*track{}, second: map[string]map[string]bool{}}
	for _, s := range c.v.files {
		c.files = append(c.files, s)
	}
	slices.SortFunc(c.files, func(a, b *sight) int { return compareText(a.path, b.path) })
	c.byGroup()
	c.byID()
	c.byInode()
	c.byContent()
	c.hiddenCuts()
	c.settle()
	for _, tr := range t.tracks {
		c.drift(tr)
	}
	c.line()
	c.adopt()
	c.homes()
	if !t.started && !t.dry {
		t.markPatterns(now)
	}
	t.started = true
	t.prune(c)
	t.env.Counters.Known.Store(int64(len(t.tracks)))
	t.view = c.v
	t.schedule(now)
}

// byGroup sorts the known contents.
func (c *claims) byGroup() {
	c.group = map[string][]*track{}
	for _, tr := range c.t.tracks {
		tr.fresh = false
		g := c.groupOf(tr)
		c.group[g] = append(c.group[g], tr)
	}
	for _, all := range c.group {
		slices.SortFunc(all, func(a, b *track) int {
			return cmp.Or(cmp.Compare(a.gen, b.gen), compareText(a.key, b.key))
		})
	}
}

func (c *claims) groupOf(tr *track) string {
	if tr.group == "" {
		tr.group, _ = groupOf(tr.base)
	}
	return tr.group
}

// claim says that s holds the content of tr.
func (c *claims) claim(tr *track, s *sight) {
	s.taken = tr
	c.at[tr] = s
}

// byID gives each content the file that has its inode, if that still holds it.
func (c *claims) byID() {
	known := map[fileID][]*track{}
	for _, tr := range c.t.tracks {
		known[tr.id] = append(known[tr.id], tr)
	}
	for _, all := range known {
		slices.SortFunc(all, func(a, b *track) int { return cmp.Or(cmp.Compare(b.gen, a.gen), compareText(a.key, b.key)) })
	}
	for _, s := range c.files {
		for _, tr := range known[s.id] {
			if was := c.at[tr]; was != nil { // a hard link
				s.taken = tr
				c.v.skipped[s.path] = "the same file as " + was.path
				if tr.at != nil && s.path == tr.at.path {
					c.at[tr] = s
					delete(c.v.skipped, s.path)
					c.v.skipped[was.path] = "the same file as " + s.path
				}
				break
			}
			if c.keeps(tr, s) {
				c.claim(tr, s)
				break
			}
			c.cut[tr] = !reused(s, tr)
		}
	}
}

// keeps says whether the file that has the inode of a content still holds it.
func (c *claims) keeps(tr *track, s *sight) bool {
	t := c.t
	t.mu.Lock()
	busy, st, p := tr.busy, tr.state, tr.pos
	_, open := t.open[tr]
	t.mu.Unlock()
	if s.size < max(p.offset, st.size) && !s.gzip { // it may have grown, and been read, since it was seen
		if s.refresh() != nil {
			c.later(c.groupOf(tr))
			return true
		}
	}
	if busy {
		if st.changed || !s.gzip && s.size < p.offset {
			c.doubt[c.groupOf(tr)] = true // the reader will find out
			t.trouble = true
		}
		return true
	}
	same := s.gzip == (p.flags&flagGzip != 0) && !st.changed
	switch {
	case open && same && s.size >= max(st.size, p.offset):
		return true
	case tr.trusted && same && tr.at != nil && tr.at.path == s.path && tr.at.size == s.size && tr.at.mtime == s.mtime:
		return true
	case s.gzip != (p.flags&flagGzip != 0):
		return false
	case p.offset == 0 && p.head.n == 0:
		return !st.changed && s.size >= st.size
	case !s.gzip && s.size < p.offset:
		return false
	}
	if reused(s, tr) {
		return false
	}
	q := p
	if s.gzip {
		q.offset, q.tail = 0, fingerprint{} // what is before the offset is checked when there is more to read
	}
	yes, _, err := s.holds(&q)
	if gone(err) {
		c.later(c.groupOf(tr))
		return true
	}
	if err != nil {
		t.faults.note("file "+s.path, err, "it is read on when it can be opened; let the daemon read it")
		return true
	}
	if yes && !tr.trusted && !s.gzip && s.size == p.offset {
		st.atEnd, st.size, st.mtime = true, s.size, s.mtime // nothing to read: no need to open it for that
	}
	st.changed = false
	t.mu.Lock()
	if !tr.busy && tr.pos.offset == p.offset {
		tr.state = st
	}
	t.mu.Unlock()
	tr.trusted = true
	return yes
}

// reused says whether the file that has the inode of a content was created at another time: the number was used again.
func reused(s *sight, tr *track) bool {
	born := s.birth()
	return born != 0 && tr.born != 0 && born != tr.born
}

// settle takes note of where each content is now, and of those that are nowhere.
func (c *claims) settle() {
	t := c.t
	for _, tr := range t.tracks {
		s := c.at[tr]
		switch {
		case s != nil:
			if tr.at != nil && tr.at.path == tr.base && s.path != tr.base {
				t.env.Counters.Rotations.Add(1)
			}
			if tr.at != nil && tr.at.path == s.path && tr.at.copied {
				s.copied = true
			}
			if tr.name == "" { // it is too long for a position
				tr.name = cmp.Or(s.name, s.path)
				t.mu.Lock()
				tr.pos.name = tr.name
				t.mu.Unlock()
			}
			t.mu.Lock()
			tr.at = s
			tr.state.moved, tr.away = false, false
			t.mu.Unlock()
			tr.missing = time.Time{}
		case c.doubt[c.groupOf(tr)]:
		case (c.cut[tr] || tr.missing.IsZero() && !c.unknown(tr)) && !c.steady(c.groupOf(tr)):
			c.later(c.groupOf(tr)) // what it held may be in a file that was not there yet
		case c.cut[tr]:
			t.replaced(tr)
		case !c.unknown(tr):
			t.away(tr, c.now, c.lastKnown(tr))
		}
	}
}

// line puts contents of which nothing was read before this start in line again, behind the older ones of their group,
// once it is known where those are.
func (c *claims) line() {
	for group, all := range c.group {
		for _, tr := range all {
			if !tr.lined && !c.doubt[group] {
				c.t.mu.Lock()
				unread := tr.pos.offset == 0
				c.t.mu.Unlock()
				if unread {
					c.before(tr, group)
				}
				c.t.mu.Lock()
				tr.lined = true
				c.t.mu.Unlock()
			}
		}
	}
}

// passing says whether what failed is likely to go well soon: a file that was moved meanwhile, or is being written.
func (c *claims) passing(s *sight, err error) bool {
	return gone(err) || incomplete(err) && c.now.Sub(time.Unix(0, s.mtime)) < time.Minute
}

// lastKnown says whether files of the group of tr are left, and nothing younger than tr is known of it.
func (c *claims) lastKnown(tr *track) bool {
	group := c.groupOf(tr)
	all := c.group[group]
	return len(c.v.groups[group]) > 0 && all[len(all)-1] == tr
}

// replaced is for a content that was cut off before a copy of it could be found.
func (t *tailer) replaced(tr *track) {
	if !t.hold(tr) {
		t.trouble = true
		return
	}
	defer t.giveBack(tr)
	p, st := tr.pos, tr.state
	t.env.Counters.Truncations.Add(1)
	seen := st.size
	if tr.at != nil {
		seen = max(seen, tr.at.size)
	}
	if tr.gzip() {
		seen = 0
	}
	t.lost(tr, seen-p.offset, "the file was cut or written anew, and no copy of what it held is beside it")
	t.drop(tr)
}

// away is for a content whose file is not there any more.
//
// It is forgotten after a while, except for the last that is known of a log of which rotated files are left: it says that
// those were read.
func (t *tailer) away(tr *track, now time.Time, needed bool) {
	t.mu.Lock()
	busy, p, st := tr.busy, tr.pos, tr.state
	_, open := t.open[tr]
	seen := st.size
	if tr.at != nil {
		seen = max(seen, tr.at.size)
	}
	if p.flags&flagGzip != 0 {
		seen = 0
	}
	tr.at, tr.away = nil, true
	t.mu.Unlock()
	switch {
	case busy || open: // it is read to its end through the open file
		if tr.missing.IsZero() {
			tr.missing = now
			t.env.Counters.Rotations.Add(1)
		}
	case tr.missing.IsZero():
		tr.missing = now
		t.lost(tr, seen-p.offset, "the file was removed, or moved out of its directory, before it was read")
	case now.Sub(tr.missing) > goneAfter && !needed && t.hold(tr):
		t.drop(tr)
		t.giveBack(tr)
	}
}

// lost counts bytes that nobody can read any more.
func (t *tailer) lost(tr *track, n int64, why string) {
	if n <= 0 {
		return
	}
	t.env.Counters.LostBytes.Add(uint64(n))
	t.env.Log.Warn("bytes of a file are lost", "input", t.env.Name, "file", tr.name, "bytes", n, "why", why)
}

// drop forgets a content. The caller holds it.
func (t *tailer) drop(tr *track) {
	t.close(tr)
	t.mu.Lock()
	t.env.Log.Debug("content is forgotten", "input", t.env.Name, "file", tr.name, "key", tr.key, "offset", tr.pos.offset)
	delete(t.tracks, tr.key)
	delete(t.waiting, tr)
	tr.dropped = true
	t.mu.Unlock()
	if !t.dry {
		t.env.Positions.Forget(tr.key)
	}
}
