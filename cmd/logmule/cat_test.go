package main

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"logmule/recovery"
)

func TestParseBound(t *testing.T) {
	now := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]recovery.Bound{
		"":                          {},
		"1":                         {Sequence: 1},
		" 42 ":                      {Sequence: 42},
		"18446744073709551615":      {Sequence: 1<<64 - 1},
		"10m":                       {Time: now.Add(-10 * time.Minute)},
		"1h30m":                     {Time: now.Add(-90 * time.Minute)},
		"0s":                        {Time: now},
		"2025-01-02T03:04:05Z":      {Time: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)},
		"2025-01-02T03:04:05+02:00": {Time: time.Date(2025, 1, 2, 1, 4, 5, 0, time.UTC)},
		"2025-01-02T03:04:05.5Z":    {Time: time.Date(2025, 1, 2, 3, 4, 5, 5e8, time.UTC)},
		"2025-01-02 03:04:05":       {Time: time.Date(2025, 1, 2, 3, 4, 5, 0, time.Local)},
		"2025-01-02 03:04":          {Time: time.Date(2025, 1, 2, 3, 4, 0, 0, time.Local)},
		"2025-01-02":                {Time: time.Date(2025, 1, 2, 0, 0, 0, 0, time.Local)},
	} {
		got, err := parseBound(text, now)
		if err != nil || got.Sequence != want.Sequence || !got.Time.Equal(want.Time) {
			t.Errorf("%q: got %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "-1", "-10m", "18446744073709551616", "yesterday", "2025-13-01", "1 2", "10 m"} {
		if got, err := parseBound(text, now); err == nil {
			t.Errorf("%q: got %+v, want an error", text, got)
		}
	}
}

func TestCatFailure(t *testing.T) {
	for name, c := range map[string]struct {
		err                 error
		follow, interrupted bool
		code                int
	}{
		"end":                     {nil, false, false, exitOK},
		"reader gone":             {fmt.Errorf("write: %w", syscall.EPIPE), false, false, exitOK},
		"interrupted":             {errors.New("interrupt"), false, true, exitInterrupted},
		"interrupted as it waits": {errors.New("interrupt"), true, true, exitOK},
		"unreadable":              {errors.New("x"), true, false, exitFailed},
	} {
		err := catFailure("p", c.follow, c.interrupted, c.err)
		code := exitOK
		var f *failure
		if errors.As(err, &f) {
			code = f.code
		}
		if code != c.code {
			t.Errorf("%s: exit status %d (%v), want %d", name, code, err, c.code)
		}
	}
}
