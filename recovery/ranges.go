package recovery

import (
	"slices"

	"logmule/checkpoint"
	"logmule/queue/segment"
)

// ranges is a set of sequences: sorted, disjoint, not touching.
type ranges []checkpoint.Range

// add puts [first, last] into the set.
func (r ranges) add(first, last uint64) ranges {
	if first == 0 || last < first || last > segment.MaxSequence {
		return r
	}
	i, _ := slices.BinarySearchFunc(r, first, func(x checkpoint.Range, first uint64) int {
		if x.Last+1 < first {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(r) && r[j].First <= last+1; j++ {
		first, last = min(first, r[j].First), max(last, r[j].Last)
	}
	return slices.Replace(r, i, j, checkpoint.Range{First: first, Last: last})
}

// without returns what of [first, last] is not in the set.
func (r ranges) without(first, last uint64) []checkpoint.Range {
	var left []checkpoint.Range
	for _, x := range r {
		if first > last || x.First > last {
			break
		}
		if x.Last < first {
			continue
		}
		if x.First > first {
			left = append(left, checkpoint.Range{First: first, Last: x.First - 1})
		}
		first = x.Last + 1
	}
	if first <= last {
		left = append(left, checkpoint.Range{First: first, Last: last})
	}
	return left
}

// last is the highest sequence of the set, 0 when it is empty.
func (r ranges) last() uint64 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].Last
}
