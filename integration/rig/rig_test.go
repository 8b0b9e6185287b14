package rig

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// careless is a forwarder with a planted fault: it answers 200 and forwards as its fault lets it.
func careless(t *testing.T, sink string, fault func(n int, body []byte) [][]byte) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		n++
		for _, b := range fault(n, body) {
			if _, err := Post(context.WithoutCancel(r.Context()), client, sink, b); err != nil {
				t.Error(err)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The twin of every black-box test: with a planted fault, source, sink and judge together must say so.
func TestPlantedFaultsAreFound(t *testing.T) {
	var late []byte
	for name, c := range map[string]struct {
		fault func(n int, body []byte) [][]byte
		count func(judge.Finding) uint64
	}{
		"none": {func(_ int, b []byte) [][]byte { return [][]byte{b} }, nil},
		"acknowledged and lost": {func(n int, b []byte) [][]byte {
			if n == 5 {
				return nil
			}
			return [][]byte{b}
		}, func(f judge.Finding) uint64 { return f.Lost.Count }},
		"sent twice": {func(n int, b []byte) [][]byte {
			if n == 5 {
				return [][]byte{b, b}
			}
			return [][]byte{b}
		}, func(f judge.Finding) uint64 { return f.Doubled.Count }},
		"overtaken": {func(n int, b []byte) [][]byte {
			if n == 5 {
				late = slices.Clone(b)
				return nil
			}
			if n == 6 {
				return [][]byte{b, late}
			}
			return [][]byte{b}
		}, func(f judge.Finding) uint64 { return f.Disordered.Count }},
		"a LF lost": {func(n int, b []byte) [][]byte {
			if n == 5 {
				return [][]byte{[]byte(strings.Replace(string(b), "\n", " ", 1))}
			}
			return [][]byte{b}
		}, func(f judge.Finding) uint64 { return f.Altered.Count }},
	} {
		t.Run(name, func(t *testing.T) {
			j := judge.New(1)
			sink, err := NewHTTPSink("127.0.0.1:0", j.Destination("out").Arrived)
			if err != nil {
				t.Fatal(err)
			}
			defer sink.Close()
			source := HTTPSource{URL: careless(t, sink.URL, c.fault), Source: j.Source("client"), Limit: 200}
			if answers := source.Run(t.Context()); answers[http.StatusOK] != 10 {
				t.Fatalf("answers %v, want 10 times 200", answers)
			}
			v := j.Verdict()
			if c.count == nil {
				if err := v.Err(0); err != nil {
					t.Error(err)
				}
			} else if v.Err(0) == nil || c.count(v.Findings[0]) == 0 {
				t.Errorf("the fault was not found\n%s", v)
			}
		})
	}
}

// Whatever a moody destination stores or refuses, source and judge agree about it.
func TestHTTPSinkAnswers(t *testing.T) {
	j := judge.New(1)
	sink, err := NewHTTPSink("127.0.0.1:0", j.Destination("out").Arrived)
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	n := 0
	sink.Answer(func() Answer {
		n++
		return []Answer{Accept, {Status: 500}, {Store: true, After: time.Millisecond}}[n%3]
	})
	source := HTTPSource{URL: sink.URL, Source: j.Source("client"), Limit: 600}
	answers := source.Run(t.Context())
	if answers[200] != 20 || answers[500] != 10 {
		t.Errorf("answers %v, want 20 times 200, 10 times 500", answers)
	}
	if err := j.Verdict().Err(0); err != nil {
		t.Error(err)
	}
	if got := sink.Untold(); got < 200 { // more, where the machine is slow
		t.Errorf("%d records stored without telling at once, want 200", got)
	}
	if sink.Largest() != 20 || sink.Requests() != 30 || sink.Stored(time.Time{}) != 400 {
		t.Errorf("largest %d, requests %d, stored %d", sink.Largest(), sink.Requests(), sink.Stored(time.Time{}))
	}
}

func TestTCPSinkTakesWholeLines(t *testing.T) {
	j := judge.New(1)
	d := j.Destination("out")
	sink, err := NewTCPSink("127.0.0.1:0", d.Arrived)
	if err != nil {
		t.Fatal(err)
	}
	source := TCPSource{Address: sink.Address, Source: j.Source("client"), Limit: 5000, Size: 300}
	if err := source.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	torn, err := net.Dial("tcp", sink.Address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprint(torn, "a line that never ends")
	_ = torn.Close()
	source.Source.Acknowledged(1, 5000)
	if err := Wait(Patience, "all has arrived, the torn line's connection too", func() bool { return d.Owes() == 0 && sink.Accepted() == 2 }); err != nil {
		t.Error(err)
	}
	sink.Close()
	if err := j.Verdict().Err(0); err != nil {
		t.Error(err)
	}
	if sink.Accepted() != 2 {
		t.Errorf("%d connections, want 2", sink.Accepted())
	}
}

func TestProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	dir := t.TempDir()
	p, err := Start(Command{Program: "/bin/sh", Args: []string{"-c", "echo hello; read line"}, Dir: dir, Stdin: strings.NewReader("x\n")})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(Patience); code != 0 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
	if p.Output() != "hello\n" {
		t.Errorf("output %q", p.Output())
	}
	p, err = Start(Command{Program: "/bin/sleep", Args: []string{"60"}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if now, peak, err := Memory(p.PID()); err != nil || now <= 0 || peak < now {
		t.Errorf("memory %d, peak %d, %v", now, peak, err)
	}
	if _, err := CPU(p.PID()); err != nil {
		t.Error(err)
	}
	if fds, err := Descriptors(p.PID()); err != nil || len(fds) < 3 {
		t.Errorf("descriptors %v, %v", fds, err)
	}
	p.Kill()
	if code, err := p.Wait(0); code != -1 && err == nil {
		t.Errorf("exit %d after SIGKILL, want -1", code)
	}
	if _, err := Start(Command{Program: filepath.Join(dir, "nothing"), Dir: dir}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestMetrics(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "# HELP a_total x\na_total{output=\"x\",kind=\"http\"} 3\na_total{output=\"y\"} 4\na_total_more 9\nb 1.5e+06\n")
	}))
	defer s.Close()
	p := &Process{Admin: strings.TrimPrefix(s.URL, "http://")}
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{{"a_total", nil, 7}, {"a_total", []string{`output="x"`, `kind="http"`}, 3}, {"b", nil, 1.5e6}, {"none", nil, 0}} {
		if got, err := p.Metric(c.name, c.labels...); err != nil || got != c.want {
			t.Errorf("%s %v = %v, %v; want %v", c.name, c.labels, got, err, c.want)
		}
	}
}

func TestFillLeavesRoom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	dir := t.TempDir()
	unmount, err := MountTmpfs(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer unmount()
	empty, err := Fill(dir, 64<<10)
	if err != nil {
		t.Fatal(err)
	}
	if free, err := Free(dir); err != nil || free > 64<<10 {
		t.Errorf("%d bytes free, %v", free, err)
	}
	empty()
	if free, err := Free(dir); err != nil || free < 900<<10 {
		t.Errorf("%d bytes free after emptying, %v", free, err)
	}
	if err := RemountReadOnly(dir); err != nil {
		t.Fatal(err)
	}
	if os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) == nil {
		t.Error("written to a read-only mount")
	}
}

func TestUDPSinkTakesDatagrams(t *testing.T) {
	sent := []string{"one", "", strings.Repeat("x", 65507)}
	came := make(chan string, len(sent))
	s, err := NewUDPSink("127.0.0.1:0", func(record []byte) { came <- string(record) })
	Must(t, err)
	defer s.Close()
	c, err := net.Dial("udp", s.Address)
	Must(t, err)
	defer func() { _ = c.Close() }()
	for _, datagram := range sent {
		_, err := c.Write([]byte(datagram))
		Must(t, err)
		if got := <-came; got != datagram {
			t.Errorf("%d bytes came of a datagram of %d", len(got), len(datagram))
		}
	}
	if dropped, err := s.Dropped(); err != nil || dropped != 0 {
		t.Errorf("%d dropped, %v", dropped, err)
	}
}
