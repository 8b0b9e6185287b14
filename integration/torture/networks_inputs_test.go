package torture

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/rig"
)

// inFault is one thing done to the connections of good clients.
type inFault struct {
	name   string
	begin  func(e *entry) (cannot string)
	during func(e *entry) // called every 100 ms; nil: nothing
	keeps  bool           // every connection lives through it, so nothing is lost at all
}

func entered(way chaos.Way, f chaos.Faults) func(*entry) string {
	return func(e *entry) string {
		if way == chaos.Down && !e.answers() {
			return "the input says nothing"
		}
		e.proxy.Set(way, f)
		return ""
	}
}

var inFaults = []inFault{
	{name: "resets, one every 100 ms", begin: func(*entry) string { return "" }, during: func(e *entry) { e.proxy.Reset() }},
	{name: "what is sent stalls", begin: entered(chaos.Up, chaos.Faults{Then: chaos.Stall}), keeps: true},
	{name: "60 to 120 ms of latency", begin: entered(chaos.Up, chaos.Faults{Latency: 60 * time.Millisecond, Jitter: 60 * time.Millisecond}), keeps: true},
	{name: "slices of 7 bytes", begin: entered(chaos.Up, chaos.Faults{Slice: 7}), keeps: true},
	{name: "16 KiB/s", begin: entered(chaos.Up, chaos.Faults{Bandwidth: 16 << 10}), keeps: true},
	{name: "reset after 5,000 bytes", begin: entered(chaos.Up, chaos.Faults{Then: chaos.Reset, After: 5000})},
	{name: "cut after 5,000 bytes", begin: entered(chaos.Up, chaos.Faults{Then: chaos.Cut, After: 5000})},
	{name: "half close after 5,000 bytes", begin: entered(chaos.Up, chaos.Faults{Then: chaos.HalfClose, After: 5000})},
	{name: "the answer is reset", begin: entered(chaos.Down, chaos.Faults{Then: chaos.Reset})},
	{name: "the answer stalls", begin: entered(chaos.Down, chaos.Faults{Then: chaos.Stall})},
	{name: "black hole: bytes are taken and gone", begin: entered(chaos.Up, chaos.Faults{Then: chaos.Swallow})},
}

// TestNetworksInputs hurts the connections of good clients to all inputs that take some.
func TestNetworksInputs(t *testing.T) {
	beyondSmoke(t)
	t.Parallel()
	d := openDoors(t, "")
	for _, e := range d.entries {
		at := rig.OwnAddress(t)
		if strings.HasPrefix(e.kind, "input unix") {
			at = e.direct + ".far"
		}
		var err error
		e.proxy, err = chaos.Start(chaos.Options{Listen: at, Target: e.direct, Seed: d.Judge.Seed(), Buffer: 64 << 10})
		must(t, err)
		t.Cleanup(e.proxy.Close)
		e.wait = 2 * time.Second
	}
	for _, f := range inFaults {
		d.hurtClients(t, f, by(0, 1000*time.Millisecond, 12*time.Second))
	}
}

// hurtClients is one step: good clients send, the fault comes, lasts and goes, and a row is written for each input.
func (d *doors) hurtClients(t *testing.T, f inFault, hold time.Duration) {
	t.Helper()
	d.steps++
	stops := map[*entry]func(){}
	for _, e := range append(d.entries, d.healthy) {
		stop := e.serve(t, fmt.Sprintf("f%d", d.steps), new(net.Dialer).DialContext)
		stops[e] = func() { stop() }
	}
	d.flow(append(d.entries, d.healthy), "before "+f.name)
	var hit []*entry
	for _, e := range d.entries {
		e.broken.Store(0)
		if cannot := f.begin(e); cannot != "" {
			d.rows.cannot(f.name, e.kind, cannot)
			continue
		}
		hit = append(hit, e)
	}
	d.healthy.broken.Store(0)
	d.healthy.widest.Store(0)
	for end := time.Now().Add(hold); time.Now().Before(end); time.Sleep(min(100*time.Millisecond, max(time.Until(end), 0))) {
		for _, e := range hit {
			if f.during != nil {
				f.during(e)
			}
		}
	}
	d.flow([]*entry{d.healthy}, "while "+f.name)
	gap := time.Duration(d.healthy.widest.Load())
	for _, e := range hit {
		e.first.Store(0)
	}
	lifted := time.Now()
	for _, e := range hit {
		e.proxy.Calm()
		if !f.keeps {
			e.proxy.Reset()
		}
	}
	d.rows.cannot(f.name, "input udp", noConnection)
	back := map[*entry]time.Duration{}
	for _, e := range hit {
		d.Wait(e.kind+" brings records after "+f.name, func() bool { return e.first.Load() > 0 })
		back[e] = max(time.Duration(e.first.Load()-lifted.UnixNano()), 1)
	}
	for _, stop := range stops {
		stop()
	}
	d.drained()
	if n := d.healthy.broken.Load(); n > 0 {
		t.Errorf("%s: %d requests of the healthy input failed", f.name, n)
	}
	for _, e := range hit {
		whole := f.keeps && e.broken.Load() == 0
		told := fmt.Sprintf("%d connections or requests failed; the healthy input never paused for more than %v", e.broken.Load(), gap.Round(10*time.Millisecond))
		if !e.answers() && !whole {
			told = "what was on its way on a connection that broke is lost, as the manual says; " + told
		}
		d.row(t, f.name, e, 1, back[e], whole, told)
	}
	d.calmed(t, f.name)
}

// badClient is a bad one: what it does on one connection after the other until its context ends.
type badClient struct {
	name string
	at   int                         // clients at once
	talk func(e *entry) []chaos.Talk // by turns; nil: it cannot be done to this input
	why  string                      // why it cannot
	keep bool                        // what it sends may be stored
}

func toStreams(talks ...chaos.Talk) func(*entry) []chaos.Talk {
	return func(e *entry) []chaos.Talk {
		if e.answers() {
			return nil
		}
		return talks
	}
}

func toHTTP(talks ...chaos.Talk) func(*entry) []chaos.Talk {
	return func(e *entry) []chaos.Talk {
		if !e.answers() {
			return nil
		}
		return talks
	}
}

const postHead = "POST / HTTP/1.1\r\nHost: x\r\n"

var badClients = []badClient{
	{name: "half a record, then RST", at: 4, talk: func(e *entry) []chaos.Talk {
		if e.answers() {
			return []chaos.Talk{{Text: []byte(postHead + "Content-Length: 100\r\n\r\nbad half of a bo"), Then: chaos.LeaveReset}}
		}
		return []chaos.Talk{{Text: []byte("bad half a rec"), Then: chaos.LeaveReset}}
	}},
	{name: "half a record, then silence", at: 50, keep: true, talk: func(e *entry) []chaos.Talk {
		if e.answers() {
			return []chaos.Talk{{Text: []byte(postHead + "Content-Length: 100\r\n\r\nbad half of a bo"), Then: chaos.Hang}}
		}
		return []chaos.Talk{{Text: []byte("bad half a rec"), Then: chaos.Hang}}
	}},
	{name: "half a record, then an end of which TLS does not know", at: 4, why: "there is no TLS, or a length says what is whole", talk: func(e *entry) []chaos.Talk {
		if e.answers() || e.secure == nil {
			return nil
		}
		return []chaos.Talk{{Text: []byte("bad half a rec"), Then: chaos.Leave}}
	}},
	{name: "a byte every 10 ms", at: 50, keep: true, talk: func(e *entry) []chaos.Talk {
		text := badWord
		if e.answers() {
			text = postHead + "X-Slow: "
		}
		return []chaos.Talk{{Text: []byte(text + strings.Repeat("x", 4000)), Every: 10 * time.Millisecond, Then: chaos.LeaveReset}}
	}},
	{name: "a record without end", at: 4, keep: true, talk: toStreams(chaos.Talk{Text: []byte(strings.Repeat(badWord, 4000)), Repeat: true, Then: chaos.LeaveReset}), why: "a body ends at max_body"},
	{name: "a body without end", at: 2, talk: toHTTP(
		chaos.Talk{Text: []byte(postHead + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat(badWord, 1024)+"\r\n", 8000)), Then: chaos.Hear}), why: "there are no bodies"},
	{name: "a Content-Length that lies", at: 4, talk: toHTTP(
		chaos.Talk{Text: []byte(postHead + "Content-Length: 1000\r\n\r\nbad\n"), Then: chaos.Hear},
		chaos.Talk{Text: []byte(postHead + "Content-Length: 99999999999\r\n\r\nbad\n"), Then: chaos.Hear},
		chaos.Talk{Text: []byte(postHead + "Content-Length: 5\r\nContent-Length: 8\r\n\r\nbad a\nbad b\n"), Then: chaos.Hear}), why: "there is no Content-Length"},
	{name: "chunks that are garbage", at: 4, talk: toHTTP(
		chaos.Talk{Text: []byte(postHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nbad a\r\nzz\r\nbad b"), Then: chaos.Hear},
		chaos.Talk{Text: []byte(postHead + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nbad"), Then: chaos.Hear},
		chaos.Talk{Text: []byte(postHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nbad a\r\n"), Then: chaos.LeaveReset}), why: "there are no chunks"},
	{name: "what is no HTTP", at: 4, talk: toHTTP(
		chaos.Talk{Text: []byte("\x16\x03\x01\x00\xff\xfe\r\n\r\n"), Then: chaos.Hear},
		chaos.Talk{Text: []byte("<34>1 2026-01-01T00:00:00Z host app - - - bad\n"), Then: chaos.Hear}), why: "any bytes are records"},
}

// TestNetworksClients lets bad clients loose on the inputs while good ones go on.
func TestNetworksClients(t *testing.T) {
	t.Parallel()
	d := openDoors(t, "")
	d.calmed(t, "the start")
	hold := by(150*time.Millisecond, 1000*time.Millisecond, 40*time.Second)
	for _, c := range badClients[:by(1, len(badClients), len(badClients))] {
		d.endure(t, c.name, hold, c.keep, c.why, func(ctx context.Context, e *entry) (tried uint64, can bool) {
			talks := c.talk(e)
			if talks == nil {
				return 0, false
			}
			return crowd(ctx, e, c.at, talks), true
		})
	}
	if level == smoke {
		return
	}
	d.endure(t, "a TLS handshake that stalls", hold, false, "there is no TLS", func(ctx context.Context, e *entry) (uint64, bool) {
		if e.secure == nil {
			return 0, false
		}
		return crowd(ctx, &entry{direct: e.direct}, 20, []chaos.Talk{{Text: []byte("\x16\x03\x01\x02\x00\x01\x00"), Then: chaos.Hang}}), true
	})
	d.endure(t, "connects and leaves", hold, true, "", func(ctx context.Context, e *entry) (uint64, bool) {
		return uint64(chaos.Storm(ctx, e.direct, by(0, 1000, 20_000))), true
	})
}

// crowd lets so many clients talk at once, each on one connection after the other, until ctx ends. It counts connections.
func crowd(ctx context.Context, e *entry, at int, talks []chaos.Talk) uint64 {
	var done atomic.Uint64
	var work sync.WaitGroup
	for range at {
		work.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				talk := talks[i%len(talks)]
				talk.Secure = e.secure
				_, _ = talk.Run(ctx, e.direct) // what a bad client is told does not matter here
				done.Add(1)
				pauseFor(ctx, 2*time.Millisecond)
			}
		})
	}
	work.Wait()
	return done.Load()
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// endure is one step of bad clients, on all inputs at once.
func (d *doors) endure(t *testing.T, name string, hold time.Duration, keep bool, why string, run func(context.Context, *entry) (uint64, bool)) {
	t.Helper()
	d.steps++
	all := append(d.entries, d.healthy)
	var stops []func()
	for _, e := range all {
		e.broken.Store(0)
		e.foreign.Store(0)
		stop := e.serve(t, fmt.Sprintf("f%d", d.steps), new(net.Dialer).DialContext)
		stops = append(stops, func() {
			if source := stop(); !e.answers() && e.broken.Load() == 0 {
				source.Acknowledged(1, source.Sent()) // whatever went into a connection that was closed cleanly has to come
			}
		})
	}
	d.flow(all, "before "+name)
	for _, e := range all {
		e.widest.Store(0)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hold)
	defer cancel()
	tried, can := make([]uint64, len(d.entries)), make([]bool, len(d.entries))
	var crowds sync.WaitGroup
	for i, e := range d.entries {
		crowds.Go(func() { tried[i], can[i] = run(ctx, e) })
	}
	<-ctx.Done()
	d.flow(all, "while there is "+name)
	crowds.Wait()
	for _, stop := range stops {
		stop()
	}
	d.drained()
	d.calmed(t, name)
	d.rows.cannot(name, "input udp", noConnection)
	for i, e := range d.entries {
		if !can[i] {
			d.rows.cannot(name, e.kind, why)
			e.before = finding(e.judge.Verdict(), e.name)
			continue
		}
		if n := e.foreign.Load(); n > 0 && (e.answers() || !keep && e.kind != "input unix") {
			t.Errorf("%s, %s: %d records of bad clients are stored", name, e.kind, n)
		}
		if n := e.broken.Load(); n > 0 {
			t.Errorf("%s, %s: the good client failed %d times", name, e.kind, n)
		}
		d.row(t, name, e, tried[i], 0, true, fmt.Sprintf("the good client lost nothing and never paused for more than %v; %d records of the bad ones are stored",
			time.Duration(e.widest.Load()).Round(10*time.Millisecond), e.foreign.Load()))
	}
}
