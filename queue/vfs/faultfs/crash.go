package faultfs

import (
	"hash/maphash"
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
	p := f.pending()
	kept := make([]int, p.pieces)
	switch mode {
	case Keep:
		for i := range kept {
			kept[i] = 1
		}
	case Reorder:
		kept = p.mix(rand.New(rand.NewPCG(seed, 0)), 0.5)
	}
	return f.left(p, kept)
}

// pending is what a power loss may keep or lose, piece by piece: first the steps, then file by file its size, where that
// has changed, and its sectors.
type pending struct {
	steps  []*step
	files  []pendingFile
	pieces int
}

// pendingFile is a file with bytes that are not durable.
type pendingFile struct {
	node    *node
	resized bool
	sectors []int64 // that differ on the disk
}

// pending looks at everything that some crash could leave.
func (f *FS) pending() pending {
	p := pending{steps: f.steps, pieces: len(f.steps)}
	seen := make(map[*node]bool)
	var visit func(n *node)
	visit = func(n *node) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		if !n.isDir() {
			file := pendingFile{n, n.resized(), n.unsure()}
			if file.resized || len(file.sectors) > 0 {
				p.files = append(p.files, file)
				p.pieces += len(file.sectors)
			}
			if file.resized {
				p.pieces++
			}
			return
		}
		for _, names := range []map[string]*node{n.durable, n.names} {
			for _, name := range slices.Sorted(maps.Keys(names)) {
				visit(names[name])
			}
		}
	}
	visit(f.root)
	for _, s := range f.steps {
		for _, c := range s.changes {
			visit(c.target)
		}
	}
	return p
}

// left is what a power loss leaves when of each piece is kept what kept says.
func (f *FS) left(p pending, kept []int) *FS {
	c := crash{
		to:     New(),
		names:  make(map[*node]map[string]*node),
		images: make(map[*node][]byte),
		done:   make(map[*node]*node),
	}
	c.to.limit = f.limit
	c.keepSteps(p.steps, kept[:len(p.steps)])
	kept = kept[len(p.steps):]
	for _, file := range p.files {
		size := 0
		if file.resized {
			size, kept = kept[0], kept[1:]
		}
		c.images[file.node] = file.node.image(size, file.sectors, kept[:len(file.sectors)])
		kept = kept[len(file.sectors):]
	}
	c.to.root = c.copy(f.root)
	return c.to
}

// crash is one crash under way.
type crash struct {
	to     *FS
	names  map[*node]map[string]*node // what is left in the directories where names changed
	images map[*node][]byte           // of the files that are not as they are on the disk
	done   map[*node]*node            // old to new: a file with two names stays one file
}

// keepSteps decides which steps reached the disk.
func (c *crash) keepSteps(steps []*step, wanted []int) {
	kept := make([]bool, len(steps))
	for i, s := range steps {
		if wanted[i] > 0 {
			kept[i] = true
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
		image, own := c.images[old]
		if !own {
			image = old.lend()
		}
		n.content = lentContent(image)
		c.to.used += int64(len(n.sectors)) * sectorSize
		return n
	}
	names := c.names[old]
	if names == nil {
		names = old.durable
	}
	n.names = make(map[string]*node)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		n.names[name] = c.copy(names[name])
	}
	n.durable = maps.Clone(n.names)
	return n
}

var sumSeed = maphash.MakeSeed()

// sum is a hash of all names and bytes, as they are seen.
func (f *FS) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(sumSeed)
	var visit func(n *node)
	visit = func(n *node) {
		if !n.isDir() {
			maphash.WriteComparable(&h, len(n.data))
			_, _ = h.Write(n.data)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(n.names)) {
			_, _ = h.WriteString(name + "\x00")
			visit(n.names[name])
		}
		_ = h.WriteByte('/')
	}
	visit(f.root)
	return h.Sum64()
}
