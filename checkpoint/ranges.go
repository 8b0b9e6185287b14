package checkpoint

import (
	"fmt"
	"slices"
	"strings"

	"logmule/queue/segment"
)

// Ranges is a set of sequences: sorted, disjoint, not touching. The zero value is the empty set.
type Ranges []Range

// Add puts [first, last] into the set, in place where there is room. A range that is none, or beyond the numbers, is passed over.
func (r Ranges) Add(first, last uint64) Ranges {
	if first == 0 || last < first || last > segment.MaxSequence {
		return r
	}
	i, _ := slices.BinarySearchFunc(r, first, func(x Range, first uint64) int {
		if x.Last+1 < first {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(r) && r[j].First <= last+1; j++ {
		first, last = min(first, r[j].First), max(last, r[j].Last)
	}
	return slices.Replace(r, i, j, Range{First: first, Last: last})
}

// Without returns what of [first, last] is not in the set.
func (r Ranges) Without(first, last uint64) []Range {
	var left []Range
	for _, x := range r {
		if first > last || x.First > last {
			break
		}
		if x.Last < first {
			continue
		}
		if x.First > first {
			left = append(left, Range{First: first, Last: x.First - 1})
		}
		first = x.Last + 1
	}
	if first <= last {
		left = append(left, Range{First: first, Last: last})
	}
	return left
}

// Within is what of the sequences from first to last is in r.
func (r Ranges) Within(first, last uint64) []Range {
	var found []Range
	for _, part := range r {
		if lo, hi := max(part.First, first), min(part.Last, last); lo <= hi {
			found = append(found, Range{lo, hi})
		}
	}
	return found
}

// Count is how many sequences are in the set.
func (r Ranges) Count() uint64 {
	var n uint64
	for _, x := range r {
		n += x.Last - x.First + 1
	}
	return n
}

// Last is the highest sequence of the set, 0 when it is empty.
func (r Ranges) Last() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].Last
}

func (r Ranges) String() string {
	var parts []string
	for _, x := range r {
		parts = append(parts, fmt.Sprintf("%d-%d", x.First, x.Last))
	}
	return strings.Join(parts, " ")
}
