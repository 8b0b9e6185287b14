// Package rig runs the built logmule the way its users do: as a process, with a configuration file, sockets on loopback
// and signals; and it holds the sources and destinations around it. Everything it starts it ends by process id.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// pollEvery is how often a condition outside this process is looked at: there is nobody to signal it.
const pollEvery = 2 * time.Millisecond

// Process is one run of a program under test.
type Process struct {
	Admin   string // host:port of its admin listener, empty where it has none
	started time.Time
	cmd     *exec.Cmd
	output  string // file that takes stdout and stderr
	done    chan struct{}
}

// Command says what to start.
type Command struct {
	Program string
	Args    []string
	Dir     string    // where its output file goes; it must exist
	Admin   string    // host:port of its admin listener
	Env     []string  // added to this process's environment
	Stdin   io.Reader // nil: no input
	Stdout  io.Writer // nil: the output file takes it, too
}

// Start starts the command. Its output of all starts in the same Dir is kept in one file.
func Start(c Command) (*Process, error) {
	p := &Process{Admin: c.Admin, output: filepath.Join(c.Dir, "output.log"), done: make(chan struct{}), started: time.Now()}
	file, err := os.OpenFile(p.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", c.Program, err)
	}
	defer func() { _ = file.Close() }()
	p.cmd = exec.Command(c.Program, c.Args...)
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Stdin = file, file, c.Stdin
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	}
	p.cmd.Env = append(os.Environ(), c.Env...)
	// The child dies with the thread that started it, so that a test that is killed leaves nothing behind; hence that
	// thread has to live as long as the child.
	p.cmd.SysProcAttr = withParent()
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // the state tells
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Program, err)
	}
	return p, nil
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and waits until it is gone. It does nothing to one that has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error says that it has ended
	<-p.done
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and gives the exit code, -1 after a signal.
func (p *Process) Wait(limit time.Duration) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(limit):
		return 0, fmt.Errorf("process %d has not ended within %v", p.PID(), limit)
	}
}

// Output is what this and earlier processes of the same Dir printed.
func (p *Process) Output() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Ready waits until /readyz answers 200 and says how long after the start that was.
func (p *Process) Ready(limit time.Duration) (time.Duration, error) {
	err := Wait(limit, "/readyz answers 200", func() bool {
		status, _, err := p.Get("/readyz")
		return err == nil && status == http.StatusOK || p.ended()
	})
	if err == nil && p.ended() {
		err = errors.New("process ended before it was ready")
	}
	if err != nil {
		return 0, fmt.Errorf("start of process %d: %w; its output:\n%s", p.PID(), err, tail(p.Output(), 4000))
	}
	return time.Since(p.started), nil
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// adminClient keeps no connections: an idle one would count against the process under test.
var adminClient = &http.Client{Timeout: Patience, Transport: &http.Transport{DisableKeepAlives: true}}

// Get asks the admin listener.
func (p *Process) Get(path string) (status int, body []byte, err error) {
	resp, err := adminClient.Get("http://" + p.Admin + path)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// Wait looks at a condition until it holds.
func Wait(limit time.Duration, what string, holds func() bool) error {
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v in vain until %s", limit, what)
		case <-tick.C:
		}
	}
	return nil
}

func tail(s string, n int) string {
	return s[max(0, len(s)-n):]
}
