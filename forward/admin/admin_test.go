package admin

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// fakeSource is an engine whose state a test sets.
type fakeSource struct {
	prometheus.Collector
	unready, sick atomic.Pointer[string]
}

type fakeStatus struct {
	State string `json:"state"`
}

func (s fakeStatus) String() string { return "state " + s.State + "\n" }

func newFakeSource() *fakeSource {
	return &fakeSource{Collector: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "logmule_test", Help: "a test"}, func() float64 { return 7 })}
}

func (s *fakeSource) Status() any             { return fakeStatus{State: "ready"} }
func (s *fakeSource) Ready() (bool, string)   { return verdictOf(&s.unready) }
func (s *fakeSource) Healthy() (bool, string) { return verdictOf(&s.sick) }

func verdictOf(p *atomic.Pointer[string]) (bool, string) {
	if reason := p.Load(); reason != nil {
		return false, *reason
	}
	return true, ""
}

// start serves the source until the test ends and returns the base URL.
func start(t *testing.T, source Source) string {
	t.Helper()
	s, err := New("127.0.0.1:0", false, source)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + s.Address()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	url := start(t, newFakeSource())
	for path, want := range map[string]string{
		"/":                               "/metrics",
		"/metrics":                        "logmule_test 7",
		"/healthz":                        "ok\n",
		"/readyz":                         "ok\n",
		"/status":                         `"state": "ready"`,
		"/debug/pprof/":                   "goroutine",
		"/debug/pprof/cmdline":            "admin.test",
		"/debug/pprof/heap":               "",
		"/debug/pprof/symbol":             "num_symbols",
		"/debug/pprof/goroutine":          "",
		"/debug/pprof/trace?seconds=0.01": "go 1.",
	} {
		if code, body := get(t, url+path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("GET %s = %d, want 200 with %q in:\n%.300s", path, code, want, body)
		}
	}
	if _, body := get(t, url+"/"); !strings.Contains(body, "state ready") {
		t.Errorf("/ does not show the status text:\n%s", body)
	}
	if _, body := get(t, url+"/metrics"); !strings.Contains(body, "\ngo_goroutines ") || !strings.Contains(body, "\nprocess_open_fds ") {
		t.Error("/metrics lacks those of Go and of the process")
	}
	if code, _ := get(t, url+"/nowhere"); code != 404 {
		t.Errorf("GET /nowhere = %d, want 404", code)
	}
	if response, err := http.Post(url+"/status", "text/plain", nil); err != nil || response.StatusCode != 405 {
		t.Errorf("POST /status = %v, %v, want 405", response, err)
	} else {
		response.Body.Close()
	}
	_, body := get(t, url+"/status")
	if err := json.Unmarshal([]byte(body), &fakeStatus{}); err != nil {
		t.Errorf("/status is no JSON: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	source := newFakeSource()
	url := start(t, source)
	reason := "input app does not listen yet"
	source.unready.Store(&reason)
	if code, body := get(t, url+"/readyz"); code != 503 || body != reason+"\n" {
		t.Errorf("/readyz = %d %q", code, body)
	}
	if code, _ := get(t, url+"/healthz"); code != 200 {
		t.Errorf("/healthz = %d while only /readyz has a reason", code)
	}
	sick := "output api panics"
	source.sick.Store(&sick)
	if code, body := get(t, url+"/healthz"); code != 503 || body != sick+"\n" {
		t.Errorf("/healthz = %d %q", code, body)
	}
	source.sick.Store(nil)
	if code, _ := get(t, url+"/healthz"); code != 200 {
		t.Errorf("/healthz = %d after recovery", code)
	}
}

func TestNewRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		listen string
		want   []string
	}{
		"port in use":     {taken.Addr().String(), []string{"admin.listen", taken.Addr().String(), "in use"}},
		"no port":         {"127.0.0.1", []string{"admin.listen", "host:port"}},
		"every address":   {":0", []string{"admin.listen", "insecure = true"}},
		"beyond loopback": {"0.0.0.0:0", []string{"admin.listen", "insecure = true"}},
	} {
		s, err := New(c.listen, false, newFakeSource())
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q lacks %q", name, err, want)
			}
		}
	}
}

func TestInsecureListensEverywhere(t *testing.T) {
	s, err := New("0.0.0.0:0", true, newFakeSource())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestServeReportsALostListener(t *testing.T) {
	s, err := New("127.0.0.1:0", false, newFakeSource())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Serve(t.Context()); err == nil || !strings.Contains(err.Error(), s.Address()) {
		t.Errorf("Serve on a closed listener = %v, want an error that names the address", err)
	}
}

func TestStopEndsRunningRequests(t *testing.T) {
	s, err := New("127.0.0.1:0", false, newFakeSource())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx) }()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		response, err := (&http.Client{Transport: transport}).Get("http://" + s.Address() + "/debug/pprof/trace?seconds=60")
		if err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}()
	get(t, "http://"+s.Address()+"/readyz") // the server answers while the trace runs
	http.DefaultClient.CloseIdleConnections()
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Serve still runs long after its context ended")
	}
	<-asked
}
