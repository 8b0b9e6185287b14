// Package reliability collects what the fault laboratory did to logmule and what came of it.
//
// Every test of the laboratory adds a Row for each thing that it tried. Where the environment names a file in Variable, rows are
// appended to it, one JSON object a line; without it they are only logged by the test. The command in the folder page turns such a
// file into the tables of docs/reliability.md:
//
//	LOGMULE_RESULTS=rows.jsonl LOGMULE_TORTURE=short go test ./integration/torture
//	go run ./integration/reliability/page rows.jsonl docs/reliability.md
package reliability

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Variable is the environment variable with the file that rows are appended to.
const Variable = "LOGMULE_RESULTS"

// Part is one table of the page.
type Part string

// The parts, in the order of the page.
const (
	States   Part = "crash states" // every state a power loss could leave, on a file system in memory
	Power    Part = "power loss"   // of the real binary on a file system that forgets what was not synced
	Images   Part = "ext4 and xfs" // the same below a real file system
	Relaxed  Part = "relaxed sync" // what sync = "200ms" and sync = "never" cost
	Disks    Part = "bad disks"
	Damage   Part = "damage"      // to the data directory, in memory
	Compared Part = "same damage" // as given to six other forwarders
	Networks Part = "bad networks"
	Load     Part = "overload"
	Soak     Part = "soak"
	Planted  Part = "planted bugs" // each must be caught
)

// Parts are all of them, in the order of the page.
var Parts = []Part{States, Power, Images, Relaxed, Disks, Damage, Compared, Networks, Load, Soak, Planted}

// Row is one thing that was tried. Rows of the same Part, Fault and Kind become one: their counts are added, their times the longest.
type Row struct {
	Part    Part
	Fault   string // what was done, in a few words: "EIO from fdatasync, once"
	Kind    string `json:",omitempty"` // whom it was done to: "input http", "output file"; empty: everything at once
	Outcome string // what became of it, in one sentence; the latest one stays
	Tried   uint64 // how often

	Lost     uint64 `json:",omitempty"` // records lost against the promise
	Declared uint64 `json:",omitempty"` // records lost as the manual says, each one counted or in the loss ledger
	Altered  uint64 `json:",omitempty"`
	Invented uint64 `json:",omitempty"`
	Doubled  uint64 `json:",omitempty"` // records that arrived again, as the manual says they may

	Back   time.Duration `json:",omitempty"` // the longest from the end of the fault, or from the start after it, to service; 0: none was measured
	Beside string        `json:",omitempty"` // what others made of the same, for a table that compares
	Test   string        // the test that adds it; Add fills it in
}

// ofTest is the directory of one run of a test, which nobody who reads the page has.
var ofTest = regexp.MustCompile(regexp.QuoteMeta(os.TempDir()) + `/Test[^/\s]*/\d+/`)

// Add notes a row, and fails the test where it cannot be written.
func Add(t testing.TB, r Row) {
	t.Helper()
	r.Test = t.Name()
	if top, _, found := strings.Cut(r.Test, "/"); found {
		r.Test = top
	}
	r.Outcome = ofTest.ReplaceAllString(r.Outcome, "")
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatalf("row of %s: %v", r.Fault, err)
	}
	t.Logf("row %s", line)
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatalf("results: %v; set %s to a file that can be written", err, Variable)
	}
	_, err = f.Write(append(line, '\n')) // one write, so that test processes side by side do not mix
	if err = cmp.Or(err, f.Close()); err != nil {
		t.Fatalf("results: %v", err)
	}
}

// Read reads a file of rows and merges them: parts in the order of the page, rows in the order in which they were first added.
func Read(r io.Reader) ([]Row, error) {
	type key struct {
		part        Part
		fault, kind string
	}
	var rows []Row
	at := map[key]int{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if !slices.Contains(Parts, row.Part) {
			return nil, fmt.Errorf("line %d: no part %q; add it to reliability.Parts", n, row.Part)
		}
		k := key{row.Part, row.Fault, row.Kind}
		i, seen := at[k]
		if !seen {
			at[k] = len(rows)
			rows = append(rows, row)
			continue
		}
		rows[i] = merged(rows[i], row)
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(slices.Index(Parts, a.Part), slices.Index(Parts, b.Part)) })
	return rows, lines.Err()
}

func merged(a, b Row) Row {
	a.Outcome, a.Test = b.Outcome, b.Test
	a.Tried += b.Tried
	a.Lost += b.Lost
	a.Declared += b.Declared
	a.Altered += b.Altered
	a.Invented += b.Invented
	a.Doubled += b.Doubled
	a.Back = max(a.Back, b.Back)
	return a
}
