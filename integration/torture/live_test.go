package torture

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// liveRate is how many records a second are sent, as far as the machine takes them.
const liveRate = 500_000

// live is a logmule under load whose queue is looked at.
type live struct {
	*rig.Lab
	t          *testing.T
	in, out    string
	sink       *rig.HTTPSink
	sent, came atomic.Uint64
}

func newLive(t *testing.T, scrub string) *live {
	t.Helper()
	v := &live{t: t, in: rig.OwnAddress(t), out: rig.OwnAddress(t)}
	v.Lab = newLab(t, v.text(scrub))
	v.sink = rig.StartHTTPSink(t, v.out, func([]byte) { v.came.Add(1) })
	v.Start()
	return v
}

func (v *live) text(scrub string) string {
	return fmt.Sprintf(`
[queue]
segment_size = "512KiB"
scrub_rate = %q
[input.in]
type = "tcp"
listen = %q
[output.out]
type = "http"
url = "http://%s/logs"
`, scrub, v.in, v.out)
}

// load sends records at this rate until the function it gives is called, which says what went wrong.
func (v *live) load(rate int) (stop func() error) {
	const every = 2 * time.Millisecond
	source := v.Judge.Source("load")
	var chunks [16][]byte
	lines := rate / int(time.Second/every)
	for n := range chunks {
		for range lines {
			chunks[n], _ = source.Append(chunks[n], 100)
			chunks[n] = append(chunks[n], '\n')
		}
	}
	return rig.Background(v.t, func(ctx context.Context) error {
		c, err := net.Dial("tcp", v.in)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := c.Write(chunks[n%len(chunks)]); err != nil {
				return err
			}
			v.sent.Add(uint64(lines))
			<-tick.C
		}
		return nil
	})
}

// waves lets the destination be slow for a while and then fast, so that segments pile up and are deleted.
func (v *live) waves(every time.Duration) (stop func() error) {
	slow := func() rig.Answer { return rig.Answer{Store: true, After: 200 * time.Millisecond} }
	return rig.Background(v.t, func(ctx context.Context) error {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			v.sink.Answer([]func() rig.Answer{slow, accept}[n%2])
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		v.sink.Answer(accept)
		return nil
	})
}

// look runs fsck once, and holds what it says of sequences against what the daemon says before and after. What is deleted meanwhile it
// need not have seen.
func (v *live) look() (found, int) {
	v.t.Helper()
	mark, before := uint64(v.Metric("logmule_queue_mark_sequence")), v.names()
	f, code := fsckOf(v.t, v.Lab)
	next, after := uint64(v.Metric("logmule_queue_next_sequence")), v.names()
	stayed := slices.DeleteFunc(before, func(name string) bool { return !slices.Contains(after, name) })
	var reached uint64 // by the newest segment that was there all the time
	if n := len(stayed); n > 0 {
		_, err := fmt.Sscanf(stayed[n-1], "%020d-", &reached)
		must(v.t, err)
		reached = min(reached-1, mark)
		if stayed[n-1] == before[len(before)-1] && f.Last < mark {
			v.t.Errorf("fsck reads up to %d, the mark was %d before", f.Last, mark)
		}
	}
	if f.Records > 0 && (f.Last < reached || f.Last >= next || f.Records > f.Last-f.First+1) {
		v.t.Errorf("fsck reads %d records from %d to %d; %v were there all the time, and the next sequence was %d after it", f.Records, f.First, f.Last, stayed, next)
	}
	return f, code
}

// scrub sets the rate of the scrubber, which begins anew.
func (v *live) scrub(rate string) {
	v.t.Helper()
	reloads := v.Metric("logmule_reloads_total")
	v.Configure(v.text(rate))
	must(v.t, v.Proc.Signal(syscall.SIGHUP))
	v.Wait("the rate of the scrubber is another", func() bool { return v.Metric("logmule_reloads_total") > reloads })
}

// drained waits until all that was sent has come; it must be exactly that.
func (v *live) drained() {
	v.t.Helper()
	v.Wait("everything is taken", func() bool { return uint64(v.Metric("logmule_queue_next_sequence")) > v.sent.Load() })
	v.Wait("everything is delivered", func() bool { return v.Metric("logmule_output_backlog_records") == 0 })
}

// TestFsckBesideTheDaemon runs fsck over and over on a queue that takes 500,000 records a second, or what the machine can, while segments
// are begun, sealed and deleted: it must find nothing, and disturb nobody. Then bits are flipped that the scrubber heals meanwhile: fsck
// may find these, as what heals, and nothing else.
func TestFsckBesideTheDaemon(t *testing.T) {
	if level > smoke {
		t.Parallel()
	}
	lasts := by(2*time.Second, 20*time.Second, 10*time.Minute)
	v := newLive(t, "1GiB")
	endLoad, endWaves := v.load(liveRate), v.waves(max(lasts/20, 300*time.Millisecond))
	v.Wait("segments are there", func() bool { return v.Metric("logmule_queue_segments") > 3 })
	began, sent, segments := time.Now(), v.sent.Load(), 0
	runs := 0
	for ; time.Since(began) < lasts || runs < 5; runs++ {
		if f, code := v.look(); code != 0 {
			t.Errorf("fsck beside the daemon exits %d: %+v", code, f)
		}
		segments = max(segments, v.Metric("logmule_queue_segments"))
	}
	rate := float64(v.sent.Load()-sent) / time.Since(began).Seconds()

	began = time.Now()
	hurt, seen := map[string]bool{}, 0
	for time.Since(began) < lasts || v.Metric("logmule_queue_healed_segments_total") == 0 {
		if w := v.sealed(func(name string) bool { return !hurt[name] }); w != nil {
			hurt[w.name] = true
			w.flip(w.frame.body + 9)
		}
		f, _ := v.look()
		for _, d := range f.Damage {
			if seen++; !hurt[d.Segment] || d.Action != "would heal" || d.FirstLost > 0 {
				t.Errorf("fsck finds %+v; hurt are %v", d, hurt)
			}
		}
		runs++
	}
	must(t, endWaves())
	must(t, endLoad())
	v.drained()
	v.scrub("2GiB") // another pass, for the last ones
	v.Wait("everything is healed", func() bool { f, _ := v.look(); return f.Clean })
	if n := v.Metric("logmule_queue_ledger_records"); n > 0 {
		t.Errorf("the loss ledger has %d records", n)
	}
	v.Stop()
	if sent, came := v.sent.Load(), v.came.Load(); sent != came {
		t.Errorf("%d records were sent, %d came", sent, came)
	}
	reliability.Add(t, reliability.Row{Part: reliability.Load, Fault: "fsck over and over beside a daemon under full load, which is asked for 500,000 records a second", Tried: uint64(runs),
		Outcome: fmt.Sprintf("always right; %.0f records a second meanwhile, up to %d segments, each record delivered once; %d bits were flipped in the second half, and fsck met one %d times before it was healed",
			rate, segments, len(hurt), seen)})
}

// TestFsckFindsDamageBesideTheDaemon is the twin: what is really damaged in a live queue is found, exactly, until it is healed, by the scrubber
// or a reader, or written down.
func TestFsckFindsDamageBesideTheDaemon(t *testing.T) {
	t.Parallel() // much of it is waiting for an output to try again
	v := newLive(t, "0B")
	v.sink.Answer(refuse)
	endLoad := v.load(50_000)
	before := map[string]bool{}
	hurt := func(parity bool) *target {
		t.Helper()
		var w *target
		v.Wait("a segment is sealed", func() bool {
			w = v.sealed(func(name string) bool { return !before[name] })
			return w != nil
		})
		before[w.name] = true
		w.flip(w.frame.body + 9)
		action, lost := "would heal", uint64(0)
		if parity {
			w.flip(parityOf(w.text, w.frame.body+9))
			action, lost = "would quarantine", uint64(w.frame.records)
		}
		for range 3 {
			f, code := v.look()
			of := slices.IndexFunc(f.Damage, func(d damagePlace) bool { return d.Action == action })
			if code != 4 || f.Lost != lost || of < 0 || f.Damage[of].Segment != w.name || lost > 0 && f.Damage[of].FirstLost != w.frame.first {
				t.Errorf("fsck exits %d on %s damaged in frame %+v: %+v", code, w.name, w.frame, f)
			}
			for _, d := range f.Damage {
				if d.Segment != w.name {
					t.Errorf("fsck finds %+v, but only %s is damaged", d, w.name)
				}
			}
		}
		return w
	}
	clean := func(why string) {
		t.Helper()
		if f, code := v.look(); code != 0 {
			t.Errorf("%s: fsck exits %d: %+v", why, code, f)
		}
	}
	clean("before")
	hurt(false)
	v.scrub("1GiB")
	v.Wait("the scrubber heals", func() bool { return v.Metric("logmule_queue_healed_segments_total") == 1 })
	clean("healed by the scrubber")
	v.scrub("0B")

	w := hurt(true)
	v.scrub("1GiB")
	v.Wait("the ledger has it", func() bool { return v.Metric("logmule_queue_ledger_records") == w.frame.records })
	clean("written down by the scrubber")
	v.scrub("0B")

	hurt(false)
	healed := v.Metric("logmule_queue_healed_segments_total")
	v.sink.Answer(accept)
	v.Wait("a reader heals", func() bool { return v.Metric("logmule_queue_healed_segments_total") > healed })
	clean("healed by a reader")
	must(t, endLoad())
	v.drained()
	v.Stop()
	if sent, came := v.sent.Load(), v.came.Load()+uint64(w.frame.records); sent != came {
		t.Errorf("%d records were sent, %d came or are lost as known", sent, came)
	}
	reliability.Add(t, reliability.Row{Part: reliability.Load, Fault: "fsck beside a daemon, a sealed segment damaged", Tried: 3, Declared: uint64(w.frame.records),
		Outcome: "found exactly, exit status 4, until the scrubber or a reader had healed it, or the loss ledger had it; then clean"})
}
