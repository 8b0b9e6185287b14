package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/queue/vfs/faultfs"
)

// addOutputWith is addOutput with keys.
func (r *rig) addOutputWith(name, keys string, build func(output.Env) (output.Output, error)) {
	r.t.Helper()
	r.cfg.Outputs = append(r.cfg.Outputs, r.section(name, keys))
	r.outputs[name] = build
}

// section is that of an output.
func (r *rig) section(name, keys string) config.Section {
	r.t.Helper()
	cfg, err := config.Parse("rig", []byte("data_dir = '/x'\n[input.x]\ntype = 'stdin'\n[output."+name+"]\ntype = 'stdout'\n"+keys))
	if err != nil {
		r.t.Fatal(err)
	}
	return cfg.Outputs[0]
}

// crowd is a sink of which there may be several.
type crowd struct{ *sink }

func (crowd) Concurrent() {}

// crowded builds outputs that share what a sink keeps.
func crowded(out *sink) func(output.Env) (output.Output, error) {
	return func(output.Env) (output.Output, error) { return crowd{out}, nil }
}

// TestInFlight: as many requests as in_flight says are under way at once, and everything arrives once.
func TestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		var mu sync.Mutex
		now, most := 0, 0
		out.send = func(ctx context.Context, b *output.Batch) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			pause(ctx, time.Second)
			out.take(b, 0, b.Len())
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		}
		r.addOutputWith("out", "in_flight = 5\nrate_limit = '900B'", crowded(out)) // so that batches are small
		r.start()
		var want []string
		for i := range 100 {
			records := numbered(i*40, 40)
			in.send(t, records...)
			want = append(want, records...)
		}
		eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		got := out.records()
		slices.Sort(got)
		expect(t, "out", got, want)
		if most > 5 {
			t.Errorf("%d requests at once, want at most 5", most)
		}
		r.mustStop()
		if out.closed != 5 {
			t.Errorf("%d outputs were closed, want 5", out.closed)
		}
	})
}

// TestInFlightOvertakes: a batch that keeps failing stops nobody, holds the position, and comes in the end; with one
// request in flight nothing overtakes.
func TestInFlightOvertakes(t *testing.T) {
	for inFlight, overtakes := range map[int]bool{1: false, 2: true, 8: true} {
		synctest.Test(t, func(t *testing.T) {
			r, in, out := newRig(t), newTap(), new(sink)
			r.addInput("in", in.build)
			var mu sync.Mutex
			bad := true
			var ids []string
			out.send = func(ctx context.Context, b *output.Batch) error {
				mu.Lock()
				defer mu.Unlock()
				if b.First == 1 && bad {
					ids = append(ids, b.ID)
					return errRefused
				}
				out.take(b, 0, b.Len())
				return nil
			}
			r.addOutputWith("out", fmt.Sprintf("in_flight = %d", inFlight), crowded(out))
			r.start()
			for i := range 10 {
				in.send(t, numbered(i*10, 10)...)
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if n := len(out.records()); n != 90 && overtakes || n != 0 && !overtakes {
				t.Errorf("in_flight = %d: %d records while the first batch fails", inFlight, n)
			}
			if o := r.output("out"); o.Position != 1 || o.State != stateRetrying || o.NextRetry == nil || o.LastError != errRefused.Error() {
				t.Errorf("in_flight = %d: status %+v", inFlight, o)
			}
			mu.Lock()
			bad = false
			mu.Unlock()
			eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
			got := out.records()
			if overtakes {
				expect(t, "out", got[90:], numbered(0, 10))
				slices.Sort(got)
			}
			expect(t, "out", got, numbered(0, 100))
			if o := r.output("out"); o.Position != 101 || o.State != stateIdle || o.NextRetry != nil {
				t.Errorf("in_flight = %d: status %+v", inFlight, o)
			}
			if first := slices.Compact(ids); len(ids) < 2 || len(first) != 1 {
				t.Errorf("in_flight = %d: the batch had the IDs %q over its retries", inFlight, first)
			}
			r.mustStop()
		})
	}
}

// TestInFlightStops: a stop ends back-off at once, and lets the requests in flight finish.
func TestInFlightStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		out.send = func(ctx context.Context, b *output.Batch) error {
			if b.First%20 == 1 {
				return errRefused
			}
			pause(ctx, 3*time.Second)
			out.take(b, 0, b.Len())
			return ctx.Err()
		}
		r.addOutputWith("out", "in_flight = 6", crowded(out))
		r.start()
		for i := range 6 {
			in.send(t, numbered(i*10, 10)...)
			synctest.Wait()
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		r.mustStop()
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if n := len(out.records()); n != 30 {
			t.Errorf("%d records, want the 30 of the batches that did not fail", n)
		}
	})
}

// stranger is a destination for several outputs at once that fails in every way there is.
type stranger struct {
	mu   sync.Mutex
	rand *rand.Rand
	got  map[string]int
	bad  int // how often out of 100 something goes wrong
}

func (d *stranger) build(output.Env) (output.Output, error) {
	out := new(sink)
	out.send = func(ctx context.Context, b *output.Batch) error {
		pause(ctx, time.Duration(d.draw(50))*time.Millisecond)
		d.mu.Lock()
		defer d.mu.Unlock()
		fate := d.rand.IntN(100)
		for i := range b.Len() {
			if !b.IsPending(i) {
				continue
			}
			if fate < d.bad && d.rand.IntN(3) == 0 {
				switch fate % 3 {
				case 0:
					return errRefused
				case 1:
					return output.ErrAgain
				default:
					panic("a bug in an output")
				}
			}
			record := strings.TrimSuffix(string(slices.Concat(b.AppendLines(nil, i, i+1)...)), "\n")
			if strings.HasSuffix(record, "3") {
				b.Reject(i, "refused for good")
				continue
			}
			d.got[record]++
			b.Accept(i)
		}
		if fate == 99 {
			return errRefused // though all were accepted
		}
		return nil
	}
	return crowd{out}, nil
}

func (d *stranger) draw(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rand.IntN(n)
}

// TestInFlightModel runs outputs that fail, refuse and panic at random, on a disk that loses power at a random operation:
// every acknowledged record arrives or is a dead letter.
func TestInFlightModel(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) { inFlightModel(t, uint64(seed)) })
	}
}

func inFlightModel(t *testing.T, seed uint64) {
	rand := rand.New(rand.NewPCG(seed, 1))
	there := &stranger{rand: rand, got: map[string]int{}, bad: 60}
	r, in := newRig(t), newTap()
	r.addInput("in", in.build)
	r.addOutputWith("out", fmt.Sprintf("in_flight = %d\nrate_limit = '4KiB'", 1+rand.IntN(9)), there.build)
	var acknowledged []string
	for life := range 3 {
		if life < 2 {
			r.fs.CrashAt(r.fs.Ops() + 20 + rand.IntN(120))
		}
		in.up = make(chan struct{})
		r.start()
		for range 8 {
			records := numbered(len(acknowledged), 1+there.draw(30))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if r.running() && in.trySend(ctx, records...) == nil {
				acknowledged = append(acknowledged, records...)
			}
			cancel()
			time.Sleep(time.Duration(there.draw(100)) * time.Millisecond)
		}
		if life == 2 {
			break
		}
		time.Sleep(time.Duration(there.draw(3000)) * time.Millisecond)
		r.stop() // what it says of the dead disk does not matter
		r.fs = r.fs.Crash([]faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder}[rand.IntN(3)], seed)
	}
	eventually(t, fmt.Sprintf("seed %d: everything is done", seed), func() bool { return r.output("out").BacklogRecords == 0 })
	r.mustStop()
	have := map[string]bool{}
	for record := range there.got {
		have[record] = true
	}
	for _, letter := range r.letters() {
		have[string(letter.Payload)] = true
	}
	lost := slices.DeleteFunc(acknowledged, func(record string) bool { return have[record] })
	if len(lost) > 0 {
		t.Errorf("seed %d: %d acknowledged records are lost: %q", seed, len(lost), lost)
	}
}
