package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"logmule/recovery"
)

func TestCleanPage(t *testing.T) {
	r := recovery.Report{
		Clean: true, Segments: 2, Records: 5, Bytes: 3 << 20, FirstSequence: 3, LastSequence: 7, TornTailBytes: 100,
		Outputs: []recovery.Output{{Name: "hq", Position: 6, Backlog: 2}, {Name: "archive", Position: 8}}, Notes: []string{"a note\x1b"},
	}
	want := `CLEAN: data

checked  2 segments, 3.0 MiB, every byte
records  5, sequences 3 to 7
tail     100 B torn by a crash; nothing in them was acknowledged, the next start cuts them off

OUTPUT   POSITION  BACKLOG
hq       6         2
archive  8         0

note: a note\x1b
`
	if got := fsckPage("data", r, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want = "CLEAN: data\n\nchecked  0 segments, 0 B, every byte, every record decoded\nrecords  none\n"
	if got := fsckPage("data", recovery.Report{Clean: true}, true); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestDamagedPage(t *testing.T) {
	r := recovery.Report{
		Segments: 1, Records: 1, Bytes: 70, FirstSequence: 1, LastSequence: 9, LostRecords: 6,
		Damage: []recovery.Damage{
			{Segment: "a.seg", Offset: 4096, Length: 512, Cause: "checksum", Action: "would quarantine", FirstLost: 2, LastLost: 6},
			{Segment: "", Cause: "missing segment", Action: "would write down", FirstLost: 8, LastLost: 8},
			{Segment: "b.seg", Offset: 1, Length: 2, Cause: "index", Action: "would rebuild"},
		},
	}
	got := fsckPage("data", r, false)
	for _, want := range []string{
		"DAMAGED, 6 RECORDS LOST: data\n", "What is wrong: 3 places.\n", "What it means: ", "What is lost: 6 records. ", "What to do: ",
		"  SEGMENT  OFFSET  BYTES  CAUSE            LOST SEQUENCES  ACTION\n" +
			"  a.seg    4096    512    checksum         2 to 6          would quarantine\n" +
			"  -        0       0      missing segment  8               would write down\n" +
			"  b.seg    1       2      index            none            would rebuild\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	r.LostRecords = 0
	got = fsckPage("data", r, false)
	if !strings.HasPrefix(got, "DAMAGED, NO RECORD LOST: data\n") || !strings.Contains(got, "What is lost: nothing.") {
		t.Errorf("got\n%s", got)
	}
	r.HealedBytes = 232
	got = fsckPage("data", r, false)
	if !strings.HasPrefix(got, "DAMAGED, NOTHING LOST FOR GOOD: data\n") || !strings.Contains(got, "232 B can be restored") ||
		!strings.Contains(got, "By itself it restores what the parity has") || strings.Contains(got, "Every record can be read") {
		t.Errorf("got\n%s", got)
	}
}

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
		if err := printFsck(&b, "d", c.report, false, c.asJSON, c.quiet); err != nil {
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

func TestProgress(t *testing.T) {
	if newProgress(new(bytes.Buffer), false).w != nil {
		t.Error("a bar that is not on a terminal")
	}
	file, err := os.Create(t.TempDir() + "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal(file) {
		t.Error("a file counts as a terminal")
	}
	var b bytes.Buffer
	p := &progress{w: &b}
	p.show(1, 0)
	if b.Len() > 0 {
		t.Errorf("a bar of nothing: %q", b.String())
	}
	p.show(512, 1024)
	p.show(1024, 1024) // too soon after the one before
	bar := "[###############---------------]  50%  512 B of 1.0 KiB"
	if got := b.String(); got != "\r"+bar {
		t.Errorf("got %q", got)
	}
	b.Reset()
	p.clear()
	p.clear()
	if got := b.String(); got != "\r"+strings.Repeat(" ", len(bar))+"\r" {
		t.Errorf("clearing wrote %q", got)
	}
	quiet := newProgress(os.Stderr, true)
	quiet.show(1, 2)
	quiet.clear()
}
