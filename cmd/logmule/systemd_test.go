package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logmule/forward"
)

// asked is the socket of a service manager that gives what it is told, one notification at a time.
func asked(t *testing.T) (next func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	b := make([]byte, 4096)
	return func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(b)
		if err != nil {
			t.Fatalf("nothing was told: %v", err)
		}
		return string(b[:n])
	}
}

func TestNobodyAsks(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if newServiceManager(slog.New(slog.DiscardHandler)) != nil {
		t.Error("a service manager without a socket")
	}
}

func TestReloadBeforeTheStartIsOverIsNotTold(t *testing.T) {
	next := asked(t)
	m := newServiceManager(slog.New(slog.DiscardHandler))
	for _, n := range []forward.Notice{forward.Reloading, forward.Reloaded, forward.Listening, forward.Reloading, forward.Reloaded, forward.Stopping, forward.Reloaded} {
		m.notice(n)
	}
	m.notice(forward.Stopping)
	for i, want := range []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=", "READY=1", "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000", "STOPPING=1"} {
		if got := next(); !strings.HasPrefix(got, want) {
			t.Errorf("notification %d is %q, want %q", i, got, want)
		}
	}
}

func TestWatchdogIsFedOnlyWhileTheDaemonAnswers(t *testing.T) {
	next := asked(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	m := newServiceManager(slog.New(slog.DiscardHandler))
	var hangs atomic.Bool
	hung, release := make(chan struct{}), make(chan struct{})
	stop := m.watch(func() string {
		if hangs.Load() {
			close(hung)
			<-release
		}
		return "starting: the queue\nrecovers"
	})
	if got, want := next(), "STATUS=starting: the queue recovers\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000"; got != want {
		t.Errorf("first told %q, want %q", got, want)
	}
	m.notice(forward.Listening)
	for got := ""; got != "WATCHDOG=1"; got = next() { // no status that has not changed, and no more time for the start
		if got != "" && got != "READY=1" && got != "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000" {
			t.Errorf("told %q", got)
		}
	}
	hangs.Store(true)
	<-hung
	m.notice(forward.Stopping)
	for got := ""; !strings.HasPrefix(got, "STOPPING=1"); got = next() { // everything that was told before
		if got != "" && got != "WATCHDOG=1" {
			t.Errorf("told %q", got)
		}
	}
	hangs.Store(false)
	close(release)
	stop()
}
