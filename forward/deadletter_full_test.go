package forward

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
	"logmule/queue"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestStatusDoesNotWaitForDeadLetters asks for the status while the disk keeps the dead-letter queue from being opened: that
// is when an operator asks.
func TestStatusDoesNotWaitForDeadLetters(t *testing.T) {
	opening, answer := make(chan struct{}), make(chan struct{})
	d := &deadLetters{open: func() (*queue.Queue, error) {
		close(opening)
		<-answer
		return nil, errors.New("no")
	}}
	opened := ended(func() { _, _ = d.get() })
	<-opening
	asked := ended(func() { d.status(newRig(t).cfg) })
	select {
	case <-asked:
	case <-time.After(time.Minute):
		t.Error("the status waits for the disk")
	}
	close(answer)
	<-opened
	<-asked
}

// picky is an output that refuses every record with "BAD" in it, for as long as it minds.
type picky struct {
	sink
	t     *testing.T
	minds atomic.Bool
}

func (o *picky) build(output.Env) (output.Output, error) {
	o.send = func(_ context.Context, b *output.Batch) error {
		for i := range b.Len() {
			if o.minds.Load() && b.IsPending(i) && strings.Contains(string(recordOf(o.t, b, i).Payload), "BAD") {
				b.Reject(i, "422")
			}
		}
		o.take(b, 0, b.Len())
		return nil
	}
	return o, nil
}

// buildUntil builds it so that it fails altogether until up is set.
func (o *picky) buildUntil(up *atomic.Bool) func(output.Env) (output.Output, error) {
	return func(env output.Env) (output.Output, error) {
		_, err := o.build(env)
		send := o.send
		o.send = func(ctx context.Context, b *output.Batch) error {
			if !up.Load() {
				return errRefused
			}
			return send(ctx, b)
		}
		return o, err
	}
}

func newPicky(t *testing.T) *picky {
	o := &picky{t: t}
	o.minds.Store(true)
	return o
}

// mixed makes n records of about a kilobyte, every second one of which is refused.
func mixed(first, n int) []string {
	all := numbered(first, n)
	for i := range all {
		all[i] += []string{" good ", " BAD "}[i%2] + strings.Repeat("x", 1000)
	}
	return all
}

// full is a rig whose dead-letter queue is full, with some records behind that.
func full(t *testing.T, whenFull, keys string) (*rig, *tap, *picky) {
	r, in, out := newRig(t), newTap(), newPicky(t)
	r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression, r.cfg.Queue.WhenFull = 64<<10, 1<<20, "none", whenFull
	r.addInput("in", in.build)
	r.addOutputWith("out", keys, out.build)
	r.start()
	for i := 0; r.output("out").State != stateRetrying; i++ {
		if i == 400 {
			t.Fatalf("never full: %+v", r.e.status())
		}
		for n := 0; ; n++ { // the main queue drops the newest for a moment
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := in.trySend(ctx, mixed(20*i, 20)...)
			cancel()
			if err == nil {
				break
			}
			if n == 100 {
				t.Fatalf("the queue takes nothing: %v; %+v", err, r.output("out"))
			}
			time.Sleep(100 * time.Millisecond)
		}
		for range 300 { // until it is done, or fails
			if o := r.output("out"); o.BacklogRecords == 0 || o.State == stateRetrying {
				break
			}
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
	}
	return r, in, out
}

// TestFullDeadLettersAreSeen: an output whose letters have no room is retrying, says why and what to do, and goes on when
// there is room; nothing is lost, and nothing that was accepted beside them is sent again.
func TestFullDeadLettersAreSeen(t *testing.T) {
	for _, when := range []string{"block", "drop_newest"} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, _, out := full(t, when, "")
				o, s := r.output("out"), r.e.status()
				for _, want := range []string{"dead-letter queue is full: ", "of max_size, 1048576", "; put letters back with logmule replay, or raise max_size"} {
					if !strings.Contains(o.LastError, want) || !strings.Contains(strings.Join(r.log.with("output failed"), ""), want) || !strings.Contains(s.String(), want) {
						t.Errorf("nobody says %q: status %q, log %v, page\n%s", want, o.LastError, r.log.with(), s)
					}
				}
				d := s.DeadLetters
				if d.Full == nil || d.Full.WhenFull != "block" || d.Bytes == 0 || d.MaxBytes != 1<<20 || d.Records != o.DeadLetters || d.Lost != 0 || o.NextRetry == nil {
					t.Errorf("%+v of %d letters; output %+v", d, o.DeadLetters, o)
				}
				time.Sleep(time.Hour)
				if n := r.output("out").Retries; n < 100 {
					t.Errorf("%d attempts in an hour", n)
				}
				if again := r.e.status().DeadLetters; again.Records != d.Records {
					t.Errorf("%d letters became %d while there was no room", d.Records, again.Records)
				}
				limits := letterLimits(r.cfg)
				limits.MaxSize = 4 << 20
				r.e.dead.limit(limits)
				eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
				r.mustStop()
				got := out.records()
				letters := r.letters()
				for _, l := range letters {
					got = append(got, string(l.Payload))
				}
				slices.Sort(got)
				expect(t, "delivered and letters", got, mixed(0, len(got)))
				if int(r.output("out").DeadLetters) != len(letters) {
					t.Errorf("%d letters are counted, %d stored", r.output("out").DeadLetters, len(letters))
				}
			})
		})
	}
}

// TestStopBesideFullDeadLetters: what was accepted beside letters without room is not sent again after a restart, which
// tells of the full queue before there is another letter.
func TestStopBesideFullDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, out := full(t, "block", "")
		backlog, sent := r.output("out").BacklogRecords, len(out.records())
		r.mustStop()
		out.minds.Store(false)
		in := newTap()
		r.inputs["in"] = in.build
		r.start()
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		r.mustStop()
		again := out.records()[sent:]
		if uint64(len(again)) != backlog || slices.ContainsFunc(again, func(s string) bool { return !strings.Contains(s, "BAD") }) {
			t.Errorf("%d records sent after the restart, %d were not done", len(again), backlog)
		}
	})
}

// TestShedBesideFullDeadLetters: max_backlog holds for an output whose letters have no room.
func TestShedBesideFullDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, _ := full(t, "block", "max_backlog = '100KiB'")
		for i := range 20 {
			in.send(t, mixed(100000+20*i, 20)...)
			time.Sleep(3 * time.Second)
		}
		o := r.output("out")
		if o.Shed == 0 || o.BacklogBytes > 120<<10 || o.State != stateRetrying {
			t.Errorf("%+v", o)
		}
		r.mustStop()
		losses, err := recovery.ReadLedger(r.fs, "/data")
		if err != nil || len(losses) == 0 || losses[0].Cause != recovery.CauseBacklog || losses[0].Outputs[0] != "out" {
			t.Errorf("%v; %+v", err, losses)
		}
	})
}

// TestOldestLettersDrop: with drop_oldest the oldest letters make room, and that is counted and in their ledger.
func TestOldestLettersDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), newPicky(t)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression, r.cfg.Queue.WhenFull = 64<<10, 1<<20, "none", "drop_oldest"
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		for i := range 150 {
			in.send(t, mixed(20*i, 20)...)
			eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		}
		o, d := r.output("out"), r.e.status().DeadLetters
		if o.DeadLetters != 1500 || d.Lost == 0 || d.Records+d.Lost != 1500 || d.Full != nil {
			t.Errorf("%d letters, %+v", o.DeadLetters, d)
		}
		r.mustStop()
		losses, err := recovery.ReadLedger(r.fs, "/data/deadletter")
		var lost uint64
		for _, l := range losses {
			if l.Cause != "drop_oldest" || l.First == 0 || l.Count != l.Last-l.First+1 {
				t.Errorf("line %+v", l)
			}
			lost += l.Count
		}
		if err != nil || lost != d.Lost || len(r.letters()) != int(d.Records) {
			t.Errorf("%v; the ledger has %d lost letters, status %+v", err, lost, d)
		}
	})
}

// TestLettersOnAFullDisk: where the main queue has filled the disk up to min_free, letters still find room, so that it
// shrinks again.
func TestLettersOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), newPicky(t)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.Compression, r.cfg.Queue.MinFree = 1<<20, 1<<30, "none", 256<<20
		r.addInput("in", in.build)
		var up atomic.Bool
		r.addOutput("out", out.buildUntil(&up))
		r.fs.SetFree(16 << 20)
		r.start()
		n := 0
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			err := in.trySend(ctx, mixed(n, 20)...)
			cancel()
			if errors.Is(err, context.DeadlineExceeded) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += 20
		}
		if s := r.e.status(); s.Queue.Full == nil || !strings.Contains(s.Queue.Full.Reason, "min_free") {
			t.Fatalf("not full after %d records: %+v", n, s.Queue)
		}
		up.Store(true)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		if s := r.e.status(); s.Queue.Full != nil || int(s.DeadLetters.Records) < n/2 {
			t.Errorf("of %d records %+v; %+v", n, s.DeadLetters, s.Queue.Full)
		}
		r.mustStop()
	})
}

// TestSlowLettersAreOneLetterEach: letters that their queue has taken and the disk does not store are not taken again.
func TestSlowLettersAreOneLetterEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), newPicky(t)
		r.addInput("in", in.build)
		r.addOutput("out", out.build)
		r.start()
		in.send(t, mixed(0, 2)...)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		r.fs.FailMatching(func(op faultfs.Op) error {
			if strings.Contains(op.Name, "/deadletter/segments") {
				return syscall.EIO
			}
			return nil
		})
		in.send(t, mixed(2, 10)...)
		eventually(t, "retrying", func() bool { return r.output("out").State == stateRetrying })
		if o := r.output("out"); o.DeadLetters != 1 || !strings.Contains(o.LastError, "store 5 dead letters: the disk takes no data") || r.e.status().DeadLetters.Fault == "" {
			t.Errorf("%+v", o)
		}
		time.Sleep(time.Minute)
		r.fs.FailMatching(nil)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		r.mustStop()
		if l := r.letters(); len(l) != 6 || r.output("out").DeadLetters != 6 {
			t.Errorf("%d letters, %d counted", len(l), r.output("out").DeadLetters)
		}
	})
}

// TestLettersOnADiskWithoutAByte: the main queue gives its reserve where others have filled the disk.
func TestLettersOnADiskWithoutAByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), newPicky(t)
		r.cfg.Queue.SegmentSize, r.cfg.Queue.MaxSize, r.cfg.Queue.MinFree = 16<<20, 1<<30, 0
		var up atomic.Bool
		r.addInput("in", in.build)
		r.addOutput("out", out.buildUntil(&up))
		r.fs.SetFree(1 << 30)
		r.start()
		in.send(t, mixed(0, 20)...)
		r.fs.SetFree(0)
		up.Store(true)
		eventually(t, "done", func() bool { return r.output("out").BacklogRecords == 0 })
		if o := r.output("out"); o.DeadLetters != 10 || len(r.log.with("the reserve is spent")) == 0 {
			t.Errorf("%+v", o)
		}
		r.mustStop()
	})
}
