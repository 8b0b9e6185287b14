package torture

import (
	"cmp"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/judge"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// underWay is how many records may be anywhere between source and destination without anything being late.
const underWay = 50

// network is a daemon with several outputs that are hurt, all at once by one fault after the other, and one that is not.
type network struct {
	*rig.Lab
	feed    string // address of its http input
	healthy *victim
	victims []*victim
	strange map[string]string // kinds that no fault here has to do with, and why
	rows    *book
	steps   int

	goroutines int       // when all is well
	logged     int       // bytes of log that were looked at
	settled    time.Time // when they were
}

// victim is one output and the destination behind it.
type victim struct {
	kind   string // as the rows name it
	output string // its name in the configuration
	secure bool   // TLS

	unordered bool // it sends several batches at once

	dest   *judge.Destination
	store  *chaos.Store
	peer   *chaos.Peer  // the good one; nil: another server
	proxy  *chaos.Proxy // nil: nothing stands between
	target string       // of the proxy when all is well

	latest atomic.Int64  // when a record came, in nanoseconds
	first  atomic.Int64  // when the first one came since it was last set to 0
	widest atomic.Int64  // time between two records since it was last set to 0
	excuse uint64        // records lost as the manual says, so far
	before judge.Finding // at the end of the step before
	again  uint64        // repeats of the store by then
}

// netFault is one thing done to all victims that it can be done to.
type netFault struct {
	name   string
	begin  func(v *victim) (cannot string) // what it does, or why it cannot
	during func(v *victim)                 // called every 100 ms; nil: nothing
	end    func(v *victim)
	once   [2]func() error        // done once for all of them, at the begin and at the end
	loses  func(v *victim) string // why what is lost is lost as the manual says; nil: nothing may be
	what   func(v *victim) string // what the victim makes of it; nil: see told
}

// beyondSmoke leaves a test out of make test.
func beyondSmoke(t *testing.T) {
	t.Helper()
	if level == smoke {
		t.Skipf("%s=short runs this", LevelVariable)
	}
}

// newNetwork is one without outputs, for now.
func newNetwork(t *testing.T) *network {
	t.Helper()
	return &network{Lab: newLab(t, ""), feed: rig.OwnAddress(t), rows: openBook(t), settled: time.Now()}
}

// newVictim makes the destination of an output. Only its records' arrival is watched; who serves them comes later.
func (n *network) newVictim(kind, output string, secure bool) *victim {
	v := &victim{kind: kind, output: output, secure: secure, dest: n.Judge.Destination(output)}
	v.store = chaos.NewStore(func(record []byte) {
		now := time.Now().UnixNano()
		if last := v.latest.Swap(now); last > 0 && now-last > v.widest.Load() {
			v.widest.Store(now - last)
		}
		v.first.CompareAndSwap(0, now)
		v.dest.Arrived(record)
	})
	n.victims = append(n.victims, v)
	return v
}

// open starts the daemon and waits until records flow everywhere.
func (n *network) open() {
	n.T.Helper()
	n.Start()
	stop := n.source()
	n.flowing()
	stop()
	n.drained(nil)
	n.goroutines, _ = n.idleGoroutines()
}

// source feeds the daemon until the function that it returns is called.
func (n *network) source() (stop func()) {
	n.steps++
	s := &rig.HTTPSource{URL: "http://" + n.feed + "/", Source: n.Judge.Source(fmt.Sprintf("f%d", n.steps)), Every: 20 * time.Millisecond, Batch: 10}
	end := rig.Background(n.T, s.Run)
	return func() { end() }
}

// all are the victims and the healthy one.
func (n *network) all() []*victim { return append([]*victim{n.healthy}, n.victims...) }

// flowing waits until every output has delivered something from now on.
func (n *network) flowing() {
	n.T.Helper()
	since := time.Now().UnixNano()
	for _, v := range n.all() {
		n.Wait(v.kind+" delivers", func() bool { return v.latest.Load() > since })
	}
}

// hurt is one step: records flow, the fault comes, lasts and goes, everything arrives, and a row is written for each victim.
func (n *network) hurt(t *testing.T, f netFault, hold time.Duration) {
	t.Helper()
	stop := n.source()
	n.flowing()
	hit := n.strike(t, f)
	n.healthy.widest.Store(0)
	n.healthy.latest.Store(time.Now().UnixNano())
	cpu, start := n.cpu(), time.Now()
	for end := start.Add(hold); time.Now().Before(end); time.Sleep(min(100*time.Millisecond, max(time.Until(end), 0))) {
		for _, v := range hit {
			if f.during != nil {
				f.during(v)
			}
		}
	}
	n.Wait("the other output has everything while "+f.name, func() bool { return n.healthy.dest.Owes() <= underWay })
	used, lasted, gap := n.cpu()-cpu, time.Since(start), time.Duration(n.healthy.widest.Load())
	for _, v := range hit {
		v.first.Store(0)
	}
	lifted := time.Now()
	if f.once[1] != nil {
		must(t, f.once[1]())
	}
	for _, v := range hit {
		if f.end != nil {
			f.end(v)
		}
	}
	back := map[*victim]time.Duration{}
	for _, v := range hit {
		n.Wait(fmt.Sprintf("%s delivers after %s", v.kind, f.name), func() bool { return v.first.Load() > 0 })
		back[v] = max(time.Duration(v.first.Load()-lifted.UnixNano()), 1)
	}
	stop()
	n.drained(f.loses)
	caught := time.Since(lifted)
	n.notWorse(t, f, used, lasted)
	for _, v := range hit {
		n.row(t, f, v, back[v], fmt.Sprintf("all of it had arrived after %v; the healthy output never paused for more than %v",
			caught.Round(10*time.Millisecond), gap.Round(10*time.Millisecond)))
	}
	n.settle(t)
}

// strike begins the fault and gives those it could be done to. The others get their row.
func (n *network) strike(t *testing.T, f netFault) (hit []*victim) {
	t.Helper()
	if f.once[0] != nil {
		must(t, f.once[0]())
	}
	for _, v := range n.victims {
		cannot := ""
		if f.begin != nil {
			cannot = f.begin(v)
		}
		if cannot == "" {
			hit = append(hit, v)
			continue
		}
		n.rows.cannot(f.name, v.kind, cannot)
	}
	for kind, why := range n.strange {
		n.rows.cannot(f.name, kind, why)
	}
	return hit
}

// drained waits until everything acknowledged has arrived, less what is lost as the manual says: what an output has sent
// without its arriving.
func (n *network) drained(loses func(*victim) string) {
	n.T.Helper()
	for _, v := range n.all() {
		if loses != nil && loses(v) != "" {
			n.Wait(v.kind+" has sent everything", func() bool {
				return n.Metric("logmule_output_backlog_records", fmt.Sprintf("output=%q", v.output)) == 0
			})
			n.rests(v)
			v.excuse = v.dest.Owes()
		}
		if err := rig.Wait(rig.Patience, "everything has arrived", func() bool { return v.dest.Owes() == v.excuse }); err != nil {
			n.T.Fatalf("%s: %v\n%s", v.kind, err, n.Judge.Verdict())
		}
	}
}

// rests waits until nothing has arrived for a while: nothing tells when datagrams have.
func (n *network) rests(v *victim) {
	n.Wait(v.kind+" rests", func() bool { return time.Now().UnixNano()-v.latest.Load() > int64(300*time.Millisecond) })
}

// notWorse holds what a fault cost the daemon against bounds that only leaks and busy loops pass.
func (n *network) notWorse(t *testing.T, f netFault, cpu, lasted time.Duration) {
	t.Helper()
	if cpu > lasted/2+time.Second && !rig.RaceEnabled {
		t.Errorf("%s: the daemon used %v of processor time in %v", f.name, cpu, lasted)
	}
	if now, err := n.idleGoroutines(); err != nil {
		t.Errorf("%s: %v", f.name, err)
	} else {
		t.Logf("%s: %v of processor time in %v, %d goroutines after it", f.name, cpu, lasted.Round(time.Millisecond), now)
	}
	if resident, _, err := rig.Memory(n.Proc.PID()); err != nil || resident > 400<<20 && !rig.RaceEnabled {
		t.Errorf("%s: %d MiB of memory in use, %v", f.name, resident>>20, err)
	}
}

// idleGoroutines waits until there are no more of them than at the beginning, a few apart.
func (n *network) idleGoroutines() (int, error) {
	now, names := 0, ""
	err := rig.Wait(rig.Patience, "the goroutines of the fault have ended", func() bool {
		var err error
		now, names, err = n.Proc.Goroutines()
		return err == nil && (n.goroutines == 0 || now <= n.goroutines+12)
	})
	if err != nil {
		err = fmt.Errorf("%w: %d, %d at the start\n%s", err, now, n.goroutines, names)
	}
	return now, err
}

func (n *network) cpu() time.Duration {
	d, err := rig.CPU(n.Proc.PID())
	rig.Must(n.T, err)
	return d
}

// settle looks at the log of a step, and starts the next one from here. Who fails says so every ten seconds.
func (n *network) settle(t *testing.T) {
	t.Helper()
	out, lasted := n.Proc.Output(), time.Since(n.settled)
	n.settled = time.Now()
	fresh := out[n.logged:]
	n.logged = len(out)
	for _, v := range n.victims {
		var lines []string
		for line := range strings.Lines(fresh) {
			if strings.Contains(line, "output="+v.output+" ") {
				lines = append(lines, line)
			}
		}
		if len(lines) > 6+int(lasted/(10*time.Second)) {
			t.Errorf("%s: %d lines of log\n%s", v.kind, len(lines), strings.Join(lines, ""))
		} else {
			t.Logf("log of %s:\n%s", v.kind, strings.Join(lines, ""))
		}
	}
	for line := range strings.Lines(fresh) {
		if !strings.HasPrefix(line, "time=") {
			t.Errorf("a line that is no line of log: %.300q", line)
		}
	}
}

// row judges what came of one victim since the last time and writes it down.
func (n *network) row(t *testing.T, f netFault, v *victim, back time.Duration, told string) {
	t.Helper()
	now := finding(n.Judge.Verdict(), v.output)
	r := reliability.Row{
		Fault: f.name, Kind: v.kind, Tried: 1, Back: back,
		Lost:     now.Lost.Count - v.before.Lost.Count,
		Altered:  now.Altered.Count - v.before.Altered.Count,
		Invented: now.Invented.Count - v.before.Invented.Count,
		Doubled:  now.Doubled.Count - v.before.Doubled.Count + v.store.Repeats() - v.again,
	}
	why := ""
	if f.loses != nil {
		why = f.loses(v)
	}
	if why != "" {
		r.Lost, r.Declared = 0, r.Lost
		told = why + "; " + told
	}
	if f.what != nil {
		told = f.what(v) + "; " + told
	}
	r.Outcome = told
	disordered := now.Disordered.Count - v.before.Disordered.Count
	if v.unordered {
		disordered = 0
	}
	if cmp.Or(r.Lost, r.Altered, r.Invented, disordered) > 0 {
		t.Errorf("%s, %s: %d lost, %d altered, %d invented, %d out of order\n%s", f.name, v.kind, r.Lost, r.Altered, r.Invented, disordered, n.Judge.Verdict())
	}
	if v.keyed() && now.Doubled.Count > v.before.Doubled.Count {
		t.Errorf("%s, %s: records came again under another Idempotency-Key\n%s", f.name, v.kind, n.Judge.Verdict())
	}
	v.before, v.again = now, v.store.Repeats()
	n.rows.add(r)
}

// keyed says that every batch has a name, by which its repeats are known.
func (v *victim) keyed() bool { return strings.HasPrefix(v.kind, "output http") }

// finding is the one on a destination.
func finding(v judge.Verdict, destination string) judge.Finding {
	for _, f := range v.Findings {
		if f.Destination == destination {
			return f
		}
	}
	return judge.Finding{}
}
