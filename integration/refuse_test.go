package integration

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"logmule/integration/rig"
)

// refused runs the daemon, which must end by itself, not with 0, and give every one of these reasons.
func (l *lab) refused(reasons ...string) {
	l.t.Helper()
	code, out := l.run("run", "-c", l.config)
	if code == 0 {
		l.t.Errorf("run exits 0:\n%s", out)
	}
	for _, reason := range reasons {
		if !strings.Contains(out, reason) {
			l.t.Errorf("the message does not say %q:\n%s", reason, out)
		}
	}
	if strings.Contains(out, "goroutine ") {
		l.t.Errorf("a stack trace is no message:\n%s", out)
	}
}

func TestSecondRunOnTheSameData(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	text := "[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = %q\n"
	url := httpSink(t, "127.0.0.1:0", d.Arrived).URL
	l.configure(fmt.Sprintf(text, in, url))
	l.start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Limit: 1000}
	source.Run(t.Context())

	second := newLabAt(t, t.TempDir(), l.data, fmt.Sprintf(text, freeAddress(t), url))
	second.refused(l.data, fmt.Sprint(l.Proc.PID()))

	source.Limit = 2000
	source.Run(t.Context())
	l.drained(d)
	l.verdict(0)
}

// badConfigurations: what is wrong, the line that it is on (after the four that configure writes), what the message names.
var badConfigurations = []struct {
	name, text string
	line       int
	names      []string
}{
	{"misspelt key", "[queue]\nsegment_sise = \"1MiB\"\n", 6, []string{"segment_sise", "segment_size"}},
	{"misspelt key of an input", "[input.in]\ntype = \"http\"\nlisen = \"127.0.0.1:1\"\n", 7, []string{"lisen", "listen"}},
	{"unknown type", "[input.in]\ntype = \"htpp\"\nlisten = \"127.0.0.1:1\"\n", 0, []string{"htpp", "http"}},
	{"no TOML", "[queue\nsync = \"always\"\n", 5, nil},
	{"size without unit", "[queue]\nsegment_size = \"64 bananas\"\n", 6, []string{"64 bananas"}},
	{"number for a duration", "[queue]\nkeep_for = 10\n", 6, []string{"keep_for"}},
	{"unknown policy", "[queue]\nwhen_full = \"explode\"\n", 6, []string{"explode", "drop_oldest"}},
	{"no address", "[input.in]\ntype = \"http\"\n[output.o]\ntype = \"http\"\n", 0, []string{"url"}},
	{"open to the network", "[input.in]\ntype = \"http\"\nlisten = \"0.0.0.0:1\"\n", 0, []string{"0.0.0.0:1", "insecure"}},
	{"unset variable", "[input.in]\ntype = \"http\"\nlisten = \"${LOGMULE_TEST_NOWHERE}\"\n", 7, []string{"LOGMULE_TEST_NOWHERE"}},
	{"key twice", "[queue]\nsync = \"always\"\nsync = \"never\"\n", 7, []string{"sync"}},
	{"name no file can have", "[input.\"a/b\"]\ntype = \"stdin\"\n", 5, []string{"a/b"}},
	{"unknown section", "[inputs.in]\ntype = \"stdin\"\n", 5, []string{"inputs", "input"}},
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range badConfigurations {
		t.Run(c.name, func(t *testing.T) {
			text := c.text
			if !strings.Contains(text, "[output.") {
				text += "[output.screen]\ntype = \"stdout\"\n"
			}
			l := newLab(t, text)
			where := l.config + ":"
			if c.line > 0 {
				where += fmt.Sprint(c.line) + ": "
			}
			code, out := l.run("check", "-c", l.config)
			if code != 1 || !strings.Contains(out, where) || !regexp.MustCompile(`:\d+: `).MatchString(out) {
				t.Errorf("check exits %d, want 1 and %q:\n%s", code, where, out)
			}
			l.refused(append(c.names, where)...)
			if _, err := os.Stat(l.data); err == nil {
				t.Error("the data directory was made for a bad configuration")
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	for _, kind := range []string{"http", "tcp"} {
		t.Run(kind, func(t *testing.T) {
			l := newLab(t, fmt.Sprintf("[input.in]\ntype = %q\nlisten = %q\n[output.screen]\ntype = \"stdout\"\n", kind, taken.Addr()))
			l.refused(taken.Addr().String(), "in use")
		})
	}
	t.Run("admin", func(t *testing.T) {
		l := newLab(t, "")
		l.Admin = taken.Addr().String()
		l.configure(fmt.Sprintf("[input.in]\ntype = \"tcp\"\nlisten = %q\n[output.screen]\ntype = \"stdout\"\n", freeAddress(t)))
		l.refused(taken.Addr().String(), "in use")
	})
}

func TestReadOnlyDataDirectory(t *testing.T) {
	disk := tmpfs(t, 1<<20)
	must(t, rig.RemountReadOnly(disk))
	l := newLabAt(t, t.TempDir(), filepath.Join(disk, "data"), fmt.Sprintf("[input.in]\ntype = \"tcp\"\nlisten = %q\n[output.screen]\ntype = \"stdout\"\n", freeAddress(t)))
	l.refused(l.data, "read-only")
}

const edgeConfiguration = `
[input.web]
type = "http"
listen = %q
max_body = "64KiB"
max_record = "16KiB"
[input.plain]
type = "tcp"
listen = %q
max_record = "16KiB"
[output.out]
type = "http"
url = %q
`

// edge is a daemon with small limits, and what arrived from it.
func edge(t *testing.T) (l *lab, web, plain string, arrived *gathered) {
	t.Helper()
	web, plain, arrived = freeAddress(t), freeAddress(t), new(gathered)
	l = newLab(t, fmt.Sprintf(edgeConfiguration, web, plain, httpSink(t, "127.0.0.1:0", arrived.add).URL))
	l.start()
	return l, "http://" + web + "/", plain, arrived
}

func TestOverTheLimits(t *testing.T) {
	l, web, plain, arrived := edge(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	before := l.footprint()
	for _, c := range []struct {
		name string
		body string
		want int
	}{
		{"a first one", "one\n", 200},
		{"record at the limit", strings.Repeat("r", 16<<10) + "\n", 200},
		{"record over the limit", "not stored\n" + strings.Repeat("x", 16<<10+1) + "\n", 413},
		{"body at the limit", strings.Repeat(strings.Repeat("b", 1023)+"\n", 64), 200},
		{"body over the limit", strings.Repeat(strings.Repeat("y", 1023)+"\n", 65), 413},
		{"an empty body", "", 200},
		{"a last one", "two", 200},
	} {
		status, err := rig.Post(t.Context(), client, web, []byte(c.body))
		if err != nil || status != c.want {
			t.Errorf("%s: %d, %v; want %d", c.name, status, err, c.want)
		}
	}
	chunked, err := http.NewRequest(http.MethodPost, web, struct{ *bytes.Reader }{bytes.NewReader(bytes.Repeat([]byte("z\n"), 64<<10))})
	must(t, err)
	chunked.ContentLength = -1
	// The daemon may answer and close while the client still writes; then the client sees the broken connection.
	if resp, err := client.Do(chunked); err == nil {
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("a body of unknown length over the limit: %s", resp.Status)
		}
		must(t, resp.Body.Close())
	}
	c, err := net.Dial("tcp", plain)
	must(t, err)
	_, err = fmt.Fprintf(c, "before\n%s\nafter\n", strings.Repeat("c", 40<<10))
	must(t, err)
	must(t, c.Close())
	l.wait("the line after the long one arrives", func() bool { return arrived.has("after") })
	for _, want := range []string{"one", "two", "before", strings.Repeat("r", 16<<10)} {
		if !arrived.has(want) {
			t.Errorf("%.20q has not arrived", want)
		}
	}
	if text := arrived.bytes(); bytes.ContainsAny(text, "xyz") || bytes.Contains(text, []byte("not stored")) {
		t.Error("something of a refused request arrived")
	}
	if n := bytes.Count(arrived.bytes(), []byte("c")); n < 15<<10 || n > 16<<10 {
		t.Errorf("%d bytes of the long line arrived, want its head of about 16 KiB", n)
	}
	if n := l.metric(truncatedRecords); n != 1 {
		t.Errorf("%d records counted as truncated, want 1", n)
	}
	l.nothingLeaked(before)
}

// A client that sends a byte a second holds up nobody, and what it finishes arrives.
func TestByteASecond(t *testing.T) {
	l, web, plain, arrived := edge(t)
	before := l.footprint()
	slow := background(t, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimSuffix(strings.TrimPrefix(web, "http://"), "/"))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if err := drip(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", "web\n"); err != nil {
			return err
		}
		answer := make([]byte, 12)
		if _, err := c.Read(answer); err != nil {
			return err
		}
		if string(answer) != "HTTP/1.1 200" {
			return fmt.Errorf("the slow post was answered %q", answer)
		}
		return nil
	})
	slowPlain := background(t, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", plain)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		return drip(c, "", "tcp\n")
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	quick := 0
	l.wait("the slow ones have finished", func() bool {
		if status, err := rig.Post(t.Context(), client, web, fmt.Appendf(nil, "quick %d\n", quick)); err != nil || status != http.StatusOK {
			t.Errorf("a quick client beside it: %d, %v", status, err)
		}
		quick++
		return arrived.has("web") && arrived.has("tcp")
	})
	must(t, slow())
	must(t, slowPlain())
	l.wait("the quick ones have arrived", func() bool { return arrived.has(fmt.Sprintf("quick %d", quick-1)) })
	l.nothingLeaked(before)
}

func drip(c net.Conn, first, slow string) error {
	if _, err := c.Write([]byte(first)); err != nil {
		return err
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range slow {
		<-tick.C
		if _, err := c.Write([]byte{slow[i]}); err != nil {
			return err
		}
	}
	return nil
}
