package queue

import (
	"slices"
	"sync"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// progress is what an output has done: a floor, the ranges done above it, and the frames that are read and not wholly
// done, so that the floor can be turned into a place in a file. The output's goroutine and the keeper share it.
type progress struct {
	mu sync.Mutex // guards everything below

	stream  uint32
	floor   uint64            // every sequence below is done
	done    checkpoint.Ranges // above it
	state   []byte
	planned uint64  // last sequence of the batch being delivered, 0: none
	frames  []place // in order; the first one that matters holds floor, or begins after it

	version uint64 // raised by every change
	unsaved int    // raw bytes of frames done since the last save
	saved   uint64 // the version that is durable
	durable uint64 // the floor that is durable
	lost    uint64 // records that never came
	shed    uint64 // records given up because the backlog was too large

	attached bool          // somebody reads for the output
	since    time.Time     // it is as attached says
	away     time.Duration // while it is not: how long that was so before
}

// place is where a frame stands.
type place struct {
	first, last uint64
	in          segment.Name
	offset      int64
	bytes       int
	time        int64
}

// given notes a frame that the output has been given.
func (p *progress) given(at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = append(p.frames, at)
}

// settle notes, as one step, that ranges are done, and the state that the output has with that; nil leaves it. It
// returns how many bytes would be delivered again if the process were killed now.
func (p *progress) settle(state []byte, ranges ...checkpoint.Range) (unsaved int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version++
	if state != nil {
		p.state = append([]byte(nil), state...)
	}
	for _, r := range ranges {
		if r.Last < p.floor {
			continue
		}
		if r.First > p.floor {
			p.done = p.done.Add(r.First, r.Last)
			continue
		}
		p.floor = r.Last + 1
	}
	n := 0
	for n < len(p.done) && p.done[n].First <= p.floor {
		p.floor = max(p.floor, p.done[n].Last+1)
		n++
	}
	p.done = slices.Delete(p.done, 0, n)
	n = 0
	for n < len(p.frames) && p.frames[n].last < p.floor {
		p.unsaved += p.frames[n].bytes
		n++
	}
	p.frames = slices.Delete(p.frames, 0, n)
	if p.planned < p.floor {
		p.planned = 0
	}
	return p.unsaved
}

// missing is what of all the output has neither done nor in its hands.
func (p *progress) missing(all checkpoint.Range) []checkpoint.Range {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := max(all.First, p.floor)
	if n := len(p.frames); n > 0 {
		first = max(first, p.frames[n-1].last+1)
	}
	if first > all.Last {
		return nil
	}
	return p.done.Without(first, all.Last)
}

// open is what of r is not done.
func (p *progress) open(r checkpoint.Range) []checkpoint.Range {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.First = max(r.First, p.floor); r.First > r.Last {
		return nil
	}
	return p.done.Without(r.First, r.Last)
}

// Within returns the parts of [first, last] that are done, in order: after a restart or Rewind a frame may hold some.
func (p *progress) Within(first, last uint64) []checkpoint.Range {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []checkpoint.Range
	if first < p.floor {
		found = append(found, checkpoint.Range{First: first, Last: min(last, p.floor-1)})
	}
	for _, d := range p.done {
		if d.Last >= first && d.First <= last {
			found = append(found, checkpoint.Range{First: max(first, d.First), Last: min(last, d.Last)})
		}
	}
	return found
}

// position is the checkpoint as of now, and its version.
func (p *progress) position(epoch segment.Epoch) (checkpoint.Position, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pos := checkpoint.Position{Stream: p.stream, Floor: p.floor, Epoch: epoch, State: p.state, Step: p.version, Planned: p.planned}
	if len(p.frames) > 0 {
		pos.Segment, pos.Offset = p.frames[0].in, p.frames[0].offset
	}
	pos.Done = append(pos.Done, p.done[:min(len(p.done), checkpoint.MaxDone)]...)
	return pos, p.version
}

// rewind forgets what has been read and not done, and returns the floor.
func (p *progress) rewind() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = p.frames[:0]
	return p.floor
}

// jump moves the floor, back or forth, in a stream of its own, whose number it returns.
func (p *progress) jump(floor uint64) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream++
	p.version++
	p.floor, p.done, p.planned, p.frames = floor, nil, 0, nil
	p.durable = min(p.durable, floor)
	return p.stream
}

// stored books that a version is durable in the checkpoint store.
func (p *progress) stored(version, floor uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved, p.durable = max(p.saved, version), max(p.durable, floor)
	p.unsaved = 0
}

func (p *progress) dirty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version != p.saved
}

func (p *progress) isSaved(version uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved >= version
}
