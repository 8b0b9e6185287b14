package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"logmule/forward/config"
)

// fake is an engine.
type fake struct {
	run     func(context.Context) error
	reloads chan struct{}
}

func (f *fake) Run(ctx context.Context) error { return f.run(ctx) }
func (f *fake) Reload()                       { f.reloads <- struct{}{} }
func (f *fake) Report() string                { return "how it is\n" }

// watch supervises a daemon that runs like this.
func watch(t *testing.T, run func(context.Context) error) error {
	return supervise(t.Context(), slog.New(slog.DiscardHandler), io.Discard, &fake{run: run})
}

// kill sends a signal to this process.
func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalStops(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		err := watch(t, func(ctx context.Context) error {
			kill(t, s)
			<-ctx.Done()
			return nil
		})
		if err != nil {
			t.Errorf("%v: error %v, want a clean stop", s, err)
		}
	}
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	err := watch(t, func(ctx context.Context) error {
		kill(t, syscall.SIGTERM)
		<-ctx.Done()
		kill(t, syscall.SIGINT)
		<-release
		return nil
	})
	var f *failure
	if !errors.As(err, &f) || f.code != exitFailed || !strings.Contains(err.Error(), "which is safe") {
		t.Errorf("error %v, want one that says that it is safe", err)
	}
}

// page is a standard error that says when something is written.
type page chan string

func (p page) Write(text []byte) (int, error) { p <- string(text); return len(text), nil }

func TestOtherSignalsDoNotStop(t *testing.T) {
	failed := errors.New("failed by itself")
	stderr, f := make(page, 1), &fake{reloads: make(chan struct{}, 1)}
	f.run = func(ctx context.Context) error {
		kill(t, syscall.SIGHUP)
		<-f.reloads
		kill(t, syscall.SIGUSR1)
		if got := <-stderr; got != "how it is\n" {
			t.Errorf("the report is %q", got)
		}
		if ctx.Err() != nil {
			return nil
		}
		return failed
	}
	err := supervise(t.Context(), slog.New(slog.DiscardHandler), stderr, f)
	var got *failure
	if !errors.As(err, &got) || got.code != exitFailed || got.err != failed {
		t.Errorf("error %v, want that of the daemon", err)
	}
}

func TestGreeting(t *testing.T) {
	var b bytes.Buffer
	greet(&b, config.QuickStart(quickStartDir))
	for _, want := range []string{
		"./logmule-data\n", "http://127.0.0.1:8686/\n", "standard error", "kill -9 " + strconv.Itoa(os.Getpid()) + "\n",
		"logmule fsck logmule-data ", "logmule stat logmule-data ",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}
