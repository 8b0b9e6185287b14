package input

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logmule/forward/pack"
)

// identity is a certificate that signed itself, in files.
type identity struct {
	cert, key string
	pair      tls.Certificate
	pool      *x509.CertPool
}

func newIdentity(t testing.TB, name string) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id := identity{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	for file, block := range map[string]*pem.Block{id.cert: {Type: "CERTIFICATE", Bytes: der}, id.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	id.pool.AddCert(leaf)
	id.pair = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return id
}

// peer is a client of one protocol. secure is for https.
func peer(t testing.TB, version int, secure *tls.Config) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: secure, ExpectContinueTimeout: patience}
	transport.Protocols.SetHTTP1(version == 1)
	transport.Protocols.SetHTTP2(version == 2)
	transport.Protocols.SetUnencryptedHTTP2(version == 2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func TestHTTPTLS(t *testing.T) {
	server, ann := newIdentity(t, "server"), newIdentity(t, "ann")
	st := newStore()
	keys := anyPort + fmt.Sprintf("tls = { cert = %q, key = %q, ca = %q }\n", server.cert, server.key, ann.cert)
	r := begin[*httpInput](t, "http", keys, st.emit)
	trusted := &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{ann.pair}}
	var want []line
	for version := 1; version <= 2; version++ {
		q := post(t, "POST", r.address, strings.NewReader("one\ntwo\n"))
		q.URL.Scheme = "https"
		answer, err := peer(t, version, trusted.Clone()).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 || answer.ProtoMajor != version {
			t.Errorf("%s with %s instead of HTTP/%d", answer.Status, answer.Proto, version)
		}
		want = append(want, plain("one", "two")...)
		st.want(t, want...)
	}
	for name, x := range map[string]struct {
		scheme string
		secure *tls.Config
	}{
		"no certificate":     {"https", &tls.Config{RootCAs: server.pool}},
		"other certificate":  {"https", &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{newIdentity(t, "eve").pair}}},
		"no TLS":             {"http", nil},
		"old TLS":            {"https", &tls.Config{RootCAs: server.pool, Certificates: trusted.Certificates, MaxVersion: tls.VersionTLS11}},
		"server not trusted": {"https", &tls.Config{Certificates: trusted.Certificates}},
	} {
		q := post(t, "POST", r.address, strings.NewReader("no\n"))
		q.URL.Scheme = x.scheme
		if answer, err := peer(t, 1, x.secure).Do(q); err == nil {
			answer.Body.Close()
			if answer.StatusCode == 200 {
				t.Errorf("%s: %s", name, answer.Status)
			}
		}
	}
	compare(t, st.records(), want)
	dial(t, r.address).CloseWrite()
	eventually(t, "a word about it in the log", func() bool {
		return strings.Contains(r.text.String(), "TLS handshake error") && r.counters.Broken.Load() > 0
	})
	eventually(t, "the end of the connections", func() bool { return r.counters.Connections.Load() <= 2 })
	if text := r.text.String(); strings.Contains(text, "EOF") {
		t.Errorf("who only looks whether anybody listens is in the log: %s", text)
	}
}

// TestHTTP2 does on one connection, in the clear, what would end one of HTTP/1.
func TestHTTP2(t *testing.T) {
	st := newStore()
	r := begin(t, "http", anyPort+"max_body = \"300KB\"\n", func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		switch {
		case bytes.HasPrefix(p.Body, []byte("boom")):
			panic("planted")
		case bytes.HasPrefix(p.Body, []byte("full")):
			return Receipt{}, ErrDropped
		}
		return st.emit(ctx, p)
	}, func(h *httpInput) { h.stall = 3 * time.Second })
	c := peer(t, 2, nil)
	var dialed atomic.Int32
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	stalled, end := io.Pipe()
	defer end.Close()
	for name, x := range map[string]struct {
		body   io.Reader
		coding string
		status int
	}{
		"stored":         {strings.NewReader("one\ntwo\n"), "", 200},
		"unsized":        {unsized{strings.NewReader("one\ntwo\n")}, "", 200},
		"compressed":     {bytes.NewReader(packed(t, "zstd", []byte("one\ntwo\n"))), "zstd", 200},
		"empty":          {strings.NewReader(""), "", 200},
		"long":           {strings.NewReader(strings.Repeat("x\n", 5_000_000)), "", 413},
		"long, unsized":  {unsized{strings.NewReader(strings.Repeat("x\n", 5_000_000))}, "", 413},
		"no such coding": {strings.NewReader(strings.Repeat("x\n", 100_000)), "br", 415},
		"broken":         {strings.NewReader("x"), "gzip", 400},
		"full":           {strings.NewReader("full\n"), "", 503},
		"stalled":        {stalled, "", 408},
	} {
		t.Run(name, func(t *testing.T) {
			q := post(t, "POST", r.address, x.body)
			if x.coding != "" {
				q.Header.Set("Content-Encoding", x.coding)
			}
			status, text, header := do(t, c, q)
			if status != x.status || header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %v", status, text, header)
			}
		})
	}
	if answer, err := c.Do(post(t, "PUT", r.address, strings.NewReader("boom\n"))); err == nil {
		answer.Body.Close()
		t.Errorf("a panic is answered with %s", answer.Status)
	}
	if status, text, _ := do(t, c, post(t, "POST", r.address, strings.NewReader("last\n"))); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if n := dialed.Load(); n != 1 {
		t.Errorf("%d connections instead of one that outlasts everything", n)
	}
	if records := st.records(); len(records) != 7 || records[6].text != "last" {
		t.Errorf("stored %v", records)
	}
}

// TestHTTP2Many has more requests under way than a connection may have streams.
func TestHTTP2Many(t *testing.T) {
	st := newStore()
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.env.Memory = NewBudget(256 << 20) }) // for all of them at once
	c := peer(t, 2, nil)
	body := strings.Repeat(strings.Repeat("x", 99)+"\n", 3000)
	var clients sync.WaitGroup
	for range 2 * maxStreams {
		clients.Go(func() {
			if status, text, _ := do(t, c, post(t, "POST", r.address, strings.NewReader(body))); status != 200 {
				t.Errorf("%d %s", status, text)
			}
		})
	}
	clients.Wait()
	if n := len(st.records()); n != 2*maxStreams*3000 {
		t.Errorf("%d records", n)
	}
}

// TestHTTP2Shutdown stops while one request waits for the disk and another one for the rest of its body.
func TestHTTP2Shutdown(t *testing.T) {
	t.Parallel()
	st := newStore()
	st.log = newDurability()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	c := peer(t, 2, nil)
	statuses := make(chan int, 2)
	rest, begun := io.Pipe()
	var clients sync.WaitGroup
	clients.Go(func() {
		status, _, _ := do(t, c, post(t, "POST", r.address, strings.NewReader("one\n")))
		statuses <- status
	})
	<-st.log.waiting
	clients.Go(func() {
		answer, err := c.Do(post(t, "POST", r.address, rest))
		if err != nil {
			t.Errorf("the request under way: %v", err)
			return
		}
		answer.Body.Close()
		statuses <- answer.StatusCode
	})
	if _, err := io.WriteString(begun, strings.Repeat("two\n", 2000)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "memory for the body", func() bool { return r.memory.Used() > 0 })
	r.stop()
	if status := <-statuses; status != 503 {
		t.Errorf("the body under way is answered with %d", status)
	}
	close(st.log.open)
	if status := <-statuses; status != 200 {
		t.Errorf("the stored one is answered with %d", status)
	}
	begun.Close()
	clients.Wait()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	compare(t, st.records(), plain("one"))
}

// TestHTTPHeaderLimit answers 431 to a header that nobody needs.
func TestHTTPHeaderLimit(t *testing.T) {
	r := begin[*httpInput](t, "http", anyPort, discard)
	for version := 1; version <= 2; version++ {
		q := post(t, "POST", r.address, strings.NewReader("x\n"))
		for i := range 20_000 {
			q.Header.Set(fmt.Sprintf("X-Field-%d", i), "x")
		}
		answer, err := peer(t, version, nil).Do(q)
		if err != nil { // it may not have read the answer before the connection was closed
			continue
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("HTTP/%d: %s", version, answer.Status)
		}
	}
	if status, _, _ := do(t, client(t), post(t, "POST", r.address, strings.NewReader("x\n"))); status != 200 {
		t.Errorf("%d afterwards", status)
	}
}

func TestHTTPCredentials(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort+"token = \"s3cret\"\nusername = \"ann\"\npassword = \"pass-word\"\n", st.emit)
	for version := 1; version <= 2; version++ {
		c := peer(t, version, nil)
		for name, x := range map[string]struct {
			show   func(q *http.Request)
			status int
		}{
			"nothing":       {func(*http.Request) {}, 401},
			"token":         {func(q *http.Request) { q.Header.Set("Authorization", "Bearer s3cret") }, 200},
			"wrong token":   {func(q *http.Request) { q.Header.Set("Authorization", "Bearer secret") }, 401},
			"password":      {func(q *http.Request) { q.SetBasicAuth("ann", "pass-word") }, 200},
			"wrong user":    {func(q *http.Request) { q.SetBasicAuth("bob", "pass-word") }, 401},
			"token as word": {func(q *http.Request) { q.SetBasicAuth("ann", "s3cret") }, 401},
		} {
			before, rejected := r.counters.Unauthorized.Load(), r.counters.RejectedRequests.Load()
			stored := len(st.records())
			q := post(t, "POST", r.address, strings.NewReader("x\n"))
			x.show(q)
			status, text, header := do(t, c, q)
			refused := status == 401
			if status != x.status || refused != (len(header.Values("WWW-Authenticate")) == 2) {
				t.Errorf("%s: %d %s %v", name, status, text, header)
			}
			counted := r.counters.Unauthorized.Load() > before && r.counters.RejectedRequests.Load() > rejected
			if refused != counted || refused == (len(st.records()) > stored) {
				t.Errorf("%s: refused %v, counted %v", name, refused, counted)
			}
		}
	}
	q := post(t, "GET", r.address, strings.NewReader(strings.Repeat("x", 16<<20)))
	if status, text, _ := do(t, client(t), q); status != 401 {
		t.Errorf("a long body of nobody: %d %s", status, text)
	}
	if used := r.memory.Used(); used != 0 {
		t.Errorf("%d bytes for a request of nobody", used)
	}
	if text := r.text.String(); strings.Contains(text, "s3cret") || strings.Contains(text, "pass-word") || !strings.Contains(text, "401") {
		t.Errorf("log: %s", text)
	}
}

func TestHTTPPeersConfiguration(t *testing.T) {
	id := newIdentity(t, "server")
	secure := fmt.Sprintf("tls = { cert = %q, key = %q }\n", id.cert, id.key)
	far, near := "listen = \"0.0.0.0:0\"\n", anyPort
	for name, x := range map[string]struct{ keys, says string }{
		"near":                    {near, ""},
		"near, token":             {near + "token = \"x\"\n", ""},
		"far":                     {far, "listen = "},
		"far, token":              {far + "token = \"x\"\n", "listen = "},
		"far, password":           {far + "username = \"x\"\npassword = \"y\"\n", "listen = "},
		"far, insecure":           {far + "insecure = true\n", ""},
		"far, insecure token":     {far + "insecure = true\ntoken = \"x\"\n", ""},
		"far, secure":             {far + secure, ""},
		"far, secure and a token": {far + secure + "token = \"x\"\n", ""},
		"half a certificate":      {near + "tls = { cert = \"x\" }\n", "tls"},
		"missing certificate":     {near + "tls = { cert = \"/nowhere\", key = \"/nowhere\" }\n", ""},
		"half a password":         {near + "username = \"x\"\n", "username has no password"},
		"token with space":        {near + "token = \"x y\"\n", "token has"},
		"codec":                   {near + "codec = \"sislog\"\n", "codec = "},
	} {
		_, err := New("http", section(t, "http", x.keys), Env{Name: "test"})
		if (err == nil) != (x.says == "") || err != nil && !strings.HasPrefix(err.Error(), x.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	in, err := New("http", section(t, "http", near+"tls = { cert = \"/nowhere\", key = \"/nowhere\" }\n"), Env{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Run(t.Context(), discard); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("a certificate that is not there: %v", err)
	}
}

// TestHTTPInTheClear says once that credentials can be read on the way.
func TestHTTPInTheClear(t *testing.T) {
	r := begin[*httpInput](t, "http", "listen = \"0.0.0.0:0\"\ninsecure = true\ntoken = \"s3cret\"\n", discard)
	if text := r.text.String(); !strings.Contains(text, "in the clear") || strings.Contains(text, "s3cret") {
		t.Errorf("log: %s", text)
	}
}

// TestHTTP2RefusedWhileSending gives a client that is refused the whole answer while it sends on, as curl does, and when
// it stops at once and waits for the end of the answer, as Go's client does.
func TestHTTP2RefusedWhileSending(t *testing.T) {
	t.Parallel()
	r := begin[*httpInput](t, "http", anyPort+"token = \"x\"\n", discard)
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	rest, sending := io.Pipe()
	defer sending.Close()
	status, text, _ := do(t, peer(t, 2, nil), post(t, "POST", r.address, rest))
	if status != 401 || !strings.Contains(text, "credentials") {
		t.Errorf("%d %s", status, text)
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl")
	}
	for _, version := range []string{"--http1.1", "--http2-prior-knowledge"} {
		out, err := exec.CommandContext(t.Context(), curl, "-sS", version, "-H", "Expect:", "-w", "%{http_code}", "-T", big, "http://"+r.address+"/").CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "401") || !strings.Contains(string(out), "credentials") {
			t.Errorf("%s: %s, %v", version, out, err)
		}
	}
}
