// Package outputtest is the conformance suite that every kind of output has to pass, and what the tests of a kind need
// besides: runs made of payloads, and the engine's side of the protocol.
package outputtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"logmule/forward/output"
	"logmule/forward/pack"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// Destination is an output under test together with what it delivers to. The suite closes the output.
type Destination struct {
	Output output.Output
	// Received returns what has arrived so far: for every record that arrived whole, its payload and LF. It may be called
	// at any time, and deliveries may show in it a little late.
	Received func() []byte
	// Break makes deliveries fail until Mend.
	Break, Mend func()
	// Stall makes the destination take nothing more without refusing it. nil: it cannot happen.
	Stall func()
	// Most is the largest payload that can be delivered, in bytes; 0: any.
	Most int
}

// Factory makes an output and an empty destination that works. What it starts ends with the test.
type Factory func(t *testing.T) Destination

// Run runs the suite. Each part gets a destination of its own.
func Run(t *testing.T, f Factory) {
	parts := []struct {
		name string
		test func(t *testing.T, d Destination)
	}{
		{"payloads", payloads},
		{"order", order},
		{"retry", retry},
		{"context", ended},
		{"stall", stall},
		{"empty", empty},
		{"partly settled", partly},
		{"filtered", filtered},
		{"filtered and retried", filteredRetry},
		{"undecodable", undecodable},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			d := f(t)
			if c, ok := d.Output.(io.Closer); ok {
				defer func() {
					if err := c.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}()
			}
			part.test(t, d)
		})
	}
}

// Lines makes a lines run of payloads, which must not contain LF.
func Lines(payloads ...string) output.Run {
	var body []byte
	for _, p := range payloads {
		body = append(append(body, p...), '\n')
	}
	return output.Run{Form: pack.Lines, Count: len(payloads), Attributes: attributes(), Body: body}
}

// Records makes a records run of payloads, each with attributes of its own.
func Records(payloads ...string) output.Run {
	var body []byte
	for i, p := range payloads {
		r := pack.Record{Payload: []byte(p), Attributes: pack.Attributes{
			Timestamp: int64(i), Severity: 3, Pid: int32(i), Fields: []pack.Field{{Name: "n", Value: int64(i)}},
		}}
		body = pack.AppendOwn(body, r.Append(nil))
	}
	return output.Run{Form: pack.Records, Count: len(payloads), Attributes: attributes(), Body: body}
}

func attributes() []byte {
	a := pack.Attributes{Timestamp: 1700000000e9, Type: "app", Logger: "test", Severity: 7, Hostname: "host"}
	return a.Append(nil)
}

// Batch makes a batch of runs.
func Batch(id string, runs ...output.Run) *output.Batch {
	b := &output.Batch{ID: id, First: 1}
	for _, r := range runs {
		b.Add(r)
	}
	b.Last = uint64(b.Len())
	return b
}

// Deliver does what the engine does with a batch up to the first error, nil when it is delivered.
func Deliver(ctx context.Context, o output.Output, b *output.Batch) error {
	for {
		if s, ok := o.(output.Stateful); ok {
			if _, err := s.Prepare(b); err != nil {
				return err
			}
		}
		if err := o.Send(ctx, b); !errors.Is(err, output.ErrAgain) {
			return err
		}
	}
}

// Await waits until done returns true, and fails the test when that does not come.
func Await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// send delivers a batch to a destination that works.
func send(t *testing.T, d Destination, b *output.Batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := Deliver(ctx, d.Output, b); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// expect waits for exactly these bytes.
func expect(t *testing.T, d Destination, want []byte) {
	t.Helper()
	var got []byte
	Await(t, "everything to arrive", func() bool {
		got = d.Received()
		return len(got) >= len(want)
	})
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("received %d bytes instead of %d, the first difference is at %d: %.80q instead of %.80q",
			len(got), len(want), at, got[at:], want[at:])
	}
}

func lines(payloads ...string) []byte {
	return []byte(strings.Join(payloads, "\n") + "\n")
}

// odd are payloads that something on the way might take for something else.
func odd(most int) []string {
	if most == 0 {
		most = 1 << 20
	}
	return []string{
		"plain", "", "\x00", "nul\x00inside", "\xff\xfe not UTF-8 \x80", "\r", "line\r", "", " ", "\t\v\f",
		"\u2028", strings.Repeat("x", most), "last",
	}
}

func payloads(t *testing.T, d Destination) {
	all := odd(d.Most)
	send(t, d, Batch("lines", Lines(all...)))
	send(t, d, Batch("records", Records(all...)))
	send(t, d, Batch("mixed", Records("one", "two\nlines"), Lines("three"), Records("four\n"), Records(""), Lines("five", "")))
	want := append(lines(all...), lines(all...)...)
	want = append(want, "one\ntwo\nlines\nthree\nfour\n\n\nfive\n\n"...)
	expect(t, d, want)
}

func order(t *testing.T, d Destination) {
	var want []byte
	for i := range 60 {
		var runs []output.Run
		for j := range i%3 + 1 {
			texts := []string{fmt.Sprintf("batch %d run %d", i, j), strings.Repeat("y", i*40)}
			want = append(want, lines(texts...)...)
			if (i+j)%2 == 0 {
				runs = append(runs, Lines(texts...))
			} else {
				runs = append(runs, Records(texts...))
			}
		}
		send(t, d, Batch(fmt.Sprintf("order-%d", i), runs...))
	}
	expect(t, d, want)
}

// retry breaks the destination twice. What was accepted may come again, nothing may be missing or overtake.
func retry(t *testing.T, d Destination) {
	var want []string
	for round := range 3 {
		first, second := fmt.Sprintf("first %d", round), fmt.Sprintf("second %d", round)
		want = append(want, first, second)
		b := Batch(fmt.Sprintf("retry-%d", round), Lines(first), Records(second))
		if round > 0 {
			d.Break()
			Await(t, "an error from a broken destination", func() bool { return Deliver(t.Context(), d.Output, b) != nil })
			d.Mend()
		}
		Await(t, "the batch to be accepted", func() bool { return Deliver(t.Context(), d.Output, b) == nil })
		if n := len(b.Rejected()); n > 0 {
			t.Fatalf("%d records were rejected: %v", n, b.Rejected())
		}
	}
	var got []string
	Await(t, "all records", func() bool {
		got = nil
		seen := make(map[string]bool)
		for line := range strings.Lines(string(d.Received())) {
			if line = strings.TrimSuffix(line, "\n"); !seen[line] {
				seen[line] = true
				got = append(got, line)
			}
		}
		return len(got) >= len(want)
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("received %q instead of %q", got, want)
	}
}

// ended sends with a context that has ended: an error, and the records are still to be delivered.
func ended(t *testing.T, d Destination) {
	send(t, d, Batch("before", Lines("before")))
	expect(t, d, lines("before"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := Batch("during", Lines("during"))
	if err := Deliver(ctx, d.Output, b); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the error of the context", err)
	}
	if b.Pending() != 1 {
		t.Fatal("the record is no longer pending")
	}
	Await(t, "the batch to be accepted", func() bool { return Deliver(t.Context(), d.Output, b) == nil })
	expect(t, d, lines("before", "during"))
}

// stall ends the context of a Send that the destination keeps waiting.
func stall(t *testing.T, d Destination) {
	if d.Stall == nil {
		t.Skip("this destination cannot keep anybody waiting")
	}
	d.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	text, count := strings.Repeat("z", 16<<20), 1
	if d.Most > 0 {
		text, count = text[:d.Most], 16<<20/d.Most
	}
	b := Batch("stalled", Lines(slices.Repeat([]string{text}, count)...))
	err := Deliver(ctx, d.Output, b)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the error of the context", err)
	}
	if b.Pending() == 0 {
		t.Fatal("the records are no longer pending")
	}
}

func empty(t *testing.T, d Destination) {
	send(t, d, Batch("empty"))
	send(t, d, Batch("one", Lines("one")))
	send(t, d, Batch("empty again"))
	done := Batch("done", Lines("never"))
	done.Accept(0)
	send(t, d, done)
	expect(t, d, lines("one"))
}

func partly(t *testing.T, d Destination) {
	b := Batch("partly", Lines("0", "1", "2", "3"), Records("4", "5", "6"), Lines("7"), Lines("8", "9"))
	for _, i := range []int{0, 2, 5, 7} {
		b.Accept(i)
	}
	b.Reject(9, "not wanted")
	send(t, d, b)
	if r := b.Rejected(); len(r) != 1 || r[0] != (output.Rejection{Index: 9, Reason: "not wanted"}) {
		t.Errorf("rejected: %v", r)
	}
	expect(t, d, lines("1", "3", "4", "6", "8"))
}

// mask is the bitmap for AddPart in which the given records are filtered out.
func mask(out ...int) []uint64 {
	bits := make([]uint64, 4)
	for _, i := range out {
		bits[i/64] |= 1 << (i % 64)
	}
	return bits
}

// holes is a batch with records that are filtered out in all places where they can be: the ends of runs, the middle of
// them, whole runs. What is to arrive is at most three and at least two records of every run.
func holes(id string) (b *output.Batch, want []byte) {
	b = &output.Batch{ID: id, First: 11}
	line := func(n int) string { return fmt.Sprintf("%s %d", id, n) }
	b.AddPart(Lines(line(0), line(1), line(2)), mask(0), 2*len(line(0))+2)
	b.AddPart(Lines(line(3), line(4), line(5)), mask(2), 2*len(line(0))+2)
	b.AddHole(3)
	b.AddHole(130)
	b.AddPart(Records(line(6), line(7), line(8), line(9)), mask(1, 2), 60)
	b.AddPart(Records(line(10)), mask(0), 0)
	b.Add(Lines(line(11), line(12)))
	b.AddPart(Lines(line(13), line(14), line(15), line(16), line(17)), mask(1, 3), 3*len(line(10))+3)
	b.AddHole(1)
	b.Last = b.First + uint64(b.Len()) - 1
	for _, n := range []int{1, 2, 3, 4, 6, 9, 11, 12, 13, 15, 17} {
		want = append(append(want, line(n)...), '\n')
	}
	return b, want
}

// filtered sends what is not filtered out, and nothing else is accepted or rejected.
func filtered(t *testing.T, d Destination) {
	b, want := holes("holes")
	if b.Pending() != 11 || b.Filtered() != b.Len()-11 {
		t.Fatalf("%d records are pending and %d filtered out, of %d", b.Pending(), b.Filtered(), b.Len())
	}
	send(t, d, b)
	if r := b.Rejected(); len(r) > 0 {
		t.Errorf("rejected: %v", r)
	}
	second, more := holes("again")
	second.Accept(1)
	send(t, d, second)
	more = bytes.TrimPrefix(more, []byte("again 1\n"))
	expect(t, d, append(want, more...))
	if n := second.Filtered(); n != second.Len()-11 {
		t.Errorf("%d records are filtered out after the delivery", n)
	}
}

// filteredRetry breaks the destination under a batch with records that are filtered out.
func filteredRetry(t *testing.T, d Destination) {
	first, want := holes("first")
	send(t, d, first)
	d.Break()
	b, more := holes("second")
	Await(t, "an error from a broken destination", func() bool { return Deliver(t.Context(), d.Output, b) != nil })
	d.Mend()
	Await(t, "the batch to be accepted", func() bool { return Deliver(t.Context(), d.Output, b) == nil })
	seen := map[string]bool{}
	want = append(want, more...)
	Await(t, "all records that are not filtered out", func() bool {
		var got []byte
		clear(seen)
		for line := range strings.Lines(string(d.Received())) {
			if !seen[line] {
				seen[line] = true
				got = append(got, line...)
			}
		}
		return bytes.Equal(got, want)
	})
}

// undecodable records can be sent to nobody: they are rejected and the others delivered.
func undecodable(t *testing.T, d Destination) {
	bad := Records("", "")
	bad.Body = pack.AppendOwn(pack.AppendOwn(nil, []byte{0xff}), nil)
	b := Batch("undecodable", Lines("before"), bad, Lines("after"))
	send(t, d, b)
	if r := b.Rejected(); len(r) != 1 || r[0].Index != 1 || r[0].Reason == "" {
		t.Errorf("rejected: %v", r)
	}
	expect(t, d, lines("before", "", "after"))
}
