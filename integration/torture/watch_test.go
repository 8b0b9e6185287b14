package torture

import (
	"context"
	"fmt"
	"testing"
	"time"

	"logmule/integration/rig"
)

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
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if now := w.counters(); len(now) > 0 {
				all = append(all, now)
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
	if s.memory > memory || s.descriptors > descriptors || s.goroutines > goroutines {
		t.Errorf("%v; the bounds are %.0f MiB, %.0f and %.0f", s, memory/(1<<20), descriptors, goroutines)
	}
}
