package torture

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"logmule/integration/disk"
)

// acks knows of every acknowledgement how many syncs of segments had begun when it was given. Whatever was acknowledged by then is
// written, so the next sync covers it, and only what no later sync has ended for may be lost.
type acks struct {
	disk  *disk.Disk
	delay time.Duration // of each sync

	mu    sync.Mutex // also held while the power is lost
	rule  int        // counts syncs
	given map[string]ack
	begun map[int]int       // syncs begun before each power loss
	lost  map[int]time.Time // when it was
	round int
}

// ack is one acknowledgement.
type ack struct {
	at    time.Time
	round int
	syncs int
}

func newAcks(t *testing.T, d *disk.Disk, delay time.Duration) *acks {
	t.Helper()
	a := &acks{disk: d, delay: delay, given: map[string]ack{}, begun: map[int]int{}, lost: map[int]time.Time{}}
	must(t, a.count())
	return a
}

// count begins to count syncs; a power loss forgets the rule.
func (a *acks) count() (err error) {
	a.rule, err = a.disk.Fail(disk.Rule{Match: disk.Match{Op: disk.Sync, Name: "*.seg"}, Delay: max(a.delay, time.Nanosecond)})
	return err
}

// told takes the acknowledgement of records of a source.
func (a *acks) told(source string) func(first, last uint64) {
	return func(first, last uint64) {
		now := ack{at: time.Now()}
		a.mu.Lock()
		defer a.mu.Unlock()
		now.round = a.round
		syncs, err := a.disk.Hits(a.rule)
		if before, over := a.lost[a.round-1]; err != nil || over && now.at.Before(before) {
			return // it was given so close to a loss that nobody knows to which side it belongs
		}
		now.syncs = syncs
		for n := first; n <= last; n++ {
			a.given[fmt.Sprintf("J %s %d", source, n)] = now
		}
	}
}

// powerLost is called when the disk is frozen; crash is what then happens to it.
func (a *acks) powerLost(crash func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	syncs, err := a.disk.Hits(a.rule)
	if err != nil {
		return err
	}
	a.begun[a.round], a.lost[a.round] = syncs, time.Now()
	a.round++
	if err := crash(); err != nil {
		return err
	}
	return a.count()
}

// toll is what power losses have cost.
type toll struct {
	records uint64
	rounds  map[int]uint64
	most    uint64        // by one of them
	oldest  time.Duration // from acknowledgement to power loss
	syncs   int           // the most syncs that had begun between an acknowledgement and the loss of its record
}

// cost counts what was acknowledged and has never come.
func (a *acks) cost(came *repeats) toll {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := toll{rounds: map[int]uint64{}}
	for head, g := range a.given {
		if came.has(head) {
			continue
		}
		l.records++
		l.rounds[g.round]++
		l.most = max(l.most, l.rounds[g.round])
		l.oldest = max(l.oldest, a.lost[g.round].Sub(g.at))
		l.syncs = max(l.syncs, a.begun[g.round]-g.syncs)
	}
	return l
}
