package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/forward/output"
)

// lines is a log that a test can read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// with returns the lines that hold all of words.
func (l *lines) with(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
next:
	for line := range strings.Lines(l.text.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// TestAttemptsToConnectAreSpacedFromTheirBegin: what an attempt to connect took is a part of the wait.
func TestAttemptsToConnectAreSpacedFromTheirBegin(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct{ delay, took, want time.Duration }{
		{10_000 * ms, 0, 10_000 * ms}, {10_000 * ms, 4000 * ms, 6000 * ms}, {10_000 * ms, 10_000 * ms, firstDelay},
		{10_000 * ms, 60_000 * ms, firstDelay}, {200 * ms, 0, 200 * ms}, {200 * ms, 10_000 * ms, 200 * ms},
	} {
		if got := less(c.delay, c.took); got != c.want {
			t.Errorf("%v after an attempt of %v: %v, want %v", c.delay, c.took, got, c.want)
		}
	}
	p := newPlugin("output", "out", "tcp", (&lines{}).logger(), troubleWords{})
	d := newDelays()
	for range 20 {
		d.next()
	}
	hung := &output.ConnectError{Took: 10 * time.Second, Err: errors.New("i/o timeout")}
	if got := p.failedAs(0, d, fmt.Errorf("send to peer: %w", hung)); got != firstDelay {
		t.Errorf("after an attempt to connect of 10 s: %v, want %v", got, firstDelay)
	}
	if got := p.failedAs(0, d, errors.New("no answer for 10 s")); got < longestDelay*4/5 {
		t.Errorf("after a request without an answer: %v, want about %v", got, longestDelay)
	}
}

func TestDelaysDoubleToTenSeconds(t *testing.T) {
	d := newDelays()
	want := firstDelay
	for range 100 {
		got := d.next()
		if got < want*8/10 || got > min(want*12/10, longestDelay) {
			t.Fatalf("delay %v, want about %v and at most %v", got, want, longestDelay)
		}
		want = min(2*want, longestDelay)
	}
	d.Reset()
	if got := d.next(); got > firstDelay*12/10 {
		t.Errorf("first delay after a reset is %v", got)
	}
}

func TestPauseEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if pause(ctx, time.Hour) || time.Since(start) != time.Second {
			t.Errorf("pause did not end with its context but after %v", time.Since(start))
		}
		if !pause(t.Context(), time.Minute) {
			t.Error("pause said that a living context had ended")
		}
	})
}

func TestTroubleFolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		tr := trouble{log: log.logger(), words: outputWords}
		for range 30 { // one failure a second for half a minute
			tr.failed(errors.New("refused"), time.Second)
			time.Sleep(time.Second)
		}
		tr.over()
		tr.over()
		if got := log.with(outputWords.first, "refused", "retry_in=1s"); len(got) != 1 {
			t.Errorf("first failure logged %d times", len(got))
		}
		if got := log.with(outputWords.still, "failures=10"); len(got) != 2 {
			t.Errorf("%d folded lines of ten failures each, want 2", len(got))
		}
		if got := log.with(outputWords.over, "down=30s"); len(got) != 1 {
			t.Errorf("recovery logged %d times", len(got))
		}
	})
}

func TestTroubleFoldsFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		tr := trouble{log: log.logger(), words: outputWords}
		for range 60 { // fails and recovers every second for a minute
			tr.failed(errors.New("reset"), 250*time.Millisecond)
			time.Sleep(time.Second)
			tr.over()
		}
		if got := log.with("reset"); len(got) != 6 {
			t.Errorf("%d lines in a minute of flapping, want one every 10 s", len(got))
		}
		if got := log.with(outputWords.over); len(got) > 6 {
			t.Errorf("%d recoveries logged, more than failures", len(got))
		}
	})
}
