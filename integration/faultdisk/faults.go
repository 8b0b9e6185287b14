package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// kind is what an operation does, in the words of the protocol; empty: something that no rule can mean.
type kind string

const (
	opWrite    kind = "write"
	opSync     kind = "sync"
	opSyncDir  kind = "syncdir"
	opRead     kind = "read"
	opCreate   kind = "create"
	opRename   kind = "rename"
	opLink     kind = "link"
	opUnlink   kind = "unlink"
	opMkdir    kind = "mkdir"
	opTruncate kind = "truncate"
	opAllocate kind = "allocate"
	opOpen     kind = "open"
	opLookup   kind = "lookup"
	opStatfs   kind = "statfs"
	opOther    kind = ""
)

// isNumbered says whether operations of this kind change or sync something.
func (k kind) isNumbered() bool {
	switch k {
	case opRead, opOpen, opLookup, opStatfs, opOther:
		return false
	}
	return true
}

// rule is a match and, unless it is there to freeze, what happens to operations that match.
type rule struct {
	Op    kind          `json:"op"`
	Name  string        `json:"name"`
	Nth   int           `json:"nth"`
	Err   syscall.Errno `json:"err"`
	Delay time.Duration `json:"delay"`
	Short int           `json:"short"`
	Flip  bool          `json:"flip"`
	Lie   bool          `json:"lie"`
	Count int           `json:"count"`

	id      int
	matched int
	hits    int
	cleared chan struct{}
}

// matches counts an operation and says whether the rule means it.
func (r *rule) matches(k kind, names []string) bool {
	if k == opOther || r.Op != "" && r.Op != k {
		return false
	}
	if r.Name != "" {
		found := false
		for _, name := range names {
			if !strings.Contains(r.Name, "/") {
				name = path.Base(name)
			}
			ok, _ := path.Match(r.Name, name) // the pattern was checked
			found = found || ok
		}
		if !found {
			return false
		}
	}
	r.matched++
	return r.matched >= max(r.Nth, 1) && (r.Count == 0 || r.hits < r.Count)
}

// faults is what goes wrong. The disk's mutex guards it.
type faults struct {
	rules    []*rule
	past     []*rule // all that ever were
	lastRule int
	ops      uint64 // numbered operations so far
	stopAt   uint64 // the number before which to freeze; 0: none
	stopOn   []*rule
	readOnly bool
	frozen   bool
	released chan struct{} // closed when what waits is answered
	tell     func()        // says that it is frozen
}

func (f *faults) freeze() {
	if !f.frozen {
		f.frozen = true
		f.tell()
	}
}

// place is where an operation happens: the node, and a name in it where it is about one.
type place struct {
	id   uint64
	name string
}

// begin lets an operation begin, with the disk's mutex held, once the rules allow it; by tells of the thread that asks. With
// an error the mutex is free. The verdict may hold an error that the operation has to bring about by itself.
func (d *disk) begin(k kind, by uint32, where ...place) (verdict rule, errno syscall.Errno) {
	d.mu.Lock()
	if !d.frozen {
		r := d.judge(k, where)
		if r != nil && r.Delay > 0 {
			d.mu.Unlock()
			if !pause(by, time.After(r.Delay), r.cleared, d.released) {
				return verdict, syscall.EINTR
			}
			d.mu.Lock()
		}
		if r != nil {
			verdict = *r
		}
	}
	if d.stops(k, where) {
		d.freeze()
	}
	if d.frozen {
		released := d.released
		d.mu.Unlock()
		pause(by, nil, nil, released)
		return verdict, syscall.EIO
	}
	if k.isNumbered() {
		d.ops++
	}
	if verdict.Err == 0 && d.readOnly && k.isNumbered() && k != opSync && k != opSyncDir {
		verdict.Err = syscall.EROFS
	}
	if verdict.Err != 0 && k != opSync && k != opWrite {
		d.mu.Unlock()
		return verdict, verdict.Err
	}
	return verdict, 0
}

// judge finds the rule that decides about an operation; all that match count it.
func (d *disk) judge(k kind, where []place) *rule {
	if len(d.rules) == 0 {
		return nil
	}
	var decides *rule
	names := d.paths(where)
	for _, r := range d.rules {
		if r.matches(k, names) && decides == nil {
			decides = r
			r.hits++
		}
	}
	return decides
}

// stops says whether this is the operation before which to freeze.
func (d *disk) stops(k kind, where []place) bool {
	if d.frozen {
		return false
	}
	stop := d.stopAt > 0 && k.isNumbered() && d.ops+1 >= d.stopAt
	if len(d.stopOn) > 0 {
		names := d.paths(where)
		for _, r := range d.stopOn {
			stop = r.matches(k, names) || stop
		}
	}
	return stop
}

func (d *disk) paths(where []place) []string {
	var names []string
	for _, p := range where {
		if n := d.nodes[p.id]; n != nil {
			names = append(names, n.path(p.name))
		}
	}
	return names
}

// pause waits until one of the channels says so; false: the thread that asked was killed.
func pause(by uint32, after <-chan time.Time, one, other <-chan struct{}) bool {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-after:
			return true
		case <-one:
			return true
		case <-other:
			return true
		case <-look.C:
			if isKilled(by) {
				return false
			}
		}
	}
}

// isKilled says whether SIGKILL waits for a thread. The kernel lets a killed thread go only when its request is answered,
// and does not tell of every signal.
func isKilled(thread uint32) bool {
	if thread == 0 {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return false
	}
	for _, field := range []string{"\nSigPnd:\t", "\nShdPnd:\t"} {
		_, rest, _ := bytes.Cut(status, []byte(field))
		value, _, _ := bytes.Cut(rest, []byte("\n"))
		pending, err := strconv.ParseUint(string(value), 16, 64)
		if err == nil && pending&(1<<(syscall.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// check says whether the pattern of names is one.
func (r *rule) check() error {
	if _, err := path.Match(r.Name, ""); err != nil {
		return fmt.Errorf("name %q: %w", r.Name, err)
	}
	return nil
}

// fail adds a rule.
func (d *disk) fail(r *rule) (int, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	d.lastRule++
	r.id, r.cleared = d.lastRule, make(chan struct{})
	d.rules, d.past = append(d.rules, r), append(d.past, r)
	return r.id, nil
}

// release answers what waits, with EIO, and all that comes.
func (d *disk) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freeze()
	select {
	case <-d.released:
	default:
		close(d.released)
	}
}

// clear removes rules, all where none is named.
func (d *disk) clear(ids []int) {
	var left []*rule
	for _, r := range d.rules {
		named := len(ids) == 0
		for _, id := range ids {
			named = named || id == r.id
		}
		if !named {
			left = append(left, r)
			continue
		}
		close(r.cleared)
	}
	d.rules = left
}
