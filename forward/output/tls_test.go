package output_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/output"
	"logmule/forward/output/outputtest"
)

// listen accepts connections until the test ends, and gives each to serve, which closes it.
func listen(t *testing.T, serve func(conn net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var done sync.WaitGroup
	var live sync.Mutex
	open := map[net.Conn]bool{}
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			live.Lock()
			open[conn] = true
			live.Unlock()
			done.Go(func() { serve(conn); conn.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		live.Lock()
		for conn := range open {
			conn.Close()
		}
		live.Unlock()
		done.Wait()
	})
	return l.Addr().String()
}

// sendOnce makes one attempt and returns what is wrong with it.
func sendOnce(t *testing.T, kind, keys string) error {
	t.Helper()
	o := build(t, kind, keys)
	defer func() { must(t, o.(io.Closer).Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return o.Send(ctx, outputtest.Batch("1", outputtest.Lines("x")))
}

// TestTLSSaysWhatIsWrong demands that an operator is told what to do, for everything that is usually wrong with TLS.
func TestTLSSaysWhatIsWrong(t *testing.T) {
	good, other := newCertificates(t), newCertificates(t)
	old := newCertificatesFor(t, net.IPv4(127, 0, 0, 1), time.Now().Add(-time.Hour))
	elsewhere := newCertificatesFor(t, net.IPv4(127, 0, 0, 2), time.Now().Add(time.Hour))
	server := func(c *certificates, change func(c *tls.Config)) string {
		config := c.server(t)
		change(config)
		return listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, tls.Server(conn, config)) })
	}
	as := func(*tls.Config) {}
	authority := x509.NewCertPool()
	text, err := os.ReadFile(good.ca)
	must(t, err)
	authority.AppendCertsFromPEM(text)
	demanding := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, authority }
	demanding12 := func(c *tls.Config) { demanding(c); c.MaxVersion = tls.VersionTLS12 }

	for _, c := range []struct{ name, address, keys, want string }{
		{"authority of the system", server(good, as), `tls.enabled = true`, "certificate signed by unknown authority; name the authority's file with tls.ca"},
		{"another authority", server(good, as), `tls.ca = "` + other.ca + `"`, "certificate signed by unknown authority; name the authority's file with tls.ca"},
		{"another name", server(elsewhere, as), `tls.ca = "` + elsewhere.ca + `"`, "say that name with tls.server_name"},
		{"expired", server(old, as), `tls.ca = "` + old.ca + `"`, "certificate has expired or is not yet valid"},
		{"wants a certificate", server(good, demanding), `tls.ca = "` + good.ca + `"`, "show a certificate that it takes with tls.cert and tls.key"},
		{"wants a certificate, TLS 1.2", server(good, demanding12), `tls.ca = "` + good.ca + `"`, "it may want a certificate, named with tls.cert and tls.key"},
		{"wants a certificate, closes without a word", closing(t, good), `tls.ca = "` + good.ca + `"`, "having asked for a certificate; show one"},
		{"is given a wrong one", server(good, demanding), fmt.Sprintf("tls.ca = %q\ntls.cert = %q\ntls.key = %q", good.ca, other.cert, other.key),
			"show a certificate that it takes with tls.cert and tls.key"},
		{"answers in the clear", listen(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 hello\r\n"); _, _ = io.Copy(io.Discard, conn) }),
			`tls.enabled = true`, "the peer does not speak TLS"},
		{"closes", listen(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }), `tls.enabled = true`, "is this its port for TLS?"},
		{"says nothing", listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), "tls.enabled = true\ntimeout = \"1s\"", "is this the peer's port for TLS?"},
		{"no such file", "127.0.0.1:1", `tls.ca = "/nowhere.pem"`, "read tls.ca: open /nowhere.pem"},
	} {
		err := sendOnce(t, "tcp", "address = \""+c.address+"\"\n"+c.keys)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.address) && !strings.Contains(c.want, "nowhere") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	web := sendOnce(t, "http", "url = \"https://"+server(good, as)+"/\"")
	if web == nil || !strings.Contains(web.Error(), "name the authority's file with tls.ca") {
		t.Errorf("http: %v", web)
	}
	both := fmt.Sprintf("tls.ca = %q\ntls.cert = %q\ntls.key = %q", good.ca, good.cert, good.key)
	if err := sendOnce(t, "tcp", "address = \""+server(good, demanding)+"\"\n"+both); err != nil {
		t.Errorf("certificates of both ends: %v", err)
	}
}

// closing is a peer that asks for a certificate and closes the connection when it gets none, as rsyslog does.
func closing(t *testing.T, c *certificates) (address string) {
	settings := c.server(t)
	settings.ClientAuth, settings.SessionTicketsDisabled = tls.RequestClientCert, true
	return listen(t, func(conn net.Conn) {
		if tls.Server(conn, settings).Handshake() == nil {
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}
	})
}

// TestTLSOutlivesSlowPeers sends far more than all buffers hold to a peer that reads little at a time, with pauses: writes
// run into their deadlines on the way, which must neither lose, double nor garble anything.
func TestTLSOutlivesSlowPeers(t *testing.T) {
	c := newCertificates(t)
	settings := c.server(t)
	var received took
	address := listen(t, func(conn net.Conn) {
		sealed := tls.Server(conn, settings)
		buf := make([]byte, 2<<20)
		for i := 0; ; i++ {
			n, err := sealed.Read(buf[:1+(len(buf)-1)*(i%3)/2])
			received.add(buf[:n])
			if err != nil {
				return
			}
			if i%100 == 0 {
				time.Sleep(150 * time.Millisecond) // longer than a slice of time of the writer
			}
		}
	})
	o := build(t, "tcp", "address = \""+address+"\"\ntls.ca = \""+c.ca+"\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	var want []byte
	for i := range 3 {
		var lines []string
		for j := range 20000 {
			lines = append(lines, fmt.Sprintf("%d %d %s", i, j, strings.Repeat("x", j%500)))
		}
		want = append(want, strings.Join(lines, "\n")+"\n"...)
		if err := o.Send(t.Context(), outputtest.Batch(fmt.Sprint(i), outputtest.Lines(lines...))); err != nil {
			t.Fatal(err)
		}
	}
	outputtest.Await(t, "everything", func() bool { return len(received.bytes()) >= len(want) })
	if !bytes.Equal(received.bytes(), want) {
		t.Error("what arrived is not what was sent")
	}
}

// TestTLSResends lets the peer die with what it has not read: the next connection begins with it.
func TestTLSResends(t *testing.T) {
	c := newCertificates(t)
	settings := c.server(t)
	conns := make(chan *tls.Conn, 2)
	address := listen(t, func(conn net.Conn) {
		sealed := tls.Server(conn, settings)
		_ = sealed.Handshake()
		conns <- sealed
		<-t.Context().Done()
	})
	o := build(t, "tcp", "address = \""+address+"\"\nresend = \"12B\"\ntls.ca = \""+c.ca+"\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	for i := range 4 {
		must(t, o.Send(t.Context(), outputtest.Batch(fmt.Sprint(i), outputtest.Lines(fmt.Sprintf("line %d", i)))))
	}
	first := <-conns
	must(t, first.NetConn().(*net.TCPConn).SetLinger(0))
	must(t, first.NetConn().Close())
	<-o.(output.Breakable).Lost()
	must(t, o.Send(t.Context(), outputtest.Batch("empty")))
	got := make([]byte, len("line 2\nline 3\n"))
	if _, err := io.ReadFull(<-conns, got); err != nil || string(got) != "line 2\nline 3\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestTLSEndsInOrder demands that a stop reaches the peer as the end of the stream and not as a cut.
func TestTLSEndsInOrder(t *testing.T) {
	c := newCertificates(t)
	settings := c.server(t)
	ended := make(chan error, 1)
	address := listen(t, func(conn net.Conn) {
		_, err := io.Copy(io.Discard, tls.Server(conn, settings))
		ended <- err
	})
	o := build(t, "tcp", "address = \""+address+"\"\ntls.ca = \""+c.ca+"\"\n")
	must(t, o.Send(t.Context(), outputtest.Batch("1", outputtest.Lines("x"))))
	must(t, o.(io.Closer).Close())
	if err := <-ended; err != nil {
		t.Errorf("the peer saw %v", err)
	}
}
