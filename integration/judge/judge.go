// Package judge decides whether a run of logmule kept its promises.
//
// Sources make numbered, checksummed records and note what became of each: sent, acknowledged, or refused. Destinations
// note what arrives. The verdict tells, for each destination, what was lost, altered, invented, out of order or doubled.
// Memory is a few bits for each record, so that runs of many millions can be judged.
//
// Everything random in a run is drawn from Rand, so that one number, the seed, repeats it.
package judge

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
)

// SeedVariable is the environment variable that repeats a run: the seed that its verdict printed.
const SeedVariable = "LOGMULE_SEED"

// Seed is the seed that SeedVariable asks for, or a new one.
func Seed() uint64 {
	if seed, err := strconv.ParseUint(os.Getenv(SeedVariable), 10, 64); err == nil {
		return seed
	}
	return rand.Uint64()
}

// Judge holds what the sources and destinations of one run noted. Its methods and theirs may be called from any goroutine.
type Judge struct {
	seed   uint64
	salt   uint32
	filler []byte

	mu struct {
		sync.Mutex
		sources      map[string]*Source
		destinations []*Destination
	}
}

// New makes the judge of a run.
func New(seed uint64) *Judge {
	j := &Judge{seed: seed, salt: salt(seed), filler: text(seed, 1<<16)}
	j.mu.sources = map[string]*Source{}
	return j
}

// Seed is the number that repeats the run.
func (j *Judge) Seed() uint64 { return j.seed }

// Rand gives the random numbers for one purpose of the run; the same purpose always gets the same numbers.
func (j *Judge) Rand(purpose string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(j.seed, h.Sum64()))
}

// Source is one origin whose order must be kept: a connection, or a client with one request in flight.
type Source struct {
	judge *Judge
	name  string

	mu           sync.Mutex
	next         uint64
	acknowledged bitmap
	refused      bitmap
}

// Source makes the source of that name, which must be new and without a space.
func (j *Judge) Source(name string) *Source {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &Source{judge: j, name: name, next: 1}
	j.mu.sources[name] = s
	return s
}

// Append appends the next record of the source, of size bytes (a head of about 30 bytes is the least), without LF.
// From here on it counts as sent: it may arrive, and need not.
func (s *Source) Append(dst []byte, size int) (record []byte, number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	number = s.next
	s.next++
	return appendRecord(dst, s.judge.salt, s.name, number, size, s.judge.filler), number
}

// Acknowledged notes that records first to last must arrive.
func (s *Source) Acknowledged(first, last uint64) { s.note(&s.acknowledged, first, last) }

// Refused notes that records first to last must not arrive.
func (s *Source) Refused(first, last uint64) { s.note(&s.refused, first, last) }

func (s *Source) note(set *bitmap, first, last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := first; n <= last; n++ {
		set.add(n)
	}
}

// Sent counts the records made.
func (s *Source) Sent() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next - 1
}

// Owed counts the records acknowledged.
func (s *Source) Owed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acknowledged.count
}

// Owed counts the records acknowledged to all sources.
func (j *Judge) Owed() (n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.mu.sources {
		n += s.Owed()
	}
	return n
}

// Destination is one place where records arrive.
type Destination struct {
	judge *Judge
	name  string

	owed map[string]*bitmap // by source; nil: all that is acknowledged

	mu       sync.Mutex
	arrivals uint64
	sources  map[string]*arrived
	altered  Tally
	invented Tally
}

// arrived is what came of one source.
type arrived struct {
	source     *Source
	seen       bitmap
	high       uint64 // the highest number so far
	disordered Tally
	refused    Tally
	doubled    Tally
	repeat     uint64 // the number that would go on with the latest run of repeats
}

// Destination makes a destination to which every source is owed in full.
func (j *Judge) Destination(name string) *Destination {
	j.mu.Lock()
	defer j.mu.Unlock()
	d := &Destination{judge: j, name: name, sources: map[string]*arrived{}}
	j.mu.destinations = append(j.mu.destinations, d)
	return d
}

// DestinationAsOfNow makes a destination to which is owed what was acknowledged before, and nothing later: that of a copy.
func (j *Judge) DestinationAsOfNow(name string) *Destination {
	d := j.Destination(name)
	j.mu.Lock()
	defer j.mu.Unlock()
	d.owed = map[string]*bitmap{}
	for name, s := range j.mu.sources {
		s.mu.Lock()
		d.owed[name] = &bitmap{words: slices.Clone(s.acknowledged.words), count: s.acknowledged.count}
		s.mu.Unlock()
	}
	return d
}

// due is what a destination is owed of a source, whose mutex is held.
func (d *Destination) due(s *Source) *bitmap {
	if d.owed == nil {
		return &s.acknowledged
	}
	if due := d.owed[s.name]; due != nil {
		return due
	}
	return &bitmap{}
}

// Arrived notes one record, without its LF. The bytes are not kept.
func (d *Destination) Arrived(record []byte) {
	source, number, ok := parseRecord(record, d.judge.salt)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arrivals++
	if !ok {
		d.altered.note("arrival %d: %.60q", d.arrivals, record)
		return
	}
	a := d.sources[string(source)]
	if a == nil {
		d.judge.mu.Lock()
		s := d.judge.mu.sources[string(source)]
		d.judge.mu.Unlock()
		if s == nil {
			d.invented.note("arrival %d: source %q", d.arrivals, source)
			return
		}
		a = &arrived{source: s}
		d.sources[s.name] = a
	}
	if !a.note(number, d.arrivals) {
		d.invented.note("arrival %d: %s %d, never sent", d.arrivals, source, number)
	}
}

// note says false where the source never made that number.
func (a *arrived) note(number, arrival uint64) bool {
	a.source.mu.Lock()
	made, refused := number < a.source.next && number > 0, a.source.refused.has(number)
	a.source.mu.Unlock()
	if !made {
		return false
	}
	if refused {
		a.refused.note("arrival %d: %s %d", arrival, a.source.name, number)
	}
	switch {
	case !a.seen.add(number):
		a.doubled.Count++
		if number != a.repeat {
			a.doubled.place("arrival %d: %s from %d on", arrival, a.source.name, number)
		}
		a.repeat = number + 1
	case number < a.high:
		a.disordered.note("arrival %d: %s %d after %d", arrival, a.source.name, number, a.high)
	default:
		a.high = number
	}
	return true
}

// Arrivals counts the records that came, repeats and all.
func (d *Destination) Arrivals() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.arrivals
}

// Owes counts the records that were acknowledged and have not come: zero means that the destination is drained.
func (d *Destination) Owes() uint64 {
	d.judge.mu.Lock()
	sources := make([]*Source, 0, len(d.judge.mu.sources))
	for _, s := range d.judge.mu.sources {
		sources = append(sources, s)
	}
	d.judge.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	var owed uint64
	for _, s := range sources {
		var seen bitmap
		if a := d.sources[s.name]; a != nil {
			seen = a.seen
		}
		s.mu.Lock()
		owed += d.due(s).without(&seen)
		s.mu.Unlock()
	}
	return owed
}

// Tally counts one kind of finding and keeps the first places.
type Tally struct {
	Count uint64
	Where []string
}

const places = 8

func (t *Tally) note(format string, args ...any) {
	t.Count++
	t.place(format, args...)
}

func (t *Tally) place(format string, args ...any) {
	if len(t.Where) < places {
		t.Where = append(t.Where, fmt.Sprintf(format, args...))
	}
}

func (t *Tally) add(other Tally) {
	t.Count += other.Count
	t.Where = append(t.Where, other.Where[:min(len(other.Where), places-len(t.Where))]...)
}
