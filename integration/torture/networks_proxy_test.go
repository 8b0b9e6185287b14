package torture

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/integration/chaos"
	"logmule/integration/rig"
)

// proxied is a network whose outputs go through proxies; with those that send http in other ways too.
func proxied(t *testing.T, others bool) (*network, rig.Certificates) {
	t.Helper()
	certificates, err := rig.NewCertificates(t.TempDir())
	must(t, err)
	pair, err := tls.LoadX509KeyPair(certificates.Cert, certificates.Key)
	must(t, err)
	settings := &tls.Config{Certificates: []tls.Certificate{pair}}
	n := newNetwork(t)
	n.strange = map[string]string{"output udp": noConnection}
	var text strings.Builder
	fmt.Fprintf(&text, "[input.feed]\ntype = \"http\"\nlisten = %q\n", n.feed)
	add := func(kind, output string, secure bool, good chaos.Behaviour, keys string) *victim {
		v := n.newVictim(kind, output, secure)
		if secure {
			good = chaos.Secured(settings, good)
			keys += fmt.Sprintf("tls.ca = %q\ntls.server_name = \"localhost\"\n", certificates.CA)
		}
		if good != nil {
			v.peer, err = chaos.StartPeer("127.0.0.1:0", good, v.store)
			must(t, err)
			t.Cleanup(v.peer.Close)
			v.target = v.peer.Address()
		} else {
			v.target = serveHTTP2(t, v.store)
		}
		at := rig.OwnAddress(t)
		if strings.HasPrefix(kind, "output unix") {
			at = filepath.Join(t.TempDir(), "peer.sock")
		}
		if v.proxy, err = chaos.Start(chaos.Options{Listen: at, Target: v.target, Seed: n.Judge.Seed(), Buffer: 64 << 10}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.proxy.Close)
		fmt.Fprintf(&text, "[output.%s]\n%stimeout = \"1s\"\n", output, strings.ReplaceAll(keys, "AT", at))
		return v
	}
	n.healthy = add("the healthy output", "healthy", false, chaos.Posts, "type = \"http\"\nurl = \"http://AT/\"\n")
	n.victims = nil
	add("output http", "http", false, chaos.Posts, "type = \"http\"\nurl = \"http://AT/\"\n")
	add("output http, TLS", "https", true, chaos.Posts, "type = \"http\"\nurl = \"https://AT/\"\n")
	add("output tcp", "tcp", false, chaos.Lines, "type = \"tcp\"\naddress = \"AT\"\n")
	add("output tcp, TLS", "tcptls", true, chaos.Lines, "type = \"tcp\"\naddress = \"AT\"\n")
	add("output unix", "unix", false, chaos.Lines, "type = \"unix\"\npath = \"AT\"\n")
	if others {
		add("output http, in_flight = 4", "http4", false, chaos.Posts, "type = \"http\"\nurl = \"http://AT/\"\nin_flight = 4\n").unordered = true
		add("output http, HTTP/2", "http2", false, nil, "type = \"http\"\nurl = \"http://AT/\"\nhttp2 = true\n")
	}
	n.Configure(text.String())
	n.open()
	return n, certificates
}

// serveHTTP2 is a good destination for HTTP/2 without TLS.
func serveHTTP2(t *testing.T, store *chaos.Store) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // a part of a body is nothing
		}
		store.Take(r.Header.Get("Idempotency-Key"), body)
	})}
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// both sets the faults of both ways.
func both(f chaos.Faults) func(*victim) string {
	return func(v *victim) string {
		v.proxy.Set(chaos.Up, f)
		v.proxy.Set(chaos.Down, f)
		return ""
	}
}

func up(f chaos.Faults) func(*victim) string {
	return func(v *victim) string { v.proxy.Set(chaos.Up, f); return "" }
}

// answers sets the faults of what the peer says, which only some do.
func answers(f chaos.Faults) func(*victim) string {
	return func(v *victim) string {
		if !v.keyed() {
			return "the peer says nothing that it waits for"
		}
		v.proxy.Set(chaos.Down, f)
		return ""
	}
}

func calm(v *victim) { v.proxy.Calm() }

// calmReset ends a fault whose connections would stay as they are.
func calmReset(v *victim) {
	v.proxy.Calm()
	v.proxy.Reset()
}

func resetNow(v *victim) { v.proxy.Reset() }

func anyKind(*victim) string { return "" }

// beyondResend says what is lost when a peer takes bytes and throws them away for long: a kernel that took them is all that
// these outputs ever hear of. The short faults stay within resend.
func beyondResend(v *victim) string {
	if level == long && !v.keyed() {
		return "what was taken before the last bytes that resend keeps is gone, as the manual says"
	}
	return ""
}

// proxyFaults are done to connections on their way.
var proxyFaults = []netFault{
	{name: "resets, one every 100 ms", begin: anyKind, during: resetNow},
	{name: "what is sent stalls", begin: up(chaos.Faults{Then: chaos.Stall}), end: calm},
	{name: "60 to 120 ms of latency", begin: both(chaos.Faults{Latency: 60 * time.Millisecond, Jitter: 60 * time.Millisecond}), end: calm},
	{name: "64 KiB/s", begin: up(chaos.Faults{Bandwidth: 64 << 10}), end: calm},
	{name: "slices of 100 bytes", begin: both(chaos.Faults{Slice: 100}), end: calm},
	{name: "reset after 50,000 bytes", begin: up(chaos.Faults{Then: chaos.Reset, After: 50_000}), end: calm},
	{name: "cut after 50,000 bytes", begin: up(chaos.Faults{Then: chaos.Cut, After: 50_000}), end: calm},
	{name: "half close after 50,000 bytes", begin: up(chaos.Faults{Then: chaos.HalfClose, After: 50_000}), end: calm},
	{name: "the answer is reset", begin: answers(chaos.Faults{Then: chaos.Reset}), end: calm},
	{name: "the answer is cut in its middle", begin: answers(chaos.Faults{Then: chaos.Cut, After: 10}), end: calm},
	{name: "the answer stalls", begin: answers(chaos.Faults{Then: chaos.Stall}), end: calm},
	{name: "both ways stall", begin: both(chaos.Faults{Then: chaos.Stall}), end: calm},
	{name: "the peer closes its half", begin: anyKind, during: func(v *victim) { v.proxy.HalfClose(chaos.Down) }},
	{name: "the peer closes, heard 500 ms late", begin: func(v *victim) string {
		if v.peer == nil {
			return "HTTP/2 says goodbye in its own way"
		}
		v.proxy.Set(chaos.Down, chaos.Faults{Linger: 500 * time.Millisecond})
		v.peer.Part()
		return ""
	}, end: calm},
	{name: "black hole: bytes are taken and gone", begin: up(chaos.Faults{Then: chaos.Swallow}), end: calmReset, loses: beyondResend},
	{name: "connections refused", begin: func(v *victim) string {
		if v.proxy.Refuse(true) != nil {
			return "the listener cannot be closed"
		}
		v.proxy.Reset()
		return ""
	}, end: func(v *victim) { _ = v.proxy.Refuse(false) }},
	{name: "connections reset at once", begin: func(v *victim) string {
		v.proxy.To("127.0.0.1:1")
		v.proxy.Reset()
		return ""
	}, end: func(v *victim) { v.proxy.To(v.target) }},
}

// TestNetworksConnections hurts the connections of all outputs that have some.
func TestNetworksConnections(t *testing.T) {
	t.Parallel()
	n, _ := proxied(t, true)
	for _, f := range proxyFaults[:by(1, len(proxyFaults), len(proxyFaults))] {
		n.hurt(t, f, by(200*time.Millisecond, 1200*time.Millisecond, 15*time.Second))
	}
}
