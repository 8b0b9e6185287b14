package input

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRecognise(t *testing.T) {
	for first, want := range map[string]string{
		"": "", "1": "", "12": "", "12345678": "", "123456789": "newline", "1 ": "", "1 <": "octet-counted", "12345678 <": "octet-counted",
		"1 a": "newline", "1a": "newline", "0 <": "newline", "0": "newline", "<": "newline", "\x1e": "heka", "\n": "newline", "12345678a": "newline",
		"2026-01-02": "newline", "123456789 <": "newline",
	} {
		if got := recognise([]byte(first)); got != want {
			t.Errorf("%q is taken for %q, want %q", first, got, want)
		}
	}
}

// TestPeekedError looks at an error that comes while the framing is not known: a socket tells it only once.
func TestPeekedError(t *testing.T) {
	fault := errors.New("planted")
	p := &peeked{byteStream: &script{reads: []any{"1", "2", fault}}}
	if name := p.recognise(); name != "newline" {
		t.Errorf("taken for %q", name)
	}
	b := make([]byte, 10)
	if n, err := p.Read(b[:1]); string(b[:n]) != "1" || err != nil {
		t.Errorf("reads %q, %v", b[:n], err)
	}
	if n, err := p.Read(b); string(b[:n]) != "2" || err != nil {
		t.Errorf("then %q, %v", b[:n], err)
	}
	if _, err := p.Read(b); err != fault {
		t.Errorf("then %v", err)
	}
}

// TestTCPAuto sends three framings to one input, the first bytes in one write and one by one.
func TestTCPAuto(t *testing.T) {
	for _, slow := range []bool{false, true} {
		for stream, want := range map[string][]line{
			"one\ntwo":                              plain("one", "two"),
			"1 is no length\n":                      plain("1 is no length"),
			"12":                                    plain("12"),
			"12 ":                                   plain("12 "),
			"8 <1>a\nbcd4 <2>e":                     plain("<1>a\nbcd", "<2>e"),
			frame("heka", "a") + frame("heka", "b"): plain("a", "b"),
			"":                                      nil,
		} {
			got := new(whole)
			r := begin[*tcp](t, "tcp", anyPort+"framing = \"auto\"\n", got.emit)
			conn := dial(t, r.address)
			if slow {
				conn.SetNoDelay(true)
				for i := range len(stream) {
					say(t, conn, stream[i:i+1])
				}
			} else {
				say(t, conn, stream)
			}
			conn.CloseWrite()
			if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
				t.Fatalf("the end of the connection is %v", err)
			}
			var lines []line
			records, _ := got.all()
			for _, r := range records {
				lines = append(lines, line{text: string(r.Payload)})
			}
			compare(t, lines, want)
			if n := r.counters.Broken.Load() + r.counters.Unfinished.Load() + r.counters.BadFrames.Load(); n != 0 {
				t.Errorf("%q: %d things wrong", stream, n)
			}
		}
	}
}

func TestTCPCodec(t *testing.T) {
	got := new(whole)
	r := begin[*tcp](t, "tcp", anyPort+"framing = \"octet-counted\"\ncodec = \"syslog\"\n", got.emit)
	conn := dial(t, r.address)
	say(t, conn, "28 <11>1 - box app - - - two\nl")
	conn.CloseWrite()
	conn.Read(make([]byte, 1))
	if records, _ := got.all(); len(records) != 1 || records[0].Hostname != "box" || string(records[0].Payload) != "two\nl" {
		t.Errorf("records %+v", records)
	}
}

// TestTCPCodecAuto sends lines that are syslog, and Heka's messages, which are taken apart already.
func TestTCPCodecAuto(t *testing.T) {
	got := new(whole)
	r := begin[*tcp](t, "tcp", anyPort+"framing = \"auto\"\ncodec = \"syslog\"\n", got.emit)
	for i, stream := range []string{"<11>1 - box app - - - text\n", frame("heka", "text")} {
		say(t, dial(t, r.address), stream)
		if record := got.wait(t, i+1)[i]; string(record.Payload) != "text" || len(record.Fields) > 1 || record.Hostname == "mule" {
			t.Errorf("record %+v", record)
		}
	}
	if n := r.counters.DecodeErrors.Load(); n != 0 {
		t.Errorf("%d records not decoded", n)
	}
}

// TestTCPLost sends what is no framing at all: what was good before it is kept.
func TestTCPLost(t *testing.T) {
	got := new(whole)
	r := begin[*tcp](t, "tcp", anyPort+"framing = \"length-prefixed\"\n", got.emit)
	conn := dial(t, r.address)
	say(t, conn, "\x00\x00\x00\x01aGET / HTTP/1.1\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	eventually(t, "the broken connection", func() bool { return r.counters.Broken.Load() == 1 && r.counters.Connections.Load() == 0 })
	if records, _ := got.all(); len(records) != 1 || r.counters.BadFrames.Load() != 1 || !strings.Contains(r.text.String(), "lost its place") {
		t.Errorf("records %+v, log %s", records, r.text)
	}
}

// certificate makes the files of a certificate for 127.0.0.1, and returns the keys of an input and what a client trusts.
func certificate(t testing.TB) (keys string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mule"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, b []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	trust = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	trust.AddCert(parsed)
	return fmt.Sprintf("tls.cert = %q\ntls.key = %q\n", write("cert.pem", "CERTIFICATE", signed), write("key.pem", "PRIVATE KEY", secret)), trust
}

func TestTLS(t *testing.T) {
	keys, trust := certificate(t)
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort+keys, st.emit)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: trust, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		before := len(st.records())
		say(t, conn, "one\ntwo")
		conn.CloseWrite() // close_notify
		records := st.wait(t, before+2)
		compare(t, records[before:], plain("one", "two"))
		conn.Close()
	}
	eventually(t, "the end of the connections", func() bool { return r.counters.Connections.Load() == 0 })
	if n := r.counters.Broken.Load(); n != 0 {
		t.Errorf("%d broken connections: %s", n, r.text)
	}
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

// TestTLSCutOff ends the connection below TLS: what is not whole is not taken for a record.
func TestTLSCutOff(t *testing.T) {
	keys, trust := certificate(t)
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort+keys, st.emit)
	below := dial(t, r.address)
	conn := tls.Client(below, &tls.Config{RootCAs: trust, ServerName: "127.0.0.1"})
	say(t, conn, "one\ntw")
	st.wait(t, 1)
	below.CloseWrite()
	eventually(t, "the broken connection", func() bool { return r.counters.Broken.Load() == 1 && r.counters.Connections.Load() == 0 })
	compare(t, st.records(), plain("one"))
	if n := r.counters.Unfinished.Load(); n != 1 || !strings.Contains(r.text.String(), "close_notify") {
		t.Errorf("%d unfinished records, log: %s", n, r.text)
	}
}

func TestTLSRefusals(t *testing.T) {
	keys, trust := certificate(t)
	st := newStore()
	r := begin[*tcp](t, "tcp", anyPort+keys, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "<13>a plain line\n")
	io.Copy(io.Discard, conn)
	eventually(t, "the broken connection", func() bool { return r.counters.Broken.Load() == 1 && r.counters.Connections.Load() == 0 })
	if text := r.text.String(); !strings.Contains(text, "does not speak TLS") || !strings.Contains(text, conn.LocalAddr().String()) {
		t.Errorf("log: %s", text)
	}
	// One that only looks whether anybody is there is no failure.
	dial(t, r.address).Close()
	if _, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: x509.NewCertPool()}); err == nil {
		t.Error("a client that trusts nobody connects")
	}
	eventually(t, "the refused certificate", func() bool { return r.counters.Broken.Load() == 2 && r.counters.Connections.Load() == 0 })
	good, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: trust})
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	say(t, good, "fine\n")
	st.want(t, plain("fine")...)
	// A peer that never finishes its handshake does not hold up the stop.
	silent := dial(t, r.address)
	eventually(t, "both connections", func() bool { return r.counters.Connections.Load() == 2 })
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	silent.Close()
}

// TestTLSSilence connects and says nothing, or not enough.
func TestTLSSilence(t *testing.T) {
	keys, _ := certificate(t)
	r := begin(t, "tcp", anyPort+keys, discard, func(in *tcp) { in.handshake = 10 * time.Millisecond })
	for i, text := range []string{"", "\x16\x03\x01"} {
		conn := dial(t, r.address)
		say(t, conn, text)
		io.Copy(io.Discard, conn)
		eventually(t, "the broken connection", func() bool { return r.counters.Broken.Load() == uint64(i+1) })
	}
	if text := r.text.String(); !strings.Contains(text, "not agreed on within 10ms") {
		t.Errorf("log: %s", text)
	}
}

func TestTLSFilesAreReadInRun(t *testing.T) {
	in, err := New("tcp", section(t, "tcp", "listen = \"0.0.0.0:0\"\ntls.cert = \"/none/cert.pem\"\ntls.key = \"/none/key.pem\"\n"), Env{Name: "legacy"})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Run(t.Context(), discard); err == nil || !strings.Contains(err.Error(), "/none/cert.pem") || !strings.Contains(err.Error(), "[input.legacy]") {
		t.Errorf("Run returns %v", err)
	}
}
