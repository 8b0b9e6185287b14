package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"logmule/forward/config"
)

// kill sends a signal to this process.
func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalStops(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		err := supervise(t.Context(), slog.New(slog.DiscardHandler), func(ctx context.Context) error {
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
	err := supervise(t.Context(), slog.New(slog.DiscardHandler), func(ctx context.Context) error {
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

func TestOtherSignalsAreIgnored(t *testing.T) {
	failed := errors.New("failed by itself")
	err := supervise(t.Context(), slog.New(slog.DiscardHandler), func(ctx context.Context) error {
		kill(t, syscall.SIGHUP)
		kill(t, syscall.SIGUSR1)
		if ctx.Err() != nil {
			return nil
		}
		return failed
	})
	var f *failure
	if !errors.As(err, &f) || f.code != exitFailed || f.err != failed {
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
