package states

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// never is the moment of what did not happen.
const never = math.MaxInt

// model is what a run was promised and what it did, each with its moment: the number of operations on the disk by then.
// What binds the queue is noted when it is over, what releases it before it begins: so a moment that is in doubt never
// makes a promise out of nothing.
type model struct {
	clock func() int
	begun time.Time

	mu       sync.Mutex
	payloads map[uint64][]string // by sequence: what was appended under it. A number that nobody has seen may come again.
	acked    map[uint64]int      // the source was told, or the durable mark was seen behind it
	outputs  map[string]*outputModel
	sources  map[string][]step
	own      map[uint64]bool   // records of this life
	hurt     map[uint64]bool   // records destroyed on the disk
	evidence map[string][]byte // segments with destroyed bytes, as they were then
	refused  uint64            // records that drop_newest refused
	times    []time.Duration   // of each operation
}

// outputModel is what an output was given and did.
type outputModel struct {
	given  map[uint64]int
	taken  map[uint64]int           // Done was called
	here   map[uint64]bool          // in this life
	safe   map[uint64]int           // a Checkpoint was durable after that
	safeAt map[uint64]time.Duration // when that was
	gone   int                      // Forget was called
	moved  int                      // it was rewound: what was done may come again, what was not may be skipped
}

// step is a change of a source's position: with records, or without.
type step struct {
	value string // empty: removed
	last  uint64 // the last record that came with it; 0: none came
	at    int    // from when on it is durable
	open  bool   // whether it was durable before an earlier power loss can no longer be known
}

func newModel(clock func() int) *model {
	return &model{
		clock: clock, begun: time.Now(), payloads: map[uint64][]string{}, acked: map[uint64]int{},
		outputs: map[string]*outputModel{}, sources: map[string][]step{},
		own: map[uint64]bool{}, hurt: map[uint64]bool{}, evidence: map[string][]byte{},
	}
}

func newOutputModel() *outputModel {
	return &outputModel{given: map[uint64]int{}, taken: map[uint64]int{}, here: map[uint64]bool{}, safe: map[uint64]int{}, safeAt: map[uint64]time.Duration{}, gone: never, moved: never}
}

// output is the model of that output. The caller holds mu, or is alone.
func (m *model) output(name string) *outputModel {
	o := m.outputs[name]
	if o == nil {
		o = newOutputModel()
		m.outputs[name] = o
	}
	return o
}

// happened notes the time of the next operation.
func (m *model) happened() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times = append(m.times, time.Since(m.begun))
}

// appended notes records first to last-first+1 of a source; the position came with the last one.
func (m *model) appended(key, position string, last uint64, payloads []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range payloads {
		s := last - uint64(len(payloads)-1-i)
		m.payloads[s], m.own[s] = append(m.payloads[s], p), true
	}
	if position != "" {
		m.sources[key] = append(m.sources[key], step{value: position, last: last, at: never})
	}
}

// moved notes a position that came without a record.
func (m *model) moved(key, position string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sources[key] = append(m.sources[key], step{value: position, at: never})
}

// durable notes that everything up to a sequence is, and every position that came with that.
func (m *model) durable(last uint64) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for s := last; s > 0; s-- {
		if _, known := m.acked[s]; known {
			break
		}
		if m.own[s] { // a number may be left out after a crash
			m.acked[s] = now
		}
	}
	m.reached(last, now)
}

// reached notes that positions which came with records up to last are durable, as these are. The caller holds mu.
func (m *model) reached(last uint64, now int) {
	for _, steps := range m.sources {
		for i := range steps {
			if steps[i].last > 0 && steps[i].last <= last && !steps[i].open {
				steps[i].at = min(steps[i].at, now)
			}
		}
	}
}

// follows notes that there is such an output.
func (m *model) follows(output string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.output(output)
}

// survived takes note of what a start finds of an earlier life, from the first record on that is retained. Steps whose records are
// gone never happened: nobody was told of them or given them, so they were not deleted as delivered. Only where records are
// dropped unread an older one may have been durable.
func (m *model) survived(first uint64, there map[uint64]bool, drops bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, steps := range m.sources {
		gone := func(s step) bool { return s.at == never && s.last > 0 && !there[s.last] }
		steps = slices.DeleteFunc(steps, func(s step) bool { return gone(s) && (!drops || first > 0 && s.last >= first) })
		for i, s := range steps {
			steps[i].open = gone(s)
		}
		m.sources[key] = steps
	}
}

// settled notes that all positions are durable.
func (m *model) settled() {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, steps := range m.sources {
		for i := range steps {
			if !steps[i].open {
				steps[i].at = min(steps[i].at, now)
			}
		}
	}
}

// given notes that an output has got records: so they are durable, and the positions that came with them.
func (m *model) given(output string, first, last uint64) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.output(output)
	for s := first; s <= last; s++ {
		if _, before := o.given[s]; !before {
			o.given[s] = now
		}
	}
	m.reached(last, now)
}

func (m *model) takes(output string, first, last uint64) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.output(output)
	for s := first; s <= last; s++ {
		o.here[s] = true
		if _, before := o.taken[s]; !before {
			o.taken[s] = now
		}
	}
}

// saved notes that what the output has taken is in its checkpoint.
func (m *model) saved(output string) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.output(output)
	for s := range o.here {
		if _, before := o.safe[s]; !before {
			o.safe[s], o.safeAt[s] = now, time.Since(m.begun)
		}
	}
}

func (m *model) forgets(output string) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.output(output).gone = now
}

func (m *model) rewinds(output string) {
	now := m.clock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.output(output).moved = now
}

func (m *model) refuses(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refused += uint64(n)
}

// binds tells whether something with that moment had happened after operation n.
func binds(moments map[uint64]int, s uint64, n int) bool {
	at, known := moments[s]
	return known && at <= n
}

// version is how much of all moments had happened: two equal disks with the same version are one case.
func (m *model) version(n int) int {
	count := 0
	add := func(moments map[uint64]int) {
		for _, at := range moments {
			if at <= n {
				count++
			}
		}
	}
	add(m.acked)
	for _, o := range m.outputs {
		add(o.given)
		add(o.taken)
		add(o.safe)
		add(map[uint64]int{0: o.gone, 1: o.moved})
	}
	for _, steps := range m.sources {
		for _, s := range steps {
			if s.at <= n {
				count++
			}
		}
	}
	return count
}

// seen is the highest sequence that a source or an output knew of after operation n.
func (m *model) seen(n int) (high uint64) {
	for s := range m.acked {
		if s > high && binds(m.acked, s, n) {
			high = s
		}
	}
	for _, o := range m.outputs {
		for s := range o.given {
			if s > high && binds(o.given, s, n) {
				high = s
			}
		}
	}
	return high
}

// from is the model of what follows a power loss after operation n: what had happened by then happened before the first
// operation now. Positions and records that may or may not have survived stay possible.
func (m *model) from(n int, clock func() int) *model {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := newModel(clock)
	next.refused, next.hurt, next.evidence = m.refused, m.hurt, m.evidence
	maps.Copy(next.payloads, m.payloads)
	past := func(moments map[uint64]int) map[uint64]int {
		kept := map[uint64]int{}
		for s, at := range moments {
			if at <= n {
				kept[s] = 0
			}
		}
		return kept
	}
	next.acked = past(m.acked)
	for name, o := range m.outputs {
		own := next.output(name)
		own.given, own.taken, own.safe = past(o.given), past(o.taken), past(o.safe)
		for s := range own.safe {
			own.safeAt[s] = math.MaxInt64 // how long ago is not known
		}
		if o.gone <= n {
			own.gone = 0
		}
		if o.moved <= n {
			own.moved = 0
		}
	}
	for key, steps := range m.sources {
		steps = slices.Clone(steps)
		for i := range steps {
			if steps[i].at <= n {
				steps[i].at = 0
			} else {
				steps[i].at = never
			}
		}
		next.sources[key] = steps
	}
	return next
}

func (m *model) String() string {
	return fmt.Sprintf("%d records, %d acknowledged, %d sources, %d outputs", len(m.payloads), len(m.acked), len(m.sources), len(m.outputs))
}
