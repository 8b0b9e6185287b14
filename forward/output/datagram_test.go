package output_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"logmule/forward/output"
	"logmule/forward/output/outputtest"
)

func TestUnixConfiguration(t *testing.T) {
	for keys, want := range map[string]string{
		``:                                  "path is missing",
		`path = "x.s"`:                      `path = "x.s" is not absolute`,
		"path = \"/s\"\nsocket = \"dgram\"": `socket = "dgram" is not known`,
		"path = \"/s\"\nsocket = \"datagram\"\nframing = \"heka\"": `framing = "heka" has no use`,
		"path = \"/s\"\nsocket = \"datagram\"\ntls.enabled = true": "tls has no use with datagrams",
		"path = \"/s\"\ntls.enabled = true":                        "tls needs the name in the peer's certificate",
		"path = \"/s\"\nsocket = \"datagram\"\ncodec = \"x\"":      `codec = "x" is not known`,
		"path = \"/s\"\nsocket = \"datagram\"\ntimeout = \"1ns\"":  `timeout = "1ns" is too short`,
	} {
		if err := tryBuild(t, "unix", keys); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", keys, err, want)
		}
	}
	for keys, want := range map[string]string{
		``:                                       "address is missing",
		`address = "x"`:                          `address = "x" is no address`,
		"address = \"x:1\"\nmax_record = \"0B\"": `max_record = "0B" is out of range`,
		"address = \"x:1\"\nmax_record = \"65508B\"": `max_record = "65508B" is out of range`,
	} {
		if err := tryBuild(t, "udp", keys); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", keys, err, want)
		}
	}
}

// TestDatagramsTooLarge rejects what does not fit, and sends the rest in order.
func TestDatagramsTooLarge(t *testing.T) {
	for network, most := range map[string]int{"udp": 65507, "unixgram": 1 << 20} {
		s := &datagramServer{network: network}
		address, keys := "127.0.0.1:0", ""
		if network == "unixgram" {
			address = socketPath(t)
			keys = "type = \"unix\"\nsocket = \"datagram\"\npath = \"" + address + "\"\n"
		}
		s.start(t, address)
		t.Cleanup(s.stop)
		kind := "unix"
		if keys = strings.TrimPrefix(keys, "type = \"unix\"\n"); keys == "" {
			kind, keys = "udp", "address = \""+s.conn.LocalAddr().String()+"\"\n"
		}
		o := build(t, kind, keys)
		b := outputtest.Batch("1", outputtest.Lines("before", strings.Repeat("x", most+1), "after"))
		err := o.Send(t.Context(), b)
		must(t, errors.Join(err, o.(io.Closer).Close()))
		if r := b.Rejected(); len(r) != 1 || r[0].Index != 1 || !strings.Contains(r[0].Reason, "bytes, more than") {
			t.Errorf("%s: rejected %v", network, r)
		}
		outputtest.Await(t, "the others", func() bool { return string(s.bytes()) == "before\nafter\n" })
	}
}

// TestUDPRefusal counts a refusal by this machine as a failure of the batch that met it.
func TestUDPRefusal(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	address := conn.LocalAddr().String()
	must(t, conn.Close())
	o := build(t, "udp", "address = \""+address+"\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	b := outputtest.Batch("1", outputtest.Lines("a", "b"))
	if err := o.Send(t.Context(), b); err == nil || !strings.Contains(err.Error(), "connection refused") || b.Pending() != 2 {
		t.Fatalf("got %v with %d pending", err, b.Pending())
	}
	s := &datagramServer{network: "udp"}
	s.start(t, address)
	t.Cleanup(s.stop)
	must(t, o.Send(t.Context(), b))
	outputtest.Await(t, "the batch", func() bool { return string(s.bytes()) == "a\nb\n" })
}

// TestUnixWaitsForTheReader: on a unix socket only what the peer's process has read is accepted.
func TestUnixWaitsForTheReader(t *testing.T) {
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	must(t, err)
	defer l.Close()
	o := build(t, "unix", "path = \""+path+"\"\ntimeout = \"300ms\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	sent := make(chan error, 1)
	go func() { sent <- o.Send(t.Context(), outputtest.Batch("1", outputtest.Lines("x"))) }()
	conn, err := l.Accept()
	must(t, err)
	defer conn.Close()
	select {
	case err := <-sent:
		t.Fatalf("Send returned %v before anything was read", err)
	case <-time.After(time.Second): // longer than the timeout, which is for peers far away
	}
	_, err = io.ReadFull(conn, make([]byte, 2))
	must(t, err)
	must(t, <-sent)
}

// TestDatagramsAreNotDoubled: what the socket took before a Send ended is not sent again.
func TestDatagramsAreNotDoubled(t *testing.T) {
	path := socketPath(t)
	conn, err := net.ListenPacket("unixgram", path)
	must(t, err)
	defer conn.Close()
	o := build(t, "unix", "socket = \"datagram\"\npath = \""+path+"\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	var lines []string
	for i := range 2000 {
		lines = append(lines, fmt.Sprint(i))
	}
	b := outputtest.Batch("1", outputtest.Lines(lines...))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- o.Send(ctx, b) }()
	buf := make([]byte, 100)
	n, _, err := conn.ReadFrom(buf)
	must(t, err)
	cancel()
	if err := <-sent; err == nil || b.Pending() == 0 || b.Pending() == len(lines) || string(buf[:n]) != lines[0] {
		t.Fatalf("got %v with %d pending from a socket of which %q was read", err, b.Pending(), buf[:n])
	}
	go func() { sent <- o.Send(t.Context(), b) }()
	for i := 1; i < len(lines); i++ {
		n, _, err := conn.ReadFrom(buf)
		must(t, err)
		if string(buf[:n]) != lines[i] {
			t.Fatalf("got %q, want %q", buf[:n], lines[i])
		}
	}
	must(t, <-sent)
}

// TestUDPName: a name is looked up again, and an answer that is the same changes nothing.
func TestUDPName(t *testing.T) {
	s := &datagramServer{network: "udp"}
	s.start(t, "127.0.0.1:0")
	t.Cleanup(s.stop)
	_, port, err := net.SplitHostPort(s.conn.LocalAddr().String())
	must(t, err)
	o := build(t, "udp", "address = \"localhost:"+port+"\"\n")
	defer func() { must(t, o.(io.Closer).Close()) }()
	for i := range 3 {
		must(t, o.Send(t.Context(), outputtest.Batch(fmt.Sprint(i), outputtest.Lines("x"))))
		output.Outdate(o)
	}
	outputtest.Await(t, "all", func() bool { return string(s.bytes()) == "x\nx\nx\n" })
}
