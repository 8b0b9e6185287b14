package input

import (
	"context"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Connections leave descriptors to the queue and the outputs: who comes beyond their share waits until one of them ends.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	const limit = 64
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}()
	env := testEnv(0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ln, err := env.listen(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	accept := func() {
		conn, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}
	dial(t, ln.Addr().String())
	accept()
	(<-accepted).Close() // nothing is scarce yet

	var others []*os.File
	release := func() {
		for _, f := range others {
			f.Close()
		}
		others = nil
	}
	defer release()
	take := func() {
		for len(others) == 0 || others[len(others)-1].Fd() < limit-limit/keptShare-1 {
			f, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			others = append(others, f)
		}
	}
	take()
	dial(t, ln.Addr().String())
	go accept()
	eventually(t, "the connection waits", func() bool { return env.Counters.Refused.Load() == 1 })
	if f, err := os.Open(os.DevNull); err != nil {
		t.Errorf("connections have left no descriptor: %v", err)
	} else {
		f.Close()
	}
	release()
	(<-accepted).Close()

	take()
	dial(t, ln.Addr().String())
	ended := make(chan error)
	go func() { _, err := ln.Accept(); ended <- err }()
	eventually(t, "the connection waits", func() bool { return env.Counters.Refused.Load() == 2 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("a connection that waited is accepted after the end")
	}
}
