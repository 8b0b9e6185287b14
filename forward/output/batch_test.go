package output

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"logmule/forward/pack"
)

func linesRun(payloads ...string) Run {
	return Run{Form: pack.Lines, Count: len(payloads), Body: []byte(strings.Join(payloads, "\n") + "\n")}
}

func recordsRun(payloads ...string) Run {
	r := Run{Form: pack.Records, Count: len(payloads)}
	for _, p := range payloads {
		record := pack.Record{Payload: []byte(p), Attributes: pack.Attributes{Type: "own", Severity: 1}}
		r.Body = pack.AppendOwn(r.Body, record.Append(nil))
	}
	return r
}

func batchOf(id string, runs ...Run) *Batch {
	b := &Batch{ID: id}
	for _, r := range runs {
		b.Add(r)
	}
	return b
}

func joined(lines net.Buffers) string {
	return string(bytes.Join(lines, nil))
}

func TestAppendLinesGivesWholeBodies(t *testing.T) {
	first, second := linesRun("a", "b"), linesRun("c", "d", "e")
	b := batchOf("", first, recordsRun("x", "y"), recordsRun("z"), second)
	got := b.AppendLines(nil, 0, b.Len())
	if len(got) != 3 || joined(got) != "a\nb\nx\ny\nz\nc\nd\ne\n" {
		t.Fatalf("got %d slices: %q", len(got), joined(got))
	}
	if &got[0][0] != &first.Body[0] || &got[2][0] != &second.Body[0] {
		t.Error("a body was copied")
	}
	got = b.AppendLines(got[:0], 1, 7) // all but a and e
	if len(got) != 3 || joined(got) != "b\nx\ny\nz\nc\nd\n" || &got[0][0] != &first.Body[2] || &got[2][0] != &second.Body[0] {
		t.Errorf("got %d slices: %q", len(got), joined(got))
	}
	b.Accept(6) // d
	got = b.AppendLines(got[:0], 5, b.Len())
	if len(got) != 2 || joined(got) != "c\ne\n" {
		t.Errorf("got %d slices: %q", len(got), joined(got))
	}
	if got := b.AppendLines(nil, 6, 7); len(got) != 0 {
		t.Errorf("got %q for an accepted record", joined(got))
	}
}

// TestAppendLinesModel compares with the obvious: a list of payloads and a list of what is pending.
func TestAppendLinesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Batch
		for range rapid.IntRange(1, 2).Draw(t, "uses") {
			b.Reset()
			var payloads []string
			for range rapid.IntRange(0, 6).Draw(t, "runs") {
				var texts []string
				if rapid.Bool().Draw(t, "lines") {
					texts = rapid.SliceOfN(rapid.StringMatching(`[ab\r]{0,3}`), 1, 80).Draw(t, "texts")
					b.Add(linesRun(texts...))
				} else {
					texts = rapid.SliceOfN(rapid.StringMatching(`[ab\n]{0,3}`), 1, 5).Draw(t, "texts")
					b.Add(recordsRun(texts...))
				}
				payloads = append(payloads, texts...)
			}
			pending := make([]bool, len(payloads))
			left := len(payloads)
			for i := range pending {
				pending[i] = rapid.IntRange(0, 9).Draw(t, "settle") > 2
			}
			if rapid.Bool().Draw(t, "all") {
				pending = allTrue(len(payloads))
			}
			for i, p := range pending {
				if !p {
					b.Accept(i)
					b.Reject(i, "too late")
					left--
				}
			}
			from := rapid.IntRange(0, len(payloads)).Draw(t, "from")
			to := rapid.IntRange(from, len(payloads)).Draw(t, "to")
			checkLines(t, &b, payloads, pending, from, to)
			if b.Pending() != left || b.Len() != len(payloads) || len(b.Rejected()) != 0 {
				t.Fatalf("%d of %d pending, %v rejected; want %d of %d", b.Pending(), b.Len(), b.Rejected(), left, len(payloads))
			}
			var r pack.Record
			for range min(len(payloads), 5) {
				i := rapid.IntRange(0, len(payloads)-1).Draw(t, "record")
				if err := b.Record(i, &r); err != nil || string(r.Payload) != payloads[i] {
					t.Fatalf("record %d: %q, %v; want %q", i, r.Payload, err, payloads[i])
				}
			}
		}
	})
}

func allTrue(n int) []bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = true
	}
	return all
}

func checkLines(t *rapid.T, b *Batch, payloads []string, pending []bool, from, to int) {
	want, inner := "", []span(nil)
	for i := from; i < to; i++ {
		if !pending[i] {
			continue
		}
		at := len(want)
		want += payloads[i] + "\n"
		if strings.Contains(payloads[i], "\n") {
			inner = append(inner, span{at, len(want)})
		}
	}
	got := b.AppendLines(net.Buffers{[]byte("before")}, from, to)
	if joined(got) != "before"+want {
		t.Fatalf("[%d,%d): got %q, want %q", from, to, joined(got), want)
	}
	if fmt.Sprint(b.inner) != fmt.Sprint(inner) {
		t.Fatalf("[%d,%d) of %q: records with LF inside at %v, want %v", from, to, want, b.inner, inner)
	}
	for _, s := range got {
		if len(s) == 0 {
			t.Fatal("an empty slice")
		}
	}
}

func TestBadBodies(t *testing.T) {
	short := linesRun("a", "b")
	short.Count = 4
	torn := linesRun("a", "b")
	torn.Body = torn.Body[:3]
	garbled := recordsRun("a", "b", "c")
	garbled.Body = garbled.Body[:len(garbled.Body)-1]
	empty := Run{Form: pack.Records, Count: 2}
	for name, c := range map[string]struct {
		run      Run
		want     string
		rejected []int
	}{
		"fewer lines than counted":   {short, "a\nb\n", []int{3, 4}},
		"no LF at the end":           {torn, "a\n", []int{2}},
		"a record that is cut":       {garbled, "a\nb\n", []int{3}},
		"fewer records than counted": {empty, "", []int{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			b := batchOf("", linesRun("head"), c.run, linesRun("tail"))
			b.Accept(0) // so that the rest is walked through
			got := joined(b.AppendLines(nil, 0, b.Len()-1))
			var rejected []int
			for _, r := range b.Rejected() {
				rejected = append(rejected, r.Index)
			}
			if c.run.Form == pack.Lines && len(rejected) == 0 {
				// A whole body leaves as it is, what it holds was counted when it was made. Looking closer shows it.
				b.Reset()
				b.Add(linesRun("head"))
				b.Add(c.run)
				b.Accept(0)
				got = joined(b.AppendLines(nil, 0, 2)) + joined(b.AppendLines(nil, 2, b.Len()))
				for _, r := range b.Rejected() {
					rejected = append(rejected, r.Index)
				}
			}
			if got != c.want || fmt.Sprint(rejected) != fmt.Sprint(c.rejected) {
				t.Errorf("got %q and rejected %v, want %q and %v", got, rejected, c.want, c.rejected)
			}
			var r pack.Record
			if err := b.Record(c.rejected[len(c.rejected)-1], &r); err == nil {
				t.Errorf("a record that is not there: %q", r.Payload)
			}
		})
	}
	var r pack.Record
	if batchOf("", linesRun("a")).Record(1, &r) == nil || batchOf("").Record(0, &r) == nil {
		t.Error("a record beyond the end")
	}
}

func TestRecordHasSharedAttributes(t *testing.T) {
	shared := pack.Attributes{Type: "shared", Hostname: "h", Severity: 7}
	lines, records := linesRun("a", "b"), recordsRun("c")
	lines.Attributes, records.Attributes = shared.Append(nil), shared.Append(nil)
	b := batchOf("", lines, records)
	var r pack.Record
	if err := b.Record(1, &r); err != nil || string(r.Payload) != "b" || r.Type != "shared" || r.Hostname != "h" {
		t.Errorf("got %+v, %v", r, err)
	}
	if err := b.Record(2, &r); err != nil || string(r.Payload) != "c" || r.Type != "own" || r.Hostname != "h" || r.Severity != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestResetForgets(t *testing.T) {
	b := batchOf("id", linesRun("a", "b"))
	b.Accept(0)
	b.Reject(1, "no")
	b.Reset()
	if b.ID != "" || b.Len() != 0 || b.Bytes() != 0 || b.Pending() != 0 || len(b.Rejected()) != 0 {
		t.Errorf("left: %+v", b)
	}
	b.Add(linesRun("c", "d"))
	if !b.IsPending(0) || !b.IsPending(1) || b.Pending() != 2 {
		t.Error("an old mark on a new record")
	}
	b.Accept(5)
	b.Accept(-1)
	if b.Pending() != 2 {
		t.Error("a record that is not there was accepted")
	}
}

func TestBatchAllocatesNothing(t *testing.T) {
	runs := []Run{linesRun("a", "b"), recordsRun("x", "y\nz"), linesRun("c")}
	var b Batch
	var lines net.Buffers
	use := func() {
		b.Reset()
		for _, r := range runs {
			b.Add(r)
		}
		b.Accept(2)
		lines = b.AppendLines(lines[:0], 0, b.Len())
	}
	use()
	// The codec of package pack makes a string of the type; that is what is left.
	if n := testing.AllocsPerRun(100, use); n > 2 {
		t.Errorf("%v allocations", n)
	}
	runs = []Run{runs[0], runs[2]}
	if n := testing.AllocsPerRun(100, use); n > 0 {
		t.Errorf("%v allocations for lines", n)
	}
}
