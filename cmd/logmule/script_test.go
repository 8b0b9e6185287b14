package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"logmule/forward/pack"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"logmule": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: setup, Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"exits": exits, "await": await, "damage": damage, "signal": send, "heka": heka,
	}})
}

// setup spares a binary with the race detector the second that it sleeps at its end.
func setup(env *testscript.Env) error {
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return nil
}

// exits runs a command and checks its exit status: exits STATUS COMMAND ARG...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	status := "0"
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = strconv.Itoa(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if status != args[0] {
		ts.Fatalf("exit status %s, want %s", status, args[0])
	}
}

// await waits until a file is there that matches a pattern and has so many lines: await LINES PATTERN
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: await LINES PATTERN")
	}
	deadline := time.After(time.Minute)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		for _, name := range matches(ts, args[1]) {
			text, err := os.ReadFile(name)
			if err == nil && (args[0] == "0" || strconv.Itoa(bytes.Count(text, []byte("\n"))) == args[0]) {
				return
			}
		}
		select {
		case <-look.C:
		case <-deadline:
			ts.Fatalf("no %s with %s lines", args[1], args[0])
		}
	}
}

// damage overwrites eight bytes of the files that match a pattern, at an offset or where a text stands: damage OFFSET|TEXT PATTERN
func damage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: damage OFFSET|TEXT PATTERN")
	}
	for _, name := range matches(ts, args[1]) {
		offset, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			content, err := os.ReadFile(name)
			ts.Check(err)
			if offset = int64(bytes.Index(content, []byte(args[0]))); offset < 0 {
				continue
			}
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		ts.Check(err)
		_, err = f.WriteAt([]byte("scribble"), offset)
		ts.Check(errors.Join(err, f.Close()))
	}
}

func matches(ts *testscript.TestScript, pattern string) []string {
	names, err := filepath.Glob(ts.MkAbs(pattern))
	ts.Check(err)
	return names
}

// heka writes a file of a Heka queue, with the records "FIRST" to "LAST", and cuts bytes off its end: heka FILE FIRST LAST CUT
func heka(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: heka FILE FIRST LAST CUT")
	}
	var numbers [3]int
	for i, arg := range args[1:] {
		n, err := strconv.Atoi(arg)
		ts.Check(err)
		numbers[i] = n
	}
	var content []byte
	for n := numbers[0]; n <= numbers[1]; n++ {
		r := pack.Record{Payload: fmt.Appendf(nil, "record %d", n), Attributes: pack.Attributes{
			UUID: fmt.Appendf(nil, "%016d", n), Timestamp: 1700000000000000000, Type: "t", Severity: 6, Hostname: "h",
		}}
		message := r.Append(nil)
		content = append(content, 0x1e, 2, 8, byte(len(message)), 0x1f)
		content = append(content, message...)
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), content[:len(content)-numbers[2]], 0o600))
}

// send sends a signal to the command that was started last in the background: signal HUP|USR1|TERM
func send(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "TERM": syscall.SIGTERM}
	running := ts.BackgroundCmds()
	if len(args) != 1 || signals[args[0]] == nil || len(running) == 0 {
		ts.Fatalf("usage, with a command in the background: signal HUP|USR1|TERM")
	}
	ts.Check(running[len(running)-1].Process.Signal(signals[args[0]]))
}
