package queue

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"logmule/queue/segment"
)

// positionBytes is about what a pair takes in a frame beside key and value.
const positionBytes = 16

// setShare is the part of a segment that a full set may take before the segment grows for it.
const setShare = 4

// surplus is about how many bytes the full set takes at the start of a segment, where that is so much that the segment has
// to grow by it; else 0.
func (w *writer) surplus() int64 {
	var size int64
	for key, value := range w.sources {
		size += int64(len(key) + len(value) + positionBytes)
	}
	for _, m := range w.q.sources.ready(w.durable) {
		size += int64(len(m.Key) + len(m.Value) + positionBytes)
	}
	if size <= w.q.segmentSize()/setShare {
		return 0
	}
	return size + size/8 // what frames, stripes and parity take
}

// grown is the size of a segment that begins with a set of that many bytes, so that it has room for records too: for
// three times as many bytes, or in a small queue for as many as every segment has.
func (q *Queue) grown(base, set int64) int64 {
	if set == 0 {
		return base
	}
	return min(max(base+set, min(setShare*set, q.limits.Load().MaxSize/16)), segment.MaxSegment)
}

// writeSet writes all positions into the log, at the start of a segment. Those that an earlier try has written do not
// count: a set counts only when it is complete.
func (w *writer) writeSet() error {
	own, moves := w.ownPositions(), w.q.sources.ready(w.durable)
	all := maps.Clone(w.sources)
	apply(all, moves)
	maps.Copy(all, own)
	pairs := make([]segment.Pair, 0, len(all))
	for _, key := range slices.Sorted(maps.Keys(all)) {
		pairs = append(pairs, segment.Pair{Key: key, Value: all[key]})
	}
	parts := chunkPairs(pairs)
	if len(parts) == 0 {
		parts = [][]segment.Pair{nil} // says that there are none; else a start would go by the segment before
	}
	if err := w.allocate(w.out.End() + pairsSize(pairs)); err != nil {
		return err // all of it or nothing, or each try would take room
	}
	for i, part := range parts {
		p := segment.Positions{Full: true, Part: uint32(i), Parts: uint32(len(parts)), Pairs: part}
		if _, err := w.control(segment.PositionsFrame, segment.AppendPositions(nil, p), true); err != nil {
			return err
		}
	}
	w.known, w.moving = own, moves
	return nil
}

// writeChanges writes the positions into the log that have changed since the last time (those that come with records are
// in the data frames). Where they do not fit, those of outputs wait for the next segment; others make it begin.
// last: the queue is closing.
func (w *writer) writeChanges(last bool) error {
	own, moves := w.ownPositions(), w.q.sources.ready(w.durable)
	pairs := changes(w.known, own, false)
	if len(pairs)+len(moves) > 0 || last {
		pairs = append(pairs, changes(w.known, own, true)...)
	}
	for _, m := range moves {
		pairs = append(pairs, m.Pair)
	}
	if len(pairs) == 0 {
		return nil
	}
	size := pairsSize(pairs)
	if size > w.out.Room() || w.out.End()+size > int64(w.out.Header().Size) {
		if len(moves) > 0 || w.fresh && !last {
			return w.roll() // the next one begins with all of them
		}
		return nil
	}
	parts := chunkPairs(pairs)
	for i, part := range parts {
		p := segment.Positions{Part: uint32(i), Parts: uint32(len(parts)), Pairs: part}
		written, err := w.control(segment.PositionsFrame, segment.AppendPositions(nil, p), false)
		if err != nil || !written {
			return err // what was left out comes with the next one
		}
	}
	w.known, w.moving = own, append(w.moving, moves...)
	w.placed = true
	return nil
}

// settlePositions makes positions durable that were written without records.
func (w *writer) settlePositions() error {
	w.placed = false
	if w.q.opt.Sync.Mode != SyncNever {
		return w.sync()
	}
	w.settle()
	return nil
}

// ownPositions are those that the queue itself has to say something of: how far its outputs are, how long nobody has read
// for one, and which segments have no trailer.
func (w *writer) ownPositions() map[string][]byte {
	own := w.q.outputPositions()
	maps.Copy(own, w.q.awayTimes())
	maps.Copy(own, w.q.unsealed())
	return own
}

// changes are the pairs that make now of was, of the keys that stand for the time away, or of all others. A key that is
// gone is removed.
func changes(was, now map[string][]byte, away bool) []segment.Pair {
	var pairs []segment.Pair
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if isAway(key) == away && string(was[key]) != string(now[key]) {
			pairs = append(pairs, segment.Pair{Key: key, Value: now[key]})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, there := now[key]; isAway(key) == away && !there {
			pairs = append(pairs, segment.Pair{Key: key})
		}
	}
	return pairs
}

// pairsSize is about what pairs take in the log, frames included, and never less.
func pairsSize(pairs []segment.Pair) int64 {
	size := int64(0)
	for _, p := range pairs {
		size += int64(len(p.Key) + len(p.Value) + positionBytes)
	}
	return size + size/8 + 256
}

// chunkPairs splits a set so that each part makes a frame of ordinary size.
func chunkPairs(pairs []segment.Pair) [][]segment.Pair {
	var parts [][]segment.Pair
	size, start := 0, 0
	for i, p := range pairs {
		size += len(p.Key) + len(p.Value) + positionBytes
		if size > segment.FrameTarget/2 {
			parts = append(parts, pairs[start:i+1])
			size, start = 0, i+1
		}
	}
	if start < len(pairs) {
		parts = append(parts, pairs[start:])
	}
	return parts
}

// control writes one frame that holds no records. One that is not needed is left out where there is no room for it: the
// next segment begins with all positions and an exact mark.
func (w *writer) control(kind segment.Type, body []byte, needed bool) (written bool, err error) {
	h := segment.FrameHeader{Type: kind, First: w.written + 1, Time: time.Now().UnixNano(), Mark: w.durable}
	buf := segment.EncodeFrame(make([]byte, 0, segment.FrameBound(nil, len(body))), &h, nil, body, w.q.opt.Codec)
	if !needed && int64(len(buf)) > w.out.Room() {
		return false, nil
	}
	end := w.out.End()
	if err := w.allocate(end + int64(len(buf))); err != nil {
		if !needed && isFull(err) {
			return false, nil
		}
		return false, err
	}
	h.Put(buf, w.out.Header().Salt, end)
	if err := w.out.Write([]segment.FrameHeader{h}, [][]byte{buf}); err != nil {
		return false, w.poison(fmt.Errorf("write %s: %w", w.active.path, err))
	}
	return true, nil
}
