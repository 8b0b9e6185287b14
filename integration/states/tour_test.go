package states

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// tour is the way through the states of one phase.
type tour struct {
	p    *phase
	seed uint64

	mu     sync.Mutex // guards everything below
	tried  map[attempt]struct{}
	disks  map[uint64]struct{} // different ones, by their hash
	sum    tally
	back   time.Duration // the longest start
	failed []string
}

// attempt is a disk with what was promised by then: the same disk is not tried twice for the same promises.
type attempt struct {
	sum     uint64
	version int
	bare    bool
	life    *model
}

// mostFailures ends a tour.
const mostFailures = 3

func newTour(p *phase, seed uint64) *tour {
	return &tour{p: p, seed: seed, tried: map[attempt]struct{}{}, disks: map[uint64]struct{}{}}
}

// job is a trial to be made.
type job struct {
	trial
	where string
}

// all judges at most so many states at each of so many moments of a recording, 0: after each operation. where tells what
// it is a recording of.
func (o *tour) all(r recorded, moments, states int, where string) {
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 { // a start waits for the disk now and then
		workers.Go(func() {
			for j := range jobs {
				o.judge(j)
			}
		})
	}
	for _, n := range o.moments(len(r.Ops()), moments) {
		if o.over() {
			break
		}
		version := r.m.version(n)
		for s := range r.States(n, states, o.seed) {
			bare := (n+s.Number)%4 == 3
			if !o.isNew(attempt{s.Sum, version, bare, r.m}) {
				continue
			}
			op := "nothing"
			if n > 0 {
				op = r.Ops()[n-1].String()
			}
			jobs <- job{trial{p: o.p, m: r.m, n: n, disk: s.Disk, bare: bare}, fmt.Sprintf("%s%s, state %d, kept %v, checkpoints lost: %v", where, op, s.Number, s.Kept, bare)}
		}
	}
	close(jobs)
	workers.Wait()
}

// moments are some of the operations from 0 to ops, in order.
func (o *tour) moments(ops, most int) []int {
	all := rand.New(rand.NewPCG(o.seed, 13)).Perm(ops + 1)
	if most > 0 && most < len(all) {
		all = all[:most]
	}
	slices.Sort(all)
	return all
}

func (o *tour) isNew(a attempt) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, known := o.tried[a]
	o.tried[a] = struct{}{}
	o.disks[a.sum] = struct{}{}
	return !known
}

func (o *tour) over() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.failed) >= mostFailures
}

func (o *tour) judge(j job) {
	j.run()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sum.add(j.tally)
	o.back = max(o.back, j.back)
	if err := j.err(); err != nil && len(o.failed) < mostFailures {
		o.failed = append(o.failed, fmt.Sprintf("after %s:\n\t%v", j.where, err))
	}
}
