// Package integration tests the built binary from outside: real processes, signals, sockets and disks.
//
// LOGMULE_FULL=1 runs the long variants, LOGMULE_LOGS=DIR adds the files of a directory to the identity tests,
// LOGMULE_SEED=N repeats the random choices of a run.
package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// full says that there is time: CI runs these, make test does not.
var full = os.Getenv("LOGMULE_FULL") == "1"

// patience bounds every wait. It is far beyond what anything takes on an idle machine; speed is printed, not asserted.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	if raceEnabled { // a binary with the detector sleeps for a second before it exits, and these are started a thousand times
		_ = os.Setenv("GORACE", "atexit_sleep_ms=10")
	}
	code := m.Run()
	if dir := buildDir; dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

var buildDir string

// build makes the binary once, as its users do; under the race detector with it.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "logmule-build-")
	if err != nil {
		return "", err
	}
	buildDir = dir
	program := filepath.Join(dir, "logmule")
	args := []string{"build", "-o", program}
	env := os.Environ()
	if raceEnabled {
		args = append(args, "-race")
	} else {
		env = append(env, "CGO_ENABLED=0")
	}
	cmd := exec.Command("go", append(args, "logmule/cmd/logmule")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build logmule: %w\n%s", err, out)
	}
	return program, nil
})

func binary(t *testing.T) string {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// lab is one logmule with its configuration, its data directory and the judge of what goes through it.
type lab struct {
	t      *testing.T
	dir    string // holds everything below
	data   string // data_dir
	config string // file
	admin  string
	judge  *judge.Judge
	proc   *rig.Process // the latest
}

// newLab writes a configuration: text is what follows data_dir, shutdown_timeout and [admin]. When the test ends, the daemon is stopped
// and its data directory must check clean.
func newLab(t *testing.T, text string) *lab {
	t.Helper()
	dir := t.TempDir()
	return newLabAt(t, dir, filepath.Join(dir, "data"), text)
}

func newLabAt(t *testing.T, dir, data, text string) *lab {
	t.Helper()
	l := &lab{t: t, dir: dir, data: data, config: filepath.Join(dir, "logmule.toml"), admin: freeAddress(t), judge: judge.New(judge.Seed())}
	l.configure(text)
	t.Cleanup(l.end)
	return l
}

// configure writes another configuration for the next start.
func (l *lab) configure(text string) {
	l.t.Helper()
	text = fmt.Sprintf("data_dir = %q\nshutdown_timeout = \"20s\"\n[admin]\nlisten = %q\n", l.data, l.admin) + text
	must(l.t, os.WriteFile(l.config, []byte(text), 0o600))
}

func (l *lab) end() {
	if l.proc == nil {
		return
	}
	if !l.ended() {
		l.stop()
	}
	l.proc.Kill()
	out := l.proc.Output()
	if strings.Contains(out, "WARNING: DATA RACE") {
		l.t.Error("the daemon has a data race")
	}
	if code, page := l.run("fsck", l.data); code != 0 {
		l.t.Errorf("fsck exits %d:\n%s", code, page)
	}
	if l.t.Failed() {
		l.t.Logf("%s=%d repeats the random choices\noutput of the daemon, its end:\n%s", judge.SeedVariable, l.judge.Seed(), out[max(0, len(out)-8000):])
	}
}

// launch starts the daemon and waits for nothing.
func (l *lab) launch() {
	l.t.Helper()
	p, err := rig.Start(rig.Command{Program: binary(l.t), Args: []string{"run", "-c", l.config}, Dir: l.dir, Admin: l.admin})
	must(l.t, err)
	l.proc = p
	l.t.Cleanup(p.Kill)
}

// start starts the daemon and waits until it is ready; it says how long that took.
func (l *lab) start() time.Duration {
	l.t.Helper()
	l.launch()
	took, err := l.proc.Ready(patience)
	must(l.t, err)
	return took
}

// stop ends the daemon with SIGTERM; it must exit 0.
func (l *lab) stop() {
	l.t.Helper()
	_ = l.proc.Signal(syscall.SIGTERM)
	code, err := l.proc.Wait(patience)
	if err != nil {
		l.proc.Kill()
	}
	if err != nil || code != 0 {
		l.t.Errorf("after SIGTERM: exit %d, %v", code, err)
	}
}

// run runs a subcommand and gives its exit code and all that it printed.
func (l *lab) run(args ...string) (code int, out string) {
	l.t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	b, err := exec.CommandContext(ctx, binary(l.t), args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(b)
}

// drained waits until everything acknowledged has arrived.
func (l *lab) drained(d *judge.Destination) {
	l.t.Helper()
	if err := rig.Wait(patience, "everything acknowledged has arrived", func() bool { return d.Owes() == 0 }); err != nil {
		l.t.Fatalf("%v\n%s", err, l.judge.Verdict())
	}
}

// verdict fails the test where a promise was broken or more records than that were doubled.
func (l *lab) verdict(doubled int) {
	l.t.Helper()
	v := l.judge.Verdict()
	if err := v.Err(uint64(doubled)); err != nil {
		l.t.Error(err)
	}
	for _, f := range v.Findings {
		l.t.Logf("%s: %d sent, %d acknowledged, %d arrived, %d doubled (at most %d allowed)", f.Destination, f.Sent, f.Owed, f.Arrived, f.Doubled.Count, doubled)
	}
}

// wait waits for a condition; an early end of the daemon ends it too.
func (l *lab) wait(what string, holds func() bool) {
	l.t.Helper()
	ended := false
	err := rig.Wait(patience, what, func() bool {
		ended = l.ended() // looked at first, so that the condition has the last word
		return holds() || ended
	})
	if err == nil && ended && !holds() {
		err = fmt.Errorf("the daemon ended before %s", what)
	}
	must(l.t, err)
}

func (l *lab) ended() bool {
	select {
	case <-l.proc.Done():
		return true
	default:
		return false
	}
}

// metric reads one of the daemon's counters.
func (l *lab) metric(name string, labels ...string) int {
	l.t.Helper()
	v, err := l.proc.Metric(name, labels...)
	must(l.t, err)
	return int(v)
}

// background runs a source until the function it gives is called, which waits for its end.
func background[T any](t *testing.T, run func(context.Context) T) (stop func() T) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan T, 1)
	go func() { result <- run(ctx) }()
	t.Cleanup(cancel)
	return func() T {
		cancel()
		return <-result
	}
}

func httpSink(t *testing.T, address string, arrived func([]byte)) *rig.HTTPSink {
	t.Helper()
	s, err := rig.NewHTTPSink(address, arrived)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

func freeAddress(t *testing.T) string {
	t.Helper()
	a, err := rig.FreeAddress()
	must(t, err)
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// needRoot skips a test that mounts. CI runs as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
}

// tmpfs mounts one for the test.
func tmpfs(t *testing.T, size int64) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	unmount, err := rig.MountTmpfs(dir, size)
	must(t, err)
	t.Cleanup(unmount)
	return dir
}
