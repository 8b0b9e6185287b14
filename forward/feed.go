package forward

import (
	"context"

	"logmule/checkpoint"
	"logmule/forward/match"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
)

const (
	// feedFrames bounds the frames of a batch, for frames so small that their bytes do not.
	feedFrames = 1024
	// feedKept is how many bytes of frames a feed keeps for reuse between batches.
	feedKept = 4 << 20
)

// feed cuts what a reader gives into batches. Together with ingest it is all that knows both the queue and the records.
// It belongs to one consumer.
type feed struct {
	reader *queue.Reader
	limit  int // bytes of a batch, unless its first part is larger
	match  *match.Match

	frames []*segment.Frame // their memory goes round; the first `used` hold what a batch or parts point to
	sizes  []int            // the largest body that each of them has held
	used   int
	parts  []part // of the newest frame
	at     int    // the first of them that is not yet in a batch
	runs   []part // those of the present batch
}

// part is a run of a frame, or what is not done of it.
type part struct {
	epoch segment.Epoch
	first uint64 // sequence of its first record
	run   output.Run
}

func (p *part) last() uint64 { return p.first + uint64(p.run.Count) - 1 }

// fill makes b the next batch from what can be read without waiting: records with consecutive sequences, at most limit
// bytes of them. Without any it leaves b empty. What the batch before pointed to is gone then.
func (f *feed) fill(b *output.Batch) error {
	b.Reset()
	clear(f.runs)
	f.runs = f.runs[:0]
	f.recycle()
	planned := f.reader.Planned() // by a process that was killed: that batch is cut the same way, and so has the same id
	for planned == 0 || b.Last < planned {
		if f.at == len(f.parts) {
			if b.Len() > 0 && (f.used == feedFrames || b.Bytes() >= f.limit) {
				return nil
			}
			ok, _, err := f.reader.TryNext(f.slot())
			if b.Len() > 0 && err != nil {
				return nil // it comes again when this batch is delivered
			}
			if err != nil || !ok {
				return err
			}
			f.took()
			continue
		}
		p := f.parts[f.at]
		rest := p
		if planned >= p.first && planned < p.last() {
			p = rest.cut(int(planned - p.first + 1))
		} else {
			rest.run.Count = 0
		}
		if b.Len() == 0 {
			b.First = p.first
		} else if p.first != b.Last+1 || b.Bytes()+len(p.run.Body) > f.limit {
			return nil
		}
		b.Add(p.run)
		b.Last = p.last()
		f.runs = append(f.runs, p)
		if f.parts[f.at] = rest; rest.run.Count == 0 {
			f.at++
		}
	}
	return nil
}

// wait returns when fill will find something, or with the error of the reader, or of ctx when that ends.
func (f *feed) wait(ctx context.Context) error {
	for f.at == len(f.parts) {
		f.recycle()
		if _, err := f.reader.Next(ctx, f.slot()); err != nil {
			return err
		}
		f.took()
	}
	return nil
}

// rewind forgets what was read: all that is not done comes again.
func (f *feed) rewind() {
	f.at, f.used = len(f.parts), 0
	f.reader.Rewind()
}

// recycle takes back the frames of the last batch, all but one whose parts are still to come, and lets go of what would
// hold too much memory until they are needed again.
func (f *feed) recycle() {
	keep := 0
	if f.at < len(f.parts) {
		last := f.used - 1
		f.frames[0], f.frames[last] = f.frames[last], f.frames[0]
		f.sizes[0], f.sizes[last] = f.sizes[last], f.sizes[0]
		keep = 1
	}
	f.used = keep
	total := 0
	for i, size := range f.sizes {
		if total += size; i >= keep && total > feedKept {
			f.frames[i], f.sizes[i] = new(segment.Frame), 0
			total -= size
		}
	}
}

// slot is the frame to read into.
func (f *feed) slot() *segment.Frame {
	if f.used == len(f.frames) {
		f.frames = append(f.frames, new(segment.Frame))
		f.sizes = append(f.sizes, 0)
	}
	return f.frames[f.used]
}

// took turns the frame in slot into parts, without the records that are done: after a start or a rewind there may be some.
func (f *feed) took() {
	frame := f.frames[f.used]
	f.sizes[f.used] = max(f.sizes[f.used], int(frame.Raw))
	done := f.reader.Within(frame.First, frame.Last())
	f.parts, f.at = f.parts[:0], 0
	first := frame.First
	for i := range frame.Runs {
		r := &frame.Runs[i]
		p := part{f.reader.Epoch(), first, output.Run{Form: pack.Form(r.Form), Count: int(r.Count), Attributes: r.Attributes, Body: r.Body}}
		f.parts = p.without(f.parts, done)
		first += uint64(r.Count)
	}
	if len(f.parts) > 0 {
		f.used++
	}
}

// without appends to parts what is left of p when the done records are taken out. done is in order.
func (p part) without(parts []part, done []checkpoint.Range) []part {
	for _, d := range done {
		if p.run.Count == 0 || d.First > p.last() {
			break
		}
		if d.Last < p.first {
			continue
		}
		if d.First > p.first {
			parts = append(parts, p.cut(int(d.First-p.first)))
		}
		p.cut(int(min(d.Last, p.last()) - p.first + 1))
	}
	if p.run.Count > 0 {
		parts = append(parts, p)
	}
	return parts
}

// cut takes the first n records off p and returns them.
func (p *part) cut(n int) part {
	head := *p
	rest := p.run.Body
	for range n {
		_, _, rest = pack.Split(p.run.Form, rest, 0)
	}
	head.run.Count = n
	head.run.Body = p.run.Body[:len(p.run.Body)-len(rest)]
	p.first += uint64(n)
	p.run.Count -= n
	p.run.Body = rest
	return head
}
