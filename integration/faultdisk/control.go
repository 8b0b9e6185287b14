package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// mode says what a power loss leaves of what was not synced.
type mode string

const (
	drop mode = "drop"
	keep mode = "keep"
	mix  mode = "mix"
)

// command is one line on standard input.
type command struct {
	Do   string `json:"do"`
	N    int64  `json:"n"`
	Rule *rule  `json:"rule"`
	IDs  []int  `json:"ids"`
	Name string `json:"name"`
	To   string `json:"to"`
	Mode mode   `json:"mode"`
	Seed uint64 `json:"seed"`
}

// answer is one line on standard output.
type answer struct {
	Frozen bool   `json:"frozen,omitempty"` // nobody asked: the disk is frozen
	N      int64  `json:"n,omitempty"`
	Error  string `json:"error,omitempty"`
}

// teller writes answers, each as a line.
type teller struct {
	mu sync.Mutex
	to io.Writer
}

func (t *teller) tell(a answer) {
	b, _ := json.Marshal(a) // of such fields there is nothing that could fail
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.to.Write(append(b, '\n')) // who asked may be gone
}

// obey does what the lines say until there are no more.
func (d *disk) obey(in io.Reader, out *teller) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c command
		err := json.Unmarshal(lines.Bytes(), &c)
		var n int64
		if err == nil {
			n, err = d.do(c)
		}
		a := answer{N: n}
		if err != nil {
			a.Error = err.Error()
		}
		out.tell(a)
	}
	return lines.Err()
}

// do does one command.
func (d *disk) do(c command) (n int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c.Do {
	case "ops":
		return int64(d.ops), nil
	case "freeze":
		d.freeze()
	case "freezeat":
		d.stopAt = d.ops + uint64(max(c.N, 1))
	case "freezeon":
		d.stopOn = append(d.stopOn, c.Rule)
		return 0, c.Rule.check()
	case "fail":
		id, err := d.fail(c.Rule)
		d.emptyCaches()
		return int64(id), err
	case "clear":
		d.clear(c.IDs)
		d.emptyCaches()
	case "hits":
		for _, r := range d.past {
			if r.id == int(c.N) {
				return int64(r.hits), nil
			}
		}
		return 0, fmt.Errorf("there is no rule %d", c.N)
	case "free":
		return 0, d.setFree(c.N)
	case "inodes":
		return 0, d.setInodes(c.N)
	case "readonly":
		d.readOnly = c.N != 0
	case "snapshot":
		return 0, d.snapshot(c)
	case "crash":
		return 0, d.crash(c.Mode, c.Seed)
	default:
		return 0, fmt.Errorf("unknown command %q", c.Do)
	}
	return 0, nil
}

// emptyCaches makes the kernel forget the bytes of all files, so that reads are asked for again. It leaves the mutex free
// meanwhile: the kernel first waits for requests under way, though here not for ever.
func (d *disk) emptyCaches() {
	if d.frozen || d.server == nil {
		return
	}
	var ids []uint64
	for id, n := range d.nodes {
		if n.lookups > 0 && !n.isDir() {
			ids = append(ids, id)
		}
	}
	d.mu.Unlock()
	defer d.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, id := range ids {
			d.server.InodeNotify(id, 0, 0) // it may have been forgotten
		}
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
	}
}

// crash makes the backing directory into what a power loss leaves. From then on all is answered EIO.
func (d *disk) crash(m mode, seed uint64) error {
	d.freeze()
	chosen := rand.New(rand.NewPCG(seed, 0))
	if err := d.crashNames(m, func() bool { return chosen.IntN(2) == 0 }); err != nil {
		return err
	}
	if m == drop {
		return nil
	}
	for _, n := range d.everything() {
		if err := d.last(nil, n); err != nil { // its mode may have changed
			return err
		}
		c := &n.content
		if n.lasting == 0 || len(c.pages) == 0 && !c.isDirty() {
			continue
		}
		file, err := c.backing()
		if err == nil {
			err = c.crash(file, m, chosen)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", c.name, err)
		}
	}
	return nil
}

// snapshot copies one file as a power loss now would leave it.
func (d *disk) snapshot(c command) error {
	n := d.nodes[rootID]
	for _, name := range strings.Split(strings.Trim(c.Name, "/"), "/") {
		if n = n.names[name]; n == nil {
			return fmt.Errorf("there is no %s", c.Name)
		}
	}
	to, err := os.OpenFile(c.To, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	from, err := n.content.backing()
	if err == nil {
		err = copySparse(to, from)
	}
	if err == nil {
		err = n.content.crash(to, c.Mode, rand.New(rand.NewPCG(c.Seed, 0)))
	}
	return errors.Join(err, to.Close())
}

// copySparse copies a file with its holes.
func copySparse(to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if err := to.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		at, err = unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(from.Fd()), at, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := to.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(to, io.NewSectionReader(from, at, end-at)); err != nil {
			return err
		}
		at = end
	}
}
