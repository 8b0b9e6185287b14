package output_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"logmule/forward/output/outputtest"
	"logmule/forward/transport"
)

// TestHTTPConformance is the suite for what the http output can do besides plain HTTP/1.1.
func TestHTTPConformance(t *testing.T) {
	for name, keys := range map[string]string{
		"gzip":   "compression = \"gzip\"\ntoken = \"x\"\n",
		"zstd":   "compression = \"zstd\"\nusername = \"x\"\npassword = \"y\"\n",
		"snappy": "compression = \"snappy\"\nheaders = { X-Scope = \"z\" }\n",
		"http2":  "compression = \"zstd\"\nhttp2 = true\n",
	} {
		t.Run(name, func(t *testing.T) {
			outputtest.Run(t, func(t *testing.T) outputtest.Destination { return unpackingDestination(t, keys) })
		})
	}
}

// unpackingDestination takes what the http output sends with these keys.
func unpackingDestination(t *testing.T, keys string) outputtest.Destination {
	var received took
	var broken, stalled atomic.Bool
	release := make(chan struct{})
	unpacker := transport.NewUnpacker()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || broken.Load() {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if stalled.Load() {
			<-release
			return
		}
		coding, err := transport.ParseCoding(r.Header["Content-Encoding"])
		if err != nil || !coding.Packed() {
			t.Errorf("coding %v, %v", coding, err)
		}
		content := make([]byte, 32<<20)
		n, err := unpacker.Unpack(r.Context(), coding, content, body)
		if err != nil {
			t.Error(err)
		}
		received.add(content[:n])
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	return outputtest.Destination{
		Output:   build(t, "http", "url = \""+server.URL+"/in\"\n"+keys),
		Received: received.bytes,
		Break:    func() { broken.Store(true) },
		Mend:     func() { broken.Store(false) },
		Stall:    func() { stalled.Store(true) },
	}
}
