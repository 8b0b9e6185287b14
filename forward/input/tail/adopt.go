package tail

import (
	"math"
	"os"
	"path/filepath"
	"slices"
)

// adopt begins what is new, the oldest of a group first.
func (c *claims) adopt() {
	groups := make([]string, 0, len(c.v.groups))
	for g := range c.v.groups {
		groups = append(groups, g)
	}
	slices.Sort(groups)
	for _, g := range groups {
		if c.doubt[g] || !c.sure(g) {
			continue
		}
		stand := c.standOf(g)
		for i, s := range c.v.groups[g] {
			if s.taken == nil && !c.doubt[g] {
				c.consider(g, s, i, stand)
			}
		}
	}
	c.publish()
}

// sure says whether it is certain which content each file of a group holds. It has to be before a new file is judged: one
// that was cut and has grown again since looks as it did, and what is beside it is then no history.
func (c *claims) sure(group string) bool {
	t := c.t
	if !c.unjudged(group) {
		return true
	}
	for _, tr := range c.group[group] {
		at := c.at[tr]
		t.mu.Lock()
		p := tr.pos
		t.mu.Unlock()
		if at == nil || at.gzip || p.head.n == 0 {
			continue
		}
		yes, _, err := at.holds(&p)
		if gone(err) {
			c.later(group)
			return false
		}
		if err == nil && !yes {
			t.mu.Lock()
			tr.state.changed, t.lookUp = true, true
			t.mu.Unlock()
			return false
		}
	}
	return true
}

// of says whether the verdict is about the file as it is.
func (w verdict) of(s *sight) bool { return w.id == s.id && w.size == s.size && w.mtime == s.mtime }

// stand is where we are in a group: what of it is history, and what is not read yet. All files younger than the oldest
// known content are either known or new. The files before that one are history, unless they were written after a known
// content whose file is gone.
type stand struct {
	known bool
	index int   // of the file with the oldest known content; past the last one: no file has one
	time  int64 // of the youngest content before it that is in no file, in nanoseconds since 1970
	begun int64 // what is younger may be a copy of the oldest known content; 0: nobody knows
}

func (c *claims) standOf(group string) stand {
	files := c.v.groups[group]
	at := stand{index: len(files), time: math.MaxInt64}
	for i, s := range files {
		if s.taken != nil {
			at.index = i
			c.t.mu.Lock()
			at.begun = c.begunOf(&s.taken.pos)
			c.t.mu.Unlock()
			break
		}
	}
	gone := int64(math.MinInt64)
	for _, tr := range c.group[group] {
		at.known = true
		if at.index < len(files) && tr.gen >= files[at.index].taken.gen {
			continue
		}
		c.t.mu.Lock()
		gone = max(gone, tr.pos.mtime)
		c.t.mu.Unlock()
		at.time = gone
	}
	return at
}

// history says whether the file at index i, which holds nothing known, was there before what is known.
func (at *stand) history(s *sight, i int) bool { return i < at.index && s.mtime < at.time }

// consider decides what becomes of a file that holds nothing known.
func (c *claims) consider(group string, s *sight, i int, at stand) {
	t := c.t
	if was, ok := t.ignored[s.path]; ok && was.of(s) {
		c.v.skipped[s.path] = was.why
		return
	}
	delete(t.ignored, s.path)
	why := ""
	if tr := c.begun[s.id]; tr != nil { // a hard link
		s.taken = tr
		c.v.skipped[s.path] = "the same file as " + tr.at.path
		return
	}
	switch {
	case s.size == 0:
		c.v.skipped[s.path] = "empty"
		return
	case s.name == "" && c.v.skipped[s.path] != "": // excluded
		return
	case s.name == "" && !at.known && s.mtime <= c.since(s)-clockTick:
		why = "history: a rotated file from before the first start"
	case s.name == "" && at.known && at.history(s, i):
		why = "history: older than what was read last"
	}
	if why == "" && (s.name == "" || !s.live()) {
		of, err := c.copied(group, s)
		if err != nil {
			c.v.skipped[s.path] = err.Error()
			if c.passing(s, err) {
				c.later(group)
			} else {
				t.faults.note("content of "+s.path, err, "it is looked at again; let the daemon read it")
			}
			return
		}
		t.faults.over("content of " + s.path)
		if of != "" {
			why = "a copy of " + of
			// It may be one that is not complete, and turn out to be another file: look again when either changes.
			c.v.skipped[s.path] = why
			t.env.Log.Debug("file is not read", "input", t.env.Name, "file", s.path, "why", why)
			return
		}
	}
	if why != "" {
		c.v.skipped[s.path] = why
		if at.begun == 0 || s.latest() <= at.begun {
			t.ignored[s.path] = verdict{s.id, s.size, s.mtime, why}
		}
		t.env.Log.Debug("file is not read", "input", t.env.Name, "file", s.path, "why", why)
		return
	}
	if s.name != "" && s.live() || c.sure(group) { // else the live file was cut while its copy was looked at
		t.begin(c, group, s)
	}
}

// liveOf is the path of the file that s is a rotated form of, where no content of it is known.
func (c *claims) liveOf(s *sight) string {
	for _, live := range livesOf(filepath.Base(s.path)) {
		live = filepath.Join(filepath.Dir(s.path), live)
		if c.v.files[live] != nil || c.v.matching(live) != "" {
			return live
		}
	}
	return s.path
}

// since is when files like s were looked for first.
func (c *claims) since(s *sight) int64 {
	for _, live := range livesOf(filepath.Base(s.path)) {
		live = filepath.Join(filepath.Dir(s.path), live)
		pattern := c.v.matching(live)
		if at := c.v.files[live]; at != nil && at.name != "" {
			pattern = at.pattern
		}
		if first := c.t.globs[hashOf(pattern)]; first > 0 && pattern != "" {
			return first
		}
	}
	return math.MaxInt64
}

// publish makes the new contents known, if the files of their groups are still what they were when they were looked at:
// then there was a moment in which all of that was so at once. Else they are left to the next look.
func (c *claims) publish() {
	t := c.t
	c.second = map[string]map[string]bool{}
	moving := map[string]bool{}
	for _, tr := range c.fresh {
		if _, known := moving[tr.group]; !known {
			moving[tr.group] = c.doubt[tr.group] || !c.steady(tr.group) || !c.partsHold(tr.group)
		}
		if p := tr.pos; !moving[tr.group] && p.head.n > 0 {
			if yes, _, err := tr.at.holds(&p); !yes || err != nil {
				moving[tr.group] = true
			}
		}
	}
	for _, tr := range c.fresh {
		if moving[tr.group] {
			c.later(tr.group)
			t.close(tr)
			delete(c.at, tr)
			c.group[tr.group] = slices.DeleteFunc(c.group[tr.group], func(o *track) bool { return o == tr })
			continue
		}
		t.mu.Lock()
		t.tracks[tr.key] = tr
		t.mu.Unlock()
		t.env.Log.Debug("file is begun", "input", t.env.Name, "file", tr.at.path, "key", tr.key, "offset", tr.pos.offset)
		if !t.dry {
			t.env.Positions.Set(tr.key, tr.pos.append(nil))
		}
	}
	for _, tr := range c.fresh {
		if !moving[tr.group] {
			c.lineUp(tr)
		}
	}
}

// lineUp lets the younger contents of which nothing was read yet wait for one that was found late.
func (c *claims) lineUp(late *track) {
	for _, tr := range c.group[late.group] {
		c.t.mu.Lock()
		unread := tr != late && tr.gen > late.gen && tr.pos.offset == 0 && !tr.done() && !slices.ContainsFunc(tr.before, func(b barrier) bool { return b.of == late })
		if unread {
			tr.before = append(tr.before, barrier{late, math.MaxInt64})
		}
		c.t.mu.Unlock()
	}
}

// steady says whether the files of a group have the names, and are the files, that this look saw.
func (c *claims) steady(group string) bool {
	if !c.placed(group) {
		return false
	}
	for _, s := range c.v.groups[group] {
		// What no content is known of may be a copy that is being made: then what it is made from changes next.
		if size := s.size; s.refresh() != nil || s.size < size || s.taken == nil && s.size != size {
			return false
		}
	}
	return true
}

// placed says whether the files of a group have the names that this look saw: none was renamed meanwhile.
func (c *claims) placed(group string) bool {
	dir := filepath.Dir(group)
	unseen, ok := c.second[dir]
	if !ok {
		unseen = c.unseen(dir)
		c.second[dir] = unseen
	}
	if unseen == nil || unseen[group] {
		return false
	}
	return !slices.ContainsFunc(c.v.groups[group], func(s *sight) bool {
		info, err := os.Stat(s.path)
		return err != nil || idOf(info) != s.id
	})
}

// unseen lists a directory again, and returns the groups that have files there which this look did not see; nil where it
// cannot be listed.
func (c *claims) unseen(dir string) map[string]bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	groups := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if c.v.files[path] == nil && !e.IsDir() && c.v.skipped[path] == "" {
			g, _ := c.v.parse(path)
			groups[g] = true
		}
	}
	return groups
}
