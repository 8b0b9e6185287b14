package reliability

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRowsBecomeTables: rows of one thing are added up, a part without a row keeps its table, and a second run replaces the first.
func TestRowsBecomeTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows")
	t.Setenv(Variable, file)
	Add(t, Row{Part: Disks, Fault: "EIO | once", Kind: "input http", Outcome: "503", Tried: 2, Back: time.Second})
	Add(t, Row{Part: Power, Fault: "at any operation", Outcome: "started by itself in " + filepath.Join(t.TempDir(), "data"), Tried: 40, Doubled: 3})
	Add(t, Row{Part: Disks, Fault: "EIO | once", Kind: "input http", Outcome: "503,\nthen 200", Tried: 1, Declared: 5, Back: 1500 * time.Millisecond})
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := Read(f)
	if err != nil {
		t.Fatal(err)
	}
	old := "# Page\n<!-- power loss -->\n<!-- end -->\nwords\n<!-- bad disks -->\nold\n<!-- end -->\n<!-- soak -->\nkept\n<!-- end -->\nend\n"
	var page string
	for _, stamp := range []string{"first.", "second."} {
		if page, err = Place(old, stamp, rows); err != nil {
			t.Fatal(err)
		}
		old = page
	}
	head := "| what was done | to | times | lost | declared | altered | invented | doubled | back after | what happened | test |\n|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|\n"
	want := "# Page\n<!-- power loss -->\n\nsecond.\n\n" + head + "| at any operation |  | 40 | 0 | 0 | 0 | 0 | 3 |  | started by itself in data | TestRowsBecomeTables |\n\n<!-- end -->\nwords\n" +
		"<!-- bad disks -->\n\nsecond.\n\n" + head + "| EIO \\| once | input http | 3 | 0 | 5 | 0 | 0 | 0 | 1.5s | 503, then 200 | TestRowsBecomeTables |\n\n<!-- end -->\n<!-- soak -->\nkept\n<!-- end -->\nend\n"
	if page != want {
		t.Errorf("page:\n%s\nwant:\n%s", page, want)
	}
}

// TestComparison: what several were given is a line, with a column for each and one for the others; a broken promise stands out.
func TestComparison(t *testing.T) {
	page, err := Place("<!-- same damage -->\n<!-- end -->\n", "stamp", []Row{
		{Part: Compared, Fault: "a bit", Kind: "after b", Outcome: "all", Back: time.Second, Beside: "they stop"},
		{Part: Compared, Fault: "none", Kind: "after b", Outcome: "all", Beside: "all"},
		{Part: Compared, Fault: "a bit", Kind: "after a", Outcome: "99 of 100", Lost: 1, Beside: "they stop"},
	})
	want := "<!-- same damage -->\n\nstamp\n\n| damage | after b | after a | the six others |\n|---|---|---|---|\n" +
		"| a bit | all; the last old record after 1s | **1 lost, 0 altered, 0 invented**; 99 of 100 | they stop |\n| none | all |  | all |\n\n<!-- end -->\n"
	if err != nil || page != want {
		t.Errorf("page, %v:\n%s\nwant:\n%s", err, page, want)
	}
}

// TestUnknownParts: a row that has no place on the page is an error, not left out.
func TestUnknownParts(t *testing.T) {
	if _, err := Read(strings.NewReader(`{"Part":"weather"}`)); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a row of no part: %v", err)
	}
	if _, err := Place("# Page\n", "", []Row{{Part: Soak}}); err == nil || !strings.Contains(err.Error(), "<!-- soak -->") {
		t.Errorf("a page without the table's place: %v", err)
	}
}
