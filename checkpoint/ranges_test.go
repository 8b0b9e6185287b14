package checkpoint

import (
	"testing"

	"pgregory.net/rapid"
)

// TestRanges holds the set against a map.
func TestRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Ranges
		model := make(map[uint64]bool)
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			first := rapid.Uint64Range(1, 40).Draw(t, "first")
			last := first + rapid.Uint64Range(0, 8).Draw(t, "more")
			r = r.Add(first, last)
			for s := first; s <= last; s++ {
				model[s] = true
			}
		}
		for i, x := range r {
			if x.First > x.Last || i > 0 && r[i-1].Last+1 >= x.First {
				t.Fatalf("%v is out of order", r)
			}
		}
		from := rapid.Uint64Range(1, 50).Draw(t, "from")
		to := from + rapid.Uint64Range(0, 20).Draw(t, "to")
		left := make(map[uint64]bool)
		for _, x := range r.Without(from, to) {
			for s := x.First; s <= x.Last; s++ {
				left[s] = true
			}
		}
		for s := uint64(1); s < 80; s++ {
			if want := s >= from && s <= to && !model[s]; left[s] != want {
				t.Fatalf("%v without %d to %d: %d is %t", r, from, to, s, left[s])
			}
		}
	})
}
