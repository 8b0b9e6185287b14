package faultfs

import (
	"bytes"
	"iter"
	"slices"
)

// Recording is what happened to a file system: how it was at first, and each operation with its data. From it the state
// after any operation can be had without doing the work again. Record begins one; it is read when the work is over, by one
// goroutine.
type Recording struct {
	first   *replica
	effects []effect
	ops     []Op
	limits  []int64 // the room in all at each operation

	look *replica // where the last look was
	done int      // operations that are in it
	next int      // of effects
}

// effect is what an operation did to one node of the recorded file system. One that failed may have had none.
type effect struct {
	op      int
	kind    effectKind
	node    *node
	changes []change // of names
	data    []byte
	offset  int64 // of data; else a size
}

type effectKind uint8

const (
	namesTaken effectKind = iota
	namesSettled
	bytesWritten
	bytesExtended
	bytesTruncated
	bytesSynced
	bytesUnsynced // a sync failed
	bytesLocked   // by the holder of a lock: durable
)

// Record begins a recording: the file system is in its state 0 now, and the next operation is number 1 of it.
func (f *FS) Record() *Recording {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := newReplica(f.limit)
	first.copyFrom(f)
	f.record, f.recorded = &Recording{first: first}, len(f.trace)
	return f.record
}

// Ops are the operations, numbered from 1.
func (r *Recording) Ops() []Op { return r.ops }

// recordLocked notes an effect of the operation under way, before a name comes to mean a new node: that is empty then.
func (f *FS) recordLocked(e effect) {
	if f.record == nil {
		return
	}
	e.op = len(f.record.ops)
	e.changes = slices.Clone(e.changes)
	for _, c := range e.changes {
		f.record.first.know(c.target)
	}
	f.record.first.know(e.node)
	f.record.effects = append(f.record.effects, e)
}

// recordOpLocked notes that an operation begins.
func (f *FS) recordOpLocked(op Op) {
	if f.record == nil {
		return
	}
	op.N -= f.recorded
	f.record.ops, f.record.limits = append(f.record.ops, op), append(f.record.limits, f.limit)
}

// after is the file system when operations 1 to n were done.
func (r *Recording) after(n int) *FS {
	if r.look == nil || n < r.done {
		r.look, r.done, r.next = r.first.clone(), 0, 0
	}
	for ; r.next < len(r.effects) && r.effects[r.next].op <= n; r.next++ {
		r.look.repeat(r.effects[r.next])
	}
	if r.done = n; n > 0 {
		r.look.fs.limit = r.limits[n-1]
	}
	return r.look.fs
}

// State is one state in which a power loss leaves the disk.
type State struct {
	Op     int    // how many operations were done
	Number int    // of the state, among those after this operation
	Kept   []int  // of each piece that was not durable: 0 lost, 1 kept, more: something in between
	Disk   *FS    // as Crash makes it
	Sum    uint64 // of all names and bytes on it; only within this process the same for the same disk
}

// States are the ways in which a power loss may leave the disk when operations 1 to n were done, at most limit of them and
// at least two. What is not durable is kept or lost piece by piece: each change of names, each sector, each change of a
// size. Where the limit allows it all combinations come, else all kept, all lost, one alone lost, one alone kept, all up
// to some piece, and mixes. Which they are depends on what was recorded and on seed alone. Two may be equal on the disk.
func (r *Recording) States(n, limit int, seed uint64) iter.Seq[State] {
	return func(yield func(State) bool) {
		f := r.after(n)
		p := f.pending()
		for i, kept := range p.choices(limit, seed) {
			s := State{Op: n, Number: i, Kept: kept, Disk: f.left(p, kept)}
			s.Sum = s.Disk.sum()
			if !yield(s) {
				return
			}
		}
	}
}

// replica is a second file system, with nodes that stand for those of the first one.
type replica struct {
	fs *FS
	of map[*node]*node
}

func newReplica(limit int64) *replica {
	r := &replica{New(), make(map[*node]*node)}
	r.fs.limit = limit
	return r
}

// copyFrom makes the replica as f is.
func (r *replica) copyFrom(f *FS) {
	r.fs.root = r.copy(f.root)
	for _, s := range f.steps {
		r.fs.steps = append(r.fs.steps, &step{r.changes(s.changes)})
	}
}

// clone is one of its own for the same nodes.
func (r *replica) clone() *replica {
	second := newReplica(r.fs.limit)
	second.copyFrom(r.fs)
	of := make(map[*node]*node, len(r.of))
	for n, own := range r.of {
		of[n] = second.copy(own)
	}
	second.of = of
	return second
}

// copy is the node that stands for n. It is made, with all below it, where there is none.
func (r *replica) copy(n *node) *node {
	if n == nil || r.of[n] != nil {
		return r.of[n]
	}
	own := &node{links: n.links}
	r.of[n] = own
	if !n.isDir() {
		own.content = n.content.clone()
		return own
	}
	own.names, own.durable = make(map[string]*node), make(map[string]*node)
	for name, below := range n.names {
		own.names[name] = r.copy(below)
	}
	for name, below := range n.durable {
		own.durable[name] = r.copy(below)
	}
	return own
}

// know makes the node that stands for one that is new, and empty.
func (r *replica) know(n *node) {
	switch {
	case n == nil || r.of[n] != nil:
	case n.isDir():
		r.of[n] = newDir()
	default:
		r.of[n] = &node{}
	}
}

func (r *replica) changes(all []change) []change {
	own := slices.Clone(all)
	for i := range own {
		own[i].dir, own[i].target = r.copy(own[i].dir), r.copy(own[i].target)
	}
	return own
}

// repeat does to the replica what was done to the first file system.
func (r *replica) repeat(e effect) {
	n := r.copy(e.node)
	switch e.kind {
	case namesTaken:
		r.fs.take(r.changes(e.changes)...)
	case namesSettled:
		r.fs.settle(n)
	case bytesWritten:
		end := e.offset + int64(len(e.data))
		n.age(e.offset, end)
		n.grow(roundUp(end))
		n.write(e.data, e.offset)
	case bytesExtended:
		n.grow(roundUp(e.offset))
		n.extend(e.offset)
	case bytesTruncated:
		n.truncate(e.offset)
	case bytesSynced:
		n.sync()
	case bytesUnsynced:
		n.failSync()
	case bytesLocked:
		n.content = durableContent(bytes.Clone(e.data))
	}
}
