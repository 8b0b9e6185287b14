package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span. In a configuration it is a string with units, as time.ParseDuration has them: "200ms", "1h30m".
type Duration time.Duration

// String writes the duration as it may stand in a configuration.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText reads a duration. It is never negative.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		hint := `write a duration such as "10s", "200ms" or "1h30m"`
		if strings.HasSuffix(string(text), "d") {
			hint += `; a day is "24h"`
		}
		return &Error{What: "is not a duration", Hint: hint}
	}
	if v < 0 {
		return &Error{What: "is negative", Hint: `write a duration such as "10s"`}
	}
	*d = Duration(v)
	return nil
}

// Bytes is a size. In a configuration it is a string with a unit, "64MiB", "1MB", or "0".
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// String writes the size as it may stand in a configuration, in the largest unit of 1024 that needs no fraction.
func (b Bytes) String() string {
	for _, u := range units[:4] {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// UnmarshalText reads a size. It is never negative.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	digits := strings.TrimLeft(s, "0123456789")
	number, unit := s[:len(s)-len(digits)], strings.TrimSpace(digits)
	if number == "" || strings.HasPrefix(unit, ".") {
		return &Error{What: "is not a size", Hint: `write a whole number and a unit, such as "64MiB"`}
	}
	if unit == "" && strings.Trim(number, "0") == "" { // nothing is nothing in every unit
		*b = 0
		return nil
	}
	if unit == "" {
		return &Error{What: "has no unit", Hint: fmt.Sprintf(`write "%sB" for bytes, or a unit such as KiB, MiB or GiB`, number)}
	}
	var names []string
	for _, u := range units {
		names = append(names, u.name)
		if u.name != unit {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > math.MaxInt64/int64(u.size) {
			return &Error{What: "is too large", Hint: `write a size such as "64MiB"`}
		}
		*b = Bytes(n) * u.size
		return nil
	}
	return &Error{
		What: fmt.Sprintf("has an unknown unit %q", unit),
		Hint: "units are B, KiB, MiB, GiB, TiB and KB, MB, GB, TB" + suggestUnit(unit, names),
	}
}

// suggestUnit finds the unit that was written in the wrong case or without its last letter.
func suggestUnit(unit string, names []string) string {
	for _, n := range names {
		if strings.EqualFold(n, unit) || strings.EqualFold(n, unit+"iB") || strings.EqualFold(n, unit+"B") {
			return fmt.Sprintf(" (did you mean %q?)", n)
		}
	}
	return ""
}

// SyncMode says when a record counts as stored.
type SyncMode uint8

// The sync modes.
const (
	SyncAlways   SyncMode = iota // when it is synced
	SyncInterval                 // when it is written; it is synced every Sync.Every
	SyncNever                    // when it is written
)

// Sync is the key queue.sync: "always", "never" or a duration.
type Sync struct {
	Mode  SyncMode
	Every Duration // for SyncInterval, 1 ms to 1 min
}

// UnmarshalText reads a sync policy.
func (s *Sync) UnmarshalText(text []byte) error {
	const hint = `write "always", "never" or a duration from 1ms to 1m such as "200ms"`
	switch string(text) {
	case "always":
		*s = Sync{Mode: SyncAlways}
		return nil
	case "never":
		*s = Sync{Mode: SyncNever}
		return nil
	}
	every, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return &Error{What: "is not a sync policy" + Suggest(string(text), []string{"always", "never"}), Hint: hint}
	case every < time.Millisecond:
		return &Error{What: "is less than a millisecond", Hint: `use 1ms to 1m, such as "200ms", or "always", which syncs before it acknowledges`}
	case every > time.Minute:
		return &Error{What: "is more than a minute, for which a power failure would cost every record", Hint: `use 1ms to 1m, such as "200ms", or "never"`}
	}
	*s = Sync{Mode: SyncInterval, Every: Duration(every)}
	return nil
}
