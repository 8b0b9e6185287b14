package torture

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/rig"
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

	queue string // instead of what else stands in [queue]
	// Instead of on: the disk does this, and the power goes a moment after it has begun, or after the next operation that is past.
	trouble disk.Rule
	past    disk.Match
	synced  string // this directory is synced then, by somebody else, as file systems sync one thing along with another
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
	{name: "within a sync of a segment that takes 0.1 s", weight: 2,
		trouble: disk.Rule{Match: disk.Match{Op: disk.Sync, Name: segments}, Delay: 100 * time.Millisecond}},
	{name: "after a segment was deleted, while each sync of checkpoints.db takes 0.3 s", weight: 1, queue: medium,
		trouble: disk.Rule{Match: disk.Match{Op: disk.Sync, Name: positions}, Delay: 300 * time.Millisecond}, past: disk.Match{Op: disk.Unlink, Name: segments}, synced: "data/segments"},
	{name: "after a segment was deleted, when a sync of checkpoints.db has failed", weight: 1, queue: medium,
		trouble: disk.Rule{Match: disk.Match{Op: disk.Sync, Name: positions}, Err: syscall.EIO, Count: 1}, past: disk.Match{Op: disk.Unlink, Name: segments}, synced: "data/segments"},
	{name: "after a sync of a segment has failed and a later one has not", weight: 2,
		trouble: disk.Rule{Match: disk.Match{Op: disk.Sync, Name: segments}, Err: syscall.EIO, Count: 1}, past: disk.Match{Op: disk.Sync, Name: segments}},
}

// Both keep TestPowerLoss to a part of what it does, for whoever looks for something.
const (
	CutsVariable   = "LOGMULE_CUTS"   // a regular expression: ways to lose the power whose names match
	LeavesVariable = "LOGMULE_LEAVES" // drop, mix or keep what was not synced; after keep the disk is as after kill -9
)

// modes are what a power loss leaves, the meanest the most often.
var modes = []disk.Mode{disk.Drop, disk.Mix, disk.Mix, disk.Keep}

// ways are the cuts and modes that are wanted.
func ways(t *testing.T) ([]cut, []disk.Mode) {
	t.Helper()
	wanted, err := regexp.Compile(os.Getenv(CutsVariable))
	must(t, err)
	some := slices.DeleteFunc(slices.Clone(cuts), func(c cut) bool { return !wanted.MatchString(c.name) })
	if len(some) == 0 {
		t.Fatalf("%s is %q, and no way to lose the power is called so; see cuts", CutsVariable, wanted)
	}
	leaves := disk.Mode(os.Getenv(LeavesVariable))
	switch leaves {
	case "":
		return some, modes
	case disk.Drop, disk.Mix, disk.Keep:
		return some, []disk.Mode{leaves}
	}
	t.Fatalf("%s is %q; use drop, mix or keep", LeavesVariable, leaves)
	return nil, nil
}

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

// happen does the trouble and waits until the power may go.
func (c cut) happen(s *site) {
	s.t.Helper()
	s.down = false // or nothing is deleted
	s.sink.Answer(tarry)
	count := func(r disk.Rule) func() bool {
		id, err := s.disk.Fail(r)
		must(s.t, err)
		return func() bool {
			hits, err := s.disk.Hits(id)
			must(s.t, err)
			return hits > 0
		}
	}
	s.Wait("trouble with the disk", count(c.trouble))
	if c.past != (disk.Match{}) {
		s.Wait("the power may go", count(disk.Rule{Match: c.past, Delay: time.Nanosecond}))
	}
	s.wander()
	if c.synced != "" {
		d, err := os.Open(filepath.Join(s.disk.Path(), c.synced))
		must(s.t, err)
		must(s.t, errors.Join(d.Sync(), d.Close()))
	}
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
	s.Configure(s.text(cmp.Or(c.queue, s.queue)))
	switch c.during {
	case working:
		s.start()
		if c.trouble != (disk.Rule{}) {
			c.happen(s)
			s.noPower()
			return true
		}
		s.wander()
		c.arm(s)
	case starting:
		c.arm(s)
		s.launch()
		s.frozenOrReady()
	case stopping:
		s.start()
		s.wander()
		c.arm(s)
		must(s.t, s.Proc.Signal(syscall.SIGTERM))
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
	mode, seed := s.modes[s.r.IntN(len(s.modes))], s.r.Uint64()
	crash := func() error { return s.disk.Crash(mode, seed) }
	if stays := !s.killed(); stays && s.acks == nil {
		s.http.powerLost() // all that it sent came seconds ago
		s.tcp.powerLost()
		must(s.t, crash())
		s.Proc.Kill()
		return
	}
	s.Proc.Kill()
	must(s.t, rig.Wait(rig.Patience, "what was sent has come", func() bool { return s.sink.Left() && s.stream.Left() }))
	s.http.powerLost()
	s.tcp.powerLost()
	if s.acks != nil {
		must(s.t, s.acks.powerLost(crash))
		return
	}
	must(s.t, crash())
}

// killed ends the daemon, and says whether it has. Now and then the kernel does not let it go while the disk is frozen, for a reason that
// is not known; nothing of the daemon itself happens meanwhile, and it ends when the disk has crashed.
func (s *site) killed() bool {
	_ = s.Proc.Signal(syscall.SIGKILL) // it may have ended
	select {
	case <-s.Proc.Done():
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}
