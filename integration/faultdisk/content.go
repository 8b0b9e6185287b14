package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

const (
	sectorSize = 512  // what a disk writes as a whole, in bytes
	pageSize   = 4096 // the unit of memory and of room, in bytes
	wholePage  = 0xff // all sectors of a page
	maxRun     = 1024 // pages in one write
)

// content is the bytes of a file: a backing file with those that are durable, and pages over it with those that are not.
type content struct {
	name    string   // of the backing file, which there is once something was made durable
	file    *os.File // that file, nil until it is needed
	durable int64    // its size
	size    int64    // as it is seen
	cut     int64    // the least size since the last sync: what is durable beyond it is gone for every later size
	pages   map[int64]*page
	dirty   []int64 // numbers of pages with dirty sectors; some more than once, or gone
	blocks  blocks
}

// page is 4 KiB that are not, or not surely, as the backing file has them.
type page struct {
	data   *[pageSize]byte // nil: zeros
	dirty  uint8           // a bit for each sector that the next sync writes
	unsure uint8           // the same for what may be on the disk or not: dirty ones, and those of a failed sync
}

// openContent is the content of a backing file, which need not exist.
func openContent(name string) (content, error) {
	c := content{name: name, pages: make(map[int64]*page)}
	info, err := os.Stat(name)
	if os.IsNotExist(err) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.durable, c.size, c.cut = info.Size(), info.Size(), info.Size()
	c.blocks.take(0, c.size, 1<<62)
	return c, nil
}

// backing opens the backing file.
func (c *content) backing() (*os.File, error) {
	if c.file != nil {
		return c.file, nil
	}
	var err error
	c.file, err = os.OpenFile(c.name, os.O_RDWR|os.O_CREATE, 0o600)
	return c.file, err
}

// readDurable fills b with what is on the disk of [offset, offset+len(b)) and still counts, with zeros beyond it.
func (c *content) readDurable(b []byte, offset int64) error {
	n := max(0, min(int64(len(b)), min(c.cut, c.durable)-offset))
	if n > 0 {
		file, err := c.backing()
		if err != nil {
			return err
		}
		if _, err := file.ReadAt(b[:n], offset); err != nil {
			return err
		}
	}
	clear(b[n:])
	return nil
}

// read fills b from offset on and returns how much there is of it.
func (c *content) read(b []byte, offset int64) (int, error) {
	b = b[:max(0, min(int64(len(b)), c.size-offset))]
	if len(b) == 0 {
		return 0, nil
	}
	if err := c.readDurable(b, offset); err != nil {
		return 0, err
	}
	if len(c.pages) == 0 {
		return len(b), nil
	}
	for at := offset; at < offset+int64(len(b)); at = (at/pageSize + 1) * pageSize {
		p := c.pages[at/pageSize]
		if p == nil {
			continue
		}
		part := b[at-offset : min(int64(len(b)), (at/pageSize+1)*pageSize-offset)]
		if p.data == nil {
			clear(part)
			continue
		}
		copy(part, p.data[at%pageSize:])
	}
	return len(b), nil
}

// page is the page of that number, made from what is on the disk where it is not there; whole: it is going to be overwritten.
func (c *content) page(n int64, whole bool) (*page, error) {
	p := c.pages[n]
	if p != nil && p.data != nil {
		return p, nil
	}
	data := newPage()
	switch {
	case p != nil:
		clear(data[:])
		p.data = data
		return p, nil
	case !whole:
		if err := c.readDurable(data[:], n*pageSize); err != nil {
			return nil, err
		}
	}
	p = &page{data: data}
	c.pages[n] = p
	return p, nil
}

// write puts bytes in, for which room was taken.
func (c *content) write(b []byte, offset int64) error {
	c.size = max(c.size, offset+int64(len(b)))
	for len(b) > 0 {
		n, in := offset/pageSize, offset%pageSize
		part := b[:min(int64(len(b)), pageSize-in)]
		p, err := c.page(n, len(part) == pageSize)
		if err != nil {
			return err
		}
		copy(p.data[in:], part)
		c.mark(n, p, in, in+int64(len(part)))
		b, offset = b[len(part):], offset+int64(len(part))
	}
	return nil
}

// mark makes the sectors of [from, to) of a page dirty.
func (c *content) mark(n int64, p *page, from, to int64) {
	if p.dirty == 0 {
		c.dirty = append(c.dirty, n)
	}
	for s := from / sectorSize; s*sectorSize < to; s++ {
		p.dirty |= 1 << s
		p.unsure |= 1 << s
	}
}

// zero makes [offset, offset+size) zero as far as the file reaches.
func (c *content) zero(offset, size int64) error {
	end := min(offset+size, c.size)
	for offset < end {
		n, in := offset/pageSize, offset%pageSize
		part := min(end-offset, pageSize-in)
		p := c.pages[n]
		switch {
		case p == nil && n*pageSize >= min(c.cut, c.durable):
			// nothing is there
		case part == pageSize:
			if p == nil {
				p = new(page)
				c.pages[n] = p
			}
			freePage(p)
			c.mark(n, p, 0, pageSize)
		default:
			var err error
			if p, err = c.page(n, false); err != nil {
				return err
			}
			clear(p.data[in : in+part])
			c.mark(n, p, in, in+part)
		}
		offset += part
	}
	return nil
}

// truncate sets the size.
func (c *content) truncate(size int64) {
	if size < c.size {
		c.cut = min(c.cut, size)
		for n, p := range c.pages {
			if n*pageSize >= size {
				freePage(p)
				delete(c.pages, n)
			}
		}
		if p := c.pages[size/pageSize]; p != nil && p.data != nil {
			clear(p.data[size%pageSize:])
		}
	}
	c.size = size
}

// isDirty says whether a sync has something to do.
func (c *content) isDirty() bool {
	return len(c.dirty) > 0 || c.size != c.durable || c.cut < c.durable
}

// sync makes the size durable, and the dirty sectors.
func (c *content) sync() error {
	if !c.isDirty() {
		return nil
	}
	file, err := c.backing()
	if err != nil {
		return err
	}
	if err := c.resize(file, c.cut); err != nil {
		return err
	}
	slices.Sort(c.dirty)
	c.dirty = slices.Compact(c.dirty)
	for rest := c.dirty; len(rest) > 0; {
		done, err := c.syncSome(file, rest)
		if err != nil {
			return err
		}
		rest = rest[done:]
	}
	c.dirty = c.dirty[:0]
	if c.durable < c.size {
		if err := file.Truncate(c.size); err != nil {
			return err
		}
	}
	c.durable, c.cut = c.size, c.size
	return nil
}

// syncSome writes the first of some dirty pages, and with it those that follow and are dirty as a whole. It says how many.
func (c *content) syncSome(file *os.File, dirty []int64) (int, error) {
	var run [][]byte
	first := dirty[0]
	for i, n := range dirty[:min(len(dirty), maxRun)] {
		p := c.pages[n]
		if n != first+int64(i) || p == nil || p.data == nil || p.dirty != wholePage || (n+1)*pageSize > c.size {
			break
		}
		run = append(run, p.data[:])
	}
	if len(run) > 1 {
		// Nothing is written short to a file that is on a working disk with room; and the backing has to be on one.
		if n, err := unix.Pwritev(int(file.Fd()), run, first*pageSize); err != nil || n < len(run)*pageSize {
			return 0, errors.Join(err, fmt.Errorf("%s: wrote %d of %d bytes", c.name, n, len(run)*pageSize))
		}
		c.durable = max(c.durable, (first+int64(len(run)))*pageSize)
		for i := range run {
			c.clean(first + int64(i))
		}
		return len(run), nil
	}
	if p := c.pages[first]; p != nil {
		end, err := p.put(file, first, p.dirty, c.size)
		if err != nil {
			return 0, err
		}
		c.durable = max(c.durable, end)
		c.clean(first)
	}
	return 1, nil
}

// clean says that the dirty sectors of a page are on the disk.
func (c *content) clean(n int64) {
	p := c.pages[n]
	p.unsure &^= p.dirty
	p.dirty = 0
	if p.unsure == 0 {
		freePage(p)
		delete(c.pages, n)
	}
}

// resize cuts the backing file where it is longer than size.
func (c *content) resize(file *os.File, size int64) error {
	if c.durable <= size {
		return nil
	}
	c.durable = size
	return file.Truncate(size)
}

// failSync is what a failed sync does: the page cache takes the sectors for written.
func (c *content) failSync() {
	for _, n := range c.dirty {
		if p := c.pages[n]; p != nil {
			p.dirty = 0
		}
	}
	c.dirty = c.dirty[:0]
}

// put writes sectors of page n to a file, as far as size reaches, and says where the last of them ends.
func (p *page) put(file *os.File, n int64, sectors uint8, size int64) (last int64, err error) {
	data := p.data
	if data == nil {
		data = &zeros
	}
	for s := int64(0); s < pageSize/sectorSize; {
		if sectors&(1<<s) == 0 {
			s++
			continue
		}
		first := s
		for s < pageSize/sectorSize && sectors&(1<<s) != 0 {
			s++
		}
		end := min(s*sectorSize, size-n*pageSize)
		if first*sectorSize >= end {
			continue
		}
		if _, err := file.WriteAt(data[first*sectorSize:end], n*pageSize+first*sectorSize); err != nil {
			return 0, err
		}
		last = n*pageSize + end
	}
	return last, nil
}

// crash makes file, which holds what is durable, into what a power loss leaves.
func (c *content) crash(file *os.File, mode mode, rng *rand.Rand) error {
	if mode == drop {
		return nil
	}
	size, chosen := c.size, func() bool { return true }
	cut := c.cut
	if mode == mix {
		chosen = func() bool { return rng.IntN(2) == 0 }
		cut, size = c.crashSize(rng)
	}
	if err := file.Truncate(min(cut, c.durable)); err != nil {
		return err
	}
	if err := file.Truncate(size); err != nil {
		return err
	}
	for _, n := range c.numbers() {
		p, sectors := c.pages[n], uint8(0)
		for s := range pageSize / sectorSize {
			if p.unsure&(1<<s) != 0 && chosen() {
				sectors |= 1 << s
			}
		}
		if _, err := p.put(file, n, sectors, size); err != nil {
			return err
		}
	}
	return nil
}

// crashSize says what a change of size has become: it has not reached the disk, or it has, or, where the file grew, some of
// it has. The bytes beyond cut that were durable are gone then.
func (c *content) crashSize(rng *rand.Rand) (cut, size int64) {
	switch rng.IntN(3) {
	case 0:
		return c.durable, c.durable
	case 1:
		return c.cut, c.size
	}
	if c.size <= c.cut { // it was cut, and not made longer again
		return c.size, c.size
	}
	between := c.cut + rng.Int64N(c.size-c.cut+1)
	return c.cut, max(c.cut, between/sectorSize*sectorSize)
}

// numbers lists the pages in order, so that a seed means the same each time.
func (c *content) numbers() []int64 {
	list := make([]int64, 0, len(c.pages))
	for n := range c.pages {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

// close forgets the pages and closes the backing file.
func (c *content) close() {
	for _, p := range c.pages {
		freePage(p)
	}
	c.pages, c.dirty = nil, nil
	if c.file != nil {
		_ = c.file.Close() // nothing of it is buffered
		c.file = nil
	}
}
