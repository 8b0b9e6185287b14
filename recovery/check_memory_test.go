package recovery

import (
	"context"
	"fmt"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
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

// TestCheckBoundsHealing: what heals is not kept in memory for more segments than it may take, and what fsck says and the repair does is
// the same without it.
func TestCheckBoundsHealing(t *testing.T) {
	b := brokenQueue(t)
	b.zero(0, b.of(80).offset, 500)
	b.zero(4, b.of(800).offset, 600)
	twice := b.of(730).offset &^ 63
	b.zero(4, twice, 64)
	b.zero(4, twice+2048, 64) // in the same group, so that one part of the segment heals and another one does not
	for name, most := range map[string]int64{"as usual": 0, "one byte": 1, "one segment": 700} {
		limit := max(most, 0)
		if most == 0 {
			limit = mostHeld
		}
		opt := CheckOptions{Workers: 2, mostHeld: most}
		c := newChecker(context.Background(), b.fs, testDir, opt)
		b.must(c.prepare())
		b.must(c.readAll())
		held, healing := int64(0), 0
		for _, p := range c.parts {
			if p.healing != nil && p.healing.Won() {
				held += p.healing.Held()
				healing++
			}
		}
		if held > limit || healing < 2 {
			t.Errorf("%s: %d bytes are held of %d segments", name, held, healing)
		}
		want, err := Check(context.Background(), b.fs, testDir, CheckOptions{Workers: 2})
		b.must(err)
		got, err := Check(context.Background(), b.fs, testDir, opt)
		b.must(err)
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: fsck says\n%+v\nwant\n%+v", name, got, want)
		}
		trees := [2]map[string]string{}
		for i, o := range []CheckOptions{{Workers: 1}, opt} {
			disk := b.fs.Crash(faultfs.Keep, 0)
			r, err := Repair(context.Background(), disk, testDir, RepairOptions{
				CheckOptions: o, Holder: "test", MakeStore: storeMaker(t, disk), Now: func() time.Time { return time.Unix(1, 0) },
			})
			if err != nil || !r.Clean {
				t.Errorf("%s: the repair: %v, %+v", name, err, r)
			}
			trees[i] = tree(t, disk)
		}
		if d := differ(trees[0], trees[1]); len(d) > 0 {
			t.Errorf("%s: the repair makes something else of %v", name, d)
		}
	}
}
