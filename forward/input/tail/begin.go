package tail

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
)

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
	tr.born = s.birth()
	tr.pos.born = tr.born
	tr.pos.begun = c.begunAt(group, s)
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
		if _, open := t.open[other]; (other.away || !other.adrift.IsZero()) && !open && !other.busy {
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
