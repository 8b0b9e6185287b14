package forward

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"logmule/checkpoint"
	"logmule/forward/match"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
)

// routeTo is a route of output "out".
func routeTo(t interface {
	Helper()
	Fatal(...any)
}, expression string, from ...string) *route {
	t.Helper()
	r := &route{output: "out", log: slog.New(slog.DiscardHandler)}
	if expression != "" {
		m, err := match.Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		r.match = m
	}
	for _, name := range from {
		if r.from == nil {
			r.from = map[string]bool{}
		}
		r.from[name] = true
	}
	return r
}

// stored is a record in the queue, and where it came from.
type stored struct {
	key string
	pack.Record
}

// wanted is what a route does, in plain words.
func (s stored) wanted(expression string, from []string) bool {
	if name, ok := strings.CutPrefix(s.key, "to/"); ok {
		return name == "out"
	}
	if len(from) > 0 {
		name, ok := strings.CutPrefix(s.key, "in/")
		name, _, _ = strings.Cut(name, "/")
		if !ok || !slices.Contains(from, name) {
			return false
		}
	}
	switch expression {
	case "":
		return true
	case `type == "a"`:
		return s.Type == "a"
	case `severity <= 3 and type != "b"`:
		return s.Severity <= 3 && s.Type != "b"
	case `payload contains "x"`:
		return bytes.Contains(s.Payload, []byte("x"))
	case `fields["n"] > 4`:
		for _, f := range s.Fields {
			if n, ok := f.Value.(int64); ok && f.Name == "n" {
				return n > 4
			}
		}
		return false
	case `timestamp.Second() % 2 == 0 or payload == ""`:
		return s.Timestamp/1e9%2 == 0 || len(s.Payload) == 0
	case `false`:
		return false
	}
	panic("an expression that the model does not know: " + expression)
}

var expressions = []string{"", `type == "a"`, `severity <= 3 and type != "b"`, `payload contains "x"`, `fields["n"] > 4`, `timestamp.Second() % 2 == 0 or payload == ""`, `false`}

// drawPack makes a pack, and what its records are.
func drawPack(t *rapid.T) (*pack.Pack, []stored) {
	attributes := func(label string) pack.Attributes {
		a := pack.Attributes{
			Timestamp: rapid.Int64Range(0, 3).Draw(t, label+" seconds") * 1e9,
			Type:      rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, label+" type"),
			Severity:  rapid.Int32Range(0, 7).Draw(t, label+" severity"),
		}
		if rapid.Bool().Draw(t, label+" has a field") {
			a.Fields = []pack.Field{{Name: "n", Value: rapid.Int64Range(0, 9).Draw(t, label+" n")}}
		}
		return a
	}
	p := &pack.Pack{
		Source: rapid.SampledFrom([]string{"in/one", "in/two/some/file", "in/one/x", "to/out", "to/other", "", "strange"}).Draw(t, "source"),
		Form:   rapid.SampledFrom([]pack.Form{pack.Lines, pack.Records}).Draw(t, "form"),
		Shared: attributes("shared"),
	}
	var all []stored
	for range rapid.IntRange(1, 130).Draw(t, "records") {
		s := stored{key: p.Source, Record: pack.Record{Attributes: p.Shared}}
		s.Payload = []byte(rapid.SampledFrom([]string{"", "x", "yy", "zxz", "something longer without it"}).Draw(t, "payload"))
		if p.Form == pack.Lines {
			p.Body = append(append(p.Body, s.Payload...), '\n')
		} else {
			s.Attributes = attributes("own")
			if s.Timestamp == 0 {
				s.Timestamp = p.Shared.Timestamp // 0 is not written, so the shared one holds
			}
			if s.Type == "" {
				s.Type = p.Shared.Type
			}
			own := s.Record
			p.Body = pack.AppendOwn(p.Body, own.Append(nil))
			s.Fields = append(slices.Clone(p.Shared.Fields), own.Fields...)
		}
		all = append(all, s)
	}
	p.Count = len(all)
	return p, all
}

// TestRouteModel: what a feed cuts into batches is, record by record and sequence by sequence, what a plain reading of the
// keys says; everything else is done with it.
func TestRouteModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q, err := newRig(t).open(queue.Options{Dir: "/data"})
		if err != nil {
			rt.Fatal(err)
		}
		defer q.Close()
		g := &ingest{queue: q}
		var all []stored
		for range rapid.IntRange(1, 12).Draw(rt, "packs") {
			p, records := drawPack(rt)
			receipt, err := g.emit(t.Context(), p)
			if err != nil {
				rt.Fatal(err)
			}
			all = append(all, records...)
			if rapid.Bool().Draw(rt, "a frame of its own") {
				if err := receipt.Wait(t.Context()); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if err := q.Sync(t.Context()); err != nil {
			rt.Fatal(err)
		}
		expression := rapid.SampledFrom(expressions).Draw(rt, "match")
		var from []string
		if rapid.Bool().Draw(rt, "from") {
			from = []string{rapid.SampledFrom([]string{"one", "two", "three"}).Draw(rt, "from one")}
		}
		reader := q.Reader("out", queue.Oldest)
		f := &cutter{limit: rapid.SampledFrom([]int{1, 100, 1000, 1 << 20}).Draw(rt, "limit"), feed: &feed{reader: reader}}
		r := routeTo(rt, expression, from...)
		f.feed.route.output, f.feed.route.from, f.feed.route.match, f.feed.route.log = r.output, r.from, r.match, r.log
		if first := rapid.Uint64Range(0, uint64(len(all))).Draw(rt, "done"); first > 0 {
			reader.Done(nil, checkpoint.Range{First: first, Last: min(first+3, uint64(len(all)))})
			for i := first; i <= min(first+3, uint64(len(all))); i++ {
				all[i-1].key = "to/nobody"
			}
		}
		if planned := rapid.Uint64Range(0, uint64(len(all))).Draw(rt, "planned"); planned > 0 {
			reader.Plan(planned)
			f.resume()
		}

		next := 1
		for {
			if err := f.feed.fill(context.Background(), &f.hand, f.limit); err != nil {
				rt.Fatal(err)
			}
			b := &f.hand.batch
			if b.Len() == 0 {
				break
			}
			if b.Pending() == 0 || b.Pending() != b.Len()-b.Filtered() || b.Last != b.First+uint64(b.Len())-1 {
				rt.Fatalf("batch %d to %d of %d records, %d pending, %d filtered out", b.First, b.Last, b.Len(), b.Pending(), b.Filtered())
			}
			for ; uint64(next) < b.First; next++ {
				if all[next-1].wanted(expression, from) {
					rt.Fatalf("record %d is left out", next)
				}
			}
			sameAs(rt, b, all[b.First-1:b.Last], expression, from)
			next = int(b.Last) + 1
			f.finish(&f.hand, nil)
		}
		for ; next <= len(all); next++ {
			if all[next-1].wanted(expression, from) {
				rt.Fatalf("record %d is left out at the end", next)
			}
		}
		if n, _ := reader.Backlog(); n != 0 {
			rt.Errorf("%d records are not done", n)
		}
		if len(f.free) != 0 && f.now != nil {
			rt.Errorf("a frame is held though nothing is left of it")
		}
	})
}

// sameAs compares the pending records of a batch with those that are wanted.
func sameAs(t *rapid.T, b *output.Batch, all []stored, expression string, from []string) {
	t.Helper()
	var lines []byte
	bytesOf := 0
	for i, s := range all {
		if b.IsPending(i) != s.wanted(expression, from) {
			t.Fatalf("record %d (%s %+v) is pending: %v, with match %q and from %q", b.First+uint64(i), s.key, s.Record, b.IsPending(i), expression, from)
		}
		if !b.IsPending(i) {
			continue
		}
		var r pack.Record
		if err := b.Record(i, &r); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Payload, s.Payload) || r.Type != s.Type || r.Timestamp != s.Timestamp {
			t.Fatalf("record %d is %+v, want %+v", b.First+uint64(i), r, s.Record)
		}
		lines = append(append(lines, s.Payload...), '\n')
		bytesOf += len(s.Payload) + 1
	}
	if got := text(b); got != string(lines) {
		t.Fatalf("lines %q, want %q", got, lines)
	}
	if b.Bytes() < bytesOf {
		t.Fatalf("%d bytes reckoned, the payloads alone take %d", b.Bytes(), bytesOf)
	}
}

// TestRouteCountsFailures: a record for which the expression fails is filtered out, counted, and told about once.
func TestRouteCountsFailures(t *testing.T) {
	f, _ := feedOf(t, "1\n22\n333\n")
	var log lines
	f.feed.route.log = log.logger()
	f.feed.route.match = routeTo(t, `split(payload, "")[1] == "2"`).match
	var b output.Batch
	if err := f.fill(&b); err != nil || text(&b) != "22\n" {
		t.Fatalf("batch %q, %v", text(&b), err)
	}
	if n := f.feed.route.failed.Load(); n != 1 {
		t.Errorf("%d failures are counted", n)
	}
	f.feed.route.match = routeTo(t, `split(type, "x")[5] == "2"`).match
	f.rewind()
	if err := f.fill(&b); err != nil || b.Len() > 0 {
		t.Fatalf("batch %q, %v", text(&b), err)
	}
	if n := f.feed.route.failed.Load(); n != 4 {
		t.Errorf("%d failures are counted", n)
	}
	if told := log.with("match fails"); len(told) != 1 || !strings.Contains(told[0], "sequence=1") || !strings.Contains(told[0], "out of range") {
		t.Errorf("log: %q", told)
	}
}

// TestFilteredFramesHoldNoMemory: what is filtered out is neither kept nor marked frame by frame.
func TestFilteredFramesHoldNoMemory(t *testing.T) {
	packs := make([]string, 300)
	for i := range packs {
		packs[i] = strings.Repeat(fmt.Sprintf("%d other\n", i), 100)
	}
	packs[10], packs[290] = "this x\n", "that x\n"
	f, q := feedOf(t, packs...)
	f.feed.route.match = routeTo(t, `payload contains "x"`).match
	var b output.Batch
	if err := f.fill(&b); err != nil || text(&b) != "this x\nthat x\n" {
		t.Fatalf("batch %q, %v", text(&b), err)
	}
	if b.First != 1001 || b.Len() != int(q.Status().Next-b.First) || len(f.hand.slots) != 2 || len(f.hand.runs) > 4 || len(f.free) > 1 {
		t.Errorf("batch from %d on of %d records in %d frames and %d runs, %d frames are kept", b.First, b.Len(), len(f.hand.slots), len(f.hand.runs), len(f.free))
	}
	if n, _ := f.reader.Backlog(); n != uint64(b.Len()) {
		t.Errorf("%d records are not done, want the %d of the batch", n, b.Len())
	}
	if n := f.feed.route.passed.Load(); n != 1000 {
		t.Errorf("%d records are counted, want the 1000 before the batch", n)
	}
}

// TestSkippingEnds: however much is filtered out, who skips it stops when it has to, and has noted what it skipped.
func TestSkippingEnds(t *testing.T) {
	packs := make([]string, 100)
	for i := range packs {
		packs[i] = strings.Repeat(strings.Repeat("y", 999)+"\n", 200)
	}
	f, q := feedOf(t, packs...)
	f.feed.route.match = routeTo(t, `payload contains "x"`).match
	var b output.Batch
	if err := f.fill(&b); err != nil || b.Len() > 0 {
		t.Fatalf("%d records, %v", b.Len(), err)
	}
	left, _ := f.reader.Backlog()
	if left == 0 || left > 20000-feedScan/1000 {
		t.Errorf("%d records of 20000 are left", left)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.wait(over); err == nil {
		t.Error("a wait whose context has ended returns nothing")
	}
	if n, _ := f.reader.Backlog(); n != left {
		t.Errorf("%d records are left, %d before", n, left)
	}
	one := hand{}
	one.batch.First, one.batch.Last = 1, 1
	one.batch.AddHole(1)
	f.take(&one) // a batch that is not finished while the feed is read beyond it
	f.feed.read.frames += aheadFrames + 1
	if err := f.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n, _ := f.reader.Backlog(); n != left {
		t.Errorf("%d records are left, %d before", n, left)
	}
	f.untake(&one)
	waited := ended(func() {
		if err := f.wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if _, err := (&ingest{queue: q}).emit(t.Context(), linesPack("x\n")); err != nil {
		t.Fatal(err)
	}
	<-waited
	if err := f.fill(&b); err != nil || text(&b) != "x\n" || b.First != 20001 {
		t.Errorf("%q, %v", text(&b), err)
	}
	if n, _ := f.reader.Backlog(); n != 1 {
		t.Errorf("%d records are left", n)
	}
}
