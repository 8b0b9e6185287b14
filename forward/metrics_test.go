package forward

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"logmule/recovery"
)

// row is a line of a table in docs/metrics.md.
var row = regexp.MustCompile("(?m)^\\| `(logmule_[a-z_]+)` \\| (counter|gauge) \\| ([a-z, ]*) \\| (.+) \\|$")

// lose writes a loss into the ledger before the start.
func (r *rig) lose() {
	r.t.Helper()
	err := r.fs.MkdirAll("/data")
	if err != nil {
		r.t.Fatal(err)
	}
	ledger, err := recovery.OpenLedger(r.fs, "/data")
	if err == nil {
		err = ledger.Add(recovery.Loss{First: 0, Count: 7, Cause: recovery.CauseDropNewest, Acknowledged: recovery.NotAcknowledged})
	}
	if err == nil {
		err = ledger.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestMetricsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = strings.Join([]string{m[2], strings.TrimSpace(m[3]), m[4]}, "|")
	}
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.lose()
		r.start()
		registry := prometheus.NewPedanticRegistry()
		if err := registry.Register(r.e); err != nil {
			t.Fatal(err)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range families {
			names = append(names, f.GetName())
			var labels []string
			for _, l := range f.Metric[0].Label {
				labels = append(labels, l.GetName())
			}
			want := strings.Join([]string{strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp()}, "|")
			if got := documented[f.GetName()]; got != want {
				t.Errorf("docs/metrics.md says of %s %q, the registry %q", f.GetName(), got, want)
			}
			delete(documented, f.GetName())
			if counts := strings.HasSuffix(f.GetName(), "_total"); counts != (f.GetType().String() == "COUNTER") {
				t.Errorf("%s is a %s", f.GetName(), f.GetType())
			}
		}
		for name := range documented {
			t.Errorf("docs/metrics.md has %s, the registry has not", name)
		}
		// Names that the page mentions outside of its tables exist too.
		for _, name := range regexp.MustCompile(`logmule_[a-z_]+`).FindAllString(string(page), -1) {
			if !slices.Contains(names, name) && name != "logmule_" {
				t.Errorf("docs/metrics.md mentions %s, which does not exist", name)
			}
		}
		r.mustStop()
	})
}

func TestStatusIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, "one")
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		text, err := json.Marshal(r.e.Status())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"version", "pid", "uptime_seconds", "state", "healthy", "queue", "inputs", "outputs"} {
			if got[key] == nil {
				t.Errorf("status lacks %s: %s", key, text)
			}
		}
		q := got["queue"].(map[string]any)
		for key, want := range map[string]any{"mark": 1.0, "next": 2.0, "segments": 1.0, "appended_records": 1.0, "dir": "/data"} {
			if q[key] != want {
				t.Errorf("queue.%s = %v, want %v", key, q[key], want)
			}
		}
		if q["id"] == "" || q["bytes"].(float64) < 4096 {
			t.Errorf("queue: %v", q)
		}
		o := got["outputs"].([]any)[0].(map[string]any)
		for _, key := range []string{"name", "type", "state", "backlog_records", "backlog_bytes", "lag_seconds", "records", "bytes", "retries", "dead_letters", "lost_records"} {
			if o[key] == nil {
				t.Errorf("output lacks %s: %v", key, o)
			}
		}
		page := r.e.status().String()
		for _, want := range []string{"ready", "/data", "INPUT", "in ", "tap", "OUTPUT", "out ", "idle"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page lacks %q:\n%s", want, page)
			}
		}
		if n := strings.Count(page, "\n"); n > 24 {
			t.Errorf("the page has %d lines, more than a screen", n)
		}
		r.mustStop()
	})
}
