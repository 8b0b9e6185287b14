package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"logmule/recovery"
)

func TestFsckOutput(t *testing.T) {
	clean, damaged := recovery.Report{Clean: true}, recovery.Report{Damage: []recovery.Damage{{Cause: "x"}}}
	for name, c := range map[string]struct {
		report        recovery.Report
		asJSON, quiet bool
		want          string // what it begins with; empty: nothing at all
	}{
		"page":          {clean, false, false, "CLEAN"},
		"quiet":         {clean, false, true, ""},
		"quiet damaged": {damaged, false, true, "DAMAGED"},
		"json":          {clean, true, false, "{"},
		"quiet json":    {clean, true, true, "{"},
	} {
		var b bytes.Buffer
		if err := printFsck(&b, "d", c.report, fsckOptions{asJSON: c.asJSON, quiet: c.quiet}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if c.asJSON && (!json.Valid(b.Bytes()) || strings.Count(b.String(), "\n") != 1) {
			t.Errorf("%s: %q is not one line of JSON", name, b.String())
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 10_000: "9.8 KiB", 10 << 10: "10 KiB", 999 << 10: "999 KiB", 1<<20 - 1: "1.0 MiB",
		3 << 30: "3.0 GiB", 5 << 40: "5.0 TiB", 5 << 50: "5120 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestMoment(t *testing.T) {
	if got := moment(time.Time{}); got != "-" {
		t.Errorf("no time prints as %q", got)
	}
	if got := moment(time.Unix(0, 0)); got != "1970-01-01 00:00:00Z" {
		t.Errorf("got %q", got)
	}
}
