package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Mode says what a power loss leaves of what was not synced.
type Mode int

const (
	// Keep: everything, as after the end of the process only.
	Keep Mode = iota
	// Drop: nothing.
	Drop
	// Reorder: each sector, each change of size and each change of names as the seed decides. Of the changes of one
	// name, one that is kept brings the earlier ones with it: a directory is written as it was at some time.
	Reorder
)

func (m Mode) String() string {
	switch m {
	case Keep:
		return "keep"
	case Drop:
		return "drop"
	}
	return "reorder"
}

// Crash is a new file system that holds what a power loss at this moment would leave; seed matters to Reorder only.
// It has the same limit of room, no locks, no faults, and counts its operations from 1. f itself stays as it is, so
// that one moment can be looked at in many ways.
func (f *FS) Crash(mode Mode, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := crash{
		mode:  mode,
		rng:   rand.New(rand.NewPCG(seed, 0)),
		to:    New(),
		names: make(map[*node]map[string]*node),
		done:  make(map[*node]*node),
	}
	c.to.limit = f.limit
	if mode == Reorder {
		c.reorder(f.steps)
	}
	c.to.root = c.copy(f.root)
	return c.to
}

// crash is one Crash under way.
type crash struct {
	mode  Mode
	rng   *rand.Rand
	to    *FS
	names map[*node]map[string]*node // what Reorder leaves in the directories where names changed
	done  map[*node]*node            // old to new: a file with two names stays one file
}

// reorder decides which steps reached the disk.
func (c *crash) reorder(steps []*step) {
	kept := make([]bool, len(steps))
	for i, s := range steps {
		if kept[i] = c.rng.IntN(2) == 0; kept[i] {
			keepBefore(steps[:i], kept, s)
		}
	}
	for i, s := range steps {
		for _, ch := range s.changes {
			if c.names[ch.dir] == nil {
				c.names[ch.dir] = maps.Clone(ch.dir.durable)
			}
			if kept[i] {
				ch.in(c.names[ch.dir])
			}
		}
	}
}

// keepBefore keeps the steps that changed a name of s before s did, and those before these.
func keepBefore(steps []*step, kept []bool, s *step) {
	for i := len(steps) - 1; i >= 0; i-- {
		if !kept[i] && slices.ContainsFunc(s.changes, func(c change) bool { return slices.ContainsFunc(steps[i].changes, c.sameName) }) {
			kept[i] = true
			keepBefore(steps[:i], kept, steps[i])
		}
	}
}

// copy makes the new node of an old one, and of all below it.
func (c *crash) copy(old *node) *node {
	if n := c.done[old]; n != nil {
		n.links++
		return n
	}
	n := &node{links: 1}
	c.done[old] = n
	if !old.isDir() {
		data := old.crash(c.mode, c.rng)
		n.content = durableContent(data)
		n.grow(roundUp(int64(len(data))))
		for s := range n.sectors {
			n.sectors[s] = isAllocated
		}
		c.to.used += int64(len(n.sectors)) * sectorSize
		return n
	}
	names := old.durable
	switch {
	case c.mode == Keep:
		names = old.names
	case c.names[old] != nil:
		names = c.names[old]
	}
	n.names = make(map[string]*node)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n.names[name] = c.copy(names[name])
	}
	n.durable = maps.Clone(n.names)
	return n
}
