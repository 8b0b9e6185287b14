package output

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"logmule/forward/pack"
)

// TestHolesModel compares a batch with records that are filtered out with a list of what is pending.
func TestHolesModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Batch
		for range rapid.IntRange(1, 2).Draw(t, "uses") {
			b.Reset()
			var payloads []string
			var pending []bool
			out, size := 0, 0
			for range rapid.IntRange(1, 6).Draw(t, "runs") {
				n := rapid.SampledFrom([]int{1, 2, 5, 63, 64, 65, 130}).Draw(t, "records")
				if rapid.IntRange(0, 3).Draw(t, "hole") == 0 {
					b.AddHole(n)
					payloads, pending, out = append(payloads, make([]string, n)...), append(pending, make([]bool, n)...), out+n
					continue
				}
				run := linesRun
				if rapid.Bool().Draw(t, "records form") {
					run = recordsRun
				}
				var texts []string
				bits := make([]uint64, 3)
				for i := range n {
					texts = append(texts, fmt.Sprint("r", len(payloads)+i))
					drop := rapid.IntRange(0, 3).Draw(t, "drop") == 0
					if drop {
						bits[i/64] |= 1 << (i % 64)
						out++
					}
					pending = append(pending, !drop)
				}
				payloads = append(payloads, texts...)
				part := rapid.IntRange(0, 1000).Draw(t, "size")
				b.AddPart(run(texts...), bits, part)
				size += part
			}
			left := len(payloads) - out
			if b.Len() != len(payloads) || b.Filtered() != out || b.Pending() != left || b.Bytes() != size {
				t.Fatalf("%d records, %d filtered out, %d pending, %d bytes; want %d, %d, %d, %d",
					b.Len(), b.Filtered(), b.Pending(), b.Bytes(), len(payloads), out, left, size)
			}
			for range rapid.IntRange(0, 5).Draw(t, "settled") {
				i := rapid.IntRange(0, len(payloads)-1).Draw(t, "record")
				b.Accept(i)
				pending[i] = false
			}
			from := rapid.IntRange(0, len(payloads)).Draw(t, "from")
			to := rapid.IntRange(from, len(payloads)).Draw(t, "to")
			many, first := 0, len(payloads)
			for i := len(pending) - 1; i >= 0; i-- {
				if pending[i] {
					first = i
					if i >= from && i < to {
						many++
					}
				}
			}
			if b.pendingIn(from, to) != many || b.firstPending() != first {
				t.Fatalf("%d pending in [%d,%d), the first at %d; want %d and %d", b.pendingIn(from, to), from, to, b.firstPending(), many, first)
			}
			checkLines(t, &b, payloads, pending, from, to)
			if b.Filtered() != out || len(b.Rejected()) > 0 {
				t.Fatalf("%d filtered out, rejected %v", b.Filtered(), b.Rejected())
			}
			for i := range payloads {
				var r pack.Record
				if !pending[i] {
					continue
				}
				if err := b.Record(i, &r); err != nil || string(r.Payload) != payloads[i] {
					t.Fatalf("record %d: %q, %v; want %q", i, r.Payload, err, payloads[i])
				}
			}
		}
	})
}

// TestHTTPBisectsAroundHoles: what is filtered out is neither sent nor refused while a batch is halved, and over a retry
// in the middle of that.
func TestHTTPBisectsAroundHoles(t *testing.T) {
	calls := 0
	var accepted strings.Builder
	s := newServer(t, func(w http.ResponseWriter, body string) {
		calls++
		switch {
		case calls == 4:
			http.Error(w, "later", http.StatusServiceUnavailable)
		case strings.Contains(body, "bad"):
			http.Error(w, "no", http.StatusBadRequest)
		default:
			accepted.WriteString(body)
		}
	})
	o := newTestHTTP(t, s.URL, nil)
	b := &Batch{ID: "id"}
	b.AddPart(linesRun("0", "1", "bad 2", "3"), []uint64{0b0001}, 10)
	b.AddHole(70)
	b.AddPart(recordsRun("4", "bad 5", "6", "bad 7"), []uint64{0b1000}, 10)
	b.AddHole(2)
	if err := o.Send(t.Context(), b); err == nil {
		t.Error("the request that failed gave no error")
	}
	mustSend(t, o, b)
	var rejected []int
	for _, r := range b.Rejected() {
		rejected = append(rejected, r.Index)
	}
	if accepted.String() != "1\n3\n4\n6\n" || fmt.Sprint(rejected) != "[2 75]" || b.Pending() != 0 || b.Filtered() != 74 {
		t.Errorf("accepted %q, rejected %v, %d pending, %d filtered out", accepted.String(), rejected, b.Pending(), b.Filtered())
	}
}
