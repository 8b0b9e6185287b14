// Package states loses power in memory, everywhere.
//
// A queue lives on queue/vfs/faultfs, which records each operation on the disk. From the recording comes every state that a power
// loss after any of these operations could have left: sectors, sizes, names and deletions that were not synced, kept or lost one by
// one. On each the product opens a queue by itself, and the judge compares with what had been promised by then: what was
// acknowledged is there, as it was, in order, and nothing else; the positions of sources say exactly which records are there; no
// number comes twice; what was durably done does not come again; fsck finds nothing before, and nothing after; the second start
// has nothing to do. On some states another life begins, which is recorded, too, so that recovery itself loses power.
//
// A phase (phases_test.go) is one kind of run. TestPlantedBugs shows that the judge would notice.
package states

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/queue/vfs/faultfs"
)

// effort is how much is tried of each phase.
type effort struct {
	moments int // operations after which the power is lost; 0: after each
	states  int // at most, after each of these
	lives   int // states on which a second life begins, whose moments are tried too
	again   effortAgain
}

// effortAgain is how much is tried of each second life.
type effortAgain struct{ moments, states int }

var efforts = map[string]effort{
	"":      {moments: 9, states: 4, lives: 1, again: effortAgain{4, 3}},
	"short": {moments: 240, states: 14, lives: 3, again: effortAgain{40, 6}},
	"long":  {states: 64, lives: 12, again: effortAgain{states: 12}},
}

// Variables of the environment.
const (
	levelVariable = "LOGMULE_TORTURE"       // unset, short or long
	timeVariable  = "LOGMULE_STATES_TIME"   // of long, as a duration
	phaseVariable = "LOGMULE_STATES_PHASES" // names of phases, with commas; unset: all
	usualLongTime = 30 * time.Minute
)

// TestStates records a run of each phase and judges the states that a power loss could leave.
func TestStates(t *testing.T) {
	level := os.Getenv(levelVariable)
	e, known := efforts[level]
	if !known {
		t.Fatalf("%s is %q; use short or long, or unset it", levelVariable, level)
	}
	seed, end := judge.Seed(), longEnd(t)
	for round := 0; round == 0 || level == "long" && time.Now().Before(end); round++ {
		t.Logf("seed %d (repeat with %s=%d)", seed, judge.SeedVariable, seed)
		for i := range phases {
			if only := os.Getenv(phaseVariable); only == "" || slices.Contains(strings.Split(only, ","), phases[i].name) {
				t.Run(phases[i].name, func(t *testing.T) { phases[i].try(t, e, seed) })
			}
		}
		if t.Failed() {
			return
		}
		seed++
	}
}

// longEnd is when a long test has done enough.
func longEnd(t *testing.T) time.Time {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv(timeVariable))
	if err != nil {
		d = usualLongTime
	}
	end := time.Now().Add(d)
	if deadline, ok := t.Deadline(); ok && deadline.Add(-time.Minute).Before(end) {
		end = deadline.Add(-time.Minute)
	}
	return end
}

// try records a life, tries its states, and lets second lives begin on some of them.
func (p *phase) try(t *testing.T, e effort, seed uint64) {
	o, began := newTour(p, seed), time.Now()
	r := p.record(t, faultfs.New(), nil, seed)
	o.all(r, e.moments, e.states, "")
	first := len(o.tried)
	rng := rand.New(rand.NewPCG(seed, 17))
	for i := range e.lives {
		if o.over() {
			break
		}
		n := rng.IntN(len(r.Ops()) + 1)
		s, ok := pick(r, n, seed, rng)
		if !ok {
			continue
		}
		next := *p
		next.prepare, next.run = nil, restart
		second := next.record(t, s.Disk, r.m.from(n, nil), seed+uint64(i)+1)
		o.all(second, e.again.moments, e.again.states, fmt.Sprintf("state %d after operation %d, and in the life after that ", s.Number, n))
	}
	for _, f := range o.failed {
		t.Errorf("%s\nrepeat with %s=%d %s=%s", f, judge.SeedVariable, seed, phaseVariable, p.name)
	}
	t.Logf("%d operations; %d states, %d of them in a second life, %d different disks, in %v; longest start %v",
		len(r.Ops()), len(o.tried), len(o.tried)-first, len(o.disks), time.Since(began).Round(time.Millisecond), o.back)
	reliability.Add(t, reliability.Row{
		Part: reliability.States, Fault: p.what, Tried: uint64(len(o.tried)), Back: o.back,
		Outcome: fmt.Sprintf("every start by itself; %d different disks in the latest run", len(o.disks)),
		Lost:    o.sum.lost, Declared: o.sum.declared, Altered: o.sum.altered, Invented: o.sum.invented, Doubled: o.sum.doubled,
	})
}

// pick is one of the states after an operation.
func pick(r recorded, n int, seed uint64, rng *rand.Rand) (s faultfs.State, ok bool) {
	number := rng.IntN(12)
	for s = range r.States(n, 12, seed) {
		if ok = true; s.Number == number {
			break
		}
	}
	return s, ok
}
