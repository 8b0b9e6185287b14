package integration

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Two outputs share a mixture by the payload and two more by the input: each gets exactly its own, in order.
func TestRoutingOfAMixture(t *testing.T) {
	records := 50_000
	if full {
		records = 1_000_000
	}
	plain, counted := freeAddress(t), freeAddress(t)
	names := []string{"even", "odd", "plain", "counted"}
	addresses := map[string]string{}
	for _, name := range names {
		addresses[name] = freeAddress(t)
	}
	l := newLab(t, fmt.Sprintf(`
[input.plain]
type = "tcp"
listen = %q
[input.counted]
type = "tcp"
listen = %q
framing = "length-prefixed"
[output.even]
type = "http"
url = "http://%s/"
match = 'payload contains "kind=even"'
[output.odd]
type = "http"
url = "http://%s/"
match = 'not (payload contains "kind=even")'
[output.plain]
type = "http"
url = "http://%s/"
match = 'type == "plain" and severity == 7'
[output.counted]
type = "http"
url = "http://%s/"
from = ["counted"]
`, plain, counted, addresses["even"], addresses["odd"], addresses["plain"], addresses["counted"]))
	var arrived, wrong [4]atomic.Int64
	var last [4]map[string]int
	for i, name := range names {
		last[i] = map[string]int{"plainodd": -1, "countedodd": -1} // numbers of the odd kind begin at 1
		httpSink(t, addresses[name], func(record []byte) {
			var input, kind string
			var n int
			if _, err := fmt.Sscanf(string(record), "input=%s n=%d kind=%s", &input, &n, &kind); err != nil || input != name && kind != name || n != last[i][input+kind]+2 {
				if wrong[i].Add(1) < 5 {
					t.Errorf("%s got %.80q after %d", name, record, last[i][input+kind])
				}
			}
			last[i][input+kind] = n
			arrived[i].Add(1)
		})
	}
	// Kinds alternate, so that every run of every frame is a mixture, and numbers of a kind step by two.
	l.start()
	began := time.Now()
	for _, input := range []string{"plain", "counted"} {
		var stream bytes.Buffer
		for n := 1; n <= records/2; n++ {
			kind := "odd"
			if n%2 == 0 {
				kind = "even"
			}
			line := fmt.Sprintf("input=%s n=%d kind=%s %s", input, n, kind, strings.Repeat("y", n%50))
			if input == "counted" {
				stream.Write([]byte{0, 0, byte(len(line) >> 8), byte(len(line))})
				stream.WriteString(line)
			} else {
				stream.WriteString(line + "\n")
			}
		}
		address := plain
		if input == "counted" {
			address = counted
		}
		must(t, sendOnce("tcp", address, stream.Bytes()))
	}
	for i, name := range names {
		l.wait(name+" has all its records", func() bool { return arrived[i].Load() >= int64(records/2) })
	}
	l.wait("every output is done with every record", func() bool {
		for _, name := range names {
			if l.metric("logmule_output_backlog_records", fmt.Sprintf("output=%q", name)) > 0 {
				return false
			}
		}
		return true
	})
	for i, name := range names {
		if n := arrived[i].Load(); n != int64(records/2) {
			t.Errorf("%s got %d records, want %d", name, n, records/2)
		}
		if n := l.metric("logmule_output_filtered_records_total", fmt.Sprintf("output=%q", name)); n != records/2 {
			t.Errorf("%s left out %d records, want %d", name, n, records/2)
		}
	}
	t.Logf("%d records to four outputs in %v", records, time.Since(began).Round(time.Millisecond))
}
