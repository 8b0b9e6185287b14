package forward

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/forward/pack"
)

// moody is a destination that takes parts of batches, refuses, fails, is slow and panics, and remembers what it took.
type moody struct {
	mu     sync.Mutex // guards everything below
	rng    *rand.Rand
	taken  []int
	broken error
}

func (m *moody) roll(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(n)
}

func (m *moody) Concurrent() {}

func (m *moody) Send(ctx context.Context, b *output.Batch) error {
	switch mood := m.roll(20); {
	case mood == 0:
		panic("mood")
	case mood < 4:
		return errors.New("mood")
	}
	pause(ctx, time.Duration(m.roll(1500))*time.Millisecond)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	left := b.Len()
	if m.roll(3) == 0 {
		left = m.roll(b.Len() + 1)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range left {
		if !b.IsPending(i) {
			continue
		}
		var record pack.Record
		var number int
		if err := b.Record(i, &record); err != nil {
			m.broken = err
		}
		if _, err := fmt.Sscanf(string(record.Payload), "record %d", &number); err != nil || b.First+uint64(i) != uint64(number+1) {
			m.broken = fmt.Errorf("sequence %d has %q", b.First+uint64(i), record.Payload)
		}
		if number%17 == 0 {
			b.Reject(i, "never")
			continue
		}
		m.taken = append(m.taken, number)
		b.Accept(i)
	}
	if b.Pending() == 0 {
		return nil
	}
	if m.rng.IntN(2) == 0 {
		return output.ErrAgain
	}
	return errors.New("the rest another time")
}

// TestStorm: over failures, panics, dead letters, restarts and reloads that change how many requests are under way, each record that
// an output wants is taken or a dead letter, once, and with one request at a time in order.
func TestStorm(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) { storm(t, seed) })
	}
}

func storm(t *testing.T, seed uint64) {
	const records = 3000
	r, in := newRig(t), newTap()
	r.reloadable()
	r.cfg.ShutdownTimeout = config.Duration(10 * time.Second)
	r.addInput("in", in.build)
	m := &moody{rng: rand.New(rand.NewPCG(seed, 1))}
	ordered := seed%2 == 0
	r.outputs["out"] = func(output.Env) (output.Output, error) { return m, nil }
	section := func() []config.Section {
		inFlight := 1
		if !ordered {
			inFlight = 1 + m.roll(4)
		}
		return []config.Section{r.section("out", fmt.Sprintf("in_flight = %d\nrate_limit = '%dB'\nmatch = 'not (payload endsWith \"3\")'", inFlight, 500+m.roll(3000)))}
	}
	r.cfg.Outputs = section()
	r.start()
	for n := 0; n < records; {
		many := min(1+m.roll(200), records-n)
		in.send(t, numbered(n, many)...)
		n += many
		if m.roll(10) == 0 {
			r.mustStop()
			in.up = make(chan struct{})
			r.start()
		}
		if m.roll(4) == 0 {
			r.reload(func(c *config.Config) { c.Outputs = section() })
		}
		time.Sleep(time.Duration(m.roll(3000)) * time.Millisecond)
	}
	eventually(t, "all is done", func() bool { return r.output("out").BacklogRecords == 0 })
	r.mustStop()
	times := map[int]int{}
	for i, n := range m.taken {
		times[n]++
		if ordered && i > 0 && m.taken[i-1] >= n {
			t.Fatalf("seed %d: %d comes after %d", seed, n, m.taken[i-1])
		}
	}
	for _, l := range r.letters() {
		var n int
		if _, err := fmt.Sscanf(string(l.Payload), "record %d", &n); err != nil || n%17 != 0 || field(l, "deadletter_sequence") != int64(n+1) {
			t.Fatalf("dead letter %q", l.Payload)
		}
		times[n]++
	}
	for n := range records {
		want := 1
		if strings.HasSuffix(fmt.Sprint(n), "3") {
			want = 0
		}
		if times[n] != want {
			t.Errorf("seed %d: record %d came %d times, want %d", seed, n, times[n], want)
		}
	}
	if m.broken != nil {
		t.Error(m.broken)
	}
}
