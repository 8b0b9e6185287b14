package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logmule/forward/config"
)

// peer is a listener that the test accepts from by hand.
type peer struct {
	t *testing.T
	net.Listener
}

// newPeer listens with small socket buffers, so that a peer that does not read is noticed after a few records.
func newPeer(t *testing.T, received int) *peer {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			if received > 0 {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, received)
			}
		})
	}}
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &peer{t, l}
}

// accept returns the next connection.
func (p *peer) accept() *net.TCPConn {
	p.t.Helper()
	conn, err := p.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// reset ends a connection as the death of a process does that had not read everything.
func reset(t *testing.T, conn *net.TCPConn) {
	t.Helper()
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

func newTestTCP(t *testing.T, p *peer, resend config.Bytes, timeout time.Duration) *stream {
	t.Helper()
	o, err := newTCP(func(into any) error {
		c := into.(*tcpKeys)
		c.Address, c.Resend, c.Timeout = p.Addr().String(), resend, config.Duration(timeout)
		return nil
	}, Env{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.(*stream).Close() })
	return o.(*stream)
}

func mustSend(t *testing.T, o Output, b *Batch) {
	t.Helper()
	if err := o.Send(t.Context(), b); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func mustLose(t *testing.T, o *stream) {
	t.Helper()
	select {
	case <-o.Lost():
	case <-time.After(time.Minute):
		t.Fatal("the loss of the connection was not noticed")
	}
}

func mustRead(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %.200q, %v; want %.200q", got, err, want)
	}
}

// endOf reads to the end, which has to be an orderly one.
func endOf(t *testing.T, conn net.Conn) string {
	t.Helper()
	rest, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(rest)
}

// TestTCPResendsWhatAPeerMayNotHaveRead: the kernel of the peer has all, its process dies without having read it.
func TestTCPResendsWhatAPeerMayNotHaveRead(t *testing.T) {
	for _, ending := range []string{"reset", "close"} {
		t.Run(ending, func(t *testing.T) {
			p := newPeer(t, 0)
			o := newTestTCP(t, p, 9, time.Minute)
			mustSend(t, o, batchOf("1", linesRun("first", "second", "third")))
			mustSend(t, o, batchOf("2", recordsRun("four\nth")))
			conn := p.accept()
			if ending == "reset" {
				reset(t, conn)
			} else if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			mustLose(t, o)
			mustSend(t, o, batchOf("")) // what the engine does about it
			conn = p.accept()
			mustRead(t, conn, "third\nfour\nth\n")
			mustSend(t, o, batchOf("3", linesRun("fifth")))
			mustRead(t, conn, "fifth\n")
			reset(t, conn)
			mustLose(t, o)
			mustSend(t, o, batchOf("4", linesRun("sixth")))
			conn = p.accept()
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			if got := endOf(t, conn); got != "four\nth\nfifth\nsixth\n" {
				t.Errorf("got %q", got)
			}
			if n, again := o.env.Counters.Reconnects.Load(), o.env.Counters.Resent.Load(); n != 2 || again != 14+14 {
				t.Errorf("counted %d reconnects and %d bytes", n, again)
			}
		})
	}
}

// TestTCPWithoutWindow is the twin that shows what the window is for: the first record is lost.
func TestTCPWithoutWindow(t *testing.T) {
	p := newPeer(t, 0)
	o := newTestTCP(t, p, 0, time.Minute)
	mustSend(t, o, batchOf("1", linesRun("first")))
	reset(t, p.accept())
	mustLose(t, o)
	mustSend(t, o, batchOf("2", linesRun("second")))
	mustRead(t, p.accept(), "second\n")
}

// TestTCPRetriesAFailedBatch: a batch that broke off in the middle of a record is sent again as a whole, once, behind the
// window, from the start of a record.
func TestTCPRetriesAFailedBatch(t *testing.T) {
	p := newPeer(t, 4<<10)
	o := newTestTCP(t, p, 8, time.Minute)
	mustSend(t, o, batchOf("1", linesRun("accepted", "before")))
	big := strings.Repeat("0123456789", 1<<20)
	b := batchOf("2", linesRun("head"), linesRun(big), linesRun("tail"))
	conn := p.accept()
	failed := make(chan error, 1)
	go func() { failed <- o.Send(t.Context(), b) }()
	mustRead(t, conn, "accepted\nbefore\nhead\n"+big[:100000])
	reset(t, conn)
	if err := <-failed; err == nil || !strings.Contains(err.Error(), p.Addr().String()) {
		t.Fatalf("got %v, want an error that names the peer", err)
	}
	if b.Pending() != 3 {
		t.Fatalf("%d records are pending", b.Pending())
	}
	go func() { failed <- o.Send(t.Context(), b) }()
	conn = p.accept()
	mustRead(t, conn, "accepted\nbefore\n"+"head\n"+big+"\ntail\n")
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if rest := endOf(t, conn); rest != "" {
		t.Errorf("and then came %.100q", rest)
	}
}

// TestTCPStall: a peer that accepts and never reads gets an error, and the next connection everything.
func TestTCPStall(t *testing.T) {
	p := newPeer(t, 4<<10)
	o := newTestTCP(t, p, 1<<20, 300*time.Millisecond)
	big := strings.Repeat("x", 8<<20)
	b := batchOf("1", linesRun("first", big))
	if err := o.Send(t.Context(), b); err == nil {
		t.Fatal("a batch that nobody read was accepted")
	}
	p.accept()
	o.timeout = time.Minute
	sent := make(chan error, 1)
	go func() { sent <- o.Send(t.Context(), b) }()
	mustRead(t, p.accept(), "first\n"+big+"\n")
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// TestTCPSlowPeer: bytes that move, however slowly, are no stall.
func TestTCPSlowPeer(t *testing.T) {
	const timeout = 2 * time.Second
	p := newPeer(t, 256<<10) // more than a segment: Linux counts what goes into a smaller window as no progress
	o := newTestTCP(t, p, 0, timeout)
	big := strings.Repeat("x", 16<<20)
	sent := make(chan error, 1)
	go func() { sent <- o.Send(t.Context(), batchOf("1", linesRun(big))) }()
	conn := p.accept()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	start, left := time.Now(), len(big)+1
	buf := make([]byte, 16<<10)
	for left > 0 {
		if time.Since(start) < 3*timeout/2 {
			<-tick.C
		}
		n, err := conn.Read(buf)
		if left -= n; err != nil {
			t.Fatalf("%v, %d bytes to come; the sender: %v", err, left, <-sent)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// TestTCPChatteringPeer: what the peer sends is read and thrown away, or it would stop reading at some point.
func TestTCPChatteringPeer(t *testing.T) {
	p := newPeer(t, 0)
	o := newTestTCP(t, p, 1<<20, time.Minute)
	mustSend(t, o, batchOf("1", linesRun("first")))
	conn := p.accept()
	if _, err := conn.Write(make([]byte, 32<<20)); err != nil {
		t.Fatal(err)
	}
	mustSend(t, o, batchOf("2", linesRun("second")))
	mustRead(t, conn, "first\nsecond\n")
}

// TestTCPFlappingPeer: a peer that takes connections only to close them looks like one that refuses them.
func TestTCPFlappingPeer(t *testing.T) {
	p := newPeer(t, 0)
	o := newTestTCP(t, p, 1<<20, time.Minute)
	mustSend(t, o, batchOf("1", linesRun("first")))
	reset(t, p.accept())
	mustLose(t, o)
	mustSend(t, o, batchOf("")) // that connection had been of use
	for range 3 {
		reset(t, p.accept())
		mustLose(t, o)
		if o.Send(t.Context(), batchOf("")) == nil {
			t.Fatal("no error")
		}
		mustSend(t, o, batchOf(""))
	}
}

// TestTCPContext: a Send that waits for a peer ends with ctx, whether it waits to connect, to write or to hear.
func TestTCPContext(t *testing.T) {
	p := newPeer(t, 4<<10)
	for name, size := range map[string]int{"to write": 16 << 20, "to hear": 200 << 10} {
		t.Run(name, func(t *testing.T) {
			o := newTestTCP(t, p, 0, time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			sent := make(chan error, 1)
			go func() { sent <- o.Send(ctx, batchOf("1", linesRun(strings.Repeat("x", size)))) }()
			mustRead(t, p.accept(), "x")
			cancel()
			if err := <-sent; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want the error of the context", err)
			}
		})
	}
}

func TestTCPRefused(t *testing.T) {
	p := newPeer(t, 0)
	o := newTestTCP(t, p, 0, time.Minute)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	err := o.Send(t.Context(), batchOf("1", linesRun("x")))
	if !errors.Is(err, syscall.ECONNREFUSED) || o.env.Counters.Errors.Load() != 1 {
		t.Errorf("got %v, counted %d", err, o.env.Counters.Errors.Load())
	}
}

// TestTCPNothingIsMissingOnABadNetwork: a peer dies at many places. On every connection it has to get records from the
// start of one, in order, and none may be missing: the window is larger than what its kernel can hold unread.
func TestTCPNothingIsMissingOnABadNetwork(t *testing.T) {
	const records, perBatch, resend = 2000, 7, 128 << 10
	p := newPeer(t, 4<<10)
	o := newTestTCP(t, p, resend, time.Minute)
	text := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", i*37%900)) }

	ctx, cancel := context.WithCancel(t.Context())
	next := 0 // the record that the peer waits for
	var reader sync.WaitGroup
	reader.Go(func() {
		defer cancel()
		for life := 1; next < records; life++ {
			conn, err := p.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReaderSize(conn, 16)
			for left := life * 70009 % 400000; left > 0 && next < records; {
				line, err := r.ReadString('\n')
				if left -= len(line); err != nil {
					break
				}
				var i int
				if _, err := fmt.Sscan(line, &i); err != nil || line != text(i)+"\n" || i > next {
					t.Errorf("connection %d: after record %d came %.50q", life, next-1, line)
				}
				next = max(next, i+1)
			}
			_ = errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close())
		}
	})
	deliver := func(b *Batch) {
		for o.Send(ctx, b) != nil && ctx.Err() == nil {
		}
	}
	for i := 0; i < records; i += perBatch {
		var texts []string
		for j := i; j < min(i+perBatch, records); j++ {
			texts = append(texts, text(j))
		}
		deliver(batchOf(fmt.Sprint(i), linesRun(texts...)))
	}
	for ctx.Err() == nil { // the peer may have died with the last records unread
		select {
		case <-o.Lost():
			deliver(batchOf(""))
		case <-ctx.Done():
		}
	}
	_ = p.Close()
	reader.Wait()
	if next != records || o.env.Counters.Reconnects.Load() < 3 {
		t.Errorf("the peer has %d of %d records after %d reconnects", next, records, o.env.Counters.Reconnects.Load())
	}
}

func TestTCPConfiguration(t *testing.T) {
	for want, set := range map[string]func(c *tcpKeys){
		"address is missing":                        func(c *tcpKeys) { c.Address = "" },
		`address = "x" is no address`:               func(c *tcpKeys) { c.Address = "x" },
		`timeout = "1ns" is too short`:              func(c *tcpKeys) { c.Timeout = 1 },
		`resend = "1GiB" is too large`:              func(c *tcpKeys) { c.Resend = 1 << 30 },
		`max_record = "1GiB" is out of range`:       func(c *tcpKeys) { c.MaxRecord = 1 << 30 },
		"framing is empty":                          func(c *tcpKeys) { c.Framing = "" },
		`framing = "lf" is not known`:               func(c *tcpKeys) { c.Framing = "lf" },
		`codec = "json" is not known`:               func(c *tcpKeys) { c.Codec = "json" },
		`codec = "syslog" does not go with framing`: func(c *tcpKeys) { c.Codec, c.Framing = "syslog", "heka" },
		"tls needs both or none":                    func(c *tcpKeys) { c.TLS.Cert = "x.pem" },
	} {
		_, err := newTCP(func(into any) error { c := into.(*tcpKeys); c.Address = "x:1"; set(c); return nil }, Env{}.withDefaults())
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTCPAllocatesNothing(t *testing.T) {
	p := newPeer(t, 0)
	o := newTestTCP(t, p, 64<<10, time.Minute)
	b := batchOf("1", linesRun(strings.Repeat("x", 10<<10), "y"), linesRun("z"))
	mustSend(t, o, b)
	conn := p.accept()
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	for range 10 {
		mustSend(t, o, b)
	}
	if n := testing.AllocsPerRun(100, func() { mustSend(t, o, b) }); n > 0 {
		t.Errorf("%v allocations per batch", n)
	}
}
