package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait; packets that are let through again come within a few of TCP's retransmissions.
const patience = time.Minute

func space(t *testing.T) *Namespace {
	t.Helper()
	if err := Need(); err != nil {
		t.Skip(err)
	}
	n, err := New()
	must(t, err)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect gives both ends of a connection from here into the namespace.
func connect(t *testing.T, n *Namespace, l net.Listener) (here, there net.Conn) {
	t.Helper()
	here, err := net.DialTimeout("tcp", l.Addr().String(), patience)
	must(t, err)
	there, err = l.Accept()
	must(t, err)
	for _, c := range []net.Conn{here, there} {
		t.Cleanup(func() { _ = c.Close() })
		must(t, c.SetDeadline(time.Now().Add(patience)))
	}
	return here, there
}

func pass(t *testing.T, from, to net.Conn) {
	t.Helper()
	b := make([]byte, 5)
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(to, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q came, %v", b, err)
	}
}

// stuck writes and sees that nothing comes.
func stuck(t *testing.T, from, to net.Conn) {
	t.Helper()
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	must(t, to.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if n, err := to.Read(make([]byte, 5)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes came, %v", n, err)
	}
	must(t, to.SetReadDeadline(time.Now().Add(patience)))
}

func unstuck(t *testing.T, to net.Conn) {
	t.Helper()
	if _, err := io.ReadFull(to, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
}

func TestDroppedPackets(t *testing.T) {
	n := space(t)
	l, err := n.Listen("tcp", net.JoinHostPort(n.There.String(), "0"))
	must(t, err)
	defer func() { _ = l.Close() }()
	here, there := connect(t, n, l)
	pass(t, here, there)
	pass(t, there, here)
	for _, way := range []Way{To, From, Both} {
		must(t, n.Drop(way))
		if way == To || way == Both {
			stuck(t, here, there)
		} else {
			stuck(t, there, here)
		}
		must(t, n.Drop(None))
		if way == From {
			unstuck(t, here)
		} else {
			unstuck(t, there)
		}
		pass(t, here, there)
	}
	must(t, n.Link(false))
	if _, err := here.Write([]byte("hello")); err != nil { // without a route the kernel keeps it for a while
		t.Fatal(err)
	}
	must(t, n.Link(true))
	unstuck(t, there)
}

func TestForgottenConnections(t *testing.T) {
	n := space(t)
	l, err := n.Listen("tcp", net.JoinHostPort(n.There.String(), "0"))
	must(t, err)
	defer func() { _ = l.Close() }()
	here, there := connect(t, n, l)
	must(t, n.Forget())
	if _, err := there.Read(make([]byte, 1)); err == nil {
		t.Error("the connection lives on in the namespace")
	}
	stuckWrite, err := here.Write([]byte("hello")) // into the void
	if err != nil || stuckWrite != 5 {
		t.Fatal(err)
	}
	must(t, n.Drop(None))
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("here: %v", err)
	}
	connect(t, n, l)
}

func TestDialFromInside(t *testing.T) {
	n := space(t)
	l, err := net.Listen("tcp", net.JoinHostPort(n.Here.String(), "0"))
	must(t, err)
	defer func() { _ = l.Close() }()
	c, err := n.Dial(context.Background(), "tcp", l.Addr().String())
	must(t, err)
	defer func() { _ = c.Close() }()
	if host, _, _ := net.SplitHostPort(c.LocalAddr().String()); host != n.There.String() {
		t.Errorf("it comes from %s", host)
	}
	p, err := n.ListenPacket("udp", net.JoinHostPort(n.There.String(), "0"))
	must(t, err)
	must(t, p.Close())
}

// TestLeftBehind: what a process that is gone has left is removed by the next one, cable and all.
func TestLeftBehind(t *testing.T) {
	if err := Need(); err != nil {
		t.Skip(err)
	}
	child := exec.Command("true")
	must(t, child.Run())
	name, cable := fmt.Sprintf("%s-%d-1", prefix, child.Process.Pid), fmt.Sprintf("%s%d.1", prefix, child.Process.Pid)
	must(t, run("ip", "netns", "add", name))
	must(t, run("ip", "link", "add", cable, "type", "veth", "peer", "name", cable+"p", "netns", name))
	space(t)
	if _, err := os.Stat("/run/netns/" + name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace is still there: %v", err)
	}
	if _, err := net.InterfaceByName(cable); err == nil {
		t.Error("the cable is still there")
	}
}

// TestMadeAtOnce: each namespace has addresses of its own, also those that are made at the same moment.
func TestMadeAtOnce(t *testing.T) {
	if err := Need(); err != nil {
		t.Skip(err)
	}
	made := make(chan *Namespace, 6)
	for range cap(made) {
		go func() {
			n, err := New()
			if err != nil {
				t.Error(err)
			}
			made <- n
		}()
	}
	seen := map[string]bool{}
	for range cap(made) {
		n := <-made
		if n == nil {
			continue
		}
		t.Cleanup(func() { must(t, n.Close()) })
		if seen[n.Here.String()] {
			t.Errorf("%s is given twice", n.Here)
		}
		seen[n.Here.String()] = true
	}
}
