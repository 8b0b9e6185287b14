package integration

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"logmule/integration/rig"
)

// gaps measures the longest time between two arrivals.
type gaps struct {
	last    time.Time
	longest time.Duration
}

func (g *gaps) note() {
	now := time.Now()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

// storm is the configuration of a round: the first input and output never change, the second output always does, and
// others come and go.
func storm(in, steady, changing, extra string, round int) string {
	text := fmt.Sprintf(`
[queue]
max_size = "20GiB"
min_free = "0B"
[input.steady]
type = "http"
listen = %q
[output.steady]
type = "http"
url = "http://%s/"
[output.changing]
type = "http"
url = "http://%s/"
timeout = "%ds"
`, in, steady, changing, 20+round)
	if round%4 < 2 {
		text += fmt.Sprintf("[input.extra%d]\ntype = \"tcp\"\nlisten = %q\n[output.extra]\ntype = \"file\"\npath = \"/dev/null/nowhere\"\nstart_at = \"end\"\n", round%3, extra)
	}
	return text
}

// bad are configurations that must change nothing.
var bad = []string{
	"[input.steady\n",
	"unknown_key = 1\n",
	"[output.steady]\ntype = \"http\"\nurl = \"nonsense\"\n",
	"[output.lonely]\ntype = \"http\"\nurl = \"http://127.0.0.1:1/\"\nfrom = [\"nobody\"]\n",
}

// Reload after reload under load: what does not change is not touched, and what does change loses and doubles nothing.
func TestReloadStorm(t *testing.T) {
	reloads := 10
	if full {
		reloads = 100
	}
	in, steadyAt, changingAt, extra := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	l := newLab(t, storm(in, steadyAt, changingAt, extra, 0))
	steady, changing := l.judge.Destination("steady"), l.judge.Destination("changing")
	var silence gaps
	httpSink(t, steadyAt, func(record []byte) { silence.note(); steady.Arrived(record) })
	httpSink(t, changingAt, changing.Arrived)
	l.start()
	pid := l.Proc.PID()

	// One client for the promises, and one in a hurry for the load.
	began := time.Now()
	first := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("careful"), Batch: 50, Size: 120, Every: 2 * time.Millisecond}
	second := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("hurried"), Batch: 4000, Size: 100}
	stopFirst, stopSecond := background(t, first.Run), background(t, second.Run)
	failed := 0
	for round := 1; round <= reloads; round++ {
		before := steady.Arrivals()
		wrong := round%5 == 0
		if wrong {
			text := storm(in, steadyAt, changingAt, extra, round)
			if i := failed % len(bad); i == 2 {
				text = bad[i]
			} else {
				text = bad[i] + text
				if i == 3 {
					text = storm(in, steadyAt, changingAt, extra, round) + bad[i]
				}
			}
			l.configure(text)
			failed++
		} else {
			l.configure(storm(in, steadyAt, changingAt, extra, round))
		}
		must(t, l.Proc.Signal(syscall.SIGHUP))
		l.wait(fmt.Sprintf("reload %d is done", round), func() bool {
			return l.metric("logmule_reloads_total", `result="ok"`) == round-failed && l.metric("logmule_reloads_total", `result="failed"`) == failed
		})
		l.wait("records have come through since", func() bool { return steady.Arrivals() > before+50_000 })
	}
	for _, statuses := range []map[int]int{stopFirst(), stopSecond()} {
		for status, n := range statuses {
			if status != 200 {
				t.Errorf("%d requests were answered %d", n, status)
			}
		}
	}
	took := time.Since(began)
	l.drained(steady)
	l.drained(changing)
	l.verdict(0)
	if l.Proc.PID() != pid {
		t.Error("the daemon was started again")
	}
	if silence.longest > patience/3 {
		t.Errorf("the output that never changed was silent for %v", silence.longest)
	}
	t.Logf("%d reloads, %d of them bad, in %v; %.0f records a second; longest silence of the output that never changed: %v",
		reloads, failed, took.Round(time.Millisecond), float64(steady.Arrivals())/took.Seconds(), silence.longest)
}
