package torture

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// pile counts records by their first byte and length, which tell them apart here.
type pile struct {
	mu   sync.Mutex
	seen map[string]int
}

func keyOf(record []byte) string {
	return fmt.Sprintf("%d bytes of %.1q", len(record), record)
}

func (p *pile) arrived(record []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]int{}
	}
	p.seen[keyOf(record)]++
}

// all is what has arrived, each key with how often.
func (p *pile) all() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.seen)
}

// TestRecordsAtEveryLimit sends every input kind records of the sizes at which something ends, and every output kind gets them.
func TestRecordsAtEveryLimit(t *testing.T) {
	const most, mib = 1 << 20, 1 << 20
	dir := t.TempDir()
	p := places{data: filepath.Join(dir, "data"), logs: filepath.Join(dir, "logs"), out: filepath.Join(dir, "out"), queue: "segment_size = \"4MiB\"\nmax_size = \"512MiB\""}
	w := newWorld(t, p)
	large, counted := rig.OwnAddress(t), rig.OwnAddress(t)
	w.outputs += fmt.Sprintf("[input.large]\ntype = \"tcp\"\nlisten = %q\nmax_record = \"8MiB\"\n[input.counted]\ntype = \"tcp\"\nlisten = %q\nframing = \"octet-counted\"\ncodec = \"syslog\"\nmax_record = \"8MiB\"\n", large, counted)
	w.Configure(w.text(false))
	piles := map[string]*pile{}
	for name, e := range w.ends {
		piles[name] = &pile{}
		e.instead = piles[name].arrived
	}
	w.start()
	stop := w.watch()
	want, total := map[string]int{}, map[string]int{}
	expect := func(kind string, letter byte, size int) {
		want[keyOf(bytes.Repeat([]byte{letter}, size))]++
		total[kind]++
	}
	endless := by(4*mib, 64*mib, 256*mib)
	for n, kind := range []string{"file", "stdin", "tcp", "unix"} {
		letter := byte('a' + n)
		var content []byte
		line := func(size, kept int) {
			content = append(append(content, bytes.Repeat([]byte{letter}, size)...), '\n')
			expect(kind, letter, kept)
		}
		for _, size := range []int{0, 1, most - 1, most} {
			line(size, size)
		}
		for _, size := range []int{most + 1, 8 * mib, endless} {
			line(size, most) // the head is kept, and marked
		}
		content = append(content, '\r', '\n')
		expect(kind, '\r', 1)
		must(t, w.pour(kind, content))
	}
	var content []byte
	for _, size := range []int{8*mib - 1, 8 * mib, 8*mib + 1} {
		content = append(append(content, bytes.Repeat([]byte{'L'}, size)...), '\n')
		expect("large", 'L', min(size, 8*mib))
	}
	must(t, say("tcp", large, content))
	must(t, say("tcp", counted, manyFields(100_000)))
	expect("counted", manyText[0], len(manyText))
	for _, size := range []int{0, 1, 65507} {
		must(t, say("udp", w.udp, bytes.Repeat([]byte{'u'}, size)))
		expect("udp", 'u', size)
	}
	for size, status := range map[int]int{0: 200, most - 1: 200, most: 200, most + 1: 413, 17 * mib: 413} {
		got, err := rig.Post(t.Context(), http.DefaultClient, "http://"+w.http+"/", append(bytes.Repeat([]byte{'h'}, size), '\n'))
		must(t, err)
		if got != status {
			t.Errorf("a record of %d bytes is answered %d, want %d", size, got, status)
		}
		if status == 200 {
			expect("http", 'h', size)
		}
	}
	for kind, n := range total {
		w.Wait(fmt.Sprintf("the input %s has taken %d records", kind, n), func() bool { return w.counters()["taken/"+kind] >= float64(n) })
	}
	w.drained("")
	used := stop()
	used.bounded(t, 512<<20, 600, 1000)
	letters := w.counters()["deadletters/udp"]
	w.Stop()
	b, err := os.ReadFile(w.archive())
	must(t, err)
	rig.Lines(b, piles["file"].arrived)
	w.fsck()
	compare(t, piles, want, letters)
	for _, k := range kinds() {
		if k[1] != "input generate" {
			reliability.Add(t, reliability.Row{Part: reliability.Load, Fault: "records at every limit: empty, max_record and one less and more, 8 MiB, no end for 64 MiB, 100,000 fields, the largest datagram",
				Kind: k[1], Tried: uint64(len(want)), Outcome: "stored and delivered as the manual says; " + used.String()})
		}
	}
}

// compare holds what came against what was wanted. What is too long for a datagram is a dead letter of the udp output.
func compare(t *testing.T, piles map[string]*pile, want map[string]int, letters float64) {
	t.Helper()
	for name, p := range piles {
		seen, tooLong := p.all(), 0.0
		for key, n := range want {
			var size int
			_, err := fmt.Sscanf(key, "%d", &size)
			must(t, err)
			if name == "udp" && size > 65507 {
				tooLong += float64(n)
				n = 0
			}
			if seen[key] != n {
				t.Errorf("output %s has got %d records of %s, want %d", name, seen[key], key, n)
			}
			delete(seen, key)
		}
		for key, n := range seen {
			t.Errorf("output %s has got %d records of %s, which nobody has sent", name, n, key)
		}
		if name == "udp" && letters != tooLong {
			t.Errorf("%v dead letters of the udp output, want %v", letters, tooLong)
		}
	}
}

// pour writes to an input that reads a stream.
func (w *world) pour(kind string, content []byte) error {
	switch kind {
	case "file":
		_, err := w.log.Write(content)
		return err
	case "stdin":
		_, err := w.stdin.Write(content)
		return err
	case "tcp":
		return say("tcp", w.tcp, content)
	}
	return say("unix", w.unix, content)
}

// say opens a connection, writes and closes it.
func say(network, address string, content []byte) error {
	c, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	_, err = c.Write(content)
	if closed := c.Close(); err == nil {
		err = closed
	}
	return err
}

const manyText = "a record with very many fields"

// manyFields is an octet-counted syslog record with n fields.
func manyFields(n int) []byte {
	var record bytes.Buffer
	record.WriteString("<14>1 2026-11-20T08:00:00Z host app - - [many@32473")
	for i := range n {
		fmt.Fprintf(&record, ` f%d="%d"`, i, i)
	}
	record.WriteString("] " + manyText)
	return fmt.Appendf(nil, "%d %s", record.Len(), record.Bytes())
}
