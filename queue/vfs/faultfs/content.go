package faultfs

import (
	"bytes"
	"math/rand/v2"
)

// sectorSize is what a disk writes as a whole, in bytes.
const sectorSize = 512

// content is the bytes of a file, as they are seen and as they are on the disk.
type content struct {
	data    []byte      // what a reader sees
	disk    []byte      // what was made durable; its length is the durable size
	cut     int64       // the least size since then: disk beyond it is gone for every later size
	sectors []sectorSet // by number; as long as needed, absent ones are zero
}

// sectorSet is what is known about one sector.
type sectorSet uint8

const (
	isAllocated sectorSet = 1 << iota // takes room
	isDirty                           // the next Sync writes it
	isUnsure                          // data may be on the disk, or not
)

// durableContent is content that is on the disk as it is, without sectors that take room.
func durableContent(data []byte) content {
	return content{data: data, disk: bytes.Clone(data), cut: int64(len(data))}
}

// roundUp is the number of sectors that size bytes need.
func roundUp(size int64) int64 { return (size + sectorSize - 1) / sectorSize }

// allocated counts the sectors that take room.
func (c *content) allocated() int64 {
	var n int64
	for _, s := range c.sectors {
		if s&isAllocated != 0 {
			n++
		}
	}
	return n
}

// grow makes room in sectors up to number end.
func (c *content) grow(end int64) {
	if missing := end - int64(len(c.sectors)); missing > 0 {
		c.sectors = append(c.sectors, make([]sectorSet, missing)...)
	}
}

// extend makes the file at least size bytes long, with zeros.
func (c *content) extend(size int64) {
	if missing := size - int64(len(c.data)); missing > 0 {
		c.data = append(c.data, make([]byte, missing)...)
	}
}

// write puts bytes in, for which room is allocated.
func (c *content) write(b []byte, offset int64) {
	if len(b) == 0 {
		return
	}
	end := offset + int64(len(b))
	c.extend(end)
	copy(c.data[offset:], b)
	for s := offset / sectorSize; s < roundUp(end); s++ {
		c.sectors[s] |= isDirty | isUnsure
	}
}

// truncate sets the size and returns the number of sectors that take no room any more.
func (c *content) truncate(size int64) int64 {
	if size >= int64(len(c.data)) {
		c.extend(size)
		return 0
	}
	c.data = c.data[:size]
	c.cut = min(c.cut, size)
	keep := roundUp(size)
	if keep >= int64(len(c.sectors)) {
		return 0
	}
	before := c.allocated()
	c.sectors = c.sectors[:keep]
	return before - c.allocated()
}

// sync makes the size durable, and the dirty sectors.
func (c *content) sync() {
	c.disk = resized(c.disk, c.cut, int64(len(c.data)))
	c.cut = int64(len(c.data))
	for s, set := range c.sectors {
		if set&isDirty != 0 {
			c.put(c.disk, int64(s))
			c.sectors[s] &^= isDirty | isUnsure
		}
	}
}

// failSync is what a failed sync does: the page cache takes the sectors for written.
func (c *content) failSync() {
	for s := range c.sectors {
		c.sectors[s] &^= isDirty
	}
}

// put copies a sector as it is seen into an image of the disk, as far as that reaches. Behind the end it is zero.
func (c *content) put(disk []byte, sector int64) {
	start := min(sector*sectorSize, int64(len(disk)))
	image := disk[start:min(start+sectorSize, int64(len(disk)))]
	clear(image[copy(image, c.data[min(start, int64(len(c.data))):]):])
}

// resized is what becomes of disk, whose memory it takes over, when its size becomes cut and then size.
func resized(disk []byte, cut, size int64) []byte {
	disk = disk[:min(cut, size)]
	return append(disk, make([]byte, size-int64(len(disk)))...)
}

// crash is the bytes that a power loss leaves.
func (c *content) crash(mode Mode, rng *rand.Rand) []byte {
	switch mode {
	case Keep:
		return bytes.Clone(c.data)
	case Drop:
		return bytes.Clone(c.disk)
	}
	image := c.crashSize(rng)
	for s, set := range c.sectors {
		if set&isUnsure != 0 && rng.IntN(2) == 0 {
			c.put(image, int64(s))
		}
	}
	return image
}

// crashSize is the disk once a change of size has reached it: not at all, all of it, or, where a file grew, some.
func (c *content) crashSize(rng *rand.Rand) []byte {
	disk, to := bytes.Clone(c.disk), int64(len(c.data))
	switch rng.IntN(3) {
	case 0:
		return disk
	case 1:
		return resized(disk, c.cut, to)
	}
	// A size in between is at the boundary of a sector.
	first := c.cut / sectorSize
	sectors := first + rng.Int64N(roundUp(to)-first+1)
	return resized(disk, c.cut, max(c.cut, min(sectors*sectorSize, to)))
}
