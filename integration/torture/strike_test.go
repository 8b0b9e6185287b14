package torture

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"logmule/integration/disk"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// fault is one thing that a disk does to a world, and how that has to be met.
type fault struct {
	name  string
	rules []disk.Rule
	begin func(d *disk.Disk) error // after the rules are in force, or instead of them
	end   func(d *disk.Disk) error
	once  bool          // it passes by itself, when every rule has hit as often as it says
	holds []string      // who waits until it ends: kinds, or "all"; the others must go on
	may   bool          // outputs that have to read from the disk may wait, too
	lasts time.Duration // at least
	quick bool          // a smoke does it too
	lossy bool          // it destroys records
	reads bool          // segments are read from the disk meanwhile
	says  string        // what the log has to say, each time
	costs func() int    // records that are lost at most; nil: nobody knows
}

// loudest is how many lines the daemon may log for one fault: each thing that fails says so once, and what repeats is folded
// into one every ten seconds.
const loudest = 60

// strike does one fault to a disk of the world, and sees to it that the world meets it as it should.
func (w *world) strike(d *disk.Disk, f fault) {
	w.t.Helper()
	w.lossy = w.lossy || f.lossy
	w.moves(nil, "before: "+f.name)
	if f.reads { // what is in memory is not read
		w.Wait("the output late has to read from the disk", func() bool { return w.counters()["segments/"] >= 4 })
	}
	w.news()
	answers, ledger := w.answers(), w.counters()["ledger/"]
	cpu, _ := rig.CPU(w.Proc.PID())
	began := time.Now()
	missed := w.counters()["lost/late"]
	ids := w.begin(d, f)
	if f.reads {
		w.late.Open()
		defer w.late.Close()
	}
	var held map[string]bool
	why := ""
	if f.once {
		w.Wait("the fault has hit: "+f.name, func() bool { return w.hits(d, ids) >= wanted(f.rules) })
	} else {
		if len(ids) > 0 {
			w.Wait("the fault hits: "+f.name, func() bool { return w.hits(d, ids) > 0 })
		}
		held, why = w.hold(f)
		for left := f.lasts - time.Since(began); left > 0; left = f.lasts - time.Since(began) {
			time.Sleep(min(left, time.Second)) // a stall ends when its time is over
			if f.holds[0] != everybody[0] {
				w.moves(f.holds, "during: "+f.name)
			}
		}
	}
	if f.says == damage || f.says == unwritten {
		w.Wait("records are lost: "+f.name, func() bool { return w.counters()["lost/late"] > missed })
	}
	hits, lasted := w.hits(d, ids), time.Since(began)
	after, _ := rig.CPU(w.Proc.PID())
	if f.end != nil {
		must(w.t, f.end(d))
	}
	must(w.t, d.Clear())
	backs := w.comeBack(f)
	told := w.news()
	w.heard(f, told, time.Since(began))
	w.Wait("/readyz answers 200 after: "+f.name, func() bool { status, _ := w.ready(); return status == http.StatusOK })
	if f.says == unwritten {
		w.Wait("the loss is in the ledger after: "+f.name, func() bool { return w.counters()["ledger/"] > ledger })
	}
	if lost := w.counters()["ledger/"] - ledger; !f.lossy && lost > 0 {
		w.t.Errorf("%s: %v records are in the loss ledger", f.name, lost)
	}
	if lost := w.counters()["ledger/"] - ledger; f.costs != nil && int(lost) > f.costs() {
		w.t.Errorf("%s: %v records are lost, of which %d were in the damaged frame", f.name, lost, f.costs())
	}
	w.t.Logf("%s: %v, back after %v", f.name, time.Since(began).Round(time.Millisecond), backs["input http"].Round(time.Millisecond))
	w.note(f, held, backs, statuses(answers, w.answers()), uint64(w.counters()["ledger/"]-ledger),
		fmt.Sprintf("%d operations failed in %v, %v of processor time, %d lines logged; /readyz: %s", hits, lasted.Round(time.Millisecond), after-cpu, strings.Count(told, "\n"), why))
}

// wanted is how often the rules hit until they are over.
func wanted(rules []disk.Rule) (n int) {
	for _, r := range rules {
		n += r.Count
	}
	return n
}

func (w *world) begin(d *disk.Disk, f fault) (ids []int) {
	w.t.Helper()
	for _, r := range f.rules {
		id, err := d.Fail(r)
		must(w.t, err)
		ids = append(ids, id)
	}
	if f.begin != nil {
		must(w.t, f.begin(d))
	}
	return ids
}

func (w *world) hits(d *disk.Disk, ids []int) (n int) {
	w.t.Helper()
	for _, id := range ids {
		hit, err := d.Hits(id)
		must(w.t, err)
		n += hit
	}
	return n
}

// kinds are the names of counters for every kind, and how a row calls it.
func kinds() (all [][2]string) {
	for _, k := range inputKinds {
		all = append(all, [2]string{"taken/" + k, "input " + k})
	}
	for _, k := range outputKinds {
		all = append(all, [2]string{"given/" + k, "output " + k})
	}
	return all
}

// moves waits until every kind gets on, but those who wait.
func (w *world) moves(waits []string, when string) {
	w.t.Helper()
	from := w.counters()
	for _, k := range kinds() {
		if slices.Contains(waits, k[1]) || slices.Contains(waits, "outputs") && strings.HasPrefix(k[1], "output") {
			continue
		}
		w.Wait(k[1]+" gets on, "+when, func() bool { return w.counters()[k[0]] > from[k[0]] })
	}
}

// hold looks at the world while the fault lasts: who waits must, and the others must get on.
func (w *world) hold(f fault) (held map[string]bool, why string) {
	w.t.Helper()
	held = map[string]bool{}
	if !slices.Contains(f.holds, "all") {
		waits := f.holds
		if f.may {
			waits = append(waits, "outputs")
		}
		w.Wait("who has to wait does, and the others get on, during: "+f.name, func() bool {
			from := w.counters()
			w.moves(waits, "during: "+f.name)
			now := w.counters()
			for _, k := range kinds() {
				held[k[1]] = slices.Contains(f.holds, k[1])
				if held[k[1]] && now[k[0]] != from[k[0]] {
					return false // with what it had taken up before
				}
			}
			return true
		})
		_, why = w.ready()
		return held, why
	}
	status := 0
	w.Wait("/readyz answers 503 during: "+f.name, func() bool { status, why = w.ready(); return status == http.StatusServiceUnavailable })
	before := w.probe().tally()[http.StatusServiceUnavailable]
	w.Wait("a post is answered 503 during: "+f.name, func() bool { return w.probe().tally()[http.StatusServiceUnavailable] > before })
	from := w.counters()
	for _, page := range []string{"/healthz", "/status", "/"} {
		if status, _, err := w.Proc.Get(page); err != nil || status != http.StatusOK {
			w.t.Errorf("during %s: %s answers %d, %v", f.name, page, status, err)
		}
	}
	time.Sleep(100 * time.Millisecond) // nothing can be waited for: nothing is to happen
	now := w.counters()
	for _, k := range kinds() {
		held[k[1]] = now[k[0]] == from[k[0]]
	}
	if now["mark/"] != from["mark/"] {
		w.t.Errorf("during %s: the mark has moved from %v to %v", f.name, from["mark/"], now["mark/"])
	}
	return held, why
}

// comeBack waits until every kind gets on again and says how long that took.
func (w *world) comeBack(f fault) map[string]time.Duration {
	w.t.Helper()
	ended, from := time.Now(), w.counters()
	backs := map[string]time.Duration{}
	w.Wait("every kind gets on again after: "+f.name, func() bool {
		now := w.counters()
		for _, k := range kinds() {
			if backs[k[1]] == 0 && now[k[0]] > from[k[0]] {
				backs[k[1]] = time.Since(ended)
			}
		}
		return len(backs) == len(kinds())
	})
	return backs
}

// heard looks at what the daemon has logged, and notes what it has to: what repeats may be folded into a line that comes later.
func (w *world) heard(f fault, told string, lasted time.Duration) {
	w.t.Helper()
	if f.says != "" {
		w.owed[f.says]++
	}
	if n := strings.Count(told, "\n"); n > loudest+loudest/2*int(lasted/(10*time.Second)) {
		w.t.Errorf("%s: %d lines in the log:\n%s", f.name, n, told[:min(len(told), 6000)])
	}
}

// spoken waits until the daemon has said of each fault what it has to.
func (w *world) spoken() {
	w.t.Helper()
	for what, times := range w.owed {
		w.Wait(fmt.Sprintf("the log says %q %d times", what, times), func() bool { return w.said(what) >= times })
	}
}

// said is how often the daemon has said something. A line that stands for its repeats says for how many.
func (w *world) said(what string) (times int) {
	for line := range strings.Lines(w.Proc.Output()) {
		if !strings.Contains(line, what) {
			continue
		}
		n := 1
		if _, count, repeated := strings.Cut(line, " repeated="); repeated {
			_, err := fmt.Sscan(count, &n)
			must(w.t, err)
		}
		times += n
	}
	return times
}

// answers is what the posters were told so far.
func (w *world) answers() map[int]int {
	all := map[int]int{}
	for _, f := range w.feeds {
		for status, n := range f.tally() {
			all[status] += n
		}
	}
	return all
}

// statuses is what came between two tallies, as text.
func statuses(from, to map[int]int) string {
	var all []string
	for _, status := range []int{200, 503, 0, 400, 408, 413, 500} {
		if n := to[status] - from[status]; n > 0 {
			name := fmt.Sprint(status)
			if status == 0 {
				name = "none"
			}
			all = append(all, fmt.Sprintf("%d x %s", n, name))
		}
	}
	return strings.Join(all, ", ")
}

// note keeps a row for each kind until the world is judged.
func (w *world) note(f fault, held map[string]bool, backs map[string]time.Duration, answered string, lost uint64, sum string) {
	add := func(kind, outcome string, back time.Duration) {
		w.rows = append(w.rows, reliability.Row{Part: reliability.Disks, Fault: f.name, Kind: kind, Outcome: outcome, Tried: 1, Back: back})
	}
	for _, k := range kinds() {
		outcome := "went on"
		switch side, _, _ := strings.Cut(k[1], " "); {
		case f.once:
			outcome = "went on by itself"
		case held[k[1]] && side == "input":
			outcome = "waited, and its source with it"
		case held[k[1]]:
			outcome = "waited"
		}
		if k[1] == "input http" {
			outcome += "; answers: " + answered
		}
		add(k[1], outcome, backs[k[1]])
	}
	add("", sum, 0)
	w.rows[len(w.rows)-1].Declared = lost
}

// publish adds the rows of the faults.
func (w *world) publish() {
	for _, r := range w.rows {
		reliability.Add(w.t, r)
	}
}
