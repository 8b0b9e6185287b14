package queue

import (
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"logmule/queue/segment"
	"logmule/recovery"
)

// file is one segment of the queue as its readers and the trim see it. Everything but the atomics is fixed.
type file struct {
	name segment.Name
	path string

	recovered bool        // by a start
	vouched   atomic.Bool // it is what its name says, and so is the one behind it

	last    atomic.Uint64 // last durable sequence in it; name.First-1 while it has none
	end     atomic.Int64  // end of the durable frames; 0: not read yet, the trailer knows
	size    atomic.Int64  // bytes it takes on the disk
	sealed  atomic.Bool   // nothing more is written to it, but for its end
	settled atomic.Bool   // nor that: its seal has ended, well or not

	trailer  atomic.Bool // it has its end, as far as is known
	unlinked atomic.Bool // its name is gone

	surplus atomic.Int64 // bytes by which it has grown for its positions, as far as this process knows

	epoch atomic.Pointer[segment.Epoch] // of the process that wrote it; nil: not read yet

	stuck     atomic.Bool // it could not be deleted, and that was said
	delivered time.Time   // when every record of it was first found delivered; guarded by Queue.trimming
}

func newFile(dir string, name segment.Name) *file {
	f := &file{name: name, path: filepath.Join(dir, name.String())}
	f.last.Store(name.First - 1)
	return f
}

// emptyFile is a segment that nothing was written to, nor will be.
func emptyFile(dir string, name segment.Name) *file {
	f := newFile(dir, name)
	f.end.Store(segment.HeaderSize)
	f.size.Store(segment.HeaderSize)
	f.sealed.Store(true)
	f.settled.Store(true)
	return f
}

// holdsRecords says whether any record of the segment is durable.
func (f *file) holdsRecords() bool { return f.last.Load() >= f.name.First }

func recoveredFile(dir string, s recovery.Segment) *file {
	f := newFile(dir, s.Name)
	f.recovered = true
	f.vouched.Store(s.DataEnd > 0)
	f.last.Store(s.Last)
	f.end.Store(s.DataEnd)
	f.size.Store(min(s.Size, 2*segment.MaxSegment)) // what is behind that is a hole, or foreign: it does not make the queue full
	f.sealed.Store(true)
	f.settled.Store(true)
	f.trailer.Store(s.Sealed || s.DataEnd == 0)
	return f
}

// files is the list of segments in the order of their sequences. The writer adds at the end, the trim and drop_oldest
// take away at the front, readers look.
type files struct {
	mu   sync.RWMutex // guards list; never held over a system call
	list []*file
}

func (s *files) add(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, f)
}

func (s *files) remove(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, g := range s.list {
		if g == f {
			s.list = append(s.list[:i:i], s.list[i+1:]...)
			return
		}
	}
}

// putBack is remove undone, for one of the oldest files.
func (s *files) putBack(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := sort.Search(len(s.list), func(i int) bool { return s.list[i].name.First >= f.name.First })
	s.list = slices.Insert(s.list, at, f)
}

// find returns the first file whose durable records reach sequence, nil if none does. oldest: there is none before it; a moment later it
// may be gone itself.
func (s *files) find(sequence uint64) (f *file, oldest bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].last.Load() >= sequence })
	if i == len(s.list) {
		return nil, false
	}
	return s.list[i], i == 0
}

// holds says whether f still belongs to the queue.
func (s *files) holds(f *file) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].name.First >= f.name.First })
	for ; i < len(s.list) && s.list[i].name.First == f.name.First; i++ {
		if s.list[i] == f {
			return true
		}
	}
	return false
}

// first is the oldest sequence that may still be read; what comes after the mark where no segment is left.
func (s *files) first(mark uint64) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.list) == 0 {
		return mark + 1
	}
	return s.list[0].name.First
}

// oldestSealed is the file that drop_oldest would delete, nil when only the active one is left.
func (s *files) oldestSealed() *file {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.list) > 0 && s.list[0].sealed.Load() {
		return s.list[0]
	}
	return nil
}

func (s *files) snapshot() []*file {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]*file(nil), s.list...)
}

// bytes is what all segments take on the disk.
func (s *files) bytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, f := range s.list {
		n += f.size.Load()
	}
	return n
}

// records is how many of the sequences from first to last the segments hold.
func (s *files) records(first, last uint64) (n uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.list {
		from, to := max(first, f.name.First), min(last, f.last.Load())
		if from <= to {
			n += to - from + 1
		}
	}
	return n
}

// counted is the part of bytes that max_size counts. What the positions make of the newest segment, and of those before it
// that hold the positions until it has them, is left out: however many there are, the queue has room for records.
func (s *files) counted(positioned *file) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	needed := positioned == nil
	for _, f := range s.list {
		needed = needed || f == positioned
		n += f.size.Load()
		if needed {
			n -= f.surplus.Load()
		}
	}
	return n
}

// bytesAfter is an estimate of the stored bytes from sequence on: whole segments, and the share of the one it lies in.
func (s *files) bytesAfter(sequence uint64) int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for i := len(s.list) - 1; i >= 0; i-- {
		f := s.list[i]
		last, size := f.last.Load(), f.end.Load()
		if size == 0 {
			size = f.size.Load()
		}
		if last < f.name.First {
			continue
		}
		if last < sequence {
			break
		}
		if sequence <= f.name.First {
			n += size
			continue
		}
		share := float64(last-sequence+1) / float64(last-f.name.First+1)
		n += int64(share * float64(size))
	}
	return n
}
