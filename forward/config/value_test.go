package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0": 0, "0B": 0, "1B": 1, "1KB": 1000, "1KiB": 1024, "64MiB": 64 << 20, "1MB": 1e6, "10GiB": 10 << 30, "2GB": 2e9, "3TiB": 3 << 40,
		"1TB": 1e12, " 5 MiB ": 5 << 20, "007B": 7, "8388607TiB": 8388607 << 40,
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%q: got %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "B", "1", "-0", "-1B", "+1B", "1.5MiB", "1 2B", "1BB", "1mb", "8388608TiB", "99999999999999999999B", "0x1B", "1e3B"} {
		b := Bytes(42)
		if err := b.UnmarshalText([]byte(text)); err == nil || b != 42 {
			t.Errorf("%q: got %d, %v; want an error and no change", text, b, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "200ms": 200 * time.Millisecond, "1h30m": 90 * time.Minute, "1.5s": 1500 * time.Millisecond, " 10s ": 10 * time.Second,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q: got %v, %v; want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "1", "s", "-1s", "1d", "1 s", "99999999999h"} {
		d := Duration(42)
		if err := d.UnmarshalText([]byte(text)); err == nil || d != 42 {
			t.Errorf("%q: got %v, %v; want an error and no change", text, d, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Second: "10s", 70 * time.Second: "1m10s", time.Hour + time.Second: "1h0m1s",
	} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%d prints as %s, want %s", d, got, want)
		}
	}
}

func TestValuesPrintAsTheyAreRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Bytes(rapid.Int64Min(0).Draw(t, "size"))
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Fatalf("%d prints as %s, which reads as %d, %v", b, b, again, err)
		}
		d := Duration(rapid.Int64Min(0).Draw(t, "duration"))
		var same Duration
		if err := same.UnmarshalText([]byte(d.String())); err != nil || same != d {
			t.Fatalf("%d prints as %s, which reads as %d, %v", d, d, same, err)
		}
	})
}

func TestSync(t *testing.T) {
	for text, want := range map[string]Sync{
		"always": {Mode: SyncAlways}, "never": {Mode: SyncNever},
		"1ms": {SyncInterval, Duration(time.Millisecond)}, "1m": {SyncInterval, Duration(time.Minute)},
	} {
		var s Sync
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, s, err, want)
		}
	}
	for _, text := range []string{"", "Always", "0s", "999us", "61s", "200"} {
		var s Sync
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %+v, want an error", text, s)
		}
	}
}
