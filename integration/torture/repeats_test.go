package torture

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// repeats is a destination that knows when each record came, so that one that comes again can be told from one that must not.
// After a power loss an output goes on from its last durable position, which is at most about a second of work behind. Work is time
// in which the daemon runs and the destination takes what comes, so that many power losses in a row do not add up.
type repeats struct {
	*judge.Destination
	again  string // heads that begin so may come again whenever they like
	resend uint64 // bytes before the position that may come again besides, as those of an output that cannot know what its peer has read

	mu      sync.Mutex
	came    map[string]moment // the latest coming of each record, by its head
	bytes   uint64
	worked  time.Duration // up to the latest power loss
	running time.Time     // the start that runs now; zero: none
	lost    moment        // the latest power loss
	reach   time.Duration // the furthest that a repeat reached back behind a power loss
	bad     judge.Tally
}

// moment is a point of a destination's life.
type moment struct {
	worked time.Duration
	bytes  uint64
}

// reachMost is what a repeat may reach back: positions are saved several times a second and at the latest with the positions
// frame of each second; the rest is for a machine that is busy with something else.
const reachMost = 10 * time.Second

// stragglers is how long after a power loss something may still come that was sent before it.
const stragglers = 200 * time.Millisecond

func newRepeats(d *judge.Destination, resend uint64) *repeats {
	return &repeats{Destination: d, resend: resend, came: map[string]moment{}}
}

// started notes that the daemon runs.
func (r *repeats) started() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = time.Now()
}

// powerLost notes that it does not any more.
func (r *repeats) powerLost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost = r.now()
	r.worked, r.running = r.lost.worked, time.Time{}
}

// now needs r.mu.
func (r *repeats) now() moment {
	m := moment{r.worked, r.bytes}
	if !r.running.IsZero() {
		m.worked += time.Since(r.running)
	}
	return m
}

// arrived takes a record.
func (r *repeats) arrived(record []byte) {
	r.Arrived(record)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.bytes += uint64(len(record)) + 1
	key := string(head(record))
	before, again := r.came[key]
	r.came[key] = now
	if !again || r.again != "" && strings.HasPrefix(key, r.again) {
		return
	}
	reach, size := r.lost.worked-before.worked, r.lost.bytes-before.bytes
	if reach < -stragglers {
		r.bad.Count++
		r.bad.Where = append(r.bad.Where, fmt.Sprintf("%s came twice though the power was not lost in between", key))
		return
	}
	if size <= r.resend {
		return
	}
	r.reach = max(r.reach, reach)
	if reach > reachMost {
		r.bad.Count++
		r.bad.Where = append(r.bad.Where, fmt.Sprintf("%s came again, %v of work and %d bytes before the power loss", key, reach, size))
	}
}

// has says whether the record with that head has come.
func (r *repeats) has(head string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, came := r.came[head]
	return came
}

// heads are those of all records that have come.
func (r *repeats) heads() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]bool, len(r.came))
	for key := range r.came {
		all[key] = true
	}
	return all
}

// head is what names a record: all before its checksum.
func head(record []byte) []byte {
	end := 0
	for range 3 {
		space := bytes.IndexByte(record[end:], ' ')
		if space < 0 {
			return record
		}
		end += space + 1
	}
	return record[:end-1]
}

// verdict says what came again and must not, and how far repeats reached back.
func (r *repeats) verdict() (reach time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad.Count > 0 {
		err = fmt.Errorf("%d records came again that must not; the first: %s", r.bad.Count, r.bad.Where[0])
	}
	return r.reach, err
}

// sequences checks that a sequence always stands for the same record: one that a destination has seen is never used again.
type sequences struct {
	perEpoch bool // the sequence together with the epoch: all that holds where nothing is synced

	mu    sync.Mutex
	known map[identity]uint64 // hash of the record
	bad   judge.Tally
}

// identity is what a record is known by.
type identity struct {
	epoch    string // empty: of all starts
	sequence uint64
}

// batchID is the end of a batch's id: its first and last sequence, and where it was cut in two, which of its records these are.
var batchID = regexp.MustCompile(`-(\d+)-(\d+)(?:\.(\d+)-(\d+))?$`)

// firstOf is the first sequence of a batch with that id and so many records, 0 where it cannot have that id.
func firstOf(key string, records int) uint64 {
	m := batchID.FindStringSubmatch(key)
	if m == nil {
		return 0
	}
	var n [4]uint64
	for i := range n {
		n[i], _ = strconv.ParseUint(m[i+1], 10, 64) // digits, or nothing, which is 0
	}
	first, last := n[0], n[1]
	if m[3] != "" {
		first, last = n[0]+n[2], n[0]+n[3]
	}
	if last-first+1 != uint64(records) {
		return 0
	}
	return first
}

// watch takes a batch and its id.
func (s *sequences) watch(key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[identity]uint64{}
	}
	records := bytes.Count(body, []byte{'\n'})
	first := firstOf(key, records)
	if first == 0 {
		s.bad.Count++
		s.bad.Where = append(s.bad.Where, fmt.Sprintf("%s for %d records", key, records))
		return
	}
	id := identity{sequence: first}
	if s.perEpoch {
		id.epoch = key[:len(key)-len(batchID.FindString(key))]
	}
	rig.Lines(body, func(line []byte) {
		h := fnv.New64a()
		_, _ = h.Write(line)
		if sum, known := s.known[id]; known && sum != h.Sum64() {
			s.bad.Count++
			s.bad.Where = append(s.bad.Where, fmt.Sprintf("%d, in %s: %.60q", id.sequence, key, line))
		}
		s.known[id] = h.Sum64()
		id.sequence++
	})
}

func (s *sequences) verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad.Count > 0 {
		return fmt.Errorf("%d sequences stand for other records than before; the first: %s", s.bad.Count, s.bad.Where[0])
	}
	return nil
}
