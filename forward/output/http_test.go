package output

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/config"
)

func newTestHTTP(t *testing.T, url string, change func(c *httpConfig)) *httpOutput {
	t.Helper()
	o, err := newHTTP(func(into any) error {
		c := into.(*httpConfig)
		c.URL, c.Timeout = url, config.Duration(time.Minute)
		if change != nil {
			change(c)
		}
		return nil
	}, Env{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.(*httpOutput).Close() })
	return o.(*httpOutput)
}

// request is what a server was asked.
type request struct {
	header http.Header
	length int64
	body   string
}

// server answers as it is told and remembers.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
}

func newServer(t *testing.T, answer func(w http.ResponseWriter, body string)) *server {
	s := new(server)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, request{r.Header.Clone(), r.ContentLength, string(body)})
		s.mu.Unlock()
		answer(w, string(body))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) all() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func TestHTTPRequest(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusNoContent) })
	url := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "/in?x=1"
	o := newTestHTTP(t, url, nil)
	mustSend(t, o, batchOf("queue-1.2-3-6", linesRun("a", ""), recordsRun("b\nc", "d")))
	mustSend(t, o, batchOf("queue-1.2-7-7", linesRun("e")))
	all := s.all()
	if len(all) != 2 || all[0].body != "a\n\nb\nc\nd\n" || all[1].body != "e\n" {
		t.Fatalf("got %v", all)
	}
	if all[0].length != int64(len(all[0].body)) {
		t.Errorf("Content-Length: %d", all[0].length)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/plain; charset=utf-8", "User-Agent": "logmule", "Idempotency-Key": "queue-1.2-3-6",
		"Authorization": "Basic dXNlcjpzZWNyZXQ=", "Accept-Encoding": "",
	} {
		if got := all[0].header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := o.env.Counters.Reconnects.Load(); n != 0 {
		t.Errorf("the connection was not used again, %d reconnects", n)
	}
	if n := o.env.Counters.BytesSent.Load(); n != 11 {
		t.Errorf("counted %d bytes", n)
	}
	s.Close()
	if err := o.Send(t.Context(), batchOf("", linesRun("f"))); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func TestHTTPStatus(t *testing.T) {
	for _, c := range []struct {
		status   int
		after    string
		accepted bool
		rejected bool
		wait     time.Duration
	}{
		{status: 200, accepted: true},
		{status: 201, accepted: true},
		{status: 202, accepted: true},
		{status: 299, accepted: true},
		{status: 400, rejected: true},
		{status: 413, rejected: true, after: "5"},
		{status: 415, rejected: true},
		{status: 422, rejected: true},
		{status: 301},
		{status: 304},
		{status: 307},
		{status: 401},
		{status: 403},
		{status: 404},
		{status: 408},
		{status: 409},
		{status: 429, after: "7", wait: 7 * time.Second},
		{status: 429, after: "nonsense"},
		{status: 500},
		{status: 503, after: "86400", wait: time.Hour},
		{status: 503, after: "0"},
		{status: 599},
		{status: 999},
	} {
		t.Run(fmt.Sprint(c.status, c.after), func(t *testing.T) {
			s := newServer(t, func(w http.ResponseWriter, _ string) {
				w.Header().Set("Retry-After", c.after)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				if c.status != 304 {
					fmt.Fprint(w, "the\n  reason "+strings.Repeat("x", 1000))
				}
			})
			o := newTestHTTP(t, s.URL, nil)
			b := batchOf("id", linesRun("one"))
			err := o.Send(t.Context(), b)
			switch {
			case c.rejected:
				if err != nil || len(b.Rejected()) != 1 {
					t.Fatalf("got %v and rejected %v", err, b.Rejected())
				}
				reason := b.Rejected()[0].Reason
				if !strings.HasPrefix(reason, fmt.Sprint(c.status)) || !strings.Contains(reason, "the reason x") || len(reason) > 300 {
					t.Errorf("reason: %q", reason)
				}
			case c.accepted:
				if err != nil || len(b.Rejected()) != 0 {
					t.Errorf("got %v and rejected %v", err, b.Rejected())
				}
			default:
				if err == nil || b.Pending() != 1 || !strings.Contains(err.Error(), s.URL) || !strings.Contains(err.Error(), fmt.Sprint(c.status)) {
					t.Fatalf("got %v with %d pending, want an error with the URL and the status", err, b.Pending())
				}
				if c.status != 304 && !strings.Contains(err.Error(), "the reason") {
					t.Errorf("the answer is not in %v", err)
				}
			}
			var retry *RetryError
			if errors.As(err, &retry) != (c.wait > 0) || c.wait > 0 && retry.After != c.wait {
				t.Errorf("got %v, want to be sent away for %v", err, c.wait)
			}
			if n := len(s.all()); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "1": time.Second, "-1": 0, "3600": time.Hour, "3601": time.Hour, "99999999999999999999": time.Hour,
		"-99999999999999999999": 0, "1.5": 0, "soon": 0,
		"Mon, 06 May 2024 07:08:39 GMT": 30 * time.Second,
		"Mon, 06 May 2024 07:08:09 GMT": 0,
		"Mon, 06 May 2024 06:08:39 GMT": 0,
		"Fri, 06 May 2033 07:08:39 GMT": time.Hour,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// TestHTTPBisection: exactly the records that the destination does not want are rejected, the others arrive in order and
// once, every part under a key of its own.
func TestHTTPBisection(t *testing.T) {
	for _, limit := range []config.Bytes{1 << 20, 64} {
		var accepted bytes.Buffer
		s := newServer(t, func(w http.ResponseWriter, body string) {
			if strings.Contains(body, "bad") || len(body) > 100 {
				http.Error(w, "bad line", http.StatusBadRequest)
				return
			}
			accepted.WriteString(body)
		})
		o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.MaxBatch = limit })
		var want bytes.Buffer
		var texts []string
		for i := range 60 {
			texts = append(texts, fmt.Sprintf("record %d", i))
			if i == 0 || i == 31 || i == 32 || i == 59 {
				texts[i] = fmt.Sprintf("bad %d", i)
			} else if i != 45 {
				fmt.Fprintf(&want, "record %d\n", i)
			}
		}
		b := batchOf("id", linesRun(texts[:20]...), recordsRun(texts[20:40]...), linesRun(texts[40:]...))
		b.Accept(45)
		mustSend(t, o, b)
		var rejected []int
		for _, r := range b.Rejected() {
			rejected = append(rejected, r.Index)
			if r.Reason != "400 Bad Request: bad line" {
				t.Errorf("reason: %q", r.Reason)
			}
		}
		if fmt.Sprint(rejected) != "[0 31 32 59]" || b.Pending() != 0 || accepted.String() != want.String() {
			t.Errorf("rejected %v, %d pending, accepted %q", rejected, b.Pending(), accepted.String())
		}
		keys := make(map[string]bool)
		for _, r := range s.all() {
			key := r.header.Get("Idempotency-Key")
			if keys[key] || !strings.HasPrefix(key, "id") {
				t.Errorf("key %q", key)
			}
			keys[key] = true
			if len(r.body) > int(limit) {
				t.Errorf("a request of %d bytes", len(r.body))
			}
		}
	}
}

// TestHTTPRetriesTheSameParts: an error in the middle of a bisection loses nothing, repeats nothing that was answered, and
// what was not is sent again under the same key.
func TestHTTPRetriesTheSameParts(t *testing.T) {
	var failAt, n int
	var accepted bytes.Buffer
	failed := request{}
	bodies := make(map[string]string)
	s := newServer(t, func(w http.ResponseWriter, body string) {
		n++
		switch {
		case n == failAt:
			http.Error(w, "later", http.StatusServiceUnavailable)
			failed.body = body
		case strings.Contains(body, "bad"):
			w.WriteHeader(http.StatusUnprocessableEntity)
		default:
			accepted.WriteString(body)
		}
	})
	for failAt = 1; failAt <= 8; failAt++ {
		n, failed.body = 0, ""
		accepted.Reset()
		clear(bodies)
		o := newTestHTTP(t, s.URL, nil)
		b := batchOf(fmt.Sprint("id-", failAt), linesRun("a", "b", "bad", "d", "e", "f", "g"))
		before := len(s.all())
		err := o.Send(t.Context(), b)
		if (err == nil) == (failed.body != "") {
			t.Fatalf("failure of request %d: got %v", failAt, err)
		}
		if err != nil {
			mustSend(t, o, b)
		}
		if accepted.String() != "a\nb\nd\ne\nf\ng\n" || len(b.Rejected()) != 1 || b.Rejected()[0].Index != 2 {
			t.Errorf("failure of request %d: accepted %q, rejected %v", failAt, accepted.String(), b.Rejected())
		}
		for i, r := range s.all()[before:] {
			key := r.header.Get("Idempotency-Key")
			old, seen := bodies[key]
			if seen && (old != r.body || i != failAt) {
				t.Errorf("failure of request %d: request %d has the key of another", failAt, i+1)
			}
			bodies[key] = r.body
		}
	}
}

// TestHTTPForgetsAnotherBatch: the same records come again, all of them pending, because a restart of the reader forgot
// what was accepted.
func TestHTTPForgetsAnotherBatch(t *testing.T) {
	calls := 0
	s := newServer(t, func(w http.ResponseWriter, body string) {
		if calls++; calls == 1 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		} else if calls == 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	o := newTestHTTP(t, s.URL, nil)
	if o.Send(t.Context(), batchOf("id", linesRun("a", "b", "c", "d"))) == nil {
		t.Fatal("no error")
	}
	mustSend(t, o, batchOf("id", linesRun("a", "b", "c", "d")))
	if all := s.all(); all[len(all)-1].body != "a\nb\nc\nd\n" {
		t.Errorf("the last request was %q", all[len(all)-1].body)
	}
}

func TestHTTPConfiguration(t *testing.T) {
	for want, c := range map[string]httpConfig{
		"url is missing":                   {},
		"url is not":                       {URL: "ftp://x/"},
		"url is not that":                  {URL: "http:///x"},
		"url is not that of a":             {URL: "://"},
		`timeout = "1ns" is too short`:     {URL: "http://x", Timeout: 1, MaxBatch: 1},
		`max_batch = "0B" is out of range`: {URL: "http://x", Timeout: 1e9},
	} {
		_, err := newHTTP(func(into any) error { *into.(*httpConfig) = c; return nil }, Env{}.withDefaults())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	o := newTestHTTP(t, "http://127.0.0.1:1", nil)
	if o.MaxBatch() != 1<<20 || o.transport.Proxy != nil {
		t.Errorf("limit %d, or a proxy", o.MaxBatch())
	}
}
