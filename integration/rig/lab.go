package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logmule/integration/judge"
)

// Lab is one logmule with its configuration, its data directory and the judge of what goes through it. The test's
// goroutine uses it.
type Lab struct {
	T      testing.TB
	Dir    string // holds the configuration and the output of the daemon
	Data   string // data_dir
	Config string // file
	Admin  string // host:port
	Judge  *judge.Judge
	Proc   *Process // the latest
}

// NewLab writes a configuration: text is what follows data_dir, shutdown_timeout and [admin]. End is not called by itself.
func NewLab(t testing.TB, dir, data, admin, text string) *Lab {
	t.Helper()
	l := &Lab{T: t, Dir: dir, Data: data, Config: filepath.Join(dir, "logmule.toml"), Admin: admin, Judge: judge.New(judge.Seed())}
	l.Configure(text)
	return l
}

// Configure writes another configuration for the next start.
func (l *Lab) Configure(text string) {
	l.T.Helper()
	text = fmt.Sprintf("data_dir = %q\nshutdown_timeout = \"20s\"\n[admin]\nlisten = %q\n", l.Data, l.Admin) + text
	Must(l.T, os.WriteFile(l.Config, []byte(text), 0o600))
}

// End stops the daemon, whose data directory must then check clean, and prints its output where the test has failed.
func (l *Lab) End() {
	if l.Proc == nil {
		return
	}
	if !l.Ended() {
		l.Stop()
	}
	l.Proc.Kill()
	out := l.Proc.Output()
	if strings.Contains(out, "WARNING: DATA RACE") {
		l.T.Error("the daemon has a data race")
	}
	if code, page := l.Run("fsck", l.Data); code != 0 {
		l.T.Errorf("fsck exits %d:\n%s", code, page)
	}
	if l.T.Failed() {
		l.T.Logf("%s=%d repeats the random choices\noutput of the daemon, its end:\n%s", judge.SeedVariable, l.Judge.Seed(), tail(out, 8000))
	}
}

// Launch starts the daemon and waits for nothing.
func (l *Lab) Launch() {
	l.T.Helper()
	p, err := Start(Command{Program: Binary(l.T), Args: []string{"run", "-c", l.Config}, Dir: l.Dir, Admin: l.Admin})
	Must(l.T, err)
	l.Proc = p
	l.T.Cleanup(p.Kill)
}

// Start starts the daemon and waits until it is ready; it says how long that took.
func (l *Lab) Start() time.Duration {
	l.T.Helper()
	l.Launch()
	took, err := l.Proc.Ready(Patience)
	Must(l.T, err)
	return took
}

// Stop ends the daemon with SIGTERM; it must exit 0.
func (l *Lab) Stop() {
	l.T.Helper()
	_ = l.Proc.Signal(syscall.SIGTERM)
	code, err := l.Proc.Wait(Patience)
	if err != nil {
		l.Proc.Kill()
	}
	if err != nil || code != 0 {
		l.T.Errorf("after SIGTERM: exit %d, %v", code, err)
	}
}

// Run runs a subcommand and gives its exit code and all that it printed.
func (l *Lab) Run(args ...string) (code int, out string) {
	l.T.Helper()
	ctx, stop := context.WithTimeout(context.Background(), Patience)
	defer stop()
	b, err := exec.CommandContext(ctx, Binary(l.T), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.T.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(b)
}

// Drained waits until everything acknowledged has arrived.
func (l *Lab) Drained(d *judge.Destination) {
	l.T.Helper()
	if err := Wait(Patience, "everything acknowledged has arrived", func() bool { return d.Owes() == 0 }); err != nil {
		l.T.Fatalf("%v\n%s", err, l.Judge.Verdict())
	}
}

// Verdict fails the test where a promise was broken or more records than that were doubled.
func (l *Lab) Verdict(doubled int) {
	l.T.Helper()
	v := l.Judge.Verdict()
	if err := v.Err(uint64(doubled)); err != nil {
		l.T.Error(err)
	}
	for _, f := range v.Findings {
		l.T.Logf("%s: %d sent, %d acknowledged, %d arrived, %d doubled (at most %d allowed)", f.Destination, f.Sent, f.Owed, f.Arrived, f.Doubled.Count, doubled)
	}
}

// Wait waits for a condition; an early end of the daemon ends it too.
func (l *Lab) Wait(what string, holds func() bool) {
	l.T.Helper()
	ended := false
	err := Wait(Patience, what, func() bool {
		ended = l.Ended() // looked at first, so that the condition has the last word
		return holds() || ended
	})
	if err == nil && ended && !holds() {
		err = fmt.Errorf("the daemon ended before %s", what)
	}
	Must(l.T, err)
}

// Ended says whether the daemon has ended.
func (l *Lab) Ended() bool {
	select {
	case <-l.Proc.Done():
		return true
	default:
		return false
	}
}

// Metric reads one of the daemon's counters.
func (l *Lab) Metric(name string, labels ...string) int {
	l.T.Helper()
	v, err := l.Proc.Metric(name, labels...)
	Must(l.T, err)
	return int(v)
}
