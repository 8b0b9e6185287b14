package forward

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
)

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		var want []string
		for i := range 20 {
			records := numbered(i*1000, 1000)
			in.send(t, records...)
			want = append(want, records...)
		}
		eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		expect(t, "out", out.records(), want)
		if o := r.output("out"); o.State != stateIdle || o.Records != 20000 || o.Position != 20001 || o.LagSeconds != 0 {
			t.Errorf("status of the output: %+v", o)
		}
		if s := r.e.status(); s.State != engineReady || s.Inputs[0].Records != 20000 || s.Inputs[0].Address != "tap" || s.Inputs[0].State != stateListening {
			t.Errorf("status: %+v", s)
		}
		r.mustStop()
		if out.closed != 1 {
			t.Errorf("output closed %d times", out.closed)
		}
	})
}

func TestResumesAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, numbered(0, 10)...)
		eventually(t, "delivered", func() bool { return len(out.records()) == 10 })
		r.mustStop()

		out.send = func(context.Context, *output.Batch) error { return errRefused }
		in.up = make(chan struct{})
		r.start()
		in.send(t, numbered(10, 10)...)
		r.mustStop()

		out.send = nil
		in.up = make(chan struct{})
		r.start()
		eventually(t, "the rest is delivered", func() bool { return len(out.records()) == 20 })
		r.mustStop()
		expect(t, "out", out.records(), numbered(0, 20))
	})
}

func TestRetriesTheSameBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		var at []time.Time
		out.send = func(_ context.Context, b *output.Batch) error {
			at = append(at, time.Now())
			if len(at) < 12 {
				return errRefused
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		in.send(t, numbered(0, 5)...)
		eventually(t, "first failure", func() bool { return r.output("out").State == stateRetrying })
		if o := r.output("out"); o.LastError != errRefused.Error() || o.NextRetry == nil || o.LastErrorAt == nil || o.BacklogRecords != 5 {
			t.Errorf("status while retrying: %+v", o)
		}
		if ok, why := r.e.Ready(); !ok {
			t.Errorf("not ready because of an output: %s", why)
		}
		in.send(t, numbered(5, 5)...)
		eventually(t, "everything is delivered", func() bool { return len(out.records()) == 10 })
		expect(t, "out", out.records(), numbered(0, 10))
		want := firstDelay
		for i := 1; i < 12; i++ {
			if d := at[i].Sub(at[i-1]); d < want*8/10 || d > min(want*12/10, longestDelay) {
				t.Errorf("attempt %d came after %v, want about %v", i+1, d, want)
			}
			want = min(2*want, longestDelay)
		}
		ids := slices.Compact(slices.Clone(out.ids))
		if len(ids) != 2 || !strings.HasSuffix(ids[0], "-1-5") || !strings.HasSuffix(ids[1], "-6-10") {
			t.Errorf("batch ids %q, want one for all attempts at each batch", ids)
		}
		if o := r.output("out"); o.State != stateIdle || o.Retries != 11 || o.NextRetry != nil {
			t.Errorf("status after recovery: %+v", o)
		}
		if got := r.log.with(outputWords.first, "connection refused"); len(got) != 1 {
			t.Errorf("first failure logged %d times", len(got))
		}
		if got := r.log.with(outputWords.over); len(got) != 1 {
			t.Errorf("recovery logged %d times", len(got))
		}
		r.mustStop()
	})
}

func TestEachOutageBeginsWithTheFirstDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		calls := 0
		var last time.Time
		var waits []time.Duration
		out.send = func(_ context.Context, b *output.Batch) error {
			if calls++; calls%5 == 2 { // the second attempt of each outage
				waits = append(waits, time.Since(last))
			}
			last = time.Now()
			if calls%5 == 0 {
				return nil
			}
			return errRefused
		}
		r.start()
		for range 3 {
			in.send(t, "one")
			eventually(t, "delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		}
		for i, d := range waits {
			if d > firstDelay*12/10 {
				t.Errorf("outage %d: the second attempt came after %v", i, d)
			}
		}
		if len(waits) != 3 {
			t.Errorf("%d outages", len(waits))
		}
		r.mustStop()
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		var first, second time.Time
		out.send = func(context.Context, *output.Batch) error {
			if first.IsZero() {
				first = time.Now()
				return fmt.Errorf("post: %w", &output.RetryError{After: 90 * time.Second, Err: errRefused})
			}
			second = time.Now()
			return nil
		}
		r.start()
		in.send(t, "one")
		eventually(t, "second attempt", func() bool { return r.output("out").BacklogRecords == 0 })
		if second.Sub(first) != 90*time.Second {
			t.Errorf("second attempt after %v, want the 90 s that were asked for", second.Sub(first))
		}
		r.mustStop()
	})
}

func TestPartialAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		attempt := 0
		out.send = func(_ context.Context, b *output.Batch) error {
			switch attempt++; attempt {
			case 1: // 0 to 2 and 5 at once, the rest fails
				for _, i := range []int{0, 1, 2, 5} {
					out.take(b, i, i+1)
					b.Accept(i)
				}
				return errRefused
			case 2: // nothing
				return errRefused
			case 3: // some more, and again at once
				out.take(b, 3, 5)
				b.Accept(3)
				b.Accept(4)
				return output.ErrAgain
			}
			out.take(b, 0, b.Len())
			return nil
		}
		r.start()
		in.send(t, numbered(0, 10)...)
		eventually(t, "first failure", func() bool { return r.output("out").State == stateRetrying })
		if o := r.output("out"); o.Position != 4 || o.BacklogRecords != 6 || o.Records != 4 {
			t.Errorf("after a part was accepted: %+v", o)
		}
		eventually(t, "everything is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
		got := out.records()
		slices.Sort(got)
		expect(t, "out", got, numbered(0, 10))
		if o := r.output("out"); o.Records != 10 || o.Retries != 2 {
			t.Errorf("records counted %d, retries %d, want 10 and 2", o.Records, o.Retries)
		}
		r.mustStop()
	})
}

func TestAgainWithoutProgressBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		out.send = func(context.Context, *output.Batch) error { return output.ErrAgain }
		r.start()
		in.send(t, "one")
		eventually(t, "back-off", func() bool { return r.output("out").State == stateRetrying })
		if n := out.sends(); n != patience+1 {
			t.Errorf("%d calls before the back-off, want %d", n, patience+1)
		}
		r.mustStop()
	})
}

func TestDeadOutputDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, dead, alive := newRig(t), newTap(), new(sink), new(sink)
		dead.send = func(context.Context, *output.Batch) error { return errRefused }
		r.addInput("in", in.build)
		r.addOutput("dead", dead.build)
		r.addOutput("alive", alive.build)
		r.start()
		start := time.Now()
		in.send(t, numbered(0, 1000)...)
		eventually(t, "the living output has everything", func() bool { return len(alive.records()) == 1000 })
		if d := time.Since(start); d > time.Second {
			t.Errorf("the living output took %v", d)
		}
		if o := r.output("dead"); o.BacklogRecords != 1000 || o.Position != 1 {
			t.Errorf("dead output: %+v", o)
		}
		time.Sleep(time.Minute)
		if lag := r.output("dead").LagSeconds; lag < 60 || lag > 61 {
			t.Errorf("lag of the dead output is %v s", lag)
		}
		r.mustStop()
	})
}
