package queue

import (
	"context"
	"sync"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// StartAt is where an output that the queue has never seen begins.
type StartAt uint8

const (
	Oldest StartAt = iota // the oldest retained record
	Newest                // the next record to be appended
)

// Reader gives one output the records of the queue, in order, up to the durable mark, and keeps what the output has
// done. Next, TryNext, Rewind, Epoch and Close belong to one goroutine; the other methods may be called from any.
type Reader struct {
	q    *Queue
	name string
	progress

	preview bool // nobody is told what it does

	next  uint64        // the next sequence to read
	epoch segment.Epoch // of the frame that was read last

	shedTold   time.Time // when the log last told of Shed
	shedUntold uint64    // records given up since then

	noting  sync.Mutex // held from taking a position until it is noted, so that no older one overwrites a newer one
	unnoted bool       // the last one could not be noted, and the log says so; guarded by noting

	reading sync.Mutex // guards everything below; held over reads of the disk
	hint    place      // where next may be found, from the checkpoint; used once
	in      *file      // the segment being read from disk
	handle  vfs.File
	scan    *segment.Scanner
	end     int64 // how far scan goes
	at      int64 // the end of the last good frame
	bad     []segment.Part
	healed  *segment.Healing // what is read over the file; nil: the file as it is

	unread   unread
	reopened int // how often the segment was opened again because of the damage that comes next
}

// Reader attaches an output. Where it stood is known from its checkpoint; start is for an output never seen before, or
// whose checkpoint is lost. An output has one reader at a time.
func (q *Queue) Reader(output string, start StartAt) *Reader {
	q.trimming.Lock() // a new one begins behind what is being deleted
	defer q.trimming.Unlock()
	q.outputs.Lock()
	floor := uint64(0)
	for q.readers[output] == nil && floor == 0 {
		q.outputs.Unlock() // files may have to be looked at
		floor = q.startOf(start)
		q.outputs.Lock()
	}
	defer q.outputs.Unlock()
	r := q.readers[output]
	if r == nil {
		r = q.knownReader(output, checkpoint.Position{Stream: q.forgetting.end(output), Floor: floor})
		r.version++ // saved at once: from now on the queue holds records for this output
		r.durable = 0
		r.note()
		q.readers[output] = r
	}
	r.attach(true)
	r.next = r.rewind()
	q.keep.poke()
	return r
}

// reader is the output that the queue knows by this name, nil where it knows none.
func (q *Queue) reader(output string) *Reader {
	q.outputs.Lock()
	defer q.outputs.Unlock()
	return q.readers[output]
}

// startOf is where a new output begins.
func (q *Queue) startOf(start StartAt) uint64 {
	if start == Newest {
		return q.mark.Load() + 1
	}
	return q.oldest()
}

// Preview is a reader that leaves no trace: it begins where the output stands, and its end leaves the output there. Nothing
// is Done with it.
func (q *Queue) Preview(output string) *Reader {
	var pos checkpoint.Position
	if known := q.reader(output); known != nil {
		pos, _ = known.position(q.epoch)
	} else {
		pos.Floor = q.oldest()
	}
	r := q.knownReader(output, pos)
	r.next, r.preview = r.floor, true
	return r
}

// knownReader is the reader of an output that stands at a position which is durable.
func (q *Queue) knownReader(output string, pos checkpoint.Position) *Reader {
	r := &Reader{q: q, name: output, hint: place{in: pos.Segment, offset: pos.Offset}}
	r.stream, r.floor, r.done, r.state = pos.Stream, pos.Floor, pos.Done, pos.State
	r.version, r.saved, r.durable = pos.Step, pos.Step, pos.Floor
	r.since = time.Now()
	if pos.Planned >= pos.Floor {
		r.planned = pos.Planned
	}
	return r
}

// Close detaches the output; it belongs to the goroutine that reads. The position is kept, and with it the records that
// are not done, until the output is forgotten.
func (r *Reader) Close() {
	if !r.preview && !r.q.isClosing() {
		r.missHeld()
	}
	r.reading.Lock()
	r.closeFile()
	r.reading.Unlock()
	r.attach(false)
	r.q.keep.poke()
}

// Next waits for the next frame of records and puts it into f, which is the caller's to reuse. lost names sequences
// before it that will never come, because they were dropped or destroyed; they count as done, and the loss ledger says
// why. A frame may hold records that are done already: see Within. It ends with ctx, with ErrClosed, or with an
// error of the file system that may pass, after which it may be called again.
func (r *Reader) Next(ctx context.Context, f *segment.Frame) (lost checkpoint.Range, err error) {
	for {
		moved := r.q.moved.wait()
		ok, gone, err := r.TryNext(ctx, f)
		lost = join(lost, gone)
		if ok || err != nil {
			return lost, err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return lost, context.Cause(ctx)
		case <-r.q.done:
			return lost, ErrClosed
		}
	}
}

// TryNext is Next without the waiting for records: ok is false when no durable record is left to read. Where others are healing the
// segment that holds the next one it waits for them, until ctx ends.
func (r *Reader) TryNext(ctx context.Context, f *segment.Frame) (ok bool, lost checkpoint.Range, err error) {
	for r.next <= r.q.mark.Load() {
		r.q.ring.at(r.next)
		if in := r.q.ring.read(r.next, f); in != nil && r.q.files.holds(in) {
			r.took(f, in)
			return true, lost, nil
		}
		r.reading.Lock()
		gone, found, err := r.readDisk(ctx, f)
		r.reading.Unlock()
		if gone.Last != 0 {
			lost = join(lost, gone)
			r.lose(gone)
		}
		if err != nil || found {
			return found, lost, err
		}
	}
	r.q.ring.at(r.next)
	r.letGo()
	return false, lost, nil
}

// join is the range from the first that is lost to the last; a zero range is none.
func join(lost, more checkpoint.Range) checkpoint.Range {
	switch {
	case more.Last == 0:
		return lost
	case lost.Last == 0:
		return more
	}
	return checkpoint.Range{First: lost.First, Last: more.Last}
}

// release closes the segment that is open if it is f, which is being deleted.
func (r *Reader) release(f *file) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.in == f {
		r.closeFile()
	}
}

// letGo closes a segment that is read to its end, so that its blocks are free when it is deleted.
func (r *Reader) letGo() {
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.in != nil && r.in.sealed.Load() && r.next > r.in.last.Load() {
		r.closeFile()
	}
}

// took books a frame that the caller is given.
func (r *Reader) took(f *segment.Frame, in *file) {
	r.given(place{first: f.First, last: f.Last(), in: in.name, offset: f.Offset, bytes: int(f.Raw), time: f.Time})
	r.next = f.Last() + 1
	if epoch := in.epoch.Load(); epoch != nil {
		r.epoch = *epoch
	}
}

// Epoch is that of the process which appended the frame that Next or TryNext returned last: with the queue's id and a
// sequence it names a record for ever. Zero where the segment's header is destroyed.
func (r *Reader) Epoch() segment.Epoch { return r.epoch }

// Stream is the number of the stream that the output reads; each rewind by an operator begins another one.
func (r *Reader) Stream() uint32 {
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	return r.stream
}

// lose skips sequences that will never come.
func (r *Reader) lose(gone checkpoint.Range) {
	r.miss(gone)
	r.next = gone.Last + 1
}

// miss counts what the output has not done of what will never come, and passes over it.
func (r *Reader) miss(gone checkpoint.Range) {
	missing := checkpoint.Ranges(r.open(gone)).Count()
	r.progress.mu.Lock()
	r.lost += missing
	r.progress.mu.Unlock()
	r.settle(nil, gone)
	r.q.keep.poke()
}

// missHeld gives up the records that the output had in its hands when their segment was dropped, and has not done: from
// now on nobody has them. The ledger comes first. It is for the end of the reader or of the queue.
func (r *Reader) missHeld() {
	first := r.q.files.first(r.q.mark.Load())
	r.progress.mu.Lock()
	floor := r.floor
	r.progress.mu.Unlock()
	if floor >= first {
		return
	}
	gone := checkpoint.Range{First: floor, Last: first - 1}
	r.q.noteSkipped(r.name, r.open(gone))
	r.miss(gone)
	r.note()
}

// Done notes that the records of ranges are delivered, dead-lettered or filtered out, in any order. state is what the
// output wants kept with that, at most checkpoint.MaxState bytes; nil leaves it as it is. Both
// survive the end of the process from now on, and a power loss from the next save on, which follows shortly.
func (r *Reader) Done(state []byte, ranges ...checkpoint.Range) {
	if len(state) > checkpoint.MaxState {
		r.q.opt.Log.Error("state of the output is too long and not kept; after a restart it starts as if it had none", "output", r.name, "bytes", len(state))
		state = nil
	}
	unsaved := r.settle(state, ranges...)
	r.note()
	if unsaved > saveBytes {
		r.q.soon.poke()
	}
	r.q.keep.poke()
}

// note puts the position where it survives the end of the process.
func (r *Reader) note() {
	r.noting.Lock()
	defer r.noting.Unlock()
	pos, _ := r.position(r.q.epoch)
	err := r.q.store.Note(checkpoint.Key(r.name), pos)
	was := r.unnoted
	if r.unnoted = err != nil; r.unnoted && !was {
		r.q.opt.Log.Warn("recent position not noted; a kill now would repeat what was delivered since the last save", "output", r.name, "error", err)
	}
}

// Plan notes, by its last sequence, the batch that is about to be delivered. A process that is killed in between finds it
// in Planned, and can deliver the same batch under the same id, by which the destination can tell that it has it.
func (r *Reader) Plan(last uint64) {
	r.progress.mu.Lock()
	r.planned = last
	r.version++
	r.progress.mu.Unlock()
	r.note()
	r.q.keep.poke()
}

// Planned is the last sequence of the batch that was planned and is not done, 0 if there is none.
func (r *Reader) Planned() uint64 {
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	return r.planned
}

// State is the output's own state, as last given to Done or as found in its checkpoint.
func (r *Reader) State() []byte {
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	return append([]byte(nil), r.state...)
}

// Checkpoint waits until everything that is Done by now is durable.
func (r *Reader) Checkpoint(ctx context.Context) error {
	_, version := r.position(r.q.epoch)
	for {
		saved := r.q.saved.wait()
		if r.isSaved(version) {
			return nil
		}
		r.q.urgent.poke()
		select {
		case <-saved:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.q.done:
			return ErrClosed
		}
	}
}

// Rewind goes back to the oldest record that is not done: everything that was read and is not done comes again.
func (r *Reader) Rewind() {
	r.next = r.rewind()
	r.reading.Lock()
	defer r.reading.Unlock()
	r.closeFile()
}

// lag is the append time of the oldest record that was read and is not done; zero if nothing is known to wait.
func (p *progress) lag() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.frames) == 0 {
		return time.Time{}
	}
	return time.Unix(0, p.frames[0].time)
}
