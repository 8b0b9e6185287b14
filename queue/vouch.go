package queue

import (
	"slices"
	"sync"

	"logmule/queue/segment"
	"logmule/recovery"
)

// vouching is about segments that a start has not read. Their names tell where they begin, and so where the ones before them end: that
// holds only of files that are what their names say, and is found out when one of them is needed, or is to be deleted.
type vouching struct {
	mu   sync.Mutex // held while files are looked at, and renamed
	told bool       // that this is not possible
}

// vouch sees to it that f and the file behind it are what their names say. changed: they were not, and the list of segments is another
// one now. Where a file cannot be looked at, nothing is known and nothing changes; whoever reads it meets the same error.
func (q *Queue) vouch(f *file) (changed bool) {
	if !f.recovered || f.vouched.Load() {
		return false
	}
	q.vouching.mu.Lock()
	defer q.vouching.mu.Unlock()
	if !q.files.holds(f) {
		return true
	}
	name := segment.Name{}
	if next := q.files.after(f); next != nil {
		name = next.name
	}
	sound, err := recovery.Vouch(q.opt.FS, q.opt.Dir, q.id, f.name, name)
	if sound && err == nil {
		f.vouched.Store(true)
		return false
	}
	if err == nil {
		err = q.sortOut()
		changed = err == nil
	}
	if err != nil && !q.vouching.told {
		q.vouching.told = true
		q.opt.Log.Warn("segments cannot be looked at; trying again", "segment", f.path, "error", err)
	}
	return changed
}

// sortOut finds out what the files are that earlier processes have left, and takes that over.
func (q *Queue) sortOut() error {
	var names []segment.Name
	for _, f := range q.files.snapshot() {
		if f.recovered {
			names = append(names, f.name)
		}
	}
	q.losses.mu.Lock()
	segments, report, err := recovery.SortOut(q.opt.FS, q.opt.Dir, q.id, q.losses.ledger, names)
	records, _ := q.losses.ledger.Total()
	q.counters.ledger.Store(records)
	q.losses.mu.Unlock()
	for _, d := range report.Damage {
		q.opt.Log.Error("a file among the segments was in the way", "file", d.Segment, "cause", d.Cause, "action", d.Action)
	}
	for _, n := range report.Notes {
		q.opt.Log.Warn("note on the segments", "note", n)
	}
	if err != nil {
		return err
	}
	q.files.settle(q.segmentDir(), segments)
	return nil
}

// mostLooks is how often the files are looked at in a row where each look changes something: the first one puts all of them right, and
// deletions go on meanwhile.
const mostLooks = 4

// vouchOldest makes sure of where the queue begins.
func (q *Queue) vouchOldest() {
	for range mostLooks {
		all := q.files.snapshot()
		if len(all) == 0 || !q.vouch(all[0]) {
			return
		}
	}
}

// oldest is where a reader begins that wants all there is. The oldest file may have a later name: all are looked at.
func (q *Queue) oldest() uint64 {
	for range mostLooks {
		if !q.vouchAll() {
			break
		}
	}
	return q.files.first(q.mark.Load())
}

// vouchAll is for a reader that misses records, before it says that they are lost: they may be in a file with another name.
func (q *Queue) vouchAll() (changed bool) {
	for _, f := range q.files.snapshot() {
		if q.vouch(f) {
			return true
		}
	}
	return false
}

// after is the file behind f, nil behind the newest.
func (s *files) after(f *file) *file {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i := slices.Index(s.list, f); i >= 0 && i+1 < len(s.list) {
		return s.list[i+1]
	}
	return nil
}

// settle puts these segments in the place of all that were recovered.
func (s *files) settle(dir string, segments []recovery.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now []*file
	for i, is := range segments {
		at := slices.IndexFunc(s.list, func(f *file) bool { return f.name == is.Name })
		var f *file
		if at >= 0 {
			f = s.list[at]
		} else {
			f = recoveredFile(dir, is)
		}
		if i+1 < len(segments) || at < 0 { // of the newest one the start knows
			f.last.Store(is.Last)
		}
		f.vouched.Store(true)
		now = append(now, f)
	}
	for _, f := range s.list {
		if !f.recovered {
			now = append(now, f)
		}
	}
	s.list = now
}
