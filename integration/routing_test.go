package integration

import (
	"fmt"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// TestRoutingSurvivesKills: two outputs whose match divides the records between them, each with several requests under
// way, deliver every record exactly once to a destination that drops batches whose id it has seen, over kills in the
// middle of requests.
func TestRoutingSurvivesKills(t *testing.T) {
	in, sinkAddress := freeAddress(t), freeAddress(t)
	l := newLab(t, fmt.Sprintf(`
[input.in]
type = "http"
listen = %[1]q
[output.some]
type = "http"
url = "http://%[2]s/logs"
timeout = "500ms"
match = 'payload contains "7"'
in_flight = 3
max_batch = "16KiB"
[output.others]
type = "http"
url = "http://%[2]s/logs"
timeout = "500ms"
match = 'not (payload contains "7") and type == "in"'
from = ["in"]
in_flight = 4
`, in, sinkAddress))
	destination := l.judge.Destination("both")
	sink := httpSink(t, sinkAddress, destination.Arrived)
	sink.Once()
	sink.Answer(moody(l.judge.Rand("answers")))
	kills := l.judge.Rand("kills")
	var stops []func() map[int]int
	for i := range 3 {
		s := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source(fmt.Sprintf("client-%d", i)), Batch: 7, Every: time.Millisecond}
		stops = append(stops, background(t, s.Run))
	}
	for range 12 {
		l.start()
		owed := l.judge.Owed()
		l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed })
		<-time.After(time.Duration(kills.IntN(250)) * time.Millisecond) // the random moment
		l.Proc.Kill()
	}
	l.start()
	for _, stop := range stops {
		stop()
	}
	sink.Answer(func() rig.Answer { return rig.Accept })
	l.drained(destination)
	t.Logf("%d repeated batches recognised", sink.Repeats())
	v := l.judge.Verdict()
	for i := range v.Findings {
		v.Findings[i].Disordered = judge.Tally{} // the order is not kept with several requests
	}
	if err := v.Err(0); err != nil {
		t.Error(err)
	}
	for _, f := range v.Findings {
		t.Logf("%d sent, %d acknowledged, %d arrived", f.Sent, f.Owed, f.Arrived)
	}
}
