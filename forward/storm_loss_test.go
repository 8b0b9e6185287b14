package forward

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/recovery"
)

// TestStormThatDrops is the storm over a queue that drops the oldest and an output that gives up its oldest: what does not
// come stands in the ledger, and nothing comes twice.
func TestStormThatDrops(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { stormThatDrops(t, seed) })
	}
}

func stormThatDrops(t *testing.T, seed uint64) {
	const records = 3000
	r, in := newRig(t), newTap()
	r.reloadable()
	r.cfg.ShutdownTimeout = config.Duration(10 * time.Second)
	r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression = 64<<10, 1<<20, "none"
	r.cfg.Queue.WhenFull = "drop_oldest"
	r.addInput("in", in.build)
	m := &moody{rng: rand.New(rand.NewPCG(seed, 2))}
	r.outputs["out"] = func(output.Env) (output.Output, error) { return m, nil }
	inFlight := 1 + int(seed/2%2)*2 // requests that are under way are not taken back
	section := func() []config.Section {
		keys := fmt.Sprintf("in_flight = %d\nrate_limit = '%dKiB'", inFlight, 100+m.roll(1000))
		if seed%2 == 0 {
			keys += "\nmax_backlog = '500KiB'"
		}
		return []config.Section{r.section("out", keys)}
	}
	r.cfg.Outputs = section()
	r.start()
	pad := strings.Repeat(" x", 500)
	for n := 0; n < records; {
		many := min(1+m.roll(200), records-n)
		all := numbered(n, many)
		for i := range all {
			all[i] += pad
		}
		in.send(t, all...)
		n += many
		if m.roll(4) == 0 {
			r.reload(func(c *config.Config) { c.Outputs = section() })
		}
		time.Sleep(time.Duration(m.roll(1000)) * time.Millisecond)
	}
	eventually(t, "all is done", func() bool { return r.output("out").BacklogRecords == 0 })
	r.mustStop()
	times := map[int]int{}
	for _, n := range m.taken {
		times[n]++
	}
	for _, l := range r.letters() {
		var n int
		if _, err := fmt.Sscanf(string(l.Payload), "record %d", &n); err != nil {
			t.Fatal(err)
		}
		times[n]++
	}
	losses, err := recovery.ReadLedger(r.fs, r.cfg.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	var told checkpoint.Ranges
	for _, loss := range losses {
		before := told.Count()
		if told = told.Add(loss.First, loss.Last); told.Count()-before != loss.Last-loss.First+1 {
			t.Errorf("seed %d: the ledger has %d to %d twice", seed, loss.First, loss.Last)
		}
	}
	for n := range records {
		lost := len(told.Without(uint64(n+1), uint64(n+1))) == 0
		switch {
		case times[n] > 1:
			t.Errorf("seed %d: record %d came %d times", seed, n, times[n])
		case times[n] == 0 && !lost:
			t.Errorf("seed %d: record %d is missing, and the ledger does not know", seed, n)
		case times[n] == 1 && lost && inFlight == 1:
			t.Errorf("seed %d: record %d is delivered, and the ledger has it", seed, n)
		}
	}
	if m.broken != nil {
		t.Error(m.broken)
	}
}
