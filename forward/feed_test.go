package forward

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
)

// cutter is a feed with one hand, which is not finished before it is filled again.
type cutter struct {
	*feed
	hand  hand
	limit int
}

func (c *cutter) fill(b *output.Batch) error {
	c.mu.Lock()
	c.untake(&c.hand)
	c.mu.Unlock()
	err := c.feed.fill(context.Background(), &c.hand, c.limit)
	*b = c.hand.batch
	return err
}

func (c *cutter) rewind() {
	c.mu.Lock()
	c.untake(&c.hand)
	c.mu.Unlock()
	c.feed.rewind()
}

// feedOf opens a queue, appends packs of lines, and returns a feed on it.
func feedOf(t *testing.T, packs ...string) (*cutter, *queue.Queue) {
	t.Helper()
	r := newRig(t)
	q, err := r.open(queue.Options{Dir: "/data"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	g := &ingest{queue: q}
	for _, body := range packs {
		receipt, err := g.emit(t.Context(), linesPack(body))
		if err != nil {
			t.Fatal(err)
		}
		if err := receipt.Wait(t.Context()); err != nil { // so that each pack is a frame
			t.Fatal(err)
		}
	}
	return &cutter{feed: &feed{reader: q.Reader("out", queue.Oldest)}, limit: defaultBatch}, q
}

// text is the records of a batch, joined.
func text(b *output.Batch) string {
	var all strings.Builder
	for _, part := range b.AppendLines(nil, 0, b.Len()) {
		all.Write(part)
	}
	return all.String()
}

func TestFeedKeepsToTheLimit(t *testing.T) {
	var packs []string
	for i := range 40 { // frames of shrinking size, so that batches hold more and more of them, with lines of their own
		packs = append(packs, strings.Repeat(fmt.Sprintf("%099d\n", i), 140-3*i))
	}
	f, _ := feedOf(t, packs...)
	f.limit = 50_000
	var b output.Batch
	var got strings.Builder
	next, before := uint64(1), 0
	for {
		if err := f.fill(&b); err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			break
		}
		if b.Bytes() > f.limit {
			t.Errorf("batch of %d bytes, the limit is %d", b.Bytes(), f.limit)
		}
		if before > 0 && before+len(f.hand.runs[0].run.Body) <= f.limit {
			t.Errorf("batch of %d bytes, though the next run of %d bytes would have fitted", before, len(f.hand.runs[0].run.Body))
		}
		before = b.Bytes()
		if b.First != next || b.Last != next+uint64(b.Len())-1 {
			t.Fatalf("batch %d to %d of %d records, want it from %d on", b.First, b.Last, b.Len(), next)
		}
		next = b.Last + 1
		got.WriteString(text(&b))
	}
	if got.String() != strings.Join(packs, "") {
		t.Errorf("read %d bytes, want %d", got.Len(), len(strings.Join(packs, "")))
	}
}

func TestFeedTakesAFrameLargerThanTheLimit(t *testing.T) {
	f, _ := feedOf(t, "a\nb\nc\n", "d\n")
	f.limit = 1
	var b output.Batch
	for _, want := range []string{"a\nb\nc\n", "d\n", ""} {
		if err := f.fill(&b); err != nil || text(&b) != want {
			t.Errorf("batch %q, %v, want %q", text(&b), err, want)
		}
	}
}

// TestFeedEndsABatchWithItsEpoch reads what two processes have appended. A batch is named by its first epoch: a copy of the
// queue from before the second process goes on with other records under the same numbers, and their batch must have another
// name than one that a destination knows.
func TestFeedEndsABatchWithItsEpoch(t *testing.T) {
	r := newRig(t)
	var f *cutter
	for _, body := range []string{"1\n2\n", "3\n4\n"} {
		q, err := r.open(queue.Options{Dir: "/data"})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := (&ingest{queue: q}).emit(t.Context(), linesPack(body))
		if err == nil {
			err = receipt.Wait(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		f = &cutter{feed: &feed{reader: q.Reader("out", queue.Oldest)}, limit: defaultBatch}
		defer q.Close()
		if body == "1\n2\n" {
			q.Close()
		}
	}
	var b output.Batch
	for _, want := range []string{"1\n2\n", "3\n4\n", ""} {
		if err := f.fill(&b); err != nil || text(&b) != want {
			t.Errorf("batch %q, %v, want %q", text(&b), err, want)
		}
	}
}

func TestFeedLeavesOutWhatIsDone(t *testing.T) {
	f, _ := feedOf(t, "1\n2\n3\n4\n5\n6\n", "7\n8\n9\n")
	f.reader.Done(nil, checkpoint.Range{First: 1, Last: 1})
	f.reader.Done(nil, checkpoint.Range{First: 3, Last: 4})
	f.reader.Done(nil, checkpoint.Range{First: 6, Last: 7})
	for round := range 2 {
		var b output.Batch
		for _, want := range []string{"2\n", "5\n", "8\n9\n", ""} {
			if err := f.fill(&b); err != nil || text(&b) != want {
				t.Fatalf("round %d: batch %q, %v, want %q", round, text(&b), err, want)
			}
			if want != "" && (fmt.Sprintln(b.First) != want[:2]) {
				t.Errorf("batch %q starts at %d", want, b.First)
			}
		}
		f.rewind()
	}
	f.reader.Done(nil, checkpoint.Range{First: 1, Last: 9})
	f.rewind()
	var b output.Batch
	if err := f.fill(&b); err != nil || b.Len() != 0 {
		t.Errorf("everything is done, but %q comes again, %v", text(&b), err)
	}
}

// TestFeedCutsAPlannedBatchAgain: what a killed process was delivering comes as the same batch, though more could be in
// it by now, and nothing is left out behind it.
func TestFeedCutsAPlannedBatchAgain(t *testing.T) {
	for planned, want := range map[uint64][]string{
		0: {"1\n2\n3\n4\n5\n6\n"},
		3: {"1\n2\n3\n", "4\n5\n6\n"},
		4: {"1\n2\n3\n4\n", "5\n6\n"},
		5: {"1\n2\n3\n4\n5\n", "6\n"},
		6: {"1\n2\n3\n4\n5\n6\n"},
	} {
		f, _ := feedOf(t, "1\n2\n3\n", "4\n5\n6\n")
		if planned > 0 {
			f.reader.Plan(planned)
			f.resume()
		}
		var b output.Batch
		for _, want := range append(want, "") {
			if err := f.fill(&b); err != nil || text(&b) != want {
				t.Fatalf("planned %d: batch %q, %v, want %q", planned, text(&b), err, want)
			}
			if b.Len() > 0 {
				f.reader.Done(nil, checkpoint.Range{First: b.First, Last: b.Last})
			}
		}
	}
}

func TestFeedWaits(t *testing.T) {
	f, q := feedOf(t)
	var b output.Batch
	if err := f.fill(&b); err != nil || b.Len() != 0 {
		t.Fatalf("an empty queue gives %d records, %v", b.Len(), err)
	}
	waited := ended(func() {
		if err := f.wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	g := &ingest{queue: q}
	if _, err := g.emit(t.Context(), linesPack("late\n")); err != nil {
		t.Fatal(err)
	}
	<-waited
	if err := f.fill(&b); err != nil || text(&b) != "late\n" {
		t.Errorf("after the wait: %q, %v", text(&b), err)
	}
}

func TestFeedLetsGoOfLargeFrames(t *testing.T) {
	long := strings.Repeat("x", feedKept-1) + "\n"
	f, _ := feedOf(t, "first\n", long, long, "last\n")
	f.limit = 4 * feedKept
	var b output.Batch
	if err := f.fill(&b); err != nil || b.Len() != 4 {
		t.Fatalf("%d records in one batch, %v, want all 4", b.Len(), err)
	}
	if err := f.fill(&b); err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, s := range f.free {
		total += cap(s.frame.Body())
	}
	if total > feedKept || f.kept > feedKept {
		t.Errorf("the feed keeps %d bytes, and reckons with %d, want at most %d", total, f.kept, feedKept)
	}
}

func TestPartWithout(t *testing.T) {
	for name, c := range map[string]struct {
		done []checkpoint.Range
		want string
	}{
		"nothing":      {nil, "10:abcde"},
		"before":       {[]checkpoint.Range{{First: 1, Last: 9}}, "10:abcde"},
		"after":        {[]checkpoint.Range{{First: 15, Last: 20}}, "10:abcde"},
		"all":          {[]checkpoint.Range{{First: 10, Last: 14}}, ""},
		"more":         {[]checkpoint.Range{{First: 1, Last: 99}}, ""},
		"head":         {[]checkpoint.Range{{First: 8, Last: 11}}, "12:cde"},
		"tail":         {[]checkpoint.Range{{First: 13, Last: 99}}, "10:abc"},
		"middle":       {[]checkpoint.Range{{First: 11, Last: 12}}, "10:a 13:de"},
		"two":          {[]checkpoint.Range{{First: 10, Last: 10}, {First: 12, Last: 12}}, "11:b 13:de"},
		"every second": {[]checkpoint.Range{{First: 11, Last: 11}, {First: 13, Last: 13}}, "10:a 12:c 14:e"},
	} {
		for _, form := range []pack.Form{pack.Lines, pack.Records} {
			var body []byte
			for _, s := range []string{"a", "b", "c", "d", "e"} {
				if form == pack.Records {
					body = pack.AppendOwn(body, (&pack.Record{Payload: []byte(s)}).Append(nil))
				} else {
					body = append(body, s+"\n"...)
				}
			}
			p := part{first: 10, run: output.Run{Form: form, Count: 5, Body: body}}
			var got []string
			for _, left := range p.without(nil, c.done) {
				var b output.Batch
				b.Add(left.run)
				got = append(got, fmt.Sprintf("%d:%s", left.first, strings.ReplaceAll(text(&b), "\n", "")))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("%s, %v: left %q, want %q", name, form, s, c.want)
			}
		}
	}
}

func TestFeedFramesAreReused(t *testing.T) {
	var packs []string
	for range 50 {
		packs = append(packs, strings.Repeat("some line\n", 1000))
	}
	f, _ := feedOf(t, packs...)
	f.limit = 20_000
	var b output.Batch
	for {
		if err := f.fill(&b); err != nil {
			t.Fatal(err)
		}
		if b.Len() == 0 {
			break
		}
		f.reader.Done(nil, checkpoint.Range{First: b.First, Last: b.Last})
	}
	if len(f.free)+len(f.hand.slots) > 4 {
		t.Errorf("%d frames for batches of two", len(f.free)+len(f.hand.slots))
	}
}

func TestFeedBoundsTheFrames(t *testing.T) {
	packs := make([]string, feedFrames+10)
	for i := range packs {
		packs[i] = "x\n"
	}
	f, _ := feedOf(t, packs...)
	var b output.Batch
	for _, want := range []int{feedFrames, 10, 0} {
		if err := f.fill(&b); err != nil || b.Len() != want {
			t.Errorf("batch of %d records, %v, want %d", b.Len(), err, want)
		}
	}
}
