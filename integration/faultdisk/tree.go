package main

import (
	"maps"
	"os"
	"slices"
	"syscall"
	"time"
)

// node is a directory (names is not nil), a symbolic link (target is not empty) or a regular file.
type node struct {
	id      uint64
	mode    uint32 // with the type
	uid     uint32
	gid     uint32
	target  string // of a symbolic link
	mtime   time.Time
	ctime   time.Time
	stamped bool // mtime was set by utimes(2) since the last sync
	listed  bool // the journal has it as it is

	parent *node  // of one of its names
	name   string // that name

	names   map[string]*node // as they are seen
	durable map[string]*node // as they are on the disk

	content content

	links   int    // names that are seen
	lasting int    // names on the disk
	pending int    // changes of names that are not durable yet and mean it
	opens   int    // open descriptors
	lookups uint64 // that the kernel has not forgotten
	freed   bool   // its room was given back
}

func (n *node) isDir() bool { return n.names != nil }

// path is where it is below the root, by one of its names.
func (n *node) path(name string) string {
	for ; n != nil && n.parent != nil; n = n.parent {
		if name == "" {
			name = n.name
			continue
		}
		name = n.name + "/" + name
	}
	return name
}

// step is a change of names that happens as a whole or not at all. Its changes stand in the order in which they may become
// durable.
type step struct{ changes []change }

// change is one name that came to mean target, nil for nothing.
type change struct {
	dir    *node
	name   string
	target *node
}

func (c change) sameName(d change) bool { return c.dir == d.dir && c.name == d.name }

// in makes the change in a set of names.
func (c change) in(names map[string]*node) {
	if c.target == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.target
}

// take makes changes visible, as one step that waits for a sync.
func (d *disk) take(changes ...change) {
	now := time.Now()
	var touched []*node
	for _, c := range changes {
		if n := c.dir.names[c.name]; n != nil {
			n.links--
			touched = append(touched, n)
		}
		if n := c.target; n != nil {
			n.links++
			n.pending++
			touched = append(touched, n)
		}
		c.dir.mtime, c.dir.ctime = now, now
		c.in(c.dir.names)
	}
	d.steps = append(d.steps, &step{changes})
	for _, n := range touched {
		n.ctime = now
		d.call(n, changes)
		d.reclaim(n)
	}
}

// call makes sure that a node that has names is called by one of them; changes may hold one.
func (d *disk) call(n *node, changes []change) {
	if n.links == 0 || n.parent != nil && n.parent.names[n.name] == n {
		return
	}
	for _, c := range changes {
		if c.target == n {
			n.parent, n.name = c.dir, c.name
			return
		}
	}
	for _, dir := range d.nodes {
		for name, other := range dir.names {
			if other == n {
				n.parent, n.name = dir, name
				return
			}
		}
	}
}

// reclaim gives back what nobody can reach any more: the room of a file without names and descriptors, its bytes when the
// disk has no name of it either.
func (d *disk) reclaim(n *node) {
	if n.links > 0 || n.opens > 0 {
		return
	}
	if !n.freed {
		n.freed = true
		d.used -= n.content.blocks.count
		n.content.blocks = blocks{}
		d.inodes--
	}
	if n.lookups == 0 {
		delete(d.nodes, n.id)
	}
	if n.lasting == 0 && n.pending == 0 && n.lookups == 0 {
		n.content.close()
		_ = os.Remove(n.content.name) // there is one only if something was made durable
	}
}

// settle makes the names of a directory durable. Of a step that concerns another directory too it takes what has to become
// durable before.
func (d *disk) settle(dir *node) error {
	var done []change
	for i, s := range d.steps {
		end := 0
		for j, c := range s.changes {
			if c.dir == dir {
				end = j + 1
			}
		}
		for _, c := range s.changes[:end] {
			for _, earlier := range d.steps[:i] {
				earlier.changes = slices.DeleteFunc(earlier.changes, func(e change) bool {
					if e.sameName(c) {
						d.unpend(e)
					}
					return e.sameName(c)
				})
			}
		}
		done = append(done, s.changes[:end]...)
		s.changes = s.changes[end:]
	}
	d.steps = slices.DeleteFunc(d.steps, func(s *step) bool { return len(s.changes) == 0 })
	return d.last(done, dir)
}

// last writes changes into the journal and makes them durable; also, in any case, lists the nodes.
func (d *disk) last(done []change, nodes ...*node) error {
	if err := d.journal.write(done, nodes...); err != nil {
		return err
	}
	for _, c := range done {
		old := c.dir.durable[c.name]
		c.in(c.dir.durable)
		if c.target != nil {
			c.target.lasting++
		}
		d.unpend(c)
		if old != nil {
			old.lasting--
			d.reclaim(old)
		}
	}
	return nil
}

// unpend says that a change is no longer waiting.
func (d *disk) unpend(c change) {
	if c.target != nil {
		c.target.pending--
		d.reclaim(c.target)
	}
}

// isUnsettled says whether a sync of the directory has something to do.
func (d *disk) isUnsettled(dir *node) bool {
	return slices.ContainsFunc(d.steps, func(s *step) bool {
		return slices.ContainsFunc(s.changes, func(c change) bool { return c.dir == dir })
	})
}

// place finds what a name in a directory means.
func (d *disk) place(dir uint64, name string) (parent, n *node, err syscall.Errno) {
	parent = d.nodes[dir]
	if parent == nil || !parent.isDir() {
		return nil, nil, syscall.ENOTDIR
	}
	if len(name) > 255 {
		return nil, nil, syscall.ENAMETOOLONG
	}
	return parent, parent.names[name], 0
}

// add makes a node under a name that means nothing yet.
func (d *disk) add(parent *node, name string, n *node) {
	d.newest++
	n.id = d.newest
	n.mtime, n.ctime = time.Now(), time.Now()
	n.content = content{name: d.journal.file(n.id), pages: make(map[int64]*page)}
	d.nodes[n.id] = n
	d.inodes++
	d.take(change{parent, name, n})
}

// crashNames decides which changes of names have reached the disk, and makes them durable.
func (d *disk) crashNames(m mode, chosen func() bool) error {
	if m == drop {
		return nil
	}
	kept := make([]bool, len(d.steps))
	before := make([][]int, len(d.steps)) // for each step, those before it that changed a name that it changed last
	type place struct {
		dir  *node
		name string
	}
	latest := make(map[place]int)
	for i, s := range d.steps {
		for _, c := range s.changes {
			if j, ok := latest[place{c.dir, c.name}]; ok && j != i {
				before[i] = append(before[i], j)
			}
			latest[place{c.dir, c.name}] = i
		}
		kept[i] = m == keep || chosen()
	}
	for i := len(kept) - 1; i >= 0; i-- { // a name that is kept brings its earlier changes with it
		if kept[i] {
			for _, j := range before[i] {
				kept[j] = true
			}
		}
	}
	var done []change
	for i, s := range d.steps {
		if kept[i] {
			done = append(done, s.changes...)
		}
	}
	return d.last(done)
}

// sorted lists the names of a directory in order.
func sorted(names map[string]*node) []string { return slices.Sorted(maps.Keys(names)) }
