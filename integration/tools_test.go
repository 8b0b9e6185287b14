package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/rig"
)

// backlogBySurvey is the sum of the backlogs that `logmule stat --json` reads from the directory; more than can be while the log
// does not know of any output yet.
func (l *lab) backlogBySurvey() (n uint64) {
	l.t.Helper()
	var survey struct {
		Outputs []struct {
			Backlog uint64 `json:"backlog_records"`
		} `json:"outputs"`
	}
	l.json(&survey, "stat", l.data, "--json")
	if len(survey.Outputs) == 0 {
		return math.MaxUint64
	}
	for _, o := range survey.Outputs {
		n += o.Backlog
	}
	return n
}

// json runs a subcommand that prints one object, and nothing else, on stdout.
func (l *lab) json(into any, args ...string) {
	l.t.Helper()
	out, err := exec.Command(binary(l.t), args...).Output()
	must(l.t, err)
	if err := json.Unmarshal(out, into); err != nil {
		l.t.Fatalf("%v printed no JSON: %v\n%s", args, err, out)
	}
}

// stat, cat and fsck read the queue of a daemon at work without disturbing it.
func TestToolsOnALiveQueue(t *testing.T) {
	in, out := freeAddress(t), freeAddress(t)
	l := newLab(t, fmt.Sprintf(`
[queue]
segment_size = "1MiB"
[input.in]
type = "http"
listen = %q
[output.out]
type = "http"
url = "http://%s/"
`, in, out))
	l.start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Every: time.Millisecond, Size: 500}
	stop := background(t, source.Run)
	for range 5 {
		owed := source.Source.Owed()
		l.wait("records are stored", func() bool { return source.Source.Owed() > owed+500 })
		var report struct {
			Clean   bool   `json:"clean"`
			Records uint64 `json:"records"`
			Damage  []any  `json:"damage"`
		}
		l.json(&report, "fsck", l.data, "--json")
		if !report.Clean || len(report.Damage) > 0 || report.Records < owed {
			t.Errorf("fsck beside the daemon: %+v, at least %d records are durable", report, owed)
		}
	}
	stop()
	cat := l.judge.Destination("cat")
	raw, err := exec.Command(binary(t), "cat", l.data, "--format", "raw").Output()
	must(t, err)
	rig.Lines(raw, cat.Arrived)
	l.wait("stat counts all", func() bool { return l.backlogBySurvey() == source.Source.Owed() })

	segments, err := filepath.Glob(filepath.Join(l.data, "segments", "*.seg"))
	must(t, err)
	one := l.judge.Destination("cat of each segment")
	for _, name := range segments {
		raw, err := exec.Command(binary(t), "cat", name, "--format", "raw").Output()
		must(t, err)
		rig.Lines(raw, one.Arrived)
	}
	d := l.judge.Destination("out")
	httpSink(t, out, d.Arrived)
	l.drained(d)
	l.verdict(0)
}
