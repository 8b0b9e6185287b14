package forward

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
)

// breakable is a sink with a connection.
type breakable struct {
	sink
	lost chan struct{}
}

func (o *breakable) Lost() <-chan struct{}                   { return o.lost }
func (o *breakable) build(output.Env) (output.Output, error) { return o, nil }

// unsure is a breakable that panics when it is asked for the first time.
type unsure struct {
	breakable
	asked atomic.Bool
}

func (o *unsure) Lost() <-chan struct{} {
	if !o.asked.Swap(true) {
		panic("boom in Lost")
	}
	return o.lost
}

func TestPanicInLostIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), &unsure{breakable: breakable{lost: make(chan struct{})}}
		r.addInput("in", in.build)
		r.addOutput("out", func(output.Env) (output.Output, error) { return out, nil })
		r.start()
		eventually(t, "the panic", func() bool { return r.output("out").Panics == 1 })
		in.send(t, "one")
		eventually(t, "delivered", func() bool { return len(out.records()) == 1 })
		r.mustStop()
	})
}

func TestLostConnectionIsMendedWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		out := &breakable{lost: make(chan struct{}, 1)}
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		var empty []time.Time
		var down atomic.Bool
		out.send = func(_ context.Context, b *output.Batch) error {
			if b.Len() == 0 {
				empty = append(empty, time.Now())
				if b.ID != "" {
					t.Errorf("an empty batch has the id %q", b.ID)
				}
			}
			if down.Load() {
				return errRefused
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		in.send(t, "one")
		eventually(t, "delivered", func() bool { return len(out.records()) == 1 })
		down.Store(true)
		out.lost <- struct{}{}
		eventually(t, "back-off", func() bool { return r.output("out").State == stateRetrying })
		in.send(t, "two")
		time.Sleep(time.Second)
		down.Store(false)
		eventually(t, "delivered after the connection is back", func() bool { return len(out.records()) == 2 })
		if len(empty) < 3 || empty[1].Sub(empty[0]) < firstDelay*8/10 {
			t.Errorf("empty batches at %v, want retries with back-off", empty)
		}
		n := out.sends()
		time.Sleep(time.Hour)
		if out.sends() != n {
			t.Error("sends without anything to do")
		}
		r.mustStop()
	})
}

// stateful is a sink with a state.
type stateful struct {
	sink
	restored []string
	state    string
	prepare  func(*output.Batch) ([]byte, error)
}

func (o *stateful) build(output.Env) (output.Output, error) { return o, nil }
func (o *stateful) Restore(state []byte) error {
	o.restored = append(o.restored, string(state))
	return errors.New("of no use")
}
func (o *stateful) State() []byte { return []byte(o.state) }
func (o *stateful) Prepare(b *output.Batch) ([]byte, error) {
	if o.prepare != nil {
		return o.prepare(b)
	}
	return nil, nil
}

func TestStatefulOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		out := new(stateful)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		store := func() string {
			s := r.stores["/data/checkpoints.db"].Reopen()
			defer s.Close()
			positions, err := s.Load()
			if err != nil {
				t.Error(err)
			}
			for _, p := range positions { // there is one output
				return string(p.State)
			}
			return ""
		}
		prepares := 0
		out.prepare = func(b *output.Batch) ([]byte, error) {
			switch prepares++; prepares {
			case 1:
				return nil, errRefused
			case 2:
				return []byte("prepared"), nil
			}
			return nil, nil
		}
		out.send = func(_ context.Context, b *output.Batch) error {
			if got := store(); prepares == 2 && got != "prepared" {
				t.Errorf("state in the checkpoint at Send is %q", got)
			}
			if prepares == 2 { // a part, and the rest needs a new Prepare
				out.take(b, 0, 2)
				b.Accept(0)
				b.Accept(1)
				out.state = "after 2"
				return output.ErrAgain
			}
			out.take(b, 0, b.Len())
			out.state = fmt.Sprintf("after %d", b.Last)
			return nil
		}
		r.start()
		in.send(t, numbered(0, 5)...)
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		expect(t, "out", out.records(), numbered(0, 5))
		if prepares != 3 {
			t.Errorf("Prepare called %d times, want once before each Send and once that failed", prepares)
		}
		r.mustStop()
		if got := store(); got != "after 5" {
			t.Errorf("state in the checkpoint at the end is %q", got)
		}
		if len(out.restored) != 0 {
			t.Errorf("restored %q though there was nothing", out.restored)
		}
		in.up = make(chan struct{})
		r.start()
		in.send(t, "six")
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		if !slices.Equal(out.restored, []string{"after 5"}) {
			t.Errorf("restored %q", out.restored)
		}
		if len(r.log.with("of no use")) == 0 {
			t.Error("a state that is of no use is not logged")
		}
		r.mustStop()
	})
}

// TestStateOfAnotherType: what is kept of the batches of an output with several requests is no state for the type that it
// is changed to.
func TestStateOfAnotherType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in := newRig(t), newTap()
		r.addInput("in", in.build)
		r.addOutput("out", crowded(new(sink)))
		r.start()
		in.send(t, numbered(0, 5)...)
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		r.mustStop()
		out := new(stateful)
		r.outputs["out"] = out.build
		in.up = make(chan struct{})
		r.start()
		in.send(t, "six")
		eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		if len(out.restored) > 0 || len(out.records()) != 1 {
			t.Errorf("restored %q, got %q", out.restored, out.records())
		}
		r.mustStop()
	})
}
