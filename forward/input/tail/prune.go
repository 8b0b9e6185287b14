package tail

import (
	"slices"
	"time"
)

// prune forgets positions that nobody needs: of files that paths does not match, that were read long ago, and that are the
// oldest known of several, which makes them history; and those of the longest gone where there are too many.
func (t *tailer) prune(c *claims) {
	for group, all := range c.group {
		for len(all) > 1 && !c.doubt[group] && t.pruneOne(c, all[0], all[1:]) {
			all = all[1:]
		}
	}
	for path := range t.ignored {
		if c.v.files[path] == nil {
			delete(t.ignored, path)
		}
	}
	for id, note := range t.copies {
		if note.of.dropped || !slices.ContainsFunc(c.files, func(s *sight) bool { return s.id == id }) {
			delete(t.copies, id)
		}
	}
	t.faults.forget(c.now)
	if len(t.tracks) <= mostKnown {
		return
	}
	t.pruneAway()
}

// pruneOne forgets the oldest known content of a group, if its time has come. It is false where it has not.
func (t *tailer) pruneOne(c *claims, tr *track, younger []*track) bool {
	at := c.at[tr]
	if at == nil || at.name != "" || c.now.Sub(time.Unix(0, at.mtime)) <= historyAfter ||
		!slices.ContainsFunc(younger, func(o *track) bool { return c.at[o] != nil }) || !t.hold(tr) {
		return false
	}
	defer t.giveBack(tr)
	if !tr.done() && !(tr.state.atEnd && tr.state.rest == 0 && tr.state.size == at.size) {
		return false
	}
	t.ignored[at.path] = verdict{at.id, at.size, at.mtime, "history: older than what was read last"}
	t.drop(tr)
	return true
}

// pruneAway forgets the files that are gone for the longest time, as many as there are too many.
func (t *tailer) pruneAway() {
	var away []*track
	for _, tr := range t.tracks {
		if !tr.missing.IsZero() {
			away = append(away, tr)
		}
	}
	slices.SortFunc(away, func(a, b *track) int { return a.missing.Compare(b.missing) })
	for _, tr := range away[:min(len(away), len(t.tracks)-mostKnown)] {
		if t.hold(tr) {
			t.drop(tr)
			t.giveBack(tr)
		}
	}
}
