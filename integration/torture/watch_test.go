package torture

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"logmule/integration/rig"
)

// counted is which metrics are under which names in counters, with their one label's value behind.
var counted = map[string]string{
	"logmule_input_records_total":              "taken/",
	"logmule_input_dropped_datagrams_total":    "dropped/",
	"logmule_output_records_total":             "given/",
	"logmule_output_lost_records_total":        "lost/",
	"logmule_output_backlog_records":           "backlog/",
	"logmule_output_dead_letter_records_total": "deadletters/",
	"logmule_reloads_total":                    "reloads/",
	"logmule_queue_mark_sequence":              "mark/",
	"logmule_queue_next_sequence":              "next/",
	"logmule_queue_fault":                      "fault/",
	"logmule_queue_full":                       "full/",
	"logmule_queue_segments":                   "segments/",
	"logmule_queue_ledger_records":             "ledger/",
	"logmule_queue_sync_errors_total":          "syncerrors/",
	"logmule_queue_checkpoint_errors_total":    "saveerrors/",
	"logmule_queue_checkpoint_saves_total":     "saves/",
	"process_resident_memory_bytes":            "memory/",
	"process_open_fds":                         "descriptors/",
	"go_goroutines":                            "goroutines/",
}

// counters reads those metrics at one moment; nil where the daemon does not answer.
func (w *world) counters() map[string]float64 {
	w.t.Helper()
	_, body, err := w.Proc.Get("/metrics")
	if err != nil {
		return nil
	}
	all := map[string]float64{}
	for line := range bytes.Lines(body) {
		text := string(bytes.TrimSpace(line))
		name, rest, _ := strings.Cut(text, " ")
		metric, label, _ := strings.Cut(name, "{")
		short, ok := counted[metric]
		if !ok {
			continue
		}
		_, label, _ = strings.Cut(label, `="`)
		label, _, _ = strings.Cut(label, `"`)
		value, err := strconv.ParseFloat(rest, 64)
		must(w.t, err)
		all[short+label] += value
	}
	return all
}

// watched is what a daemon took over a time: at its highest, and at its highest in the last third of it.
type watched struct {
	memory, descriptors, goroutines float64
	late                            struct{ memory, descriptors, goroutines float64 }
}

// watch looks at memory, descriptors and goroutines until the function it gives is called.
func (w *world) watch() (stop func() watched) {
	var all []map[string]float64
	end := rig.Background(w.t, func(ctx context.Context) error {
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			if now := w.counters(); len(now) > 0 {
				all = append(all, now)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
	return func() (s watched) {
		_ = end()
		for i, now := range all {
			s.memory, s.descriptors, s.goroutines = max(s.memory, now["memory/"]), max(s.descriptors, now["descriptors/"]), max(s.goroutines, now["goroutines/"])
			if i >= 2*len(all)/3 {
				s.late.memory, s.late.descriptors, s.late.goroutines = max(s.late.memory, now["memory/"]), max(s.late.descriptors, now["descriptors/"]), max(s.late.goroutines, now["goroutines/"])
			}
		}
		return s
	}
}

func (s watched) String() string {
	return fmt.Sprintf("at most %.0f MiB of memory, %.0f descriptors, %.0f goroutines", s.memory/(1<<20), s.descriptors, s.goroutines)
}

// bounded fails the test where more was taken than that.
func (s watched) bounded(t *testing.T, memory, descriptors, goroutines float64) {
	t.Helper()
	if s.memory == 0 {
		t.Error("nothing was watched: the admin pages did not answer")
	}
	if rig.RaceEnabled {
		memory *= 4 // the detector's shadow of it
	}
	if s.memory > memory || s.descriptors > descriptors || s.goroutines > goroutines {
		t.Errorf("%v; the bounds are %.0f MiB, %.0f and %.0f", s, memory/(1<<20), descriptors, goroutines)
	}
}
