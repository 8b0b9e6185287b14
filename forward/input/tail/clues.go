package tail

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
)

// judgment says what a copy is to a younger file of its log: the live one, or a later copy of that.
type judgment int

const (
	apart  judgment = iota // the live file was cut between: the copy holds a content of its own
	within                 // nothing was: the younger file holds all of it
	unsure                 // that will be seen soon
)

// clues are what tells whether a file was cut between two moments in which it was looked at or copied. Times are in
// nanoseconds since 1970.
type clues struct {
	begins  bool // the younger file begins with all that the copy holds
	torn    bool // the copy ends within a line: copying broke off, or goes on
	repeats bool // the bytes are few or come again, so that another content may well begin with them
	live    bool // the younger file is the live one

	made    int64 // when the copy was made, or before; 0: nobody knows
	written int64 // when it was written, as it says itself, which may be when its original was
	kept    bool  // it is that

	changed int64 // when the content of the younger file was written last
	read    int64 // the same when that was read last, and was what it is now; 0: it is not known
	begun   int64 // what was written by then is of what came before that; 0: it is not known
	now     int64
}

// last is when the copy is known to have been complete or written to.
func (k *clues) last() int64 { return max(k.made, k.written) }

// fresh says whether what the copy was made for may still come: who copies a file to cut it does so at once.
func (k *clues) fresh() bool { return k.last() <= k.now && k.now-k.last() < int64(copySettles) }

// judge goes by bytes that differ, then by times, then by how the copy ends, then by bytes that are the same and do not
// repeat. What is left cannot be told: a file of such bytes that was written to since its copy was made. Taken for one
// that was cut it comes twice if it was not; taken for one that was not, lines of it would be lost.
func (k *clues) judge() judgment {
	switch {
	case !k.begins:
		return apart
	case k.made == 0:
		return within
	case k.last() <= k.begun:
		return apart
	case k.changed <= k.made || k.kept && k.changed == k.written || k.made < k.read:
		return within
	case k.torn || !k.repeats:
		return within
	case k.live && k.fresh():
		return unsure
	}
	return apart
}

// threatens says whether the live file may be cut at any moment, so that its bytes do not show it.
func (k *clues) threatens() bool { return k.begins && k.live && k.repeats && k.made != 0 && k.fresh() }

// compare judges the copy s by a younger file.
func (c *claims) compare(s, younger *sight) (k clues, err error) {
	k = clues{live: s.formOf(younger), now: c.now.UnixNano(), made: s.made(), written: s.mtime, kept: s.mtime < s.birth()}
	if k.begins, err = beginningOf(s, younger); !k.begins || err != nil {
		return k, err
	}
	if k.torn, k.repeats, err = c.bytesOf(s, younger); err != nil {
		return k, err
	}
	// Last, so that it says that what was read is what there was.
	if err = younger.refresh(); err != nil {
		return k, err
	}
	k.changed = younger.mtime
	if tr := younger.taken; tr != nil {
		c.t.mu.Lock()
		p := tr.pos
		c.t.mu.Unlock()
		k.read, k.begun = c.readAt(&p), c.begunOf(&p)
	}
	return k, nil
}

// begunOf is p.begun, if the clock says that this is past.
func (c *claims) begunOf(p *position) int64 {
	if p.begun > c.now.UnixNano()+clockTick {
		return 0
	}
	return p.begun
}

// begunAt is from when on copies are not of what came before the content that the new file s holds: since the youngest file
// beside it that is no copy of it itself.
func (c *claims) begunAt(group string, s *sight) int64 {
	at := int64(0)
	if s.live() {
		at = s.birth() - 1 // it may be copied in the tick of the clock in which it was created
	}
	if s.birth() == 0 {
		return 0
	}
	of := c.sort(group).of
	for _, older := range c.v.groups[group] {
		if older == s {
			break
		}
		if of[older] != s {
			at = max(at, older.latest())
		}
	}
	return min(at, c.now.UnixNano())
}

// after says whether s, by its times, may be a copy of the content at p, or what that was compressed to.
func (c *claims) after(s *sight, p *position) bool {
	if begun := c.begunOf(p); begun != 0 && s.latest() <= begun {
		return false
	}
	if !s.gzip && s.size < p.offset {
		return true
	}
	read := c.readAt(p)
	if s.mtime%1e9 == 0 {
		read -= max(0, read%1e9) // it may have been set in whole seconds
	}
	return s.mtime >= read
}

// formOf says whether s has the name of a rotated form of other.
func (s *sight) formOf(other *sight) bool {
	return filepath.Dir(s.path) == filepath.Dir(other.path) && slices.Contains(livesOf(filepath.Base(s.path)), filepath.Base(other.path))
}

// made is when a copy was made, or some time before. A compressed one has, with the bytes, the time of what was compressed.
func (s *sight) made() int64 {
	if s.gzip {
		return min(s.birth(), s.mtime)
	}
	return s.birth()
}

// latest is when a copy was complete at the latest, but for one that was compressed since: then its original was.
func (s *sight) latest() int64 {
	if s.gzip {
		return s.mtime
	}
	return max(s.birth(), s.mtime)
}

// birth is when the file was created; 0: nobody knows.
func (s *sight) birth() int64 {
	if !s.asked {
		born, inode := bornAt(s.path)
		if s.asked = true; inode == s.id.ino { // else another file has its name by now
			s.born = born
		}
	}
	return s.born
}

// bytesOf says how the copy s ends, and whether its bytes repeat in it or in the younger file that begins with it.
func (c *claims) bytesOf(s, younger *sight) (torn, repeats bool, err error) {
	end, whole, err := s.start()
	if err != nil {
		return false, false, err
	}
	if repeats = len(end) < headSize; !repeats {
		start, _, err := younger.start()
		if err != nil {
			return false, false, err
		}
		repeats = len(start) > 0 && bytes.Contains(start[1:], end[:headSize/4])
	}
	if !whole && s.gzip {
		return false, repeats, nil // its end is too far away
	}
	if !whole {
		if end, err = s.window(s.size); err != nil {
			return false, false, err
		}
	}
	n := 1
	if c.t.opt.Encoding.wide() {
		n = 2
	}
	return !bytes.Contains(end[max(0, len(end)-n):], []byte{'\n'}), repeats, nil
}

// start reads the first bytes of a file. whole says that these are all.
func (s *sight) start() (b []byte, whole bool, err error) {
	src, _, err := openSource(s.path, s.id, s.gzip)
	if err != nil {
		return nil, false, err
	}
	defer src.close()
	b = make([]byte, sameHead)
	n, err := src.readAt(b, 0)
	if err != nil && err != io.EOF && !incomplete(err) {
		return nil, false, err
	}
	return b[:n], err == io.EOF, nil
}
