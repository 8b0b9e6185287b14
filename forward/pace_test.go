package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
)

// sendFrom emits records as those of a source, and waits until they are durable.
func (i *tap) sendFrom(t *testing.T, source, kind string, records ...string) {
	t.Helper()
	<-i.up
	p := linesPack(strings.Join(records, "\n") + "\n")
	p.Source, p.Shared.Type = source, kind
	receipt, err := i.emit(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := receipt.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestRouting: each output gets what its keys say; what is put back for one output goes to that one, whatever they say.
func TestRouting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, one, two := newRig(t), newTap(), newTap()
		r.addInput("one", one.build)
		r.addInput("two", two.build)
		outputs := map[string]string{
			"all": "", "from": "from = ['two']", "both": "from = ['one', 'two']\nmatch = 'type == \"nginx\"'",
			"payload": "match = 'payload contains \"5\"'", "none": "match = 'false'",
		}
		sinks := map[string]*sink{}
		for _, name := range []string{"all", "from", "both", "payload", "none"} {
			sinks[name] = new(sink)
			r.addOutputWith(name, outputs[name], sinks[name].build)
		}
		r.start()
		one.sendFrom(t, "in/one", "nginx", numbered(0, 10)...)
		one.sendFrom(t, "in/one/some/file", "app", numbered(10, 10)...)
		two.sendFrom(t, "in/two", "nginx", numbered(20, 10)...)
		one.sendFrom(t, "to/none", "nginx", numbered(30, 10)...)
		one.sendFrom(t, "to/payload", "app", numbered(40, 2)...)
		for name, want := range map[string][]string{
			"all": numbered(0, 30), "from": numbered(20, 10), "both": append(numbered(0, 10), numbered(20, 10)...), "none": numbered(30, 10),
			"payload": append([]string{"record 000005", "record 000015", "record 000025"}, numbered(40, 2)...),
		} {
			eventually(t, "all is done", func() bool { return r.output(name).BacklogRecords == 0 })
			expect(t, name, sinks[name].records(), want)
			if o := r.output(name); o.Records != uint64(len(want)) || o.Filtered != uint64(42-len(want)) || o.MatchErrors != 0 || o.Position != 43 {
				t.Errorf("%s: status %+v, want %d records and the others filtered out", name, o, len(want))
			}
		}
		if n := sinks["none"].sends(); n != 1 {
			t.Errorf("%d batches were sent to an output that wants one record run", n)
		}
		for _, id := range sinks["payload"].ids {
			if !strings.Contains(id, ".") || sinks["all"].ids[0] == id || strings.Count(id, "-") != strings.Count(sinks["all"].ids[0], "-") {
				t.Errorf("ID %q with match, %q without", id, sinks["all"].ids[0])
			}
		}
		r.mustStop()
	})
}

// TestDeadLettersOfAFilteredBatch: the records that are refused are kept under their own sequences.
func TestDeadLettersOfAFilteredBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutputWith("out", `match = 'type == "a" and payload endsWith "5" or type == "b"'`, out.build)
		out.send = func(_ context.Context, b *output.Batch) error {
			for i := range b.Len() {
				if b.IsPending(i) && b.First+uint64(i) != 16 {
					b.Reject(i, "never")
				}
			}
			return nil
		}
		r.start()
		for i := range 3 {
			in.sendFrom(t, "in/in", []string{"a", "c", "b"}[i], numbered(i*10, 10)...)
		}
		eventually(t, "all is done", func() bool { return r.output("out").BacklogRecords == 0 })
		if o := r.output("out"); o.DeadLetters != 11 || o.Records != 0 || o.Filtered != 19 {
			t.Errorf("status %+v", o)
		}
		r.mustStop()
		for _, l := range r.letters() {
			var number int
			if _, err := fmt.Sscanf(string(l.Payload), "record %d", &number); err != nil || field(l, "deadletter_sequence") != int64(number+1) {
				t.Errorf("dead letter %q has sequence %v", l.Payload, field(l, "deadletter_sequence"))
			}
		}
	})
}

func TestStartAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, all := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutput("all", all.build)
		r.start()
		in.send(t, numbered(0, 10)...)
		r.mustStop()
		late, early := new(sink), new(sink)
		r.addOutputWith("late", "start_at = 'end'", late.build)
		r.addOutputWith("early", "start_at = 'oldest'", early.build)
		for i := range 2 { // and the second time it is known
			in.up = make(chan struct{})
			r.start()
			in.send(t, numbered(10+10*i, 10)...)
			r.mustStop()
		}
		in.up = make(chan struct{})
		r.start()
		eventually(t, "all is done", func() bool { return r.output("late").BacklogRecords == 0 && r.output("early").BacklogRecords == 0 })
		r.mustStop()
		expect(t, "late", late.records(), numbered(10, 20))
		if n := len(early.records()); n < 20 {
			t.Errorf("%d records", n)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		r.addOutputWith("out", "rate_limit = '1000B'", out.build)
		r.start()
		in.send(t, strings.Repeat("x", 4999)) // larger than what may pass at once
		for i := range 20 {
			in.send(t, strings.Repeat(fmt.Sprint(i%10), 249))
		}
		began := time.Now()
		eventually(t, "it waits", func() bool { return r.output("out").State == stateLimited })
		if o := r.output("out"); o.NextRetry != nil {
			t.Error("an output that waits for rate_limit counts as failed")
		}
		eventually(t, "all is delivered", func() bool { return len(out.records()) == 21 })
		if took := time.Since(began); took < 8*time.Second || took > 11*time.Second {
			t.Errorf("10000 bytes at 1000 bytes a second, the first 1000 at once, took %v", took)
		}
		for range 20 {
			in.send(t, strings.Repeat("y", 999))
		}
		eventually(t, "it waits again", func() bool { return r.output("out").State == stateLimited })
		began = time.Now()
		r.mustStop()
		if took := time.Since(began); took > 0 {
			t.Errorf("the stop took %v", took)
		}
	})
}

// TestMaxBacklog: a dead output is never further behind than it may be; it gives up the oldest, and delivers the newest
// when it lives again.
func TestMaxBacklog(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			r, in, out, other := newRig(t), newTap(), new(sink), new(sink)
			r.addInput("in", in.build)
			var dead atomic.Bool
			dead.Store(true)
			out.send = func(_ context.Context, b *output.Batch) error {
				if dead.Load() {
					return errRefused
				}
				out.take(b, 0, b.Len())
				return nil
			}
			r.addOutputWith("out", fmt.Sprintf("max_backlog = '1MiB'\nin_flight = %d", inFlight), crowded(out))
			r.addOutput("other", other.build)
			r.start()
			in.flood(t, 500)
			time.Sleep(15 * time.Second)
			synctest.Wait()
			o := r.output("out")
			if o.BacklogBytes > 1<<20 || o.BacklogBytes < 800<<10 || o.Shed == 0 || o.Position == 1 {
				t.Errorf("in_flight = %d: behind by %d bytes, %d records given up, position %d", inFlight, o.BacklogBytes, o.Shed, o.Position)
			}
			dead.Store(false)
			eventually(t, "the rest is delivered", func() bool { return r.output("out").BacklogRecords == 0 })
			got := out.records()
			if o := r.output("out"); uint64(len(got))+o.Shed != 500 || o.Records != uint64(len(got)) {
				t.Errorf("in_flight = %d: %d records delivered, %d given up, of 500", inFlight, len(got), o.Shed)
			}
			if inFlight == 1 {
				for i, record := range got {
					if !strings.HasPrefix(record, fmt.Sprintf("%06d ", 500-len(got)+i)) {
						t.Fatalf("record %d is %.10q", i, record)
					}
				}
			}
			eventually(t, "the other output has all", func() bool { return len(other.records()) == 500 })
			r.mustStop()
		})
	}
}

// TestMaxBacklogOfASlowOutput: what is dropped is not delivered as well, though it was read before.
func TestMaxBacklogOfASlowOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, in, out := newRig(t), newTap(), new(sink)
		r.addInput("in", in.build)
		out.send = func(ctx context.Context, b *output.Batch) error {
			pause(ctx, 300*time.Millisecond)
			out.take(b, 0, b.Len())
			return nil
		}
		r.addOutputWith("out", "max_backlog = '300KiB'\nrate_limit = '20KiB'", out.build) // which also makes batches smaller than frames
		r.start()
		<-in.up
		noise := make([]byte, 5000)
		total := 0
		for range 30 {
			var last func(context.Context) error
			for range 10 { // several packs in a frame
				rand.Read(noise)
				receipt, err := in.emit(t.Context(), linesPack(fmt.Sprintf("%06d %s\n", total, hex.EncodeToString(noise))))
				if err != nil {
					t.Fatal(err)
				}
				last = receipt.Wait
				total++
			}
			if err := last(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		eventually(t, "all is done", func() bool { return r.output("out").BacklogRecords == 0 })
		got := out.records()
		if o := r.output("out"); o.Shed == 0 || len(got) < 20 || uint64(len(got))+o.Shed != uint64(total) {
			t.Errorf("%d records delivered, %d given up, of %d", len(got), o.Shed, total)
		}
		for i := 1; i < len(got); i++ {
			if got[i][:6] <= got[i-1][:6] {
				t.Fatalf("%.6s comes after %.6s", got[i], got[i-1])
			}
		}
		r.mustStop()
	})
}

// BenchmarkFeed reads a queue with and without match, in one run, and says what match costs.
func BenchmarkFeed(b *testing.B) {
	var body []byte
	for i := range 600 {
		body = fmt.Appendf(body, `10.0.0.%d - - [20/Nov/2026:08:00:00 +0000] "GET /index.html HTTP/1.1" %d 1234 "-" "curl/8"`+"\n", i%256, 200+i%5*100)
	}
	cost := map[string]time.Duration{}
	for _, c := range []struct{ name, match string }{
		{"none", ""}, {"attributes", `type == "nginx" and severity <= 7`}, {"payload", `payload contains "\" 500 "`}, {"none again", ""},
	} {
		b.Run(c.name, func(b *testing.B) {
			q, f := benchFeed(b, body, c.match)
			defer q()
			var h hand
			b.SetBytes(int64(len(body)))
			records := 0
			for b.Loop() {
				if err := f.fill(context.Background(), &h, 1); err != nil || h.batch.Len() == 0 {
					f.rewind()
					if err := f.fill(context.Background(), &h, 1); err != nil || h.batch.Len() == 0 {
						b.Fatal(err)
					}
				}
				f.mu.Lock()
				f.untake(&h)
				f.mu.Unlock()
				records += h.batch.Len()
			}
			cost[c.name] = b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
			if cost["none"] > 0 {
				b.ReportMetric(float64(cost[c.name])/float64(cost["none"]), "of-none")
			}
		})
	}
}

// benchFeed is a feed on a queue of 64 packs with this body.
func benchFeed(b *testing.B, body []byte, expression string) (func(), *feed) {
	b.Helper()
	dir, err := os.MkdirTemp("", "feed")
	if err != nil {
		b.Fatal(err)
	}
	q, err := openQueue(dir)
	if err != nil {
		b.Fatal(err)
	}
	g := &ingest{queue: q}
	var last func() error
	for i := range 64 {
		p := linesPack(string(body))
		p.Source = "in/app"
		p.Shared = pack.Attributes{Timestamp: int64(i), Type: "nginx", Logger: "peer", Severity: 6, Hostname: "web"}
		receipt, err := g.emit(b.Context(), p)
		if err != nil {
			b.Fatal(err)
		}
		last = func() error { return receipt.Wait(b.Context()) }
	}
	if err := last(); err != nil {
		b.Fatal(err)
	}
	f := &feed{reader: q.Reader("out", 0)}
	r := routeTo(b, expression)
	f.route.output, f.route.match, f.route.log = r.output, r.match, r.log
	return func() { q.Close(); os.RemoveAll(dir) }, f
}

func openQueue(dir string) (*queue.Queue, error) { return queue.Open(queue.Options{Dir: dir}) }
