package recovery

import (
	"context"
	"fmt"
	"testing"

	"logmule/queue/segment"
)

// TestCheckKeepsPositionsOnce: what is kept of the positions does not grow with the number of segments that have them, and they
// are the same.
func TestCheckKeepsPositionsOnce(t *testing.T) {
	b := newBuilder(t)
	for i := range 12 {
		b.open()
		pairs := []segment.Pair{b.at("web", uint64(i+1))}
		for k := range 50 {
			pairs = append(pairs, segment.Pair{Key: fmt.Sprintf("src/%d", k), Value: fmt.Append(nil, i)})
		}
		b.full(pairs...)
		b.durable(5)
		if i < 11 {
			b.seal()
		} else {
			b.close()
		}
	}
	for workers := 1; workers <= 3; workers++ {
		c := newChecker(context.Background(), b.fs, testDir, CheckOptions{Workers: workers})
		c.all = true
		b.must(c.prepare())
		b.must(c.readAll())
		kept := 0
		for _, p := range c.parts {
			kept += len(p.positions.values)
		}
		outputs, others, _ := known(c.parts, nil)
		if kept > 2*51 || outputs["web"].Floor != 12 || len(others) != 50 || string(others["src/7"]) != "11" {
			t.Errorf("%d workers: %d positions are kept, %v, %q", workers, kept, outputs, others)
		}
	}
}
