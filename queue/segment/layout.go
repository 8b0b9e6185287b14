package segment

// layout is where everything after the frames of a sealed segment stands. It follows from the configured size and the
// end of the frames alone.
type layout struct {
	stripe  int64 // bytes of a stripe
	stripes int   // stripes over header and frames, the last one possibly shorter
	groups  int   // parity blocks: one per group that has a stripe
	block   int64 // bytes of a parity block
	index   int64 // bytes of an index

	indexA, parity, indexB, trailer, end int64 // offsets
}

// stripeSize is the stripe of a segment configured to this size: 1/1024 of it, a multiple of 8, at least 64 bytes.
func stripeSize(size uint64) int64 { return max(64, int64(size/1024)&^7) }

// layOut places the rest of a segment of this configured size whose frames end at dataEnd, a multiple of 8.
func layOut(size uint64, dataEnd int64) layout { return layOutStripes(stripeSize(size), dataEnd) }

// layOutStripes is layOut where only the size of a stripe is known.
func layOutStripes(stripe, dataEnd int64) layout {
	l := layout{stripe: stripe}
	l.stripes = int((dataEnd + l.stripe - 1) / l.stripe)
	l.groups = min(Groups, l.stripes)
	// A segment of a single stripe needs no whole stripe of parity.
	l.block = min(l.stripe, dataEnd)
	l.index = align(indexFields + stripeFields*int64(l.stripes) + 4*int64(l.groups) + 4)
	l.indexA = dataEnd
	l.parity = l.indexA + l.index
	l.indexB = l.parity + int64(l.groups)*l.block
	l.trailer = l.indexB + l.index
	l.end = l.trailer + TrailerSize
	return l
}

// SealedSize is the size of the file of a segment of this configured size once it is sealed with its frames ending at
// dataEnd.
func SealedSize(size uint64, dataEnd int64) int64 { return layOut(size, align(dataEnd)).end }

// dataLimit is the largest end of frames with which a sealed segment still has its configured size; HeaderSize where not
// even an empty one has.
func dataLimit(size uint64) int64 {
	low, high := int64(HeaderSize), int64(size)&^7
	for low < high {
		middle := align((low + high) / 2)
		if SealedSize(size, middle) <= int64(size) {
			low = middle
		} else {
			high = middle - 8
		}
	}
	return low
}
