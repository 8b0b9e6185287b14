package input

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

// checkGenerated holds records against what they must be: dense, of one run, of one size, told by their number.
func checkGenerated(t *testing.T, records []line, size int) (run string) {
	t.Helper()
	for i, l := range records {
		var seq int
		var this string
		if _, err := fmt.Sscanf(l.text, "seq=%012d run=%s ", &seq, &this); err != nil {
			t.Fatalf("record %s: %v", show(l), err)
		}
		if seq != i+1 || len(l.text) != size || run != "" && this != run {
			t.Fatalf("record %d is %s", i+1, show(l))
		}
		run = this
		if want := string(appendGenerated(nil, int64(seq), run, size)); l.text+"\n" != want {
			t.Fatalf("record %d is %q, want %q", i+1, l.text, want)
		}
	}
	return run
}

func TestGenerateCount(t *testing.T) {
	runs := make(map[string]bool)
	for _, size := range []int{generatePrefix, 100, 128, 5000} {
		st := newStore()
		r := begin[*generate](t, "generate", fmt.Sprintf("count = 1234\nsize = \"%dB\"\n", size), st.emit)
		if err := r.end(t); err != nil {
			t.Errorf("Run returns %v", err)
		}
		records := st.wait(t, 1234)
		if len(records) != 1234 {
			t.Errorf("%d records, want 1234", len(records))
		}
		runs[checkGenerated(t, records, size)] = true
	}
	if len(runs) != 4 {
		t.Errorf("%d run ids in 4 runs", len(runs))
	}
}

func TestGenerateEndless(t *testing.T) {
	for _, rate := range []string{"", "rate = 100000\n"} {
		st := newStore()
		r := begin[*generate](t, "generate", rate, st.emit)
		st.wait(t, 3000)
		r.stop()
		if err := r.end(t); err != nil {
			t.Errorf("Run returns %v", err)
		}
		checkGenerated(t, st.records(), 128)
	}
}

// TestGenerateDropped goes on when the queue drops, so that the loss shows in the numbers.
func TestGenerateDropped(t *testing.T) {
	st := newStore()
	first := true
	st.refuse = func(*pack.Pack) error {
		defer func() { first = false }()
		if first {
			return ErrDropped
		}
		return nil
	}
	r := begin[*generate](t, "generate", "count = 2000\n", st.emit)
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	records := st.wait(t, 0)
	if len(records) == 2000 || !strings.HasPrefix(records[len(records)-1].text, "seq=000000002000 ") {
		t.Errorf("%d records, the last %s", len(records), show(records[len(records)-1]))
	}
}

func TestGenerateFailure(t *testing.T) {
	fault := errors.New("disk on fire")
	in, err := New("generate", section(t, "generate", ""), Env{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	err = in.Run(t.Context(), func(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, fault })
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), "input test") {
		t.Errorf("Run returns %v", err)
	}
}

// TestPace plays a clock.
func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		rate  int64
		after []time.Duration
		want  []int64
	}{
		"no limit":        {0, []time.Duration{0, 0}, []int64{500, 500}},
		"ten a second":    {10, []time.Duration{0, 1, 99 * time.Millisecond, 100 * time.Millisecond, 450 * time.Millisecond}, []int64{1, 0, 0, 1, 3}},
		"no drift":        {3, []time.Duration{0, time.Second, 1999 * time.Millisecond, 2001 * time.Millisecond}, []int64{1, 3, 2, 1}},
		"most":            {1e6, []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}, []int64{500, 500}},
		"held up":         {100, []time.Duration{0, time.Minute, time.Minute + 10*time.Millisecond}, []int64{1, 1, 1}},
		"clock goes back": {100, []time.Duration{0, -time.Hour}, []int64{1, 0}},
	} {
		p := pace{rate: c.rate, next: start}
		for i, d := range c.after {
			n, pause := p.due(start.Add(d), 500)
			if n != c.want[i] || n == 0 != (pause > 0) {
				t.Errorf("%s: step %d: %d records are due, pause %v, want %d", name, i, n, pause, c.want[i])
			}
		}
	}
}
