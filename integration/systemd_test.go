package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logmule/integration/rig"
)

// manager is the socket of a service manager. It keeps what it is told.
type manager struct {
	path string
	conn *net.UnixConn

	mu   sync.Mutex
	said []string // one for each notification
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "notify")}
	var err error
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	must(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := m.conn.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, string(b[:n]))
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { m.conn.Close(); <-ended })
	return m
}

// count is how many notifications have a line that begins like this.
func (m *manager) count(line string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, said := range m.said {
		if strings.Contains("\n"+said, "\n"+line) {
			n++
		}
	}
	return n
}

// order is the sequence of states that were told.
func (m *manager) order() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var states []string
	for _, said := range m.said {
		for line := range strings.Lines(said) {
			if state, _, _ := strings.Cut(strings.TrimSpace(line), "="); state == "READY" || state == "RELOADING" || state == "STOPPING" {
				states = append(states, state)
			}
		}
	}
	return strings.Join(states, " ")
}

// The service manager is told of the start, of each reload, of the stop, and in between that the daemon lives.
func TestServiceManagerIsTold(t *testing.T) {
	m := newManager(t)
	text := fmt.Sprintf("[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"file\"\npath = %q\n", freeAddress(t), filepath.Join(t.TempDir(), "out.log"))
	l := newLab(t, text)
	var err error
	l.Proc, err = rig.Start(rig.Command{
		Program: binary(t), Args: []string{"run", "-c", l.config}, Dir: l.dir, Admin: l.Admin,
		Env: []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=100000"},
	})
	must(t, err)
	t.Cleanup(l.Proc.Kill)
	l.wait("READY", func() bool { return m.count("READY=1") == 1 })
	if code, _, err := l.Proc.Get("/readyz"); err != nil || code != 200 {
		t.Errorf("/readyz = %d, %v after READY", code, err)
	}
	alive := m.count("WATCHDOG=1")
	l.wait("the watchdog is fed", func() bool { return m.count("WATCHDOG=1") > alive+3 })
	l.wait("a status", func() bool { return m.count("STATUS=ready, 1 input, 1 output, backlog 0 records") > 0 })
	must(t, l.Proc.Signal(syscall.SIGHUP))
	l.wait("the reload", func() bool { return m.count("READY=1") == 2 })
	must(t, os.WriteFile(l.config, []byte("nonsense"), 0o600))
	must(t, l.Proc.Signal(syscall.SIGHUP))
	l.wait("the reload that fails", func() bool { return m.count("READY=1") == 3 })
	if n := m.count("MONOTONIC_USEC="); n != 2 || m.count("RELOADING=1") != 2 {
		t.Errorf("%d of %d reloads have the time", n, m.count("RELOADING=1"))
	}
	l.stop()
	l.wait("the stop", func() bool { return m.count("STOPPING=1") == 1 })
	if got, want := m.order(), "READY RELOADING READY RELOADING READY STOPPING"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
