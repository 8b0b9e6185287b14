package judge

import (
	"fmt"
	"sort"
	"strings"
)

// Verdict is what a run came to.
type Verdict struct {
	Seed     uint64
	Findings []Finding // one for each destination
}

// Finding is the verdict on one destination.
type Finding struct {
	Destination string
	Sent        uint64 // records that the sources made
	Owed        uint64 // records acknowledged to the sources, in time
	Arrived     uint64 // different records that came
	Lost        Tally  // acknowledged, never came
	Altered     Tally  // came, and are no record of this run bit for bit
	Invented    Tally  // came, and were never sent
	Refused     Tally  // came, although their source was told that nothing was stored
	Disordered  Tally  // came first after a later record of the same source had come
	Doubled     Tally  // came again
}

// Verdict judges what was noted so far.
func (j *Judge) Verdict() Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	names := make([]string, 0, len(j.mu.sources))
	for name := range j.mu.sources {
		names = append(names, name)
	}
	sort.Strings(names)
	v := Verdict{Seed: j.seed}
	for _, d := range j.mu.destinations {
		d.mu.Lock()
		f := Finding{Destination: d.name, Altered: d.altered, Invented: d.invented}
		for _, name := range names {
			f.add(d, j.mu.sources[name], d.sources[name])
		}
		d.mu.Unlock()
		v.Findings = append(v.Findings, f)
	}
	return v
}

func (f *Finding) add(d *Destination, s *Source, a *arrived) {
	if a == nil {
		a = &arrived{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	due := d.due(s)
	f.Sent += s.next - 1
	f.Owed += due.count
	f.Arrived += a.seen.count
	f.Refused.add(a.refused)
	f.Disordered.add(a.disordered)
	f.Doubled.add(a.doubled)
	f.Lost.Count += due.without(&a.seen)
	if due.without(&a.seen) > 0 {
		due.missing(&a.seen, func(first, last uint64) { f.Lost.place("%s %d to %d", s.name, first, last) })
	}
}

// Err is nil where every promise was kept at every destination and at most that many records were doubled at each.
func (v Verdict) Err(doubled uint64) error {
	for _, f := range v.Findings {
		if f.Lost.Count+f.Altered.Count+f.Invented.Count+f.Refused.Count+f.Disordered.Count > 0 || f.Doubled.Count > doubled {
			return fmt.Errorf("judge run: promises broken (at most %d doubled records allowed)\n%s", doubled, v)
		}
	}
	return nil
}

// String is the page that a test prints when the verdict is bad.
func (v Verdict) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d (repeat with %s=%d)\n", v.Seed, SeedVariable, v.Seed)
	for _, f := range v.Findings {
		fmt.Fprintf(&b, "%s: %d sent, %d acknowledged, %d arrived\n", f.Destination, f.Sent, f.Owed, f.Arrived)
		for _, line := range []struct {
			what string
			t    Tally
		}{{"lost", f.Lost}, {"altered", f.Altered}, {"invented", f.Invented}, {"refused but arrived", f.Refused},
			{"out of order", f.Disordered}, {"doubled", f.Doubled}} {
			if line.t.Count > 0 {
				fmt.Fprintf(&b, "  %s: %d\n    %s\n", line.what, line.t.Count, strings.Join(line.t.Where, "\n    "))
			}
		}
	}
	return b.String()
}
