package integration

import (
	"bytes"
	encoding "encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/integration/rig"
)

// hekaRecord is a frame of a Heka queue, with "record N" and some words as payload.
func hekaRecord(n, words int) []byte {
	payload := fmt.Sprintf("record %d%s", n, strings.Repeat(" and so on", words))
	text := func(m []byte, num byte, value string) []byte {
		return append(encoding.AppendUvarint(append(m, num<<3|2), uint64(len(value))), value...)
	}
	m := text(nil, 1, fmt.Sprintf("%016x", n))
	m = encoding.AppendUvarint(append(m, 2<<3), 1700000000000000000+uint64(n))
	m = text(text(text(m, 3, "nginx"), 6, payload), 9, "web-3")
	header := encoding.AppendUvarint([]byte{8}, uint64(len(m)))
	return append(append([]byte{0x1e, byte(len(header))}, append(header, 0x1f)...), m...)
}

// hekaFile writes records first to last, hurt by damage, and returns the offsets at which they begin, and the end.
func hekaFile(t *testing.T, name string, first, last, words int, damage func(content []byte) []byte) (starts []int) {
	t.Helper()
	var content []byte
	for n := first; n <= last; n++ {
		starts = append(starts, len(content))
		content = append(content, hekaRecord(n, words)...)
	}
	starts = append(starts, len(content))
	if damage != nil {
		content = damage(content)
	}
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, content, 0o644))
	return starts
}

const salvageConfiguration = `
[input.stays]
type = "tcp"
listen = "127.0.0.1:0"
[output.out]
type = "http"
url = %q
match = 'type == "nginx" && hostname == "web-3"'
`

// A queue after a life of crashes: torn in the middle, so that Heka would stop for ever, with a page of zeros, a wrong
// length, zeros at the end, and a checkpoint behind which the digits of a longer one were left. Everything else arrives, once.
func TestSalvageDelivers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "output_queue", "relay")
	gone := map[int]bool{}
	lose := func(starts []int, first, from, to int) {
		for i := range len(starts) - 1 {
			if starts[i] < to && starts[i+1] > from {
				gone[first+i] = true
			}
		}
	}
	starts := hekaFile(t, filepath.Join(dir, "7.log"), 0, 199, 5, func(b []byte) []byte { return b[:len(b)-30] })
	lose(starts, 0, starts[200]-30, starts[200])
	starts = hekaFile(t, filepath.Join(dir, "8.log"), 200, 399, 5, func(b []byte) []byte { clear(b[4096:8192]); return b })
	lose(starts, 200, 4096, 8192)
	wrong := 50 * len(hekaRecord(400, 5)) // all of them are as long
	starts = hekaFile(t, filepath.Join(dir, "9.log"), 400, 599, 5, func(b []byte) []byte { b[wrong+3] ^= 0x20; return b })
	lose(starts, 400, starts[50], starts[51])
	hekaFile(t, filepath.Join(dir, "11.log"), 600, 799, 5, func(b []byte) []byte { return append(b, make([]byte, 4096)...) })
	must(t, os.WriteFile(filepath.Join(dir, "checkpoint.txt"), []byte("9 01234"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "notes.log"), []byte("not a queue file"), 0o644))

	arrived := new(gathered)
	sink := httpSink(t, "127.0.0.1:0", arrived.add)
	l := newLab(t, fmt.Sprintf(salvageConfiguration, sink.URL))
	want := 800 - len(gone)
	line := fmt.Sprintf("Not delivered: %d records", want)
	if out := l.mustRun("salvage", "heka", dir, "--check"); !strings.Contains(out, line) || strings.Count(out, ") skipped, ") != 4 || !strings.Contains(out, "10.log is missing") {
		t.Errorf("--check says, without %q:\n%s", line, out)
	}
	exported, err := exec.Command(binary(t), "salvage", "heka", dir, "--export", "-").Output()
	must(t, err)
	if n := bytes.Count(exported, []byte("\n")); n != want {
		t.Errorf("%d records exported, want %d", n, want)
	}
	l.mustRun("salvage", "heka", dir, "--into", l.data)
	l.mustRun("fsck", l.data, "--deep")
	l.start()
	l.wait("all have arrived", func() bool { return arrived.count() >= want && l.backlogBySurvey() == 0 })
	l.stop()
	if !bytes.Equal(arrived.bytes(), exported) {
		t.Errorf("what arrived, %d bytes, is not what was exported, %d bytes", len(arrived.bytes()), len(exported))
	}
	once(t, arrived.bytes(), 800, gone)
}

// once fails the test unless "record 0" to "record n-1" are there once each, but for those that are gone.
func once(t *testing.T, text []byte, n int, gone map[int]bool) {
	t.Helper()
	times := map[string]int{}
	rig.Lines(text, func(line []byte) {
		head, _, _ := bytes.Cut(line, []byte(" and"))
		times[string(head)]++
	})
	for i := range n {
		want := 1
		if gone[i] {
			want = 0
		}
		if got := times[fmt.Sprintf("record %d", i)]; got != want {
			t.Errorf("record %d is there %d times, want %d", i, got, want)
		}
		delete(times, fmt.Sprintf("record %d", i))
	}
	if len(times) > 0 {
		t.Errorf("%d records that nobody wrote", len(times))
	}
}

// A salvage that is killed again and again, and then run to its end, has put each record there once, in order.
func TestSalvageKilled(t *testing.T) {
	const n = 40000
	dir := filepath.Join(t.TempDir(), "relay")
	for i := range 4 {
		hekaFile(t, filepath.Join(dir, fmt.Sprintf("%d.log", i)), i*n/4, (i+1)*n/4-1, 50, nil)
	}
	arrived := new(gathered)
	sink := httpSink(t, "127.0.0.1:0", arrived.add)
	l := newLab(t, "[queue]\nsegment_size = \"1MiB\"\ncompression = \"none\"\n"+fmt.Sprintf(salvageConfiguration, sink.URL))
	stored := func() (bytes int64) {
		files, _ := filepath.Glob(filepath.Join(l.data, "segments", "*"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				bytes += info.Size()
			}
		}
		return bytes
	}
	interrupted := 0
	for range 6 {
		cmd := exec.Command(binary(t), "salvage", "heka", dir, "--into", l.data, "-c", l.config)
		before := stored()
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		look := time.NewTicker(time.Millisecond)
		for killed := false; !killed; {
			select {
			case err := <-ended:
				must(t, err)
				killed = true
			case <-look.C:
				if stored() > before+2<<20 {
					must(t, cmd.Process.Kill())
					if err := <-ended; err != nil {
						interrupted++
					}
					killed = true
				}
			}
		}
		look.Stop()
	}
	out := l.mustRun("salvage", "heka", dir, "--into", l.data, "-c", l.config)
	t.Logf("killed %d times; then: %s", interrupted, out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	l.mustRun("fsck", l.data, "--deep")
	l.start()
	l.wait("all have arrived", func() bool { return arrived.count() >= n && l.backlogBySurvey() == 0 })
	l.stop()
	once(t, arrived.bytes(), n, nil)
	if first, _, _ := bytes.Cut(arrived.bytes(), []byte(" and")); string(first) != "record 0" {
		t.Errorf("the first that arrived is %q", first)
	}
}
