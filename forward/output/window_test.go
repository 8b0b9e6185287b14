package output

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestWindowModel compares with a list of records: the window is the shortest list of last ones that has limit bytes.
func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := window{limit: rapid.SampledFrom([]int{0, 1, 7, 40, 200}).Draw(t, "limit")}
		var all []string
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			var b Batch
			for range rapid.IntRange(1, 3).Draw(t, "runs") {
				var texts []string
				if rapid.Bool().Draw(t, "lines") {
					texts = rapid.SliceOfN(rapid.StringMatching(`[a-z]{0,9}`), 1, 6).Draw(t, "texts")
					b.Add(linesRun(texts...))
				} else {
					texts = rapid.SliceOfN(rapid.StringMatching(`[a-z\n]{0,9}`), 1, 6).Draw(t, "texts")
					b.Add(recordsRun(texts...))
				}
				all = append(all, texts...)
			}
			w.add(b.AppendLines(nil, 0, b.Len()), b.inner)
			if rapid.IntRange(0, 5).Draw(t, "crowd") == 0 {
				w.buf = w.buf[:len(w.buf):len(w.buf)] // so that the next batch has to make room
			}
			want := ""
			for i := len(all) - 1; i >= 0 && len(want) < w.limit; i-- {
				want = all[i] + "\n" + want
			}
			if got := string(w.bytes()); got != want {
				t.Fatalf("window of %d: %q, want %q", w.limit, got, want)
			}
		}
	})
}

func TestWindowMemoryIsBounded(t *testing.T) {
	w := window{limit: 1 << 10}
	add := func(payload string) {
		b := batchOf("", linesRun(payload))
		w.add(b.AppendLines(nil, 0, b.Len()), b.inner)
	}
	add(strings.Repeat("x", 1<<20))
	if len(w.bytes()) != 1<<20+1 {
		t.Fatalf("%d bytes are kept of one huge record", len(w.bytes()))
	}
	for range 10000 {
		add(strings.Repeat("y", 300))
	}
	if most := 2 * (2*w.limit + windowSlack); cap(w.buf) > most {
		t.Errorf("it has %d bytes of memory, more than %d", cap(w.buf), most)
	}
	if n := testing.AllocsPerRun(1000, func() { w.makeRoom(1 << 10); w.buf = append(w.buf, make([]byte, 1<<10)...) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
