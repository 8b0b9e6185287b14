package output

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// unpacked is the content of a body, by the libraries that others use.
func unpacked(t testing.TB, coding, body string) string {
	t.Helper()
	var content []byte
	var err error
	switch coding {
	case "":
		return body
	case "gzip":
		var r *gzip.Reader
		if r, err = gzip.NewReader(strings.NewReader(body)); err == nil {
			content, err = io.ReadAll(r)
		}
	case "zstd":
		var d *zstd.Decoder
		if d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err == nil {
			content, err = d.DecodeAll([]byte(body), nil)
			d.Close()
		}
	case "snappy":
		content, err = snappy.Decode(nil, []byte(body))
	default:
		t.Errorf("Content-Encoding: %s", coding)
	}
	if err != nil {
		t.Errorf("%s: %v", coding, err)
	}
	return string(content)
}

// TestHTTPCompression retries a part, which is the same to the last bit, and goes on to others.
func TestHTTPCompression(t *testing.T) {
	for _, compression := range []string{"gzip", "zstd", "snappy"} {
		calls := 0
		s := newServer(t, func(w http.ResponseWriter, body string) {
			if calls++; calls == 2 || calls == 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.Compression = compression; c.MaxBatch = 5000 })
		long := strings.Repeat("the same again ", 100)
		b := batchOf("id", linesRun(long, "one"), recordsRun(long, "two\nlines"), linesRun(long, "three"), recordsRun(long))
		for o.Send(t.Context(), b) != nil {
			if calls > 10 {
				t.Fatal("it goes on and on")
			}
		}
		mustSend(t, o, batchOf("id2", linesRun(long)))
		all, content := s.all(), ""
		for i, r := range all {
			if coding := r.header.Get("Content-Encoding"); coding != compression {
				t.Errorf("Content-Encoding: %s", coding)
			}
			if int(r.length) != len(r.body) || len(r.body) > 2000 {
				t.Errorf("%s: %d bytes of %d", compression, len(r.body), r.length)
			}
			if i != 1 && i != 2 {
				content += unpacked(t, compression, r.body)
			}
		}
		if len(all) < 5 || all[1].body != all[2].body || all[2].body != all[3].body || all[0].body == all[1].body {
			t.Errorf("%s: %d requests, and what is retried is not the same", compression, len(all))
		}
		for i := 1; i < 3; i++ {
			if all[i].header.Get("Idempotency-Key") != all[i+1].header.Get("Idempotency-Key") {
				t.Error("a retry has another key")
			}
		}
		if want := long + "\none\n" + long + "\ntwo\nlines\n" + long + "\nthree\n" + long + "\n" + long + "\n"; content != want {
			t.Errorf("%s: %d bytes arrived instead of %d", compression, len(content), len(want))
		}
		if n := o.env.Counters.BytesSent.Load(); n != uint64(len(content)) {
			t.Errorf("%s: %d bytes of records counted instead of %d", compression, n, len(content))
		}
	}
}

// TestHTTPCompressionMemory keeps no more than two batches of compressed bytes after one huge record.
func TestHTTPCompressionMemory(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, string) {})
	o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.Compression = "snappy"; c.MaxBatch = 1000 })
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte('a' + i*i%23)
	}
	mustSend(t, o, batchOf("id", linesRun(string(noise))))
	mustSend(t, o, batchOf("id2", linesRun("small")))
	if cap(o.packed) > 2*o.maxBatch+1<<10 {
		t.Errorf("%d bytes are kept", cap(o.packed))
	}
}

// TestHTTPCodingNotTaken: a destination that cannot unpack says nothing about the records.
func TestHTTPCodingNotTaken(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ string) {
		w.Header().Set("Accept-Encoding", "gzip")
		w.WriteHeader(http.StatusUnsupportedMediaType)
	})
	o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.Compression = "zstd" })
	b := batchOf("id", linesRun("one", "two"))
	err := o.Send(t.Context(), b)
	if err == nil || b.Pending() != 2 || !strings.Contains(err.Error(), "compression") || !strings.Contains(err.Error(), "it takes gzip") {
		t.Errorf("got %v, %d pending", err, b.Pending())
	}
}

func TestHTTPAuthorization(t *testing.T) {
	s := newServer(t, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusUnauthorized) })
	for want, change := range map[string]func(c *httpConfig){
		"Bearer s3cret":              func(c *httpConfig) { c.Token = "s3cret" },
		"Basic YW5uOnMzY3JldA==":     func(c *httpConfig) { c.Username, c.Password = "ann", "s3cret" },
		"Splunk s3cret":              func(c *httpConfig) { c.Headers = map[string]string{"authorization": "Splunk s3cret"} },
		"Basic dXNlcjpzM2NyZXQ=":     func(c *httpConfig) { c.URL = strings.Replace(c.URL, "://", "://user:s3cret@", 1) },
		"Basic dXNlcjpzM2NyZXQleCM=": func(c *httpConfig) { c.URL = strings.Replace(c.URL, "://", "://user:s3cret%25x%23@", 1) },
	} {
		o := newTestHTTP(t, s.URL, change)
		err := o.Send(t.Context(), batchOf("id", linesRun("one")))
		if err == nil || !strings.Contains(err.Error(), "401 Unauthorized; check token") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
		all := s.all()
		if got := all[len(all)-1].header.Get("Authorization"); got != want {
			t.Errorf("Authorization: %q, want %q", got, want)
		}
	}
}

func TestHTTPHeadersAndCodec(t *testing.T) {
	s := newServer(t, func(http.ResponseWriter, string) {})
	o := newTestHTTP(t, s.URL, func(c *httpConfig) {
		c.Codec = "syslog"
		c.Headers = map[string]string{"x-scope": "a b", "Content-Type": "application/x-ndjson", "user-agent": "mule"}
	})
	mustSend(t, o, batchOf("id", linesRun("one", "two")))
	r := s.all()[0]
	for name, want := range map[string]string{"X-Scope": "a b", "Content-Type": "application/x-ndjson", "User-Agent": "mule", "Idempotency-Key": "syslog:id"} {
		if got := r.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if lines := strings.Split(r.body, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[0], "<") || !strings.HasSuffix(lines[1], " two") {
		t.Errorf("body %q", r.body)
	}
}

// TestHTTPNames: what two outputs send of the same records are no repeats of one another.
func TestHTTPNames(t *testing.T) {
	o := newTestHTTP(t, "http://127.0.0.1:1/", nil)
	b := batchOf("queue-1.2-3-6", linesRun("a", "b", "c", "d"))
	if whole, part := o.key(b, span{0, 4}), o.key(b, span{1, 3}); whole != b.ID || part != b.ID+".1-2" {
		t.Errorf("keys %q and %q", whole, part)
	}
	if got := o.key(batchOf("", linesRun("a", "b")), span{0, 1}); got != "" {
		t.Errorf("a batch without a name has the key %q", got)
	}
	for want, codec := range map[string]string{"api:queue-1.2-3-6": "plain", "api:syslog:queue-1.2-3-6": "syslog"} {
		out, err := newHTTP(func(into any) error {
			c := into.(*httpConfig)
			c.URL, c.Codec = "http://127.0.0.1:1/", codec
			return nil
		}, Env{Name: "api"}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		if got := out.(*httpOutput).key(b, span{0, 4}); got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

func TestHTTPKeys(t *testing.T) {
	headers := func(name, value string) func(c *httpConfig) {
		return func(c *httpConfig) { c.Headers = map[string]string{name: value} }
	}
	for want, change := range map[string]func(c *httpConfig){
		"url would carry":               func(c *httpConfig) { c.URL, c.Token = "http://example.com/", "x" },
		"url would carry the cr":        func(c *httpConfig) { c.URL = "http://a:b@example.com/" },
		"url would carry the":           func(c *httpConfig) { c.URL = "http://example.com/"; headers("authorization", "x")(c) },
		"url has credentials":           func(c *httpConfig) { c.URL, c.Token = "http://a:b@127.0.0.1/", "x" },
		"tls is for https":              func(c *httpConfig) { c.TLS.Enabled = true },
		"tls needs both":                func(c *httpConfig) { c.URL = "https://x/"; c.TLS.Cert = "x" },
		"username has no":               func(c *httpConfig) { c.Username = "x" },
		"compression = \"br\"":          func(c *httpConfig) { c.Compression = "br" },
		"codec = \"br\"":                func(c *httpConfig) { c.Codec = "br" },
		"headers sets Host":             headers("host", "x"),
		"headers sets Content-Length":   headers("Content-length", "1"),
		"headers sets Content-Encoding": headers("content-encoding", "gzip"),
		"headers sets Idempotency-Key":  headers("Idempotency-Key", "x"),
		"headers sets Authorization":    func(c *httpConfig) { c.Token = "x"; headers("Authorization", "x")(c) },
		"headers sets X-A twice":        func(c *httpConfig) { c.Headers = map[string]string{"X-A": "1", "x-a": "2"} },
		"headers names":                 headers("X A", "x"),
		"headers names \"\"":            headers("", "x"),
		"headers gives X-A":             headers("X-A", "a\r\nX-B: c"),
		"":                              func(c *httpConfig) { c.URL, c.Token = "https://example.com/", "x" },
		" ":                             func(c *httpConfig) { c.URL, c.Token, c.Insecure = "http://example.com/", "x", true },
		"  ":                            headers("X-Scope-OrgID", "t\u00e4nant"),
	} {
		c := newHTTPConfig()
		c.URL = "http://127.0.0.1:1/"
		change(c)
		_, err := newHTTP(func(into any) error { *into.(*httpConfig) = *c; return nil }, Env{}.withDefaults())
		want = strings.TrimSpace(want)
		if (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "a:b")) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// http2Server speaks HTTP/2 alone, with TLS or without.
func http2Server(t *testing.T, secure bool, serve http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(serve)
	s.Config.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10}
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP2(secure)
	s.Config.Protocols.SetUnencryptedHTTP2(!secure)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// TestHTTP2Early: what an answer means that comes before the body was read.
func TestHTTP2Early(t *testing.T) {
	for status, accepted := range map[int]bool{413: true, 200: false, 503: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := http2Server(t, false, func(w http.ResponseWriter, r *http.Request) {
				_, _ = r.Body.Read(make([]byte, 10))
				w.WriteHeader(status)
			})
			o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.MaxBatch = mostBytes; c.HTTP2 = true })
			for _, size := range []int{8 << 20, 300 << 10, 8 << 20, 300 << 10} { // the smaller one is read in one piece, and waits to be sent
				run := linesRun(strings.Repeat("x", size))
				b := batchOf("id", run)
				err := o.Send(t.Context(), b)
				clear(run.Body) // the race detector tells if anybody still reads it
				if accepted != (err == nil) || accepted != (len(b.Rejected()) == 1) {
					t.Fatalf("got %v, rejected %d", err, len(b.Rejected()))
				}
			}
		})
	}
}

// TestHTTP2DeadConnection: a destination that goes silent is connected to anew.
func TestHTTP2DeadConnection(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	calls, second := 0, make(chan struct{})
	s := http2Server(t, false, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		if calls++; calls == 2 {
			close(second)
			select {
			case <-silent:
			case <-r.Context().Done():
			}
		}
	})
	o := newTestHTTP(t, s.URL, func(c *httpConfig) { c.HTTP2 = true })
	mustSend(t, o, batchOf("id", linesRun("one")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		<-second
		time.Sleep(100 * time.Millisecond) // the answer might come yet
		cancel()
	}()
	if err := o.Send(ctx, batchOf("id2", linesRun("two"))); err == nil {
		t.Fatal("no error")
	}
	mustSend(t, o, batchOf("id2", linesRun("two")))
	if n := o.env.Counters.Reconnects.Load(); n != 1 {
		t.Errorf("%d reconnects", n)
	}
}

// TestHTTPSecure talks to servers whose certificate only tls.ca makes good.
func TestHTTPSecure(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		protocol := make(chan int, 10)
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); bytes.HasPrefix(body, []byte("one")) {
				protocol <- r.ProtoMajor
			}
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		o := newTestHTTP(t, s.URL, func(c *httpConfig) {
			c.HTTP2 = http2
			c.TLS.CA = writePEM(t, s.Certificate().Raw)
		})
		for range 3 {
			mustSend(t, o, batchOf("id", linesRun("one")))
		}
		if got := <-protocol; (got == 2) != http2 {
			t.Errorf("HTTP/%d, http2 = %v", got, http2)
		}
		if n := o.env.Counters.Reconnects.Load(); n != 0 {
			t.Errorf("%d reconnects", n)
		}
		stranger := newTestHTTP(t, s.URL, nil)
		if err := stranger.Send(t.Context(), batchOf("id", linesRun("one"))); err == nil || !strings.Contains(err.Error(), "; name the authority's file with tls.ca") {
			t.Errorf("without tls.ca: %v", err)
		}
		missing := newTestHTTP(t, s.URL, func(c *httpConfig) { c.TLS.CA = "/nowhere" })
		if err := missing.Send(t.Context(), batchOf("id", linesRun("one"))); err == nil || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("with a file that is not there: %v", err)
		}
	}
}

// writePEM writes a certificate to a file.
func writePEM(t *testing.T, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
