package queue

import (
	"slices"
	"sync"

	"logmule/queue/segment"
	"logmule/recovery"
)

// A segment that did not take a write or a sync is given up, and a seal that fails is not tried again: what the kernel says of the
// file afterwards means nothing. So it has no trailer, and a start, which looks at the newest segments only, makes none
// either. Fsck would take that for damage. Therefore the log names these segments, in each set of positions.

// leaving are the segments without a trailer that are being deleted, or were and may come back after a power loss.
type leaving struct {
	mu   sync.Mutex // guards list
	list []*file
}

func (l *leaving) add(f *file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.list, f) {
		l.list = append(l.list, f)
	}
}

// all are those that are not durably gone.
func (l *leaving) all() []*file {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// unlinked are those whose names are gone.
func (l *leaving) unlinked() []*file {
	return slices.DeleteFunc(l.all(), func(f *file) bool { return !f.unlinked.Load() })
}

// left forgets segments whose deletion is durable.
func (l *leaving) left(gone []*file) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(f *file) bool { return slices.Contains(gone, f) })
}

// lacksTrailer says whether a segment holds records and will have no trailer, as far as this process knows.
func (f *file) lacksTrailer() bool {
	return f.sealed.Load() && f.holdsRecords() && !f.trailer.Load()
}

// unsealed are the segments with records that have no trailer, under the keys that the log uses. The active one is not among
// them, nor the one before it, whose seal may be under way: a start looks at both.
func (q *Queue) unsealed() map[string][]byte {
	all, newer := map[string][]byte{}, false
	list := q.files.snapshot()
	found := q.leaving.all() // after that: what was gone from the list by then is here
	for _, f := range slices.Backward(list) {
		if newer && f.lacksTrailer() {
			found = append(found, f)
		}
		newer = newer || f.sealed.Load() && f.holdsRecords()
	}
	for _, f := range found {
		all[recovery.UnsealedKey(f.name)] = []byte("no trailer")
	}
	return all
}

// wasUnsealed notes what the log says of a segment. Of those that the start has looked at it knows better.
func (q *Queue) wasUnsealed(name segment.Name) {
	for _, f := range q.files.snapshot() {
		if f.name == name && f.end.Load() == 0 {
			f.trailer.Store(false)
		}
	}
}
