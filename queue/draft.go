package queue

import (
	"sync"

	"logmule/queue/segment"
)

// draft is a frame on its way to the disk. It is made by Append, owned by the queue once it is pending, by the writer
// once its group is taken, and goes back to its pool when its records are durable. Until then its encoded bytes stay
// here, so that a failed sync costs a rewrite, never a record.
type draft struct {
	header segment.FrameHeader
	runs   []segment.Run // of a gathering draft: slices into arena
	arena  []byte        // keys, positions and attributes of a gathering draft; never grown, or the slices would move
	raw    []byte        // the body before compression: of a gathering draft, or kept for the ring
	buf    []byte        // the frame as written
	held   int           // raw bytes that count against the held limit
	ready  bool          // buf is complete but for its header

	positions []segment.Pair // source positions that become durable with this frame
}

const arenaSize = 32 << 10

var draftPool = sync.Pool{New: func() any { return new(draft) }}

func newDraft() *draft { return draftPool.Get().(*draft) }

// free gives the draft back. Large buffers of the rare large record are left to the garbage collector.
func (d *draft) free() {
	const keep = 2 * segment.FrameTarget
	if cap(d.buf) > keep {
		d.buf = nil
	}
	if cap(d.raw) > keep {
		d.raw = nil
	}
	clear(d.runs)
	clear(d.positions)
	*d = draft{runs: d.runs[:0], arena: d.arena[:0], raw: d.raw[:0], buf: d.buf[:0], positions: d.positions[:0]}
	draftPool.Put(d)
}

// encode makes a complete frame of runs whose bodies are raw, one after the other. keepRaw copies the body for the ring.
func (d *draft) encode(runs []segment.Run, raw []byte, codec segment.Codec, keepRaw bool) {
	if n := segment.FrameBound(runs, len(raw)); cap(d.buf) < n {
		d.buf = make([]byte, 0, max(n, segment.FrameBound(nil, segment.FrameTarget)+1<<10))
	}
	d.header.Type = segment.Data
	d.buf = segment.EncodeFrame(d.buf, &d.header, runs, raw, codec)
	if keepRaw {
		d.raw = append(d.raw[:0], raw...)
	}
	for _, r := range runs {
		d.notePosition(r)
	}
	d.ready = true
}

// notePosition remembers the source position of a run. Runs mostly have none.
func (d *draft) notePosition(r segment.Run) {
	if len(r.Position) == 0 {
		return
	}
	d.positions = append(d.positions, segment.Pair{Key: string(r.Key), Value: append([]byte(nil), r.Position...)})
}

// gather puts a small run into this draft, false if there is no room for it.
func (d *draft) gather(r segment.Run) bool {
	if d.arena == nil {
		d.arena = make([]byte, 0, arenaSize)
	}
	need := len(r.Key) + len(r.Position) + len(r.Attributes)
	if len(d.arena)+need > cap(d.arena) || len(d.raw)+len(r.Body) > segment.FrameTarget {
		return false
	}
	d.notePosition(r)
	r.Key = d.keep(r.Key)
	r.Position = d.keep(r.Position)
	r.Attributes = d.keep(r.Attributes)
	d.raw = append(d.raw, r.Body...)
	r.Raw = uint32(len(r.Body))
	r.Body = nil
	d.runs = append(d.runs, r)
	d.header.Count += r.Count
	return true
}

func (d *draft) keep(b []byte) []byte {
	at := len(d.arena)
	d.arena = append(d.arena, b...)
	return d.arena[at:len(d.arena):len(d.arena)]
}

// finish encodes a gathering draft; the writer calls it outside every lock.
func (d *draft) finish(codec segment.Codec) {
	if d.ready {
		return
	}
	if n := segment.FrameBound(d.runs, len(d.raw)); cap(d.buf) < n {
		d.buf = make([]byte, 0, n)
	}
	d.header.Type = segment.Data
	d.buf = segment.EncodeFrame(d.buf, &d.header, d.runs, d.raw, codec)
	d.ready = true
}
