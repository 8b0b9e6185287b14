// Package integration tests the built binary from outside: real processes, signals, sockets and disks.
//
// LOGMULE_FULL=1 runs the long variants, LOGMULE_LOGS=DIR adds the files of a directory to the identity tests,
// LOGMULE_SEED=N repeats the random choices of a run.
package integration

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// full says that there is time: CI runs these, make test does not.
var full = os.Getenv("LOGMULE_FULL") == "1"

const (
	patience    = rig.Patience
	raceEnabled = rig.RaceEnabled
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	os.Exit(rig.Main(m))
}

func binary(t *testing.T) string {
	t.Helper()
	return rig.Binary(t)
}

// lab is a rig.Lab with the short names that the tests of this package use.
type lab struct {
	*rig.Lab
	t      *testing.T
	dir    string // holds everything below
	data   string // data_dir
	config string // file
	judge  *judge.Judge
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
	inner := rig.NewLab(t, dir, data, freeAddress(t), text)
	t.Cleanup(inner.End)
	return &lab{Lab: inner, t: t, dir: dir, data: data, config: inner.Config, judge: inner.Judge}
}

func (l *lab) launch() {
	l.t.Helper()
	l.Launch()
}

func (l *lab) start() time.Duration {
	l.t.Helper()
	l.launch()
	took, err := l.Proc.Ready(patience)
	must(l.t, err)
	return took
}

func (l *lab) configure(text string) {
	l.t.Helper()
	l.Configure(text)
}

func (l *lab) stop() {
	l.t.Helper()
	l.Stop()
}

func (l *lab) run(args ...string) (code int, out string) {
	l.t.Helper()
	return l.Run(args...)
}

func (l *lab) drained(d *judge.Destination) {
	l.t.Helper()
	l.Drained(d)
}

func (l *lab) verdict(doubled int) {
	l.t.Helper()
	l.Verdict(doubled)
}

func (l *lab) wait(what string, holds func() bool) {
	l.t.Helper()
	l.Wait(what, holds)
}

func (l *lab) metric(name string, labels ...string) int {
	l.t.Helper()
	return l.Metric(name, labels...)
}

func background[T any](t *testing.T, run func(context.Context) T) (stop func() T) {
	return rig.Background(t, run)
}

func httpSink(t *testing.T, address string, arrived func([]byte)) *rig.HTTPSink {
	t.Helper()
	return rig.StartHTTPSink(t, address, arrived)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return rig.Address(t)
}

func must(t *testing.T, err error) {
	t.Helper()
	rig.Must(t, err)
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
