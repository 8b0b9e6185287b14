package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"logmule/integration/rig"
)

// zeros gives so many bytes of nothing.
func zeros(n int64) io.Reader { return io.LimitReader(nothing{}, n) }

type nothing struct{}

func (nothing) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb is a small body that unpacks to size bytes.
func bomb(t *testing.T, coding string, size int64) []byte {
	t.Helper()
	var packed bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&packed)
	if coding == "zstd" {
		z, err := zstd.NewWriter(&packed)
		must(t, err)
		w = z
	}
	_, err := io.Copy(w, zeros(size))
	must(t, err)
	must(t, w.Close())
	return packed.Bytes()
}

// What people throw at a log forwarder: it refuses or keeps, counts, says so, and stays small.
func TestHostileInput(t *testing.T) {
	dir := t.TempDir()
	logs, socket := filepath.Join(dir, "logs"), filepath.Join(dir, "log.sock")
	must(t, os.Mkdir(logs, 0o700))
	web, fields, datagrams := freeAddress(t), freeAddress(t), freeAddress(t)
	l := newLab(t, fmt.Sprintf(`
[input.web]
type = "http"
listen = %q
[input.fields]
type = "tcp"
listen = %q
framing = "octet-counted"
codec = "syslog"
max_record = "8MiB"
[input.datagrams]
type = "udp"
listen = %q
[input.socket]
type = "unix"
path = %q
[input.files]
type = "file"
paths = [%q]
start_at = "beginning"
[input.wide]
type = "file"
paths = [%q]
start_at = "beginning"
encoding = "utf-16le"
`, web, fields, datagrams, socket, logs+"/*.log", logs+"/*.wide"))
	l.start()
	want := map[string]int{} // payload to how often

	for _, coding := range []string{"gzip", "zstd"} {
		for _, size := range []int64{64 << 20, 2 << 30} {
			if size > 1<<30 && !full {
				continue
			}
			body := bomb(t, coding, size)
			req, err := http.NewRequest(http.MethodPost, "http://"+web+"/", bytes.NewReader(body))
			must(t, err)
			req.Header.Set("Content-Encoding", coding)
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			must(t, resp.Body.Close())
			if resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("a %s bomb of %d bytes that unpacks to %d is answered %s, want 413", coding, len(body), size, resp.Status)
			}
		}
	}
	if refused := l.metric("logmule_input_rejected_requests_total", `input="web"`); refused < 2 {
		t.Errorf("%d refused requests are counted, want the bombs", refused)
	}

	invalid := "not \xff UTF-8 \xc3\x28 \x00 at all"
	status, err := rig.Post(t.Context(), http.DefaultClient, "http://"+web+"/", []byte(invalid+"\n"))
	must(t, err)
	if status != 200 {
		t.Errorf("bytes that are not UTF-8 are answered %d", status)
	}
	want[invalid]++

	must(t, sendOnce("tcp", fields, manyFields(100_000)))
	want["a record with very many fields"]++

	large := strings.Repeat("d", 65507)
	must(t, sendOnce("udp", datagrams, []byte(large)))
	want[large]++

	must(t, sendOnce("unix", socket, []byte("before\n")))
	must(t, os.Remove(socket))
	l.wait("the socket is there again", func() bool { _, err := os.Stat(socket); return err == nil })
	l.wait("the socket takes records again", func() bool { return sendOnce("unix", socket, []byte("after\n")) == nil })
	want["before"]++
	want["after"]++

	renamedDirectory(t, l, logs, want)

	// An odd byte and half a surrogate pair: kept as far as they can be, and counted.
	must(t, os.WriteFile(filepath.Join(logs, "a.wide"), []byte("o\x00k\x00\n\x00b\x00\x00\xd8d\x00\n\x00"), 0o600))
	want["ok"]++
	want["b\uFFFDd"]++

	total := 0
	for _, n := range want {
		total += n
	}
	l.waitStored(total)
	_, peak, err := rig.Memory(l.Proc.PID())
	must(t, err)
	if limit := int64(384 << 20); peak > limit && !raceEnabled { // the bombs are of gigabytes
		t.Errorf("peak memory of %d MiB, want at most %d", peak>>20, limit>>20)
	}
	t.Logf("peak memory %d MiB", peak>>20)
	if n := l.metric("logmule_input_encoding_errors_total", `input="wide"`); n < 1 {
		t.Error("the bytes that are not UTF-16 are not counted")
	}
	for _, word := range []string{"request refused", socket, logs} {
		if !strings.Contains(l.Proc.Output(), word) {
			t.Errorf("the log says nothing of %s", word)
		}
	}
	l.stop()
	comparePayloads(t, l, want)
}

// sendOnce opens a connection, writes and closes it.
func sendOnce(network, address string, content []byte) error {
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

// manyFields is an octet-counted syslog record with n fields.
func manyFields(n int) []byte {
	var record bytes.Buffer
	record.WriteString("<14>1 2026-11-20T08:00:00Z host app - - [many@32473")
	for i := range n {
		fmt.Fprintf(&record, ` f%d="%d"`, i, i)
	}
	record.WriteString("] a record with very many fields")
	return fmt.Appendf(nil, "%d %s", record.Len(), record.Bytes())
}

// renamedDirectory takes the directory of the logs away and brings it back, while programs go on writing.
func renamedDirectory(t *testing.T, l *lab, logs string, want map[string]int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(logs, "a.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	write := func(line string) {
		_, err := f.WriteString(line + "\n")
		must(t, err)
		want[line]++
	}
	stored := func() int { return l.metric("logmule_input_records_total", `input="files"`) }
	write("directory in its place")
	l.wait("the first line is read", func() bool { return stored() == 1 })
	must(t, os.Rename(logs, logs+".away"))
	write("directory away")
	l.wait("the log says that the directory is away", func() bool { return strings.Contains(l.Proc.Output(), logs) })
	must(t, os.Rename(logs+".away", logs))
	write("directory back")
	l.wait("all lines are read", func() bool { return stored() == 3 })
	must(t, os.Rename(logs, logs+".away"))
	must(t, os.Mkdir(logs, 0o700))
	must(t, os.WriteFile(filepath.Join(logs, "a.log"), []byte("another directory\n"), 0o600))
	want["another directory"]++
	l.wait("the new directory is read", func() bool { return stored() == 4 })
	must(t, f.Close())
}

func comparePayloads(t *testing.T, l *lab, want map[string]int) {
	t.Helper()
	out, err := exec.Command(binary(t), "cat", l.data, "--format", "raw").Output()
	must(t, err)
	got := map[string]int{}
	for line := range strings.Lines(string(out)) {
		got[strings.TrimSuffix(line, "\n")]++
	}
	for payload, n := range want {
		if got[payload] != n {
			t.Errorf("%.60q is stored %d times, want %d", payload, got[payload], n)
		}
		delete(got, payload)
	}
	for payload, n := range got {
		t.Errorf("%.60q is stored %d times and was never sent", payload, n)
	}
	out, err = exec.Command(binary(t), "cat", l.data, "--format", "json").Output()
	must(t, err)
	for line := range bytes.Lines(out) {
		if !json.Valid(line) {
			t.Errorf("cat --format json prints %.200q", line)
		}
	}
}
