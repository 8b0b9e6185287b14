package judge

import "math/bits"

// bitmap is a set of numbers from 0 on, one bit each.
type bitmap struct {
	words []uint64
	count uint64
}

// add says false where the number was in the set already.
func (b *bitmap) add(n uint64) bool {
	word := n / 64
	for uint64(len(b.words)) <= word {
		b.words = append(b.words, 0)
	}
	bit := uint64(1) << (n % 64)
	if b.words[word]&bit != 0 {
		return false
	}
	b.words[word] |= bit
	b.count++
	return true
}

func (b *bitmap) has(n uint64) bool {
	return n/64 < uint64(len(b.words)) && b.words[n/64]&(1<<(n%64)) != 0
}

// without counts the numbers that are in b and not in other.
func (b *bitmap) without(other *bitmap) (n uint64) {
	for i, word := range b.words {
		if i < len(other.words) {
			word &^= other.words[i]
		}
		n += uint64(bits.OnesCount64(word))
	}
	return n
}

// missing calls fn for each maximal range of numbers that are in b and not in other. Numbers that are in neither do not
// end a range, so that one loss with unacknowledged records in it is one place.
func (b *bitmap) missing(other *bitmap, fn func(first, last uint64)) {
	var first, last uint64
	open := false
	for n := uint64(0); n < uint64(len(b.words))*64; n++ {
		switch {
		case other.has(n):
			if open {
				fn(first, last)
			}
			open = false
		case b.has(n):
			if !open {
				first, open = n, true
			}
			last = n
		}
	}
	if open {
		fn(first, last)
	}
}
