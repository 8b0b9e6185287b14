package chaos

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience bounds every wait; what a fault takes is far less.
const patience = time.Minute

// far is a server behind a proxy: the test accepts by hand.
type far struct {
	t      *testing.T
	proxy  *Proxy
	joined int // connections so far
	net.Listener
}

func between(t *testing.T, o Options) *far {
	t.Helper()
	if o.Listen == "" {
		o.Listen, o.Target = "127.0.0.1:0", "127.0.0.1:0"
	}
	l, err := net.Listen(network(o.Target), o.Target)
	must(t, err)
	o.Target = l.Addr().String()
	p, err := Start(o)
	must(t, err)
	t.Cleanup(func() {
		_ = l.Close()
		p.Close()
	})
	return &far{t: t, proxy: p, Listener: l}
}

// both gives the two ends of a new connection.
func (f *far) both() (client, server net.Conn) {
	f.t.Helper()
	client, err := net.Dial(network(f.proxy.Address()), f.proxy.Address())
	must(f.t, err)
	server, err = f.Accept()
	must(f.t, err)
	f.joined++
	wait(f.t, "the proxy has joined them", func() bool { _, total := f.proxy.Connections(); return total == f.joined })
	for _, c := range []net.Conn{client, server} {
		must(f.t, c.SetDeadline(time.Now().Add(patience)))
		f.t.Cleanup(func() { _ = c.Close() })
	}
	return client, server
}

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	must(t, err)
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v; want %q", got, err, want)
	}
}

// rest is what comes until the end, and whether that is an orderly one.
func rest(c net.Conn) (string, error) {
	b, err := io.ReadAll(c)
	return string(b), err
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func silent(t *testing.T, c net.Conn) {
	t.Helper()
	must(t, c.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("%d bytes came, %v; want nothing", n, err)
	}
	must(t, c.SetReadDeadline(time.Now().Add(patience)))
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestBytesPassAsTheyAre(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]Options{
		"tcp":          {},
		"unix":         {Listen: filepath.Join(dir, "a"), Target: filepath.Join(dir, "b")},
		"unix to tcp":  {Listen: filepath.Join(dir, "c"), Target: "127.0.0.1:0"},
		"slow and cut": {Listen: "127.0.0.1:0", Target: "127.0.0.1:0", Seed: 7, Buffer: 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			f := between(t, o)
			if name == "slow and cut" {
				f.proxy.Set(Up, Faults{Latency: time.Millisecond, Jitter: 5 * time.Millisecond, Slice: 3001})
				f.proxy.Set(Down, Faults{Bandwidth: 8 << 20})
			}
			client, server := f.both()
			text := bytes.Repeat([]byte("0123456789abcde\n"), 20000)
			var sending sync.WaitGroup
			for _, c := range []net.Conn{client, server} {
				sending.Go(func() {
					_, err := c.Write(text)
					err = errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite())
					if err != nil {
						t.Error(err)
					}
				})
			}
			for _, c := range []net.Conn{server, client} {
				if got, err := rest(c); err != nil || got != string(text) {
					t.Errorf("%d bytes came, %v; want %d", len(got), err, len(text))
				}
			}
			sending.Wait()
			if up, down := f.proxy.Passed(Up), f.proxy.Passed(Down); up != int64(len(text)) || down != up {
				t.Errorf("%d bytes up and %d down counted", up, down)
			}
		})
	}
}

func TestDelays(t *testing.T) {
	f := between(t, Options{})
	client, server := f.both()
	start := time.Now()
	f.proxy.Set(Up, Faults{Latency: 50 * time.Millisecond})
	say(t, client, "x")
	hear(t, server, "x")
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("it took %v", d)
	}
	start = time.Now()
	f.proxy.Set(Up, Faults{Bandwidth: 10000})
	say(t, client, string(make([]byte, 1000)))
	hear(t, server, string(make([]byte, 1000)))
	if d := time.Since(start); d < 100*time.Millisecond {
		t.Errorf("it took %v", d)
	}
}

func TestSlices(t *testing.T) {
	f := between(t, Options{})
	f.proxy.Set(Up, Faults{Slice: 2, Gap: time.Hour})
	client, server := f.both()
	say(t, client, "abcdef")
	hear(t, server, "ab")
	silent(t, server)

	f = between(t, Options{})
	f.proxy.Set(Up, Faults{Slice: 2, Gap: 20 * time.Millisecond})
	client, server = f.both()
	start := time.Now()
	say(t, client, "abcdef")
	hear(t, server, "abcdef")
	if d := time.Since(start); d < 40*time.Millisecond {
		t.Errorf("three slices came within %v", d)
	}
}

func TestEndingsAfterSomeBytes(t *testing.T) {
	for name, c := range map[string]struct {
		then   Ending
		server func(t *testing.T, server, client net.Conn)
	}{
		"reset": {Reset, func(t *testing.T, server, client net.Conn) {
			if got, err := rest(server); !isReset(err) { // what was on its way goes with it
				t.Errorf("server heard %q, %v", got, err)
			}
			if _, err := rest(client); !isReset(err) {
				t.Errorf("client heard %v", err)
			}
		}},
		"cut": {Cut, func(t *testing.T, server, client net.Conn) {
			if got, err := rest(server); got != "abc" || err != nil {
				t.Errorf("server heard %q, %v", got, err)
			}
			if got, err := rest(client); got != "" || err != nil && !isReset(err) {
				t.Errorf("client heard %q, %v", got, err)
			}
		}},
		"half close": {HalfClose, func(t *testing.T, server, client net.Conn) {
			if got, err := rest(server); got != "abc" || err != nil {
				t.Errorf("server heard %q, %v", got, err)
			}
			say(t, server, "answer")
			hear(t, client, "answer")
		}},
		"stall": {Stall, func(t *testing.T, server, client net.Conn) {
			hear(t, server, "abc")
			silent(t, server)
		}},
		"swallow": {Swallow, func(t *testing.T, server, client net.Conn) {
			hear(t, server, "abc")
			say(t, client, string(make([]byte, 4<<20))) // it is all taken
			silent(t, server)
			say(t, server, "answer")
			hear(t, client, "answer")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := between(t, Options{})
			f.proxy.Set(Up, Faults{Then: c.then, After: 3})
			client, server := f.both()
			say(t, client, "abcdef")
			c.server(t, server, client)
		})
	}
}

// TestNoGap: what comes behind swallowed bytes does not arrive either, whatever the proxy does by then: no stream has a gap in it.
func TestNoGap(t *testing.T) {
	f := between(t, Options{})
	client, server := f.both()
	f.proxy.Set(Up, Faults{Then: Swallow})
	say(t, client, "gone")
	for end := time.Now().Add(patience); f.proxy.Passed(Up) < 4; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was swallowed")
		}
	}
	f.proxy.Calm()
	say(t, client, "later")
	silent(t, server)
}

func TestStallEnds(t *testing.T) {
	f := between(t, Options{Buffer: 64 << 10})
	client, server := f.both()
	say(t, client, "a")
	hear(t, server, "a")
	f.proxy.Set(Up, Faults{Then: Stall})
	must(t, client.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	n, err := client.Write(make([]byte, 64<<20))
	if !isTimeout(err) {
		t.Fatalf("%d bytes went into a stalled connection, %v", n, err)
	}
	silent(t, server)
	f.proxy.Calm()
	if _, err := io.CopyN(io.Discard, server, int64(n)); err != nil {
		t.Error(err)
	}
}

func TestEndsNow(t *testing.T) {
	f := between(t, Options{})
	client, server := f.both()
	f.proxy.HalfClose(Down)
	if got, err := rest(client); got != "" || err != nil {
		t.Errorf("client heard %q, %v", got, err)
	}
	say(t, client, "up")
	hear(t, server, "up")
	f.proxy.Reset()
	if _, err := rest(server); !isReset(err) {
		t.Errorf("server heard %v", err)
	}
	client, server = f.both()
	f.proxy.Cut()
	for _, c := range []net.Conn{client, server} {
		if _, err := rest(c); err != nil {
			t.Error(err)
		}
	}
	wait(t, "both connections are over", func() bool { // they may still be on their way out
		open, total := f.proxy.Connections()
		return total == 2 && open == 0
	})
}

func TestRefusedAndMoved(t *testing.T) {
	f := between(t, Options{})
	must(t, f.proxy.Refuse(true))
	if _, err := net.Dial("tcp", f.proxy.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialing: %v", err)
	}
	must(t, f.proxy.Refuse(false))
	f.both()
	peer, err := StartPeer("127.0.0.1:0", func(v *Visit) { v.say("other") }, nil)
	must(t, err)
	t.Cleanup(peer.Close)
	f.proxy.To(peer.Address())
	c, err := net.Dial("tcp", f.proxy.Address())
	must(t, err)
	hear(t, c, "other")
	must(t, c.Close())
	f.proxy.To("127.0.0.1:1")
	if c, err = net.Dial("tcp", f.proxy.Address()); err == nil {
		_, err = rest(c)
	}
	if !isReset(err) {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestLinger(t *testing.T) {
	f := between(t, Options{})
	f.proxy.Set(Up, Faults{Linger: 100 * time.Millisecond})
	client, server := f.both()
	say(t, client, "x")
	start := time.Now()
	must(t, client.(*net.TCPConn).CloseWrite())
	if got, err := rest(server); got != "x" || err != nil || time.Since(start) < 100*time.Millisecond {
		t.Errorf("heard %q, %v after %v", got, err, time.Since(start))
	}
}
