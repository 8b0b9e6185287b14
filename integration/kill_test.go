package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"logmule/integration/rig"
)

// moody is a destination that mostly accepts and now and then answers 500, late, or not at all, having stored the
// records or not.
func moody(r *rand.Rand) func() rig.Answer {
	return func() rig.Answer {
		switch n := r.IntN(100); {
		case n < 4:
			return rig.Answer{Status: http.StatusInternalServerError}
		case n < 6:
			return rig.Answer{Store: true, Status: http.StatusInternalServerError}
		case n < 14:
			return rig.Answer{Store: true, After: time.Duration(r.IntN(150)) * time.Millisecond}
		case n < 16:
			return rig.Answer{Hang: true}
		case n < 18:
			return rig.Answer{Hang: true, Store: true}
		default:
			return rig.Accept
		}
	}
}

// TestKillDuringIngest kills the daemon again and again while clients post: every acknowledged record arrives, in
// order, and nothing is repeated but what was in flight.
func TestKillDuringIngest(t *testing.T) {
	const rounds = 50
	moments := 400 // milliseconds after the start
	if full {
		moments = 1500
	}
	in := freeAddress(t)
	sinkAddress := freeAddress(t)
	l := newLab(t, fmt.Sprintf(`
[queue]
segment_size = "1MiB"
[input.in]
type = "http"
listen = %q
[output.out]
type = "http"
url = "http://%s/logs"
timeout = "500ms"
`, in, sinkAddress))
	destination := l.judge.Destination("out")
	sink := httpSink(t, sinkAddress, destination.Arrived)
	sink.Answer(moody(l.judge.Rand("answers")))
	kills := l.judge.Rand("kills")

	var stops []func() map[int]int
	for i := range 4 {
		s := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source(fmt.Sprintf("client-%d", i)), Batch: 1 + i*20, Every: 2 * time.Millisecond}
		stops = append(stops, background(t, s.Run))
	}
	var starts []time.Duration
	repeatable := 0
	kill := func() { // what came last may have been answered when the daemon had no time to read that: it is delivered again
		l.Proc.Kill()
		must(t, rig.Wait(patience, "what was sent has come", sink.Left))
		repeatable += sink.Newest()
	}
	for range rounds {
		starts = append(starts, l.start())
		owed := l.judge.Owed()
		<-time.After(time.Duration(kills.IntN(moments)) * time.Millisecond) // the random one
		l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed })
		kill()
		if kills.IntN(5) == 0 { // and once more, in the middle of the recovery
			l.launch()
			<-time.After(time.Duration(kills.IntN(40)) * time.Millisecond)
			kill()
		}
	}
	starts = append(starts, l.start())
	owed := l.judge.Owed()
	l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed+1000 })
	for _, stop := range stops {
		t.Logf("answers to a client: %v", stop())
	}
	sink.Answer(func() rig.Answer { return rig.Accept })
	l.drained(destination)
	t.Logf("stored without an answer: %d records; stored last before a kill: %d", sink.Untold(), repeatable)
	l.verdict(sink.Untold() + repeatable)
	slices.Sort(starts)
	t.Logf("ready after start: median %v, worst %v of %d", starts[len(starts)/2], starts[len(starts)-1], len(starts))
	if worst := starts[len(starts)-1]; worst > patience/2 {
		t.Errorf("the slowest start took %v", worst)
	}
}

// TestBatchIDsSurviveKills: a destination that drops batches whose id it has seen gets every record exactly once, over
// kills in the middle of requests.
func TestBatchIDsSurviveKills(t *testing.T) {
	in, sinkAddress := freeAddress(t), freeAddress(t)
	l := newLab(t, fmt.Sprintf(`
[input.in]
type = "http"
listen = %q
[output.out]
type = "http"
url = "http://%s/logs"
timeout = "500ms"
`, in, sinkAddress))
	destination := l.judge.Destination("out")
	sink := httpSink(t, sinkAddress, destination.Arrived)
	sink.Once()
	sink.Answer(moody(l.judge.Rand("answers")))
	kills := l.judge.Rand("kills")
	s := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Batch: 7, Every: time.Millisecond}
	stop := background(t, s.Run)
	for range 15 {
		l.start()
		owed := l.judge.Owed()
		l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed })
		<-time.After(time.Duration(kills.IntN(200)) * time.Millisecond) // the random moment
		l.Proc.Kill()
	}
	l.start()
	stop()
	sink.Answer(func() rig.Answer { return rig.Accept })
	l.drained(destination)
	t.Logf("%d repeated batches recognised", sink.Repeats())
	l.verdict(0)
}
