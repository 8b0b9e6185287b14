package queue

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/recovery"
)

// sourceLimit bounds key and position of a source together, in bytes, as the attributes of a run are.
const sourceLimit = 1 << 20

// sources is how far every source has been taken in, durable or not. A position comes with records (a run's Key and
// Position), and is then in the log with them; or it is moved without any, and comes with the next positions frame.
type sources struct {
	mu     sync.Mutex          // guards everything below
	newest map[string]source   // a removed one stays until its removal is durable
	moved  map[string]struct{} // keys whose newest position came without a record and is not durable yet
	moves  uint64              // how many there were so far
	fewer  broadcast           // of moved
}

// source is the newest position of one key.
type source struct {
	value []byte // nil: removed
	after uint64 // the last sequence that came with a position of this key; 0: none since the start
	move  uint64 // the number of the move that it comes from; 0: none
}

// move is a position without records on its way into the log.
type move struct {
	segment.Pair
	number uint64
}

// Sources are the positions of all sources whose key begins with prefix, by what follows it there, those of records
// included that are accepted and not durable yet. So a source that is started again in a living process goes on behind
// what was accepted; after the end of the process the durable ones count.
func (q *Queue) Sources(prefix string) map[string][]byte {
	s := &q.sources
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string][]byte{}
	for key, at := range s.newest {
		if rest, ok := strings.CutPrefix(key, prefix); ok && at.value != nil {
			found[rest] = bytes.Clone(at.value)
		}
	}
	return found
}

// SetSource notes a position that comes with no record; an empty value removes the key. It keeps its place among the
// appends of that key: it is never durable before what was accepted earlier, and does not undo what is accepted later.
// It stands in the log about a second later, or in the segment that is begun before that, and is durable after Close.
func (q *Queue) SetSource(key string, value []byte) {
	if isOwn(key) || key == "" || len(key)+len(value) > sourceLimit {
		q.opt.Log.Error("position of a source not kept; its key is not one of a source, or it is too long", "key", clip(key, 200), "bytes", len(value))
		return
	}
	if len(value) == 0 {
		value = nil
	}
	if q.sources.set(key, bytes.Clone(value)) {
		q.keep.poke()
	}
}

// isOwn says whether a key belongs to the queue itself.
func isOwn(key string) bool {
	_, output := checkpoint.OutputName(key)
	_, unsealed := recovery.UnsealedName(key)
	return output || unsealed || isAway(key)
}

// ForgetSource removes the positions of sources that will not come back, as SetSource does with an empty value.
func (q *Queue) ForgetSource(keys ...string) {
	for _, key := range keys {
		q.SetSource(key, nil)
	}
}

// WaitSources returns when every position that SetSource noted before is durable, or overtaken by a later one, or when ctx
// ends. It does not leave that to the next positions frame.
func (q *Queue) WaitSources(ctx context.Context) error {
	for moves := q.sources.last(); ; {
		fewer := q.sources.fewer.wait()
		if !q.sources.owed(moves) {
			return nil
		}
		q.positionsDue.Store(true)
		q.work.poke()
		select {
		case <-fewer:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-q.done:
			if !q.sources.owed(moves) {
				return nil
			}
			return ErrClosed
		}
	}
}

// takeSources takes over the positions that a start has found, and returns those of sources for the writer.
func (q *Queue) takeSources(found map[string][]byte) map[string][]byte {
	durable := map[string][]byte{}
	q.sources.newest, q.sources.moved = map[string]source{}, map[string]struct{}{}
	for key, value := range found {
		if name, away := strings.CutPrefix(key, awayPrefix); away {
			q.wasAway(name, value)
			continue
		}
		if name, unsealed := recovery.UnsealedName(key); unsealed {
			q.wasUnsealed(name)
			continue
		}
		if len(value) > 0 {
			durable[key] = value
			q.sources.newest[key] = source{value: value}
		}
	}
	return durable
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// set notes a move, and says whether that changes anything.
func (s *sources) set(key string, value []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.newest[key]
	if bytes.Equal(was.value, value) {
		return false
	}
	s.moves++
	s.newest[key] = source{value: value, after: was.after, move: s.moves}
	s.moved[key] = struct{}{}
	return true
}

// accepted notes positions that came with records up to last. A move of the same key that is not in the log yet is
// overtaken by them, and never gets there.
func (s *sources) accepted(pairs []segment.Pair, last uint64) {
	if len(pairs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pairs {
		s.newest[p.Key] = source{value: p.Value, after: last}
		if _, is := s.moved[p.Key]; is {
			delete(s.moved, p.Key)
			s.fewer.wake()
		}
	}
}

// changed says whether some move is not durable yet.
func (s *sources) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.moved) > 0
}

// count is how many sources have a position.
func (s *sources) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.newest)
}

// ready are the moves that may go into the log: those of keys whose records are all durable. So no crash leaves a
// position behind that claims records which it took.
func (s *sources) ready(durable uint64) []move {
	s.mu.Lock()
	defer s.mu.Unlock()
	var moves []move
	for _, key := range slices.Sorted(maps.Keys(s.moved)) {
		if at := s.newest[key]; at.after <= durable {
			moves = append(moves, move{segment.Pair{Key: key, Value: at.value}, at.move})
		}
	}
	return moves
}

// settled notes that moves are durable.
func (s *sources) settled(moves []move) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range moves {
		if s.newest[m.Key].move != m.number {
			continue // moved again meanwhile, or records came
		}
		delete(s.moved, m.Key)
		if m.Value == nil {
			delete(s.newest, m.Key)
		}
	}
	s.fewer.wake()
}

// owed says whether one of the first moves is neither durable nor overtaken.
func (s *sources) owed(moves uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.moved {
		if s.newest[key].move <= moves {
			return true
		}
	}
	return false
}

// last is the number of the latest move.
func (s *sources) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves
}

// apply makes moves in a map of positions.
func apply(positions map[string][]byte, moves []move) {
	for _, m := range moves {
		if m.Value == nil {
			delete(positions, m.Key)
		} else {
			positions[m.Key] = m.Value
		}
	}
}
