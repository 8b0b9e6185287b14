package torture

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/judge"
	"logmule/integration/reliability"
)

// RoundsVariable is how many times the power is lost in the long run.
const RoundsVariable = "LOGMULE_ROUNDS"

// rounds is how many times the power is lost at this level.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv(RoundsVariable)
	if text == "" {
		return by(3, 600, 1000)
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q; make it a number from 1 on", RoundsVariable, text)
	}
	return n
}

// row is what one way to lose the power came to.
type row struct {
	tried uint64
	ready time.Duration
}

// TestPowerLoss takes the power away again and again, at chosen and at random operations, while records come in through several
// inputs and go out through several outputs. The daemon always starts again by itself and goes on with the same load; after a number
// of losses on the same directory everything is drained and judged. Nothing acknowledged is lost, nothing is altered or invented, the
// order is kept, what comes again had been delivered a moment before a loss, and the file output holds each record once: it cuts
// what the loss left beyond its position. So each line of the log is in the queue once, too.
func TestPowerLoss(t *testing.T) {
	need(t, disk.Available())
	seed, left := judge.Seed(), rounds(t)
	wanted, leaves := ways(t)
	t.Logf("%s=%d", judge.SeedVariable, seed)
	rows, all := map[string]*row{}, total{}
	began := time.Now()
	for n := uint64(0); left > 0 && !t.Failed(); n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := newSite(t, seed+n, small)
			s.cuts, s.modes = wanted, leaves
			t.Cleanup(s.keep)
			in := min(left, 5+s.r.IntN(30))
			left -= in
			s.begin()
			s.noPower()
			s.losses(in, rows)
			all.add(s, s.judged())
		})
	}
	all.report(t, rows)
	t.Logf("%d directories, %v", all.sites, time.Since(began))
}

// losses takes the power away so many times.
func (s *site) losses(n int, rows map[string]*row) {
	s.t.Helper()
	s.latest = "at any moment, under load" // that of the caller
	if rows[s.latest] == nil {
		rows[s.latest] = &row{}
	}
	rows[s.latest].tried++
	again := cut{name: "before any operation of the recovery from the loss before, again and again", during: starting, within: 40}
	for n > 0 && !s.t.Failed() {
		c, times := pick(s.r, s.cuts), 1
		if len(s.cuts) == len(cuts) && s.r.IntN(12) == 0 {
			c, times = again, min(n, 2+s.r.IntN(3))
		}
		for range times {
			n--
			s.mood()
			starts := len(s.ready)
			name := c.name
			if !s.lose(c) {
				name = "at any moment, under load"
			}
			for _, took := range s.ready[starts:] { // that start was after the loss before
				rows[s.latest].ready = max(rows[s.latest].ready, took)
			}
			s.latest = name
			if s.r.IntN(8) == 0 { // what the loss has left is clean, before anything has looked at it
				s.clean()
			}
			if rows[name] == nil {
				rows[name] = &row{}
			}
			rows[name].tried++
		}
	}
}

// total is what all sites came to.
type total struct {
	sites   int
	verdict judge.Finding     // sums of all destinations
	doubled map[string]uint64 // by destination
	ready   []time.Duration
	reach   time.Duration // the furthest that repeats reached back
}

func (a *total) add(s *site, v judge.Verdict) {
	s.t.Helper()
	if err := v.Err(math.MaxUint64); err != nil {
		s.t.Error(err)
	}
	if a.doubled == nil {
		a.doubled = map[string]uint64{}
	}
	for _, f := range v.Findings {
		a.verdict.Sent += f.Sent
		a.verdict.Owed += f.Owed
		a.verdict.Arrived += f.Arrived
		a.verdict.Lost.Count += f.Lost.Count
		a.verdict.Altered.Count += f.Altered.Count
		a.verdict.Invented.Count += f.Invented.Count + f.Refused.Count
		a.doubled[f.Destination] += f.Doubled.Count
		s.t.Logf("%s: %d sent, %d acknowledged, %d arrived, %d doubled", f.Destination, f.Sent, f.Owed, f.Arrived, f.Doubled.Count)
		if f.Destination == "archive" && f.Doubled.Count > 0 {
			s.t.Errorf("the archive has records twice:\n%s", v)
		}
	}
	for name, r := range map[string]*repeats{"http": s.http, "tcp": s.tcp} {
		reach, err := r.verdict()
		if err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
		a.reach = max(a.reach, reach)
	}
	if err := errors.Join(s.seqs.verdict(), s.agree()); err != nil {
		s.t.Error(err)
	}
	a.sites++
	a.ready = append(a.ready, s.ready...)
}

// report writes the rows.
func (a *total) report(t *testing.T, rows map[string]*row) {
	t.Helper()
	var losses uint64
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		r := rows[name]
		losses += r.tried
		reliability.Add(t, reliability.Row{Part: reliability.Power, Fault: "power lost " + name, Tried: r.tried, Back: r.ready,
			Outcome: "started by itself and went on; judged with the others, below"})
	}
	if len(a.ready) == 0 {
		return
	}
	slices.Sort(a.ready)
	median, worst := a.ready[len(a.ready)/2], a.ready[len(a.ready)-1]
	t.Logf("%d losses; ready after start: median %v, worst %v of %d; %v doubled, reaching back %v", losses, median, worst, len(a.ready), a.doubled, a.reach)
	reliability.Add(t, reliability.Row{Part: reliability.Power, Fault: "all of these in a row on the same directories, judged at the end",
		Tried: losses, Lost: a.verdict.Lost.Count, Altered: a.verdict.Altered.Count, Invented: a.verdict.Invented.Count,
		Doubled: a.doubled["http"] + a.doubled["tcp"], Back: worst,
		Outcome: fmt.Sprintf("%d records acknowledged; started by itself %d times, ready after %v in the median; repeats were at most %v old; none in the archive",
			a.verdict.Owed/3, len(a.ready), median.Round(time.Millisecond), a.reach.Round(time.Millisecond))})
}

// worst is the longest.
func worst(all []time.Duration) (d time.Duration) {
	for _, one := range all {
		d = max(d, one)
	}
	return d
}
