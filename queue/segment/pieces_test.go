package segment

import (
	"fmt"
	"io"
	"maps"
	"slices"
)

// badStripes re-reads header and frames of a sealed segment and returns the stripes that cannot be read or whose checksum
// is not that of the index, in order. t and x are what ReadTrailer and ReadIndex returned for this file.
func badStripes(f io.ReaderAt, t Trailer, x Index) ([]int, error) {
	sums := make([]uint32, len(x.Stripes))
	for i, s := range x.Stripes {
		sums[i] = s.Sum
	}
	bad, _, err := badPieces(f, 0, t.DataEnd, int64(t.Stripe), sums)
	if err != nil {
		return nil, fmt.Errorf("check stripes of segment %s: %w", t.Header.Name(), err)
	}
	return slices.Sorted(maps.Keys(bad)), nil
}

// badParity is badStripes for the parity blocks: it returns the groups that cannot heal a stripe.
func badParity(f io.ReaderAt, t Trailer, x Index) ([]int, error) {
	bad, _, err := badPieces(f, t.Parity, t.IndexB, layOut(t.Header.Size, t.DataEnd).block, x.Parity)
	if err != nil {
		return nil, fmt.Errorf("check parity of segment %s: %w", t.Header.Name(), err)
	}
	return slices.Sorted(maps.Keys(bad)), nil
}
