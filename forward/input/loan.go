package input

import (
	"context"
	"math/bits"
	"sync"
)

// Blocks of these sizes and the powers of two between them are pooled; others are left to the garbage collector.
const (
	minBlock = 4 << 10
	maxBlock = 16 << 20
)

// block is a piece of memory that is lent; a type of its own so that it goes into a pool without an allocation.
type block struct{ bytes []byte }

// blockPools holds unused blocks by size, minBlock<<index bytes.
type blockPools [13]sync.Pool

// blockSize is the smallest pooled size that has room for n bytes, or n where there is none.
func blockSize(n int) int {
	if n > maxBlock {
		return n
	}
	return max(minBlock, 1<<bits.Len(uint(n-1)))
}

func (p *blockPools) get(n int) *block {
	if pool := p.of(n); pool != nil {
		if b, ok := pool.Get().(*block); ok {
			return b
		}
	}
	return &block{bytes: make([]byte, n)}
}

func (p *blockPools) put(b *block) {
	if pool := p.of(len(b.bytes)); pool != nil {
		pool.Put(b)
	}
}

func (p *blockPools) of(n int) *sync.Pool {
	if n < minBlock || n > maxBlock || n&(n-1) != 0 {
		return nil
	}
	return &p[bits.Len(uint(n/minBlock))-1]
}

// loan is what one connection or request holds of the Budget: one block, and the bytes reserved for it, which may be
// more than the block has so far. With from set it is an empty loan. One goroutine uses it.
type loan struct {
	from     *Budget
	free     int // bytes of the block that need no grant
	block    *block
	reserved int // granted
}

// bytes is the block, nil for an empty loan.
func (l *loan) bytes() []byte {
	if l.block == nil {
		return nil
	}
	return l.block.bytes
}

// tryResize makes the block size bytes, with keep at its beginning, if the Budget has them to spare. keep may be a part
// of the old block, which is gone after that.
func (l *loan) tryResize(size int, keep []byte) bool {
	if more := size - l.free - l.reserved; more > 0 {
		if !l.from.TryAcquire(int64(more)) {
			return false
		}
		l.reserved += more
	}
	l.replace(size, keep)
	return true
}

// resize is tryResize that waits where the Budget has nothing to spare. It then reserves final bytes, all that the
// borrower can ever need, so that it never waits again while others wait for what it holds.
func (l *loan) resize(ctx context.Context, size, final int, keep []byte) error {
	if l.tryResize(size, keep) {
		return nil
	}
	if err := l.from.Acquire(ctx, int64(final-l.free-l.reserved)); err != nil {
		return err
	}
	l.reserved = final - l.free
	l.replace(size, keep)
	return nil
}

// tryShrink makes the block size bytes, no more than it has now, and gives back the rest, unless the Budget wants all of
// it back or none: then nothing has changed.
func (l *loan) tryShrink(size int, keep []byte) bool {
	keeps := max(0, size-l.free)
	if !l.from.TryRelease(int64(l.reserved - keeps)) {
		return false
	}
	l.reserved = keeps
	if size != len(l.block.bytes) {
		l.replace(size, keep)
	}
	return true
}

// end gives everything back. The loan is empty then and may be used again.
func (l *loan) end() {
	if l.block != nil {
		l.from.blocks.put(l.block)
		l.block = nil
	}
	if l.reserved > 0 {
		l.from.Release(int64(l.reserved))
		l.reserved = 0
	}
}

func (l *loan) replace(size int, keep []byte) {
	fresh := l.from.blocks.get(size)
	copy(fresh.bytes, keep)
	if l.block != nil {
		l.from.blocks.put(l.block)
	}
	l.block = fresh
}
