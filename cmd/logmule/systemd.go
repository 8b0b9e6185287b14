package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"logmule/forward"
)

const (
	// notifyEvery is how often the service manager is told how things are, if that has changed; a watchdog may want it
	// sooner.
	notifyEvery = 10 * time.Second
	// extendBy is how long a start or a stop may go on after each time it was told of.
	extendBy = 3 * notifyEvery
)

// serviceManager tells systemd how the daemon is: sd_notify(3). It does nothing where no service manager asks.
type serviceManager struct {
	log      *slog.Logger
	watchdog time.Duration // the daemon must be heard of this often; 0: nobody listens

	mu       sync.Mutex // guards everything below, and the order of what is sent
	listens  bool       // READY was sent
	stopping bool
	said     string // the last STATUS
}

// newServiceManager returns nil where there is none.
func newServiceManager(log *slog.Logger) *serviceManager {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("WATCHDOG_USEC cannot be read; there is no watchdog", "error", err)
	}
	return &serviceManager{log: log, watchdog: watchdog}
}

// notice is a forward.Options.Notify.
func (m *serviceManager) notice(n forward.Notice) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case n == forward.Stopping:
		m.stopping = true
		m.send(daemon.SdNotifyStopping, extend())
	case n == forward.Listening:
		m.listens = true
		m.send(daemon.SdNotifyReady)
	case !m.listens || m.stopping: // it has not started, or it ends: nobody waits for a reload
	case n == forward.Reloading:
		m.send(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
	case n == forward.Reloaded:
		m.send(daemon.SdNotifyReady)
	}
}

func extend() string { return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()) }

// send sends one notification. The caller holds mu.
func (m *serviceManager) send(lines ...string) {
	var all []string
	for _, line := range lines {
		all = append(all, strings.TrimSpace(line))
	}
	if _, err := daemon.SdNotify(false, strings.Join(all, "\n")); err != nil {
		m.log.Warn("service manager not told; it may think that logmule hangs", "error", err)
	}
}

// watch tells how things are until the function that it returns is called. It asks summary, which answers only while the
// daemon works: the watchdog bites when it does not. A plugin that is sick is no reason for that.
func (m *serviceManager) watch(summary func() string) (stop func()) {
	every := notifyEvery
	if m.watchdog > 0 {
		every = min(every, m.watchdog/2)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			m.tell(summary())
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(time.Second): // the daemon does not answer, and the process ends
		}
	}
}

// tell sends what is due.
func (m *serviceManager) tell(summary string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	if summary != m.said {
		m.said = summary
		lines = append(lines, "STATUS="+strings.ReplaceAll(summary, "\n", " "))
	}
	if m.watchdog > 0 {
		lines = append(lines, daemon.SdNotifyWatchdog)
	}
	if !m.listens || m.stopping {
		lines = append(lines, extend())
	}
	if len(lines) > 0 {
		m.send(lines...)
	}
}
