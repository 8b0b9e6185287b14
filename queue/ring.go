package queue

import (
	"sync"
	"sync/atomic"

	"logmule/queue/segment"
)

// ring keeps the raw bodies of the newest frames, so that an output that keeps up neither reads the disk nor
// decompresses. It is only a shortcut: whatever it does not hold is read back. Readers copy from it, and only what the
// durable mark has passed. Slots are made once and their memory goes round.
type ring struct {
	mu    sync.RWMutex // a reader copies under RLock, the writer moves on under Lock
	slots []slot
	next  int // the slot to fill next, the oldest one
	used  int

	oldest atomic.Uint64 // first sequence that a slot describes
	reader atomic.Uint64 // the furthest sequence that any reader waits for
}

type slot struct {
	header segment.FrameHeader
	in     *file
	offset int64
	meta   []byte
	raw    []byte // empty while header.Raw is not: the body was not kept
}

// ringSlots bounds the ring to 32 bodies of 256 KiB.
const ringSlots = 32

func newRing() *ring { return &ring{slots: make([]slot, ringSlots)} }

// wanted says whether some reader is close enough to the end to profit from the bodies of new frames.
func (r *ring) wanted() bool { return r.reader.Load() >= r.oldest.Load() }

// at notes where a reader is.
func (r *ring) at(sequence uint64) {
	for {
		was := r.reader.Load()
		if was >= sequence || r.reader.CompareAndSwap(was, sequence) {
			return
		}
	}
}

// push describes a written frame and takes over its raw body, giving the memory of an older one in return.
func (r *ring) push(d *draft, in *file, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[r.next]
	s.header, s.in, s.offset = d.header, in, offset
	meta := d.buf[segment.FrameHeaderSize : segment.FrameHeaderSize+int(d.header.Meta)]
	s.meta = append(s.meta[:0], meta...)
	s.raw, d.raw = d.raw, s.raw[:0]
	if cap(s.raw) > 2*segment.FrameTarget {
		s.raw = nil // a rare large record; it is read back
	}
	r.next = (r.next + 1) % len(r.slots)
	r.used = min(r.used+1, len(r.slots))
	r.oldest.Store(r.slots[(r.next+len(r.slots)-r.used)%len(r.slots)].header.First)
}

// drop forgets everything: frames that a failed sync made worthless are written again elsewhere.
func (r *ring) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		r.slots[i].in = nil
		r.slots[i].raw = r.slots[i].raw[:0]
	}
	r.used = 0
}

// read copies the frame that holds sequence into f, and says in which file it stands; nil if the ring does not have it.
func (r *ring) read(sequence uint64, f *segment.Frame) *file {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range r.used {
		s := &r.slots[(r.next+len(r.slots)-1-i)%len(r.slots)]
		if s.header.First > sequence {
			continue
		}
		if s.in == nil || s.header.Last() < sequence || len(s.raw) != int(s.header.Raw) {
			return nil
		}
		if f.SetRaw(s.header, s.offset, s.meta, s.raw) != nil {
			return nil
		}
		return s.in
	}
	return nil
}
