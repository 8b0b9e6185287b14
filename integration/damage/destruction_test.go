package damage

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/integration/judge"
	"logmule/queue/segment"
)

// seedsTried is how many seeds TestDestruction tries.
var seedsTried = map[string]uint64{"": 30, "short": 2000, "long": 10000}

const countVariable = "LOGMULE_DESTRUCTIONS" // how many instead

// seedsAgain are those that failed once, and are tried each time; paddingRows has what was wrong.
var seedsAgain = []uint64{301200, 2001777, 2004296}

// wideWorld has eight sealed segments of different sizes and one that was open, from three lives of the process.
func wideWorld(t testing.TB) *world {
	t.Helper()
	return build(t, 64<<10, func(b *builder) {
		fill := func(size int, bytes int64) {
			b.open()
			for b.out.End() < bytes && b.out.Room() > int64(2*size) {
				b.durable(size/4, 1+b.rng.IntN(3))
			}
		}
		b.moves("a", 1)
		b.moves("b", 1)
		b.moves("c", 1)
		fill(3000, 24<<10)
		b.seal()
		b.codec = segment.Snappy
		fill(5000, 20<<10)
		b.moves("b", b.next-5, checkpoint.Range{First: b.next - 3, Last: b.next - 2})
		b.positions(false)
		b.control(segment.Close)
		b.seal()
		b.restart()
		b.size = 256 << 10
		fill(12000, 64<<10)
		b.lost(5)
		b.durable(400, 3)
		b.positions(false)
		b.seal()
		b.size, b.codec = 64<<10, segment.None
		fill(1200, 1<<20)
		b.moves("c", b.next-4)
		b.positions(false)
		b.control(segment.Marker)
		b.seal()
		fill(6000, 16<<10)
		b.seal()
		b.restart()
		b.open()
		b.durable(100, 4, 4)
		b.positions(false)
		b.seal()
		fill(3000, 12<<10)
		b.moves("c", b.next-3, checkpoint.Range{First: b.next - 2, Last: b.next - 2})
		b.seal()
		b.open()
		b.durable(500, 3, 1, 4, 2, 9)
		b.positions(false)
		b.durable(1500, 2, 3, 1)
		b.moves("c", b.next-1)
		b.positions(false)
		b.control(segment.Marker)
		b.kill(8192)
	})
}

// TestDestruction does up to eight harms to one directory, as a seed says, and judges what becomes of it, in each way.
func TestDestruction(t *testing.T) {
	w := wideWorld(t)
	count := seedsTried[level(t)]
	if n, err := strconv.ParseUint(os.Getenv(countVariable), 10, 64); err == nil {
		count = n
	}
	first := judge.Seed()
	if os.Getenv(judge.SeedVariable) == "" && level(t) == "" {
		first %= 1 << 32
	}
	var seeds []uint64
	if os.Getenv(judge.SeedVariable) == "" {
		seeds = seedsAgain
	}
	for n := range count {
		seeds = append(seeds, first+n)
	}
	t.Logf("seeds from %d (repeat one with %s=SEED %s=1)", first, judge.SeedVariable, countVariable)
	var next, failed atomic.Int64
	var sum tally
	began := time.Now()
	t.Run("runs", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1) - 1; n < int64(len(seeds)) && failed.Load() < mostFailures; n = next.Add(1) - 1 {
					list := w.harms(seeds[n])
					for by := range ways {
						j := w.destroy(t, list, by)
						sum.add(j)
						if j.err() != nil {
							t.Error(w.explain(t, seeds[n], list, by))
							failed.Add(1)
						}
					}
				}
			})
		}
	})
	sum.rows(t, "up to eight harms at once, by chance: bits, zeros, noise, cuts, files deleted, copied, renamed, blocks at wrong places", began)
}

func (w *world) destroy(t testing.TB, list []harm, by way) *trial {
	t.Helper()
	now := w.files
	for _, h := range list {
		now = h.apply(now)
	}
	return w.try(t, now, by)
}

// explain leaves out one harm after the other, as long as it goes on to fail in the same respect.
func (w *world) explain(t testing.TB, seed uint64, list []harm, by way) string {
	t.Helper()
	respect := func(j *trial) string {
		if len(j.findings) == 0 {
			return ""
		}
		name, _, _ := strings.Cut(j.findings[0], ":")
		return name
	}
	j := w.destroy(t, list, by)
	want := respect(j)
	for i := 0; i < len(list) && want != ""; {
		less := slices.Delete(slices.Clone(list), i, i+1)
		if k := w.destroy(t, less, by); respect(k) == want {
			list, j = less, k
		} else {
			i++
		}
	}
	text := fmt.Sprintf("seed %d, by %v; these are enough:", seed, by)
	for _, h := range list {
		text += "\n\t" + h.String()
	}
	return text + fmt.Sprintf("\n%v", j.err())
}
