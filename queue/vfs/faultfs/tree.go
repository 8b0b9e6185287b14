package faultfs

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// node is a directory (names is not nil) or a regular file.
type node struct {
	names   map[string]*node // as ReadDir sees them
	durable map[string]*node // as they are on the disk

	content
	links  int  // names that ReadDir sees
	opens  int  // open Files
	locked bool // by Lock
}

func newDir() *node {
	return &node{names: make(map[string]*node), durable: make(map[string]*node)}
}

func (n *node) isDir() bool { return n.names != nil }

// step is a change of names that happens as a whole or not at all. Its changes stand in the order in which they may
// become durable.
type step struct{ changes []change }

// change is one name that came to mean target, nil for nothing.
type change struct {
	dir    *node
	name   string
	target *node
}

// sameName tells whether two changes are about one name.
func (c change) sameName(d change) bool { return c.dir == d.dir && c.name == d.name }

// in makes the change in a copy of the directory's names.
func (c change) in(names map[string]*node) {
	if c.target == nil {
		delete(names, c.name)
		return
	}
	names[c.name] = c.target
}

// split cuts a path into its parts; the root and the working directory are one place and have none.
func split(name string) []string {
	return strings.FieldsFunc(filepath.Clean("/"+name), func(r rune) bool { return r == '/' })
}

// lookup finds the node of a path, nil where there is none.
func (f *FS) lookup(parts []string) *node {
	n := f.root
	for _, part := range parts {
		if n == nil || !n.isDir() {
			return nil
		}
		n = n.names[part]
	}
	return n
}

// place is a name in a directory, and what it means there: nil for nothing.
type place struct {
	dir  *node
	name string
	node *node
}

// place finds the place of a path, of which the last part need not exist.
func (f *FS) place(name string) (place, error) {
	parts := split(name)
	if len(parts) == 0 {
		return place{}, syscall.EBUSY
	}
	last := len(parts) - 1
	dir := f.lookup(parts[:last])
	switch {
	case dir == nil:
		return place{}, syscall.ENOENT
	case !dir.isDir():
		return place{}, syscall.ENOTDIR
	}
	return place{dir, parts[last], dir.names[parts[last]]}, nil
}

// existing is place for a path that must exist.
func (f *FS) existing(name string) (place, error) {
	p, err := f.place(name)
	if err == nil && p.node == nil {
		err = syscall.ENOENT
	}
	return p, err
}

// vacant is place for a path that must not exist.
func (f *FS) vacant(name string) (place, error) {
	p, err := f.place(name)
	if err == nil && p.node != nil {
		err = syscall.EEXIST
	}
	return p, err
}

// becomes is the change by which the place comes to mean target.
func (p place) becomes(target *node) change { return change{p.dir, p.name, target} }

// take makes changes visible, as one step that waits for SyncDir.
func (f *FS) take(changes ...change) {
	f.recordLocked(effect{kind: namesTaken, changes: changes})
	var old []*node
	for _, c := range changes {
		if n := c.dir.names[c.name]; n != nil {
			n.links--
			old = append(old, n)
		}
		if c.target != nil {
			c.target.links++
		}
		c.in(c.dir.names)
	}
	f.steps = append(f.steps, &step{changes})
	for _, n := range old {
		f.reclaim(n)
	}
}

// reclaim gives the room of a file back once nobody can reach it. Its bytes stay: the disk may still have its name.
func (f *FS) reclaim(n *node) {
	if n.links == 0 && n.opens == 0 {
		f.used -= n.allocated() * sectorSize
	}
}

// settle makes the names of a directory durable. Of a step that concerns other directories too it takes no more than the
// order within the step requires.
func (f *FS) settle(dir *node) {
	f.recordLocked(effect{kind: namesSettled, node: dir})
	for i, s := range f.steps {
		end := 0
		for j, c := range s.changes {
			if c.dir == dir {
				end = j + 1
			}
		}
		for _, c := range s.changes[:end] {
			for _, earlier := range f.steps[:i] {
				earlier.changes = slices.DeleteFunc(earlier.changes, c.sameName)
			}
			c.in(c.dir.durable)
		}
		s.changes = s.changes[end:]
	}
	f.steps = slices.DeleteFunc(f.steps, func(s *step) bool { return len(s.changes) == 0 })
}
