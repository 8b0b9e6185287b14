package main

import (
	"math/bits"
	"sync"
)

// blocks is the set of the 4 KiB blocks of a file that take room.
type blocks struct {
	set   []uint64
	count int64
}

// take adds the blocks of [offset, offset+size), of which at most room may be new. It says how many new ones that took and
// for how many of the bytes, from the first on, there was room.
func (b *blocks) take(offset, size, room int64) (took, bytes int64) {
	if size == 0 {
		return 0, 0
	}
	last := (offset + size - 1) / pageSize
	if missing := last/64 + 1 - int64(len(b.set)); missing > 0 {
		b.set = append(b.set, make([]uint64, missing)...)
	}
	for n := offset / pageSize; n <= last; n++ {
		if b.set[n/64]&(1<<(n%64)) != 0 {
			continue
		}
		if took == room {
			return took, max(n*pageSize-offset, 0)
		}
		b.set[n/64] |= 1 << (n % 64)
		took++
		b.count++
	}
	return took, size
}

// missing counts the blocks of [offset, offset+size) that are not in the set.
func (b *blocks) missing(offset, size int64) int64 {
	var missing int64
	for n := offset / pageSize; n*pageSize < offset+size; n++ {
		if n/64 >= int64(len(b.set)) || b.set[n/64]&(1<<(n%64)) == 0 {
			missing++
		}
	}
	return missing
}

// give removes the blocks that lie wholly in [offset, offset+size) and says how many.
func (b *blocks) give(offset, size int64) int64 {
	before := b.count
	for n := (offset + pageSize - 1) / pageSize; (n+1)*pageSize <= offset+size && n/64 < int64(len(b.set)); n++ {
		if n%64 == 0 && b.set[n/64] == 0 {
			n += 63
			continue
		}
		if b.set[n/64]&(1<<(n%64)) != 0 {
			b.set[n/64] &^= 1 << (n % 64)
			b.count--
		}
	}
	return before - b.count
}

// giveFrom removes the blocks beyond a size and says how many.
func (b *blocks) giveFrom(size int64) int64 {
	before := b.count
	first := (size + pageSize - 1) / pageSize
	for w := first / 64; w < int64(len(b.set)); w++ {
		keep := uint64(0)
		if w == first/64 {
			keep = 1<<(first%64) - 1
		}
		b.count -= int64(bits.OnesCount64(b.set[w] &^ keep))
		b.set[w] &= keep
	}
	return before - b.count
}

var (
	pages = sync.Pool{New: func() any { return new([pageSize]byte) }}
	zeros [pageSize]byte
)

// newPage is memory for a page, with anything in it.
func newPage() *[pageSize]byte { return pages.Get().(*[pageSize]byte) }

// freePage gives the memory of a page back; the page is zeros then.
func freePage(p *page) {
	if p.data != nil {
		pages.Put(p.data)
		p.data = nil
	}
}
