package integration

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// backlogBytes is how much comes in while a destination is down.
func backlogBytes() uint64 {
	switch {
	case raceEnabled:
		return 8 << 20
	case full:
		return 2 << 30
	default:
		return 128 << 20
	}
}

const backlogRecord = 1000

// fill posts n records through several clients at full speed and says how many a second that was.
func fill(l *lab, name, in string, n uint64) float64 {
	l.t.Helper()
	const clients = 4
	start := time.Now()
	var stops []func() map[int]int
	var sources []*judge.Source
	for i := range clients {
		source := l.judge.Source(fmt.Sprintf("%s-%d", name, i))
		s := &rig.HTTPSource{URL: "http://" + in + "/", Source: source, Batch: 256, Size: backlogRecord, Limit: n / clients}
		sources = append(sources, source)
		stops = append(stops, background(l.t, s.Run))
	}
	must(l.t, rig.Wait(10*patience, "the clients have sent all", func() bool {
		for _, s := range sources {
			if s.Owed() < n/clients {
				return false
			}
		}
		return true
	}))
	took := time.Since(start)
	for _, stop := range stops {
		if answers := stop(); len(answers) != 1 {
			l.t.Errorf("answers to a client: %v, want only 200", answers)
		}
	}
	return float64(n) / took.Seconds()
}

// firstArrival notes when the first record came.
type firstArrival struct {
	once sync.Once
	at   time.Time
	next func([]byte)
}

func (f *firstArrival) arrived(record []byte) {
	f.once.Do(func() { f.at = time.Now() })
	f.next(record)
}

// TestBacklog: a destination is down while data comes in, the daemon is killed, starts, and drains.
func TestBacklog(t *testing.T) {
	t.Run("http", func(t *testing.T) {
		address := freeAddress(t)
		backlog(t, "type = \"http\"\nurl = \"http://"+address+"/logs\"", func(arrived func([]byte)) (int, func()) {
			s := httpSink(t, address, arrived)
			return 1 << 20 / backlogRecord, func() { t.Logf("largest batch %d records", s.Largest()) }
		})
	})
	t.Run("tcp", func(t *testing.T) {
		address := freeAddress(t)
		backlog(t, "type = \"tcp\"\naddress = \""+address+"\"", func(arrived func([]byte)) (int, func()) {
			s, err := rig.NewTCPSink(address, arrived)
			must(t, err)
			t.Cleanup(s.Close)
			return 1 << 20 / backlogRecord, func() { t.Logf("%d connections", s.Accepted()) }
		})
	})
}

// backlog runs the test with one kind of output; up starts its destination and says how many records one batch or one
// resend window holds.
func backlog(t *testing.T, output string, up func(arrived func([]byte)) (window int, page func())) {
	in := freeAddress(t)
	l := newLab(t, fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\n%s\n", in, output))
	d := l.judge.Destination("out")
	l.start()
	n := backlogBytes() / backlogRecord
	rate := fill(l, "down", in, n)
	_, down, err := rig.Memory(l.Proc.PID())
	must(t, err)
	l.Proc.Kill()

	first := &firstArrival{next: d.Arrived}
	window, page := up(first.arrived)
	started := time.Now()
	ready := l.start()
	l.wait("a first record arrives", func() bool { return d.Arrivals() > 0 })
	out := first.at.Sub(started)
	must(t, rig.Wait(10*patience, "the backlog has drained", func() bool { return d.Owes() == 0 }))
	drained := time.Since(started)
	_, after, err := rig.Memory(l.Proc.PID())
	must(t, err)
	l.verdict(window)
	page()
	t.Logf("%d MiB in at %.0f records/s with the destination down; ready %v and first record out %v after the start, drained in %v; peak memory %d and %d MiB",
		backlogBytes()>>20, rate, ready, out, drained, down>>20, after>>20)
	if out > patience/2 {
		t.Errorf("the first record came %v after the start", out)
	}
	if peak := max(down, after); !raceEnabled && peak >= 128<<20 {
		t.Errorf("peak resident memory %d MiB, want less than 128", peak>>20)
	}
}

// TestIngestSpeed interleaves runs with the destination up, with it down, and with a second one down beside it, and
// prints the rates. What is asserted is far from what they should be, because a machine may be busy with other things.
func TestIngestSpeed(t *testing.T) {
	if !full {
		t.Skip("a measurement: set LOGMULE_FULL=1")
	}
	rates := map[string][]float64{}
	for range 5 {
		for _, how := range []string{"up", "down", "up beside a dead one"} {
			in, out := freeAddress(t), freeAddress(t)
			text := fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = \"http://%s/\"\n", in, out)
			if how == "up beside a dead one" {
				text += fmt.Sprintf("[output.dead]\ntype = \"tcp\"\naddress = %q\n", freeAddress(t))
			}
			l := newLab(t, text)
			if how != "down" {
				httpSink(t, out, func([]byte) {})
			}
			l.start()
			rates[how] = append(rates[how], fill(l, "in", in, 512<<20/backlogRecord))
			l.stop()
		}
	}
	up := best(rates["up"])
	for how, r := range rates {
		t.Logf("destination %s: %.0f records/s at ingest, best %.0f, %+.1f %%", how, r, best(r), 100*(best(r)/up-1))
		if best(r) < up/4 {
			t.Errorf("destination %s: best ingest %.0f records/s, with it up %.0f", how, best(r), up)
		}
	}
}

func best(rates []float64) (b float64) {
	for _, r := range rates {
		b = max(b, r)
	}
	return b
}

// TestDeadOutputDelaysNobody: of two outputs one is dead; the other gets everything, and the dead one when it returns.
func TestDeadOutputDelaysNobody(t *testing.T) {
	for _, dead := range []string{"refuses connections", "never reads"} {
		t.Run(dead, func(t *testing.T) {
			in, late := freeAddress(t), freeAddress(t)
			live, lazy := "", (*rig.Deaf)(nil)
			l := newLab(t, "")
			quick, slow := l.judge.Destination("live"), (*judge.Destination)(nil)
			live = httpSink(t, "127.0.0.1:0", quick.Arrived).URL
			if dead == "never reads" {
				var err error
				lazy, err = rig.NewDeaf(late)
				must(t, err)
				t.Cleanup(lazy.Close)
			}
			l.configure(fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.live]\ntype = \"http\"\nurl = %q\n[output.dead]\ntype = \"tcp\"\naddress = %q\n", in, live, late))
			l.start()
			n := uint64(32<<20) / backlogRecord
			if raceEnabled {
				n /= 8
			}
			start := time.Now()
			rate := fill(l, "in", in, n)
			l.drained(quick)
			l.verdict(0)
			t.Logf("one output dead: %.0f records/s in, all at the live one after %v", rate, time.Since(start))
			if lazy != nil {
				lazy.Close()
			}
			slow = l.judge.Destination("dead")
			s, err := rig.NewTCPSink(late, slow.Arrived)
			must(t, err)
			t.Cleanup(s.Close)
			l.drained(slow)
			l.verdict(1 << 20 / backlogRecord)
		})
	}
}
