package forward

import (
	"slices"
	"strconv"
	"strings"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

const (
	// aheadFrames and aheadBytes bound what is read beyond the oldest batch that is not finished, while others overtake
	// it: the frames because the queue remembers each of them, the bytes because they hold the disk.
	aheadFrames = 16 << 10
	aheadBytes  = 1 << 30
)

// taken is what a batch has of the queue, and how far the feed had read then.
type taken struct {
	checkpoint.Range
	at mark
}

// mark counts what was read.
type mark struct{ frames, bytes int }

// take notes that h has its records.
func (f *feed) take(h *hand) {
	b := &h.batch
	if b.Len() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i := 0
	for i < len(f.taken) && f.taken[i].First < b.First {
		i++
	}
	f.taken = slices.Insert(f.taken, i, taken{checkpoint.Range{First: b.First, Last: b.Last}, f.read})
	for len(f.cuts) > 0 && f.cuts[0] <= b.Last {
		f.cuts = f.cuts[1:]
	}
}

// plan notes, where it survives the end of the process, how the batches are cut that are not finished.
func (f *feed) plan(h *hand) {
	if !f.several {
		f.reader.Plan(h.batch.Last)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reader.Done(f.planned())
}

// finish notes that all of h is done. state is what the output wants kept with that.
func (f *feed) finish(h *hand, state []byte) {
	defer func() {
		select {
		case f.moved <- struct{}{}:
		default:
		}
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untake(h)
	if f.several {
		state = f.planned()
	}
	f.reader.Done(state, checkpoint.Range{First: h.batch.First, Last: h.batch.Last})
}

// giveBack makes what is not done of h come again; in a batch with the same end, where that is wanted. It needs the turn.
func (f *feed) giveBack(h *hand, same bool) {
	f.mu.Lock()
	f.untake(h)
	if at, there := slices.BinarySearch(f.cuts, h.batch.Last); same && !there && h.batch.Len() > 0 {
		f.cuts = slices.Insert(f.cuts, at, h.batch.Last)
	}
	f.mu.Unlock()
	f.release(h)
	f.rewind()
}

// untake forgets that h has its records. f.mu is held.
func (f *feed) untake(h *hand) {
	f.taken = slices.DeleteFunc(f.taken, func(t taken) bool { return h.batch.Len() > 0 && t.First == h.batch.First })
}

// note books a frame that was read, and returns what is taken of it, and where the batches in it have to end.
func (f *feed) note(frame *segment.Frame) (gone []checkpoint.Range, cuts []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read.frames++
	f.read.bytes += int(frame.Raw)
	for _, t := range f.taken {
		if t.Last >= frame.First && t.First <= frame.Last() {
			gone = append(gone, t.Range)
		}
	}
	for _, c := range f.cuts {
		if c >= frame.First && c < frame.Last() {
			cuts = append(cuts, c)
		}
	}
	return gone, cuts
}

// cutAt is where a batch has to end that begins at first, 0 where it need not.
func (f *feed) cutAt(first uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.cuts {
		if c >= first {
			return c
		}
	}
	return 0
}

// again notes a rewind.
func (f *feed) again() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = mark{}
	for i := range f.taken {
		f.taken[i].at = mark{}
	}
}

// tooFar says that the oldest batch has to be finished before there is another one.
func (f *feed) tooFar() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.taken) == 0 {
		return false
	}
	from := f.taken[0].at
	return f.read.frames-from.frames > aheadFrames || f.read.bytes-from.bytes > aheadBytes
}

// cutsMagic begins the state of an output with several requests at once. Numbers in it have the base cutsBase.
const (
	cutsMagic = "cuts:"
	cutsBase  = 36
)

// planned is where the batches end that are not finished, as the state of an output: the first sequence and then the
// distances, as many as there is room for. f.mu is held.
func (f *feed) planned() []byte {
	all := slices.Clone(f.cuts)
	for _, t := range f.taken {
		all = append(all, t.Last)
	}
	slices.Sort(all)
	state := []byte(cutsMagic)
	from := uint64(0)
	for _, c := range slices.Compact(all) {
		longer := append(strconv.AppendUint(state, c-from, cutsBase), ' ')
		if len(longer) > checkpoint.MaxState {
			break
		}
		state, from = longer, c
	}
	return state
}

// resume takes over where the batches of a process that was killed were cut.
func (f *feed) resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts = f.cuts[:0]
	if planned := f.reader.Planned(); planned > 0 {
		f.cuts = append(f.cuts, planned)
	}
	distances, ours := strings.CutPrefix(string(f.reader.State()), cutsMagic)
	at := uint64(0)
	for _, word := range strings.Fields(distances) {
		distance, err := strconv.ParseUint(word, cutsBase, 64)
		if !ours || err != nil {
			break
		}
		at += distance
		f.cuts = append(f.cuts, at)
	}
	slices.Sort(f.cuts)
	f.cuts = slices.Compact(f.cuts)
}
