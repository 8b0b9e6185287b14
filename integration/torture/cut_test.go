package torture

import (
	"math/rand/v2"
	"syscall"
	"time"

	"logmule/integration/disk"
)

// during says what the daemon is doing when the power goes.
type during int

const (
	working during = iota
	starting
	stopping
)

// cut is a way to lose the power.
type cut struct {
	name   string // for the table
	during during
	on     []disk.Match // one of these operations; none: any, the n-th by chance
	within int          // n is at most that
	weight int
}

// cuts are the ways. Patterns without a slash are for names of files.
var cuts = []cut{
	{name: "before any operation, under load", within: 600, weight: 6},
	{name: "before any operation of a start", during: starting, within: 70, weight: 4},
	{name: "before any operation of a clean stop", during: stopping, within: 40, weight: 3},
	{name: "before the sync of a segment", on: []disk.Match{{Op: disk.Sync, Name: "*.seg"}}, within: 20, weight: 3},
	{name: "before the write of a segment", on: []disk.Match{{Op: disk.Write, Name: "*.seg"}}, within: 40, weight: 2},
	{name: "before the directory of segments is synced", on: []disk.Match{{Op: disk.SyncDir, Name: "data/segments"}}, within: 4, weight: 3},
	{name: "before a segment is made or grows", on: []disk.Match{{Op: disk.Create, Name: "*.seg"}, {Op: disk.Allocate, Name: "*.seg"}}, within: 4, weight: 2},
	{name: "before a segment is deleted", on: []disk.Match{{Op: disk.Unlink, Name: "*.seg"}}, within: 4, weight: 3},
	{name: "before checkpoints.db is written", on: []disk.Match{{Op: disk.Write, Name: "checkpoints.db"}}, within: 12, weight: 3},
	{name: "before checkpoints.db is synced", on: []disk.Match{{Op: disk.Sync, Name: "checkpoints.db"}}, within: 4, weight: 4},
	{name: "before the archive is written or synced", on: []disk.Match{{Op: disk.Write, Name: "all.log"}, {Op: disk.Sync, Name: "all.log"}}, within: 8, weight: 2},
	{name: "before the archive is cut", during: starting, on: []disk.Match{{Op: disk.Truncate, Name: "all.log"}}, within: 1, weight: 1},
	{name: "before a rename or link", during: starting, on: []disk.Match{{Op: disk.Rename}, {Op: disk.Link}}, within: 2, weight: 2},
	{name: "before a file is deleted at a start", during: starting, on: []disk.Match{{Op: disk.Unlink}}, within: 2, weight: 1},
	{name: "before a directory is synced at a start", during: starting, on: []disk.Match{{Op: disk.SyncDir}}, within: 5, weight: 1},
}

// modes are what a power loss leaves, the meanest the most often.
var modes = []disk.Mode{disk.Drop, disk.Mix, disk.Mix, disk.Keep}

func pick(r *rand.Rand, all []cut) cut {
	total := 0
	for _, c := range all {
		total += c.weight
	}
	n := r.IntN(total)
	for _, c := range all {
		if n -= c.weight; n < 0 {
			return c
		}
	}
	panic("unreachable: n is below the sum of the weights")
}

// arm lets the disk lose its power when the time comes.
func (c cut) arm(s *site) {
	s.t.Helper()
	if len(c.on) == 0 {
		// Early ones are where most happens.
		must(s.t, s.disk.FreezeAt(uint64(1+s.r.IntN(1+s.r.IntN(c.within)))))
		return
	}
	m := c.on[s.r.IntN(len(c.on))]
	m.Nth = 1 + s.r.IntN(c.within)
	must(s.t, s.disk.FreezeOn(m))
}

// overdue is how long the operation that was chosen is waited for; then the power goes all the same.
const overdue = 150 * time.Millisecond

// lose starts the daemon, takes the power away in the way c, and leaves the disk as the loss has left it, with no daemon.
// It says whether it came to what c is about.
func (s *site) lose(c cut) (met bool) {
	s.t.Helper()
	switch c.during {
	case starting:
		c.arm(s)
		s.launch()
		s.frozenOrReady()
	case stopping:
		s.start()
		s.wander()
		c.arm(s)
		must(s.t, s.Proc.Signal(syscall.SIGTERM))
	default:
		s.start()
		s.wander()
		c.arm(s)
	}
	select {
	case <-s.disk.Frozen():
		met = true
	case <-s.Proc.Done():
		met = c.during == stopping // it was done before the n-th operation
	case <-time.After(overdue):
	}
	s.noPower()
	return met
}

// wander lets the load run for a random moment.
func (s *site) wander() { <-time.After(time.Duration(s.r.IntN(60)) * time.Millisecond) }

// frozenOrReady waits until the power has gone or the daemon is ready. That it ends by itself is a failure.
func (s *site) frozenOrReady() {
	s.t.Helper()
	s.Wait("it is ready or the power has gone", func() bool {
		select {
		case <-s.disk.Frozen():
			return true
		default:
			status, _, err := s.Proc.Get("/readyz")
			return err == nil && status == 200
		}
	})
}

// noPower is the loss itself: nothing gets to the disk any more, the machine does for some milliseconds what it can do without,
// everything on it ends, and the disk comes back with what was durable.
func (s *site) noPower() {
	s.t.Helper()
	must(s.t, s.disk.Freeze())
	<-time.After(time.Duration(s.r.IntN(12)) * time.Millisecond)
	s.Proc.Kill()
	s.http.powerLost()
	s.tcp.powerLost()
	mode, seed := modes[s.r.IntN(len(modes))], s.r.Uint64()
	crash := func() error { return s.disk.Crash(mode, seed) }
	if s.acks != nil {
		must(s.t, s.acks.powerLost(crash))
		return
	}
	must(s.t, crash())
}
