package faultfs

import (
	"bytes"
	"slices"
)

// sectorSize is what a disk writes as a whole, in bytes.
const sectorSize = 512

// content is the bytes of a file, as they are seen and as they are on the disk.
type content struct {
	data    []byte      // what a reader sees
	disk    []byte      // what was made durable; its length is the durable size
	cut     int64       // the least size since then: disk beyond it is gone for every later size
	sectors []sectorSet // by number; as long as needed, absent ones are zero

	// older is what sectors held that were written more than once since they were synced, oldest first: each of it may be
	// what reached the disk.
	older map[int64][][sectorSize]byte

	lentData, lentDisk bool // the memory is another's too
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
	c.ownData()
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

// mostOlder bounds what is kept of a sector that is written over and over.
const mostOlder = 4

// age keeps what unsure sectors hold before one operation writes [offset, end) again.
func (c *content) age(offset, end int64) {
	for s := offset / sectorSize; s < min(roundUp(end), int64(len(c.sectors))); s++ {
		if c.sectors[s]&isUnsure == 0 {
			continue
		}
		if c.older == nil {
			c.older = make(map[int64][][sectorSize]byte)
		}
		list := append(c.older[s], sectorAt(c.data, s*sectorSize))
		c.older[s] = list[max(len(list)-mostOlder, 0):]
	}
}

// truncate sets the size and returns the number of sectors that take no room any more.
func (c *content) truncate(size int64) int64 {
	if size >= int64(len(c.data)) {
		c.extend(size)
		return 0
	}
	c.ownData()
	c.data = c.data[:size]
	c.cut = min(c.cut, size)
	keep := roundUp(size)
	if keep >= int64(len(c.sectors)) {
		return 0
	}
	before := c.allocated()
	for s := range c.older {
		if s >= keep {
			delete(c.older, s)
		}
	}
	c.sectors = c.sectors[:keep]
	return before - c.allocated()
}

// sync makes the size durable, and the dirty sectors.
func (c *content) sync() {
	c.ownDisk()
	c.disk = resized(c.disk, c.cut, int64(len(c.data)))
	c.cut = int64(len(c.data))
	for s, set := range c.sectors {
		if set&isDirty != 0 {
			c.put(c.disk, int64(s))
			c.sectors[s] &^= isDirty | isUnsure
			delete(c.older, int64(s))
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

// resized tells whether the size on the disk is not the one that is seen, or was not for a while.
func (c *content) resized() bool {
	return len(c.disk) != len(c.data) || c.cut < int64(len(c.disk))
}

// unsure are the sectors that are not, or may not be, on the disk as they are seen. One whose bytes are the same there,
// before and after it was cut, makes no difference.
func (c *content) unsure() []int64 {
	var list []int64
	for s, set := range c.sectors {
		if set&isUnsure == 0 {
			continue
		}
		at := int64(s) * sectorSize
		if seen := sectorAt(c.data, at); len(c.older[int64(s)]) > 0 || seen != sectorAt(c.disk, at) || seen != sectorAt(c.disk[:min(c.cut, int64(len(c.disk)))], at) {
			list = append(list, int64(s))
		}
	}
	return list
}

// sectorAt is a sector, zero behind the end.
func sectorAt(data []byte, at int64) (sector [sectorSize]byte) {
	copy(sector[:], data[min(at, int64(len(data))):])
	return sector
}

// stops is at how many sizes a growing file may stop, beside the old one and the new one: at the boundaries of sectors.
func (c *content) stops() int { return int(roundUp(int64(len(c.data))) - c.cut/sectorSize + 1) }

// image is the bytes that a power loss leaves: with the size as of before (0), of now (1), or at a stop (from 2 on), and
// those of the sectors that kept says: lost (0), kept (1), or as they were before they were written again (from 2 on).
func (c *content) image(size int, sectors []int64, kept []int) []byte {
	image, now := bytes.Clone(c.disk), int64(len(c.data))
	switch {
	case size == 1:
		image = resized(image, c.cut, now)
	case size > 1:
		stop := (c.cut/sectorSize + int64(size-2)) * sectorSize
		image = resized(image, c.cut, max(c.cut, min(stop, now)))
	}
	for i, s := range sectors {
		switch {
		case kept[i] == 1:
			c.put(image, s)
		case kept[i] > 1:
			start := min(s*sectorSize, int64(len(image)))
			copy(image[start:min(start+sectorSize, int64(len(image)))], c.older[s][kept[i]-2][:])
		}
	}
	return image
}

// lend is what is on the disk, for good: c takes other memory when that changes.
func (c *content) lend() []byte {
	c.lentDisk = true
	return c.disk
}

// lentContent is content that is on the disk as it is, in memory that others read.
func lentContent(image []byte) content {
	c := content{data: image, disk: image, cut: int64(len(image)), lentData: true, lentDisk: true}
	c.grow(roundUp(c.cut))
	for s := range c.sectors {
		c.sectors[s] = isAllocated
	}
	return c
}

// clone shares nothing with c.
func (c *content) clone() content {
	own := content{data: bytes.Clone(c.data), disk: bytes.Clone(c.disk), cut: c.cut, sectors: slices.Clone(c.sectors)}
	for s, list := range c.older {
		if own.older == nil {
			own.older = make(map[int64][][sectorSize]byte)
		}
		own.older[s] = slices.Clone(list)
	}
	return own
}

// ownData and ownDisk come before any change.
func (c *content) ownData() {
	if c.lentData {
		c.data, c.lentData = bytes.Clone(c.data), false
	}
}

func (c *content) ownDisk() {
	if c.lentDisk {
		c.disk, c.lentDisk = bytes.Clone(c.disk), false
	}
}
