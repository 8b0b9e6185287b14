package damage

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/queue/segment"
	"logmule/recovery"
)

// byteSamples is how many bytes are tried in each way; 0: all.
var byteSamples = map[string]int{"": 250, "short": 3000, "long": 0}

// TestEveryByte flips one bit in every byte of a queue of two sealed segments and an unsealed one, one run for each. A sealed
// segment gives everything back; of the other at most the frame is lost that the byte stands in.
func TestEveryByte(t *testing.T) {
	w := smallWorld(t)
	var spots []harm
	for _, s := range w.segs {
		for at := range s.bytes {
			spots = append(spots, harm{kind: flipping, file: s.file(), at: int64(at), size: int64(at*5+int(s.First)) % 8})
		}
	}
	if n := byteSamples[level(t)]; n > 0 {
		seed := judge.Seed()
		t.Logf("seed %d (repeat with %s=%d)", seed, judge.SeedVariable, seed)
		rng := rand.New(rand.NewPCG(seed, 3))
		rng.Shuffle(len(spots), func(i, j int) { spots[i], spots[j] = spots[j], spots[i] })
		spots = spots[:n]
	}
	var next, failed atomic.Int64
	var sum tally
	began := time.Now()
	t.Run("runs", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1) - 1; n < int64(len(spots)) && failed.Load() < mostFailures; n = next.Add(1) - 1 {
					for by := range ways {
						j := w.flip(t, spots[n], by)
						sum.add(j)
						if j.err() != nil {
							t.Errorf("%v, then %v:\n\t%v", spots[n], by, j.err())
							failed.Add(1)
						}
					}
				}
			})
		}
	})
	sum.rows(t, "one bit flipped, in every byte of a queue", began)
}

// flip is one run.
func (w *world) flip(t testing.TB, h harm, by way) *trial {
	t.Helper()
	j := w.try(t, h.apply(w.files), by)
	for _, s := range w.segs {
		if s.file() != h.file {
			continue
		}
		lost, clean := s.hit(h.at)
		if s.sealed && s == w.segs[len(w.segs)-2] && h.at >= int64(len(s.bytes))-segment.TrailerSize {
			clean = true // as after a crash in the middle of its seal, which nothing was lost in either
		}
		if got := w.last - (j.there.Count() - 1); j.added > 0 && got != lost {
			j.fail("one frame", "%d records are lost, want %d", got, lost)
		}
		want := statusDamaged
		if clean {
			want = statusClean
		}
		if got := status(j.before, nil); got != want {
			j.fail("status", "fsck ends with %d, want %d: %+v", got, want, j.before)
		}
	}
	return j
}

// hit is what a flipped bit costs, and whether fsck calls that clean.
func (s *seg) hit(at int64) (lost uint64, clean bool) {
	if s.sealed || at < segment.HeaderSize {
		return 0, false
	}
	for i, f := range s.frames {
		switch {
		case at >= f.at && at < f.end && f.Type == segment.Data:
			return uint64(f.Count), false
		case at >= f.at && at < f.end:
			return 0, i == len(s.frames)-1 // behind all records a frame counts as torn
		case at >= f.end && at < f.at+f.Size():
			return 0, true // padding, which nothing covers and nobody reads
		}
	}
	return 0, true // a torn tail
}

// Exit statuses of fsck.
const (
	statusClean     = 0
	statusCorrected = 1
	statusDamaged   = 4
	statusFailed    = 8
)

// status is how fsck ends.
func status(r recovery.Report, err error) int {
	switch {
	case err != nil:
		return statusFailed
	case r.Repaired:
		return statusCorrected
	case !r.Clean:
		return statusDamaged
	}
	return statusClean
}
