package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"logmule/recovery"
)

func TestStatPage(t *testing.T) {
	now := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	s := recovery.Survey{
		Queue: "id", Starts: 1, Records: 4, Bytes: 2048, FirstSequence: 3, LastSequence: 9, Running: true,
		Segments: []recovery.SurveyedSegment{
			{Name: "a.seg", First: 3, Last: 9, Records: 4, Bytes: 1024, Sealed: true, MinTime: now.Add(-time.Hour), MaxTime: now},
			{Name: "b.seg", First: 10, Last: 9, Bytes: 1024},
		},
		Outputs: []recovery.SurveyedOutput{{Name: "hq", Position: 5, BacklogRecords: 3, BacklogBytes: 100, Oldest: now.Add(-90 * time.Second)}, {Name: "x", Position: 10}},
		Gaps:    []recovery.Gap{{First: 4, Last: 6}}, LostRecords: 3, Losses: 1,
		ByCause:    []recovery.CauseLosses{{Cause: "drop_oldest", Acknowledged: "yes", Lines: 1, Records: 3, First: 4, Last: 6, Since: now, Until: now, Outputs: []string{"hq"}}},
		Quarantine: 2, Quarantined: 4096, Notes: []string{"n\x00"},
	}
	want := `data: queue id, opened 1 time, a daemon runs
4 records in 2 segments, 2.0 KiB, sequences 3 to 9

SEGMENT  FIRST  LAST  RECORDS  SIZE     STATE   OLDEST RECORD         NEWEST RECORD
a.seg    3      9     4        1.0 KiB  sealed  2025-03-04 04:06:07Z  2025-03-04 05:06:07Z
b.seg    -      -     0        1.0 KiB  open    -                     -

OUTPUT  POSITION  BACKLOG  SIZE   LAG
hq      5         3        100 B  1m30s
x       10        0        0 B    0s

LOST FROM  TO  RECORDS
4          6   3

the loss ledger, losses.jsonl, tells of 3 records in 1 line
  - 3 records, sequences 4 to 6, missed by hq: the queue was full, and when_full = "drop_oldest";
    acknowledged to their source; written down 2025-03-04 05:06:07Z

quarantine: 2 files, 4.0 KiB; "logmule quarantine list data" explains it

2 dead letters in data/deadletter, 1 replayed; "logmule cat" shows why, "logmule replay" puts them back
1 dead letter lost, says the loss ledger there, losses.jsonl

note: n\x00
`
	if got := statPage("data", s, &deadLetters{dir: "data/deadletter", Records: 2, Replayed: 1, Lost: 1}, now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.ByCause = append(s.ByCause, recovery.CauseLosses{Cause: recovery.CauseRewind, Lines: 1, Records: 15000})
	if got := statPage("data", s, nil, now); !strings.Contains(got, "tells of 3 records in 1 line, besides those that single outputs gave up or skipped\n") {
		t.Errorf("with skipped records:\n%s", got)
	}
	want = "data: queue -, opened 0 times, no daemon runs\n0 records in 0 segments, 0 B\n\nno output has read from it\n"
	if got := statPage("data", recovery.Survey{}, nil, now); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestStatJSON(t *testing.T) {
	now := time.Date(2025, 3, 4, 5, 6, 7, 0, time.UTC)
	s := recovery.Survey{Records: 4, Segments: []recovery.SurveyedSegment{{Name: "empty"}}, Outputs: []recovery.SurveyedOutput{{Name: "done"}, {Name: "hq", BacklogRecords: 3, Oldest: now.Add(-1500 * time.Millisecond)}, {Name: "ahead", Oldest: now.Add(time.Hour)}}}
	text, err := json.Marshal(statReport(s, nil, now))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"records":4,`, `"name":"hq"`, `"backlog_records":3,`, `"lag_seconds":1.5}`, `"lag_seconds":0}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if strings.Count(string(text), `"outputs"`) != 1 {
		t.Errorf("outputs are there more than once: %s", text)
	}
	if strings.Contains(string(text), "0001-01-01") || strings.Contains(string(text), "dead_letters") {
		t.Errorf("what is not there is printed: %s", text)
	}
	if text, _ := json.Marshal(statReport(s, &deadLetters{Records: 2, Replayed: 1}, now)); !strings.Contains(string(text), `"dead_letters":{"records":2,"replayed":1,"lost_records":0}`) {
		t.Errorf("no dead letters in %s", text)
	}
	if text, _ := json.Marshal(statReport(recovery.Survey{}, nil, now)); !strings.Contains(string(text), `"outputs":[]`) {
		t.Errorf("no outputs are not an empty list: %s", text)
	}
}
