package tail

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
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
}

func (c *claims) standOf(group string) stand {
	files := c.v.groups[group]
	at := stand{index: len(files), time: math.MaxInt64}
	for i, s := range files {
		if s.taken != nil {
			at.index = i
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
		copied, err := c.isCopy(group, s)
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
		if copied != nil {
			why = "a copy of " + copied.where()
			// It may be one that is not complete, and turn out to be another file: look again when either changes.
			c.v.skipped[s.path] = why
			t.env.Log.Debug("file is not read", "input", t.env.Name, "file", s.path, "why", why)
			return
		}
	}
	if why != "" {
		c.v.skipped[s.path] = why
		t.ignored[s.path] = verdict{s.id, s.size, s.mtime, why}
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

// isCopy finds the content that a file is a copy of: one whose live file it was copied from to be cut next, or whose
// rotated file is being compressed.
func (c *claims) isCopy(group string, s *sight) (*track, error) {
	lives := livesOf(filepath.Base(s.path))
	for _, tr := range c.group[group] {
		at := c.at[tr]
		if at == nil || at == s || filepath.Dir(s.path) != filepath.Dir(at.path) {
			continue
		}
		live := at.path == tr.base && slices.Contains(lives, filepath.Base(at.path))
		packed := s.gzip || at.gzip // one is being compressed, or was
		if !live && !packed && s.size != at.size {
			continue
		}
		c.t.mu.Lock()
		p := tr.pos
		c.t.mu.Unlock()
		yes, _, err := s.holds(&p)
		if err != nil && !incomplete(err) {
			return nil, err
		}
		if !yes || !live {
			if yes, err = copyOf(at, s); err != nil {
				return nil, err
			}
		}
		if yes {
			return tr, nil
		}
	}
	return nil, nil
}

// begin makes the content of a file known.
func (t *tailer) begin(c *claims, group string, s *sight) {
	tr := &track{key: newKey(), base: s.path, group: group, at: s, fresh: true, trusted: true, lined: true}
	tr.pos = position{id: s.id, mtime: s.mtime, name: cmp.Or(s.name, s.path)}
	if s.gzip {
		tr.pos.flags = flagGzip
	}
	tr.pos.gen = c.genOf(group, s)
	for _, other := range c.group[group] {
		if s.name == "" && !other.fresh { // its rotated file
			tr.base, tr.pos.name = other.base, other.name
		}
	}
	if s.name == "" && tr.base == s.path {
		tr.base = c.liveOf(s)
		tr.pos.name = tr.base
	}
	if tr.base != tr.pos.name {
		tr.pos.base = tr.base
	}
	tr.id, tr.gen, tr.name = tr.pos.id, tr.pos.gen, tr.pos.name
	fromEnd := t.opt.FromEnd && s.name != "" && t.globs[hashOf(s.pattern)] == 0
	src, err := t.peek(tr, s, fromEnd)
	if err != nil {
		c.v.skipped[s.path] = err.Error()
		if gone(err) {
			c.later(group)
		} else {
			t.faults.note("file "+s.path, err, "it is read when it can be opened; let the daemon read it")
		}
		return
	}
	t.faults.over("file " + s.path)
	c.before(tr, group)
	s.taken = tr
	c.at[tr] = s
	c.begun[s.id] = tr
	c.group[group] = append(c.group[group], tr)
	c.fresh = append(c.fresh, tr)
	t.mu.Lock()
	keep := !t.dry && len(t.open) < t.opt.MaxOpen && !tr.state.atEnd
	t.mu.Unlock()
	if head := tr.head; keep {
		t.keepOpen(tr, src, head, nil) // so that it is not lost when it is removed before its turn
	} else {
		src.close()
		tr.head = nil
	}
}

// publish makes the new contents known, if the files of their groups are still what they were when they were looked at:
// then there was a moment in which all of that was so at once. Else they are left to the next look.
func (c *claims) publish() {
	t := c.t
	c.second = map[string][]os.DirEntry{}
	moving := map[string]bool{}
	for _, tr := range c.fresh {
		if _, known := moving[tr.group]; !known {
			moving[tr.group] = c.doubt[tr.group] || !c.steady(tr.group)
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
	dir := filepath.Dir(group)
	entries, ok := c.second[dir]
	if !ok {
		var err error
		if entries, err = os.ReadDir(dir); err != nil {
			return false
		}
		c.second[dir] = entries
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if c.v.files[path] != nil || e.IsDir() || c.v.skipped[path] != "" {
			continue
		}
		if g, _ := c.v.parse(path); g == group {
			return false
		}
	}
	for _, s := range c.v.groups[group] {
		// What no content is known of may be a copy that is being made: then what it is made from changes next.
		if size := s.size; s.refresh() != nil || s.size < size || s.taken == nil && s.size != size {
			return false
		}
	}
	return true
}

// genOf is the number of a new content, between those of the files beside it.
func (c *claims) genOf(group string, s *sight) uint64 {
	var older, younger, most uint64
	before := true
	for _, f := range c.v.groups[group] {
		switch {
		case f == s:
			before = false
		case f.taken == nil:
		case before:
			older = max(older, f.taken.gen)
		case younger == 0 || f.taken.gen < younger:
			younger = f.taken.gen
		}
	}
	for _, tr := range c.group[group] {
		most = max(most, tr.gen)
	}
	switch {
	case most == 0:
		return 1 << 40
	case younger == 0:
		return most + genStep
	case older == 0 || older >= younger:
		return younger - genStep/2
	default:
		return older + (younger-older)/2
	}
}

// peek reads the beginning of a new file, and finds its end where it is to be read from there.
func (t *tailer) peek(tr *track, s *sight, fromEnd bool) (*source, error) {
	src, info, err := openSource(s.path, s.id, s.gzip)
	if err != nil {
		return nil, err
	}
	head := make([]byte, headSize)
	n, err := src.readAt(head, 0)
	if err != nil && err != io.EOF && !(incomplete(err) && n > 0) {
		src.close()
		return nil, fmt.Errorf("read %s: %w", s.path, err)
	}
	tr.head = bytes.Clone(head[:n])
	tr.state.size = info.Size()
	tr.pos.head = fingerprintOf(tr.head)
	if !fromEnd {
		return src, nil
	}
	tr.state = state{atEnd: true, size: info.Size(), mtime: info.ModTime().UnixNano(), restAt: t.env.Now()}
	if s.gzip {
		tr.pos.flags |= flagDone
		return src, nil
	}
	if err := t.toEnd(tr, src, info.Size()); err != nil {
		src.close()
		return nil, fmt.Errorf("read the end of %s: %w", s.path, err)
	}
	return src, nil
}

// toEnd moves the position of a new file to the beginning of its last line that is not complete. That line is a record
// once it is; as it stands it is old.
func (t *tailer) toEnd(tr *track, src *source, size int64) error {
	from := max(0, size-blockSize) &^ 1
	b := make([]byte, size-from)
	n, err := src.readAt(b, from)
	if err != nil && err != io.EOF {
		return err
	}
	b = b[:n]
	split := t.newSplitter()
	r := reader{t: t}
	end := 0
	for {
		line := split.lineSize(b[end:], r.bigEndian(tr, b, from == 0))
		if line == 0 {
			break
		}
		end += line
	}
	if end == 0 && from > 0 {
		end = len(b)
		tr.pos.flags |= flagSkipLine
	}
	tr.state.rest = int64(len(b) - end)
	tr.state.held = tr.state.rest
	tr.state.size = from + int64(len(b))
	tr.pos.offset = from + int64(end)
	tr.pos.tail = fingerprintOf(b[max(0, end-tailSize):end])
	return nil
}

func newKey() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// before notes what has to be read before a new content: all that is there now of the older ones of its group.
func (c *claims) before(tr *track, group string) {
	t := c.t
	for _, other := range c.group[group] {
		at := c.at[other]
		if other.gen >= tr.gen || other == tr {
			continue
		}
		t.mu.Lock()
		if _, open := t.open[other]; other.away && !open && !other.busy {
			t.mu.Unlock()
			continue
		}
		upto := int64(math.MaxInt64)
		if at != nil && !at.gzip {
			upto = at.size
		}
		if !other.done() && other.pos.offset < upto {
			tr.before = append(tr.before, barrier{other, upto})
			if at == nil || other.pos.offset+other.state.rest < upto {
				other.state.atEnd = false
			}
		}
		t.mu.Unlock()
	}
}

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
