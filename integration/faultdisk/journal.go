package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// journal is the durable part of everything but the bytes of files: one line of JSON for each step, in the file names of the
// backing directory. A line that was not written to its end does not count. It need not be synced: what has to survive is the
// end of this process, not that of the machine.
type journal struct {
	dir   string
	lines *os.File
}

// line is one step that was made durable.
type line struct {
	Nodes  []nodeLine `json:"nodes,omitempty"`
	Names  []nameLine `json:"names,omitempty"`
	Limits *limits    `json:"limits,omitempty"`
}

type nodeLine struct {
	ID     uint64 `json:"id"`
	Mode   uint32 `json:"mode"`
	UID    uint32 `json:"uid,omitempty"`
	GID    uint32 `json:"gid,omitempty"`
	Target []byte `json:"target,omitempty"`
}

type nameLine struct {
	Dir  uint64 `json:"dir"`
	Name []byte `json:"name"` // need not be UTF-8
	ID   uint64 `json:"id,omitempty"`
}

// limits is how large the disk is; negative numbers mean without limit.
type limits struct {
	Blocks int64 `json:"blocks"` // that may be used
	Total  int64 `json:"total"`  // that statfs tells of, in use or not
	Inodes int64 `json:"inodes"` // that may be used
}

// file is the backing file of a node.
func (j *journal) file(id uint64) string {
	return filepath.Join(j.dir, "files", strconv.FormatUint(id, 10))
}

// write makes changes durable, with the nodes that they need and the others that are given.
func (j *journal) write(changes []change, nodes ...*node) error {
	var l line
	list := func(n *node) {
		if !n.listed {
			n.listed = true
			l.Nodes = append(l.Nodes, nodeLine{n.id, n.mode, n.uid, n.gid, []byte(n.target)})
		}
	}
	for _, n := range nodes {
		list(n)
	}
	for _, c := range changes {
		name := nameLine{Dir: c.dir.id, Name: []byte(c.name)}
		list(c.dir)
		if c.target != nil {
			list(c.target)
			name.ID = c.target.id
		}
		l.Names = append(l.Names, name)
	}
	if len(l.Nodes) == 0 && len(l.Names) == 0 {
		return nil
	}
	return j.append(l)
}

func (j *journal) append(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = j.lines.Write(append(b, '\n'))
	return err
}

// openJournal reads the journal of a backing directory, which it makes if needed, and writes it anew without what does not
// count any more.
func (d *disk) openJournal(dir string) error {
	d.journal = journal{dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o700); err != nil {
		return err
	}
	name := filepath.Join(dir, "names")
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := d.replay(b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.mount(); err != nil {
		return err
	}
	if err := d.removeStrangers(); err != nil {
		return err
	}
	j := &d.journal
	if j.lines, err = os.OpenFile(name+".tmp", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600); err != nil {
		return err
	}
	if err := j.append(line{Limits: &d.limits}); err != nil {
		return err
	}
	for _, n := range d.nodes {
		var changes []change
		for _, name := range sorted(n.names) {
			changes = append(changes, change{n, name, n.names[name]})
		}
		if err := j.write(changes, n); err != nil {
			return err
		}
	}
	return os.Rename(name+".tmp", name)
}

// replay makes the nodes and their durable names out of the lines.
func (d *disk) replay(b []byte) error {
	d.nodes = map[uint64]*node{rootID: newNode(rootID, syscall.S_IFDIR|0o755)}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, len(b)+1)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			if !lines.Scan() {
				break // the last line was not written to its end
			}
			return err
		}
		if l.Limits != nil {
			d.limits = *l.Limits
		}
		for _, r := range l.Nodes {
			n := d.nodes[r.ID]
			if n == nil {
				n = newNode(r.ID, r.Mode)
				d.nodes[r.ID] = n
			}
			n.mode, n.uid, n.gid, n.target = r.Mode, r.UID, r.GID, string(r.Target)
			d.newest = max(d.newest, r.ID)
		}
		for _, r := range l.Names {
			change{d.nodes[r.Dir], string(r.Name), d.nodes[r.ID]}.in(d.nodes[r.Dir].durable)
		}
	}
	return nil
}

func newNode(id uint64, mode uint32) *node {
	n := &node{id: id, mode: mode, mtime: time.Now(), ctime: time.Now()}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		n.names, n.durable = make(map[string]*node), make(map[string]*node)
	}
	return n
}

// mount makes visible what is durable, and forgets the nodes that cannot be reached.
func (d *disk) mount() error {
	reached := map[uint64]*node{rootID: d.nodes[rootID]}
	d.nodes[rootID].links = 1
	var visit func(dir *node) error
	visit = func(dir *node) error {
		for _, name := range sorted(dir.durable) {
			n := dir.durable[name]
			dir.names[name] = n
			n.parent, n.name = dir, name
			n.links++
			n.lasting++
			if reached[n.id] != nil {
				continue
			}
			reached[n.id] = n
			if err := d.adopt(n); err != nil {
				return err
			}
			if n.isDir() {
				if err := visit(n); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := visit(d.nodes[rootID]); err != nil {
		return err
	}
	d.nodes = reached
	return nil
}

// adopt gives a node that is on the disk its bytes. All blocks up to its size count as taken: what was reserved stays so.
func (d *disk) adopt(n *node) (err error) {
	name := d.journal.file(n.id)
	if n.content, err = openContent(name); err != nil {
		return err
	}
	if info, err := os.Stat(name); err == nil {
		n.mtime, n.ctime = info.ModTime(), info.ModTime()
	}
	d.used += n.content.blocks.count
	d.inodes++
	return nil
}

// removeStrangers removes the backing files that nothing means any more.
func (d *disk) removeStrangers() error {
	dir := filepath.Join(d.journal.dir, "files")
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		id, err := strconv.ParseUint(f.Name(), 10, 64)
		if err == nil && d.nodes[id] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
