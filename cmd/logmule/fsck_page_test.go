package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/recovery"
)

var update = flag.Bool("update", false, "write the pages in testdata/pages anew")

// at is a time of the pages, in a zone that must not show.
func at(clock string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-20 "+clock, time.FixedZone("elsewhere", 3600))
	if err != nil {
		panic(err)
	}
	return t
}

// both is what a loss means where hq has done so many of the records and the archive all.
func both(done, missing uint64) []recovery.LostForOne {
	return []recovery.LostForOne{{Name: "archive", Done: done + missing}, {Name: "hq", Done: done, Missing: missing}}
}

func damagedReport() recovery.Report {
	return recovery.Report{
		Segments: 79, Records: 4929377, Bytes: 5246985064, FirstSequence: 1, LastSequence: 5000000, TornTailBytes: 820760,
		HealedBytes: 1048676, QuarantinedBytes: 7568496, LostRecords: 412 + 300 + 63252,
		Damage: []recovery.Damage{
			{Segment: "00000000000000253009-bf5c64ef6d54f65b.seg", Offset: 5000000, Length: 100, Cause: "checksum", Action: "would heal"},
			{Segment: "00000000000000253009-bf5c64ef6d54f65b.seg", Offset: 67000000, Length: 4096, Cause: "trailer", Action: "would rebuild"},
			{Segment: "00000000000001834309-20ec049f33a4b3e9.seg", Offset: 10483800, Length: 5304416, Cause: "checksum", Action: "would quarantine",
				FirstLost: 1844515, LastLost: 1844926, Lost: &recovery.Lost{
					Records: 412, Sources: []string{"input web-3"}, SourcesExact: true, From: at("15:02:11"), To: at("15:02:12"), TimesExact: true,
					Outputs: []recovery.LostForOne{{Name: "archive", Missing: 412}, {Name: "hq", Missing: 412}}}},
			{Segment: "00000000000001834309-20ec049f33a4b3e9.seg", Offset: 33512728, Length: 2264080, Cause: "unreadable", Action: "would quarantine",
				FirstLost: 1866943, LastLost: 1867242, Lost: &recovery.Lost{
					Records: 300, Sources: []string{"input app", "input web-3", "replay to output hq"}, From: at("15:02:13"), To: at("15:02:15"), Outputs: both(100, 200)}},
			{Segment: "00000000000003099349-8e8c098164ccf080.seg", Cause: "missing segment", Action: "would write down", FirstLost: 3099349, LastLost: 3162600,
				Lost: &recovery.Lost{Records: 63252, From: at("16:00:00"), To: at("16:00:00"), Outputs: both(63252, 0)}},
		},
		Outputs: []recovery.Output{{Name: "archive", Position: 3200000, Backlog: 1800001, Missing: 412}, {Name: "hq", Position: 1867043, Backlog: 3132958, Missing: 612}},
		Notes:   []string{"segments/hello\x1b is no segment: left alone"},
	}
}

// TestFsckPages holds the pages against those in testdata/pages.
func TestFsckPages(t *testing.T) {
	damaged, live, repaired, left, healing := damagedReport(), damagedReport(), damagedReport(), damagedReport(), damagedReport()
	live.Running = true
	did := strings.NewReplacer("would heal", "healed", "would rebuild", "rebuilt", "would quarantine", "quarantined", "would write down", "written down")
	for i := range repaired.Damage {
		repaired.Damage[i].Action = did.Replace(repaired.Damage[i].Action)
	}
	repaired.Repaired, repaired.Clean = true, true
	left.Repaired = true
	left.Damage = []recovery.Damage{{Segment: "00000000000000253009-bf5c64ef6d54f65b.seg", Length: 77, Cause: "unreadable", Action: "left as it is"}}
	left.LostRecords, left.HealedBytes, left.QuarantinedBytes, left.TornTailBytes = 0, 0, 0, 0
	full := recovery.Report{
		Segments: 33, Records: 50, Bytes: 1 << 20, FirstSequence: 1, LastSequence: 150, LostRecords: 100, Wants: 868216,
		Outputs: []recovery.Output{{Name: "hq", Position: 1, Backlog: 150, Missing: 100}},
		Damage: []recovery.Damage{
			{Segment: "a.seg", Offset: 4096, Length: 15 << 10, Cause: "checksum", Action: "left as it is", FirstLost: 51, LastLost: 150,
				Lost: &recovery.Lost{Records: 100, From: at("16:00:00"), To: at("16:00:00"), Outputs: []recovery.LostForOne{{Name: "hq", Missing: 100}}}},
			{Segment: "b.seg", Offset: 4096, Length: 1, Cause: "checksum", Action: "left as it is"},
			{Segment: "checkpoints.db", Length: 8192, Cause: "checkpoints", Action: "left as it is"},
		},
		Notes: []string{"the disk is full"},
	}
	half := full
	half.Repaired, half.Damage, half.LostRecords, half.QuarantinedBytes = true, append([]recovery.Damage{full.Damage[0]}, full.Damage...), 140, 77
	half.Damage[0].Segment, half.Damage[0].Action, half.Damage[0].FirstLost, half.Damage[0].LastLost = "0.seg", "quarantined", 1, 40
	known := recovery.Report{Segments: 33, Records: 50, Bytes: 1 << 20, FirstSequence: 1, LastSequence: 150, Wants: 4096, Notes: []string{"the disk is full"}}
	healing.Damage, healing.LostRecords, healing.QuarantinedBytes, healing.TornTailBytes, healing.Notes = healing.Damage[:2], 0, 0, 0, nil
	odd := recovery.Report{
		Segments: 5, Records: 50, Bytes: 1 << 20, FirstSequence: 1, LastSequence: 50, QuarantinedBytes: 4096 + 77,
		Damage: []recovery.Damage{
			{Segment: "a.seg", Cause: "name", Action: "would rename"},
			{Segment: "b.seg", Length: 4096, Cause: "duplicate", Action: "would quarantine"},
			{Segment: "c.seg", Length: 77, Cause: "no segment", Action: "would quarantine"},
			{Segment: "checkpoints.db", Length: 8192, Cause: "checkpoints", Action: "would rebuild"},
		},
	}
	clean := recovery.Report{
		Clean: true, Segments: 2, Records: 5, Bytes: 3 << 20, FirstSequence: 3, LastSequence: 7, TornTailBytes: 100,
		Outputs: []recovery.Output{{Name: "hq", Position: 6, Backlog: 2}, {Name: "archive", Position: 8}}, Notes: []string{"a note\x1b"},
		Ledger: []recovery.CauseLosses{
			{Cause: "checksum", Acknowledged: "yes", Lines: 2, Records: 412, First: 5, Last: 500, Since: at("15:02:11"), Until: at("15:02:12"),
				Sources: []string{"input web-3"}, SourcesExact: true, Quarantine: []string{"quarantine/a.seg-1-2.bin", "quarantine/b.seg-1-2.bin"}},
			{Cause: "index", Acknowledged: "unknown", Lines: 1, Since: at("15:02:11"), Until: at("15:02:11")},
			{Cause: "drop_newest", Acknowledged: "no", Lines: 3, Records: 1, Since: at("15:02:11"), Until: at("17:02:11"), Outputs: []string{"hq"}},
		},
	}
	for name, page := range map[string]string{
		"damaged":  fsckPage("/var/lib/logmule", damaged, fsckOptions{}),
		"live":     fsckPage("/srv/old logs", live, fsckOptions{deep: true}),
		"repaired": fsckPage("/var/lib/logmule", repaired, fsckOptions{mend: true}),
		"left":     fsckPage("/var/lib/logmule", left, fsckOptions{mend: true}),
		"healing":  fsckPage("/var/lib/logmule", healing, fsckOptions{}),
		"full":     fsckPage("/var/lib/logmule", full, fsckOptions{mend: true}),
		"half":     fsckPage("/var/lib/logmule", half, fsckOptions{mend: true}),
		"known":    fsckPage("/var/lib/logmule", known, fsckOptions{mend: true}),
		"odd":      fsckPage("/var/lib/logmule", odd, fsckOptions{}),
		"clean":    fsckPage("/var/lib/logmule", clean, fsckOptions{}),
		"empty":    fsckPage("/var/lib/logmule", recovery.Report{Clean: true}, fsckOptions{deep: true}),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", "pages", name+".page")
			if *update {
				if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if page != string(want) {
				t.Errorf("got\n%s\nwant\n%s", page, want)
			}
			for line := range strings.Lines(page) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > pageWidth {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// TestLongFsckPage has more damage than anybody reads.
func TestLongFsckPage(t *testing.T) {
	r := recovery.Report{Segments: 100}
	for i := range 100 {
		for range 1 + i%2*29 {
			r.Damage = append(r.Damage, recovery.Damage{Segment: strings.Repeat("x", i+1), Length: 1, Cause: "checksum", Action: "would heal"})
		}
	}
	page := fsckPage("d", r, fsckOptions{})
	for _, want := range []string{"100 of 100 segments are damaged; all of them heal completely; no record is lost.", "... and 80 segments more; --json lists all", "... and 24 places more"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in\n%s", want, page)
		}
	}
	if n := strings.Count(page, "\n"); n > 300 {
		t.Errorf("%d lines", n)
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"/var/lib/logmule": "/var/lib/logmule", "-x": "./-x", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "a$b": "'a$b'", "a\x1b\n'b\\": `$'a\x1b\n\'b\\'`,
	} {
		if got := shellWord(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}

// TestLeftIsNotDone: what a repair had to leave, a file in the way or a missing segment that it could not write down, is told as that.
func TestLeftIsNotDone(t *testing.T) {
	const left = "left as it is"
	page := fsckPage("q", recovery.Report{Segments: 2, LostRecords: 10, Repaired: true, Damage: []recovery.Damage{
		{Segment: "a.seg", Cause: "no segment", Length: 5, Action: left},
		{Segment: "b.seg", Cause: "missing segment", FirstLost: 11, LastLost: 20, Action: left},
	}}, fsckOptions{mend: true})
	for _, lie := range []string{"- wrote", "moved to quarantine", "is in quarantine/ now"} {
		if strings.Contains(page, lie) {
			t.Errorf("%q in\n%s", lie, page)
		}
	}
	if !strings.Contains(page, "left 2 places as they are") || !strings.Contains(page, "none of them\nwritten down yet") {
		t.Error(page)
	}
}
