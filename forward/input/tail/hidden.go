package tail

import "slices"

// hiddenCuts looks again at contents that were found in their live file, where copies are beside it that are new: it may have
// been cut, and hold as much again that begins in the same way.
func (c *claims) hiddenCuts() {
	for group, all := range c.group {
		open := c.unjudged(group)
		for _, tr := range all {
			at := c.at[tr]
			hold := open && at != nil && !at.gzip && c.hiddenCut(group, tr, at)
			c.t.mu.Lock()
			tr.held = hold
			c.t.mu.Unlock()
		}
	}
}

// hiddenCut is hiddenCuts for one content. It is true where that is not to be read before the next look.
func (c *claims) hiddenCut(group string, tr *track, at *sight) (hold bool) {
	c.t.mu.Lock()
	p, busy := tr.pos, tr.busy
	c.t.mu.Unlock()
	var copies []*sight
	for _, s := range c.v.groups[group] {
		if s.taken == nil && s.size > 0 && s.formOf(at) && !at.finished(s) && c.after(s, &p) {
			copies = append(copies, s)
		}
	}
	if len(copies) == 0 {
		return false
	}
	all := c.sort(group)
	if all.unsure {
		c.later(group)
		return true
	}
	for _, s := range copies {
		yes, upto, err := false, int64(0), all.errs[s]
		if all.of[s] == s && err == nil {
			yes, upto, err = s.holds(&p)
		}
		if c.passing(s, err) {
			c.later(group)
			return false
		}
		if err != nil || !yes {
			continue
		}
		if !c.placed(group) || !c.partsHold(group) { // it was cut between two copies that were compared
			c.later(group)
			return true
		}
		if busy || !c.t.move(tr, s, &p, upto, true) {
			c.doubt[group], c.t.trouble = true, true
			return true
		}
		at.taken = nil
		c.claim(tr, s)
		return false
	}
	if all.threats {
		c.t.recheck = true
	}
	return all.threats
}

// unjudged says whether a group has files that no content is known of and that no look has decided about.
func (c *claims) unjudged(group string) bool {
	return slices.ContainsFunc(c.v.groups[group], func(s *sight) bool {
		was, judged := c.t.ignored[s.path]
		return s.taken == nil && s.size > 0 && !(judged && was.of(s))
	})
}
