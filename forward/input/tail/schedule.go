package tail

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// globsKey is under what is kept when files were looked for first under each pattern. A file that only a new pattern
// matches was there before, and start_at is for it; any other one that is not known has appeared since.
const (
	globsKey = "globs"
	mostGlob = 60
)

func hashOf(text string) uint64 { return fingerprintOf([]byte(text)).sum }

// load takes up what is known from before.
func (t *tailer) load() {
	for key, value := range t.env.Positions.Load() {
		if key == globsKey {
			t.loadGlobs(value)
			continue
		}
		p, err := decodePosition(value)
		if err != nil {
			t.env.Log.Warn("a position of a file cannot be read; the file counts as never seen", "input", t.env.Name, "key", key, "error", err)
			continue
		}
		tr := &track{key: key, pos: p, base: p.base}
		if tr.base == "" {
			tr.base = p.name
		}
		tr.id, tr.born, tr.gen, tr.name = p.id, p.born, p.gen, p.name
		tr.state.size = p.offset
		t.tracks[key] = tr
	}
}

// loadGlobs reads the patterns: for each the hash and the time, 8 bytes each, and a checksum behind all.
func (t *tailer) loadGlobs(b []byte) {
	if len(b)%16 != 4 || crc32.Checksum(b[:len(b)-4], castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		t.env.Log.Warn("what is known of paths cannot be read; files never seen before are begun at start_at", "input", t.env.Name)
		return
	}
	for b = b[:len(b)-4]; len(b) > 0; b = b[16:] {
		t.globs[binary.BigEndian.Uint64(b)] = int64(binary.BigEndian.Uint64(b[8:]))
	}
}

// markPatterns notes that the files of all patterns are known. It comes after their positions, so that a crash between
// them never makes an old file a new one.
func (t *tailer) markPatterns(now time.Time) {
	fresh := false
	var b []byte
	for i := range t.patterns {
		h := hashOf(t.patterns[i].text)
		if t.globs[h] == 0 {
			fresh, t.globs[h] = true, now.UnixNano()
		}
		if i < mostGlob {
			b = binary.BigEndian.AppendUint64(b, h)
			b = binary.BigEndian.AppendUint64(b, uint64(t.globs[h]))
		}
	}
	if fresh {
		t.env.Positions.Set(globsKey, binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)))
	}
}

// schedule says which files have something to read.
func (t *tailer) schedule(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byPath = make(map[string]*track, len(t.tracks))
	for _, tr := range t.tracks {
		if tr.at != nil {
			t.byPath[tr.at.path] = tr
			tr.seen = tr.at.size
		}
		if t.wantsLocked(tr, now) {
			t.offerLocked(tr)
		}
	}
}

// wantsLocked says whether there may be something to read.
func (t *tailer) wantsLocked(tr *track, now time.Time) bool {
	st := &tr.state
	switch {
	case tr.busy || tr.queued:
		return false
	case st.fault != nil:
		return !now.Before(st.retryAt) || tr.at != nil && st.size > 0 && tr.at.size != st.size
	case tr.at == nil || !tr.adrift.IsZero(): // what at says is of the past
		return !st.atEnd && (tr.src != nil || tr.at != nil && !st.moved)
	case tr.done():
		return false
	default:
		return !st.atEnd || tr.at.size != st.size || tr.at.mtime != st.mtime
	}
}

// offerLocked gives a file its turn, as soon as those before it are read.
func (t *tailer) offerLocked(tr *track) {
	if t.passedLocked(tr) {
		delete(t.waiting, tr)
		t.enqueueLocked(tr)
	} else {
		t.waiting[tr] = struct{}{}
	}
}

// passedLocked says whether all that a file has to wait for was read.
func (t *tailer) passedLocked(tr *track) bool {
	if tr.held || !tr.lined && tr.pos.offset == 0 {
		return false // what comes first is not known yet
	}
	for len(tr.before) > 0 {
		b := tr.before[0]
		o, st := b.of, &b.of.state
		switch {
		case o.dropped || st.fault != nil || o.done() || o.pos.offset >= b.upto:
		case !o.busy && (o.away || !o.adrift.IsZero()) && o.src == nil: // it is gone
		case st.atEnd && !o.busy && (st.rest == 0 || st.held > 0 || o.at != nil && o.at.path == o.base):
		default:
			return false
		}
		tr.before = tr.before[1:]
	}
	return true
}

// tick does what time asks for, and says when to come again at the latest.
func (t *tailer) tick(now time.Time) (next time.Duration) {
	next = safetyPoll
	t.mu.Lock()
	for tr := range t.waiting {
		t.offerLocked(tr)
	}
	var idle []*track
	for _, tr := range t.tracks {
		st := &tr.state
		if tr.busy || tr.queued {
			continue
		}
		if st.fault != nil && !tr.dropped {
			if left := st.retryAt.Sub(now); left > 0 {
				next = min(next, left)
			} else {
				t.offerLocked(tr)
			}
			continue
		}
		if st.atEnd && st.rest > 0 && st.held == 0 {
			if left := st.restAt.Add(t.limitLocked(tr, st)).Sub(now); left > 0 {
				next = min(next, left)
			} else {
				t.offerLocked(tr)
			}
		}
		if tr.src == nil {
			continue
		}
		limit, nameless := idleAfter, tr.nameless()
		if st.unnamed {
			limit = removedAfter
		}
		switch {
		case st.atEnd && st.rest == 0 && now.Sub(st.grownAt) > limit && now.Sub(tr.opened) > limit:
			tr.busy = true
			idle = append(idle, tr)
		case nameless: // nobody tells when it grows
			if left := tr.lastUse.Add(namelessPoll).Sub(now); left > 0 {
				next = min(next, left)
			} else {
				t.offerLocked(tr)
			}
		}
	}
	t.mu.Unlock()
	for _, tr := range idle {
		t.close(tr)
		t.giveBack(tr)
	}
	return max(next, 10*time.Millisecond)
}
