package damage

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"logmule/integration/planted"
	"logmule/integration/reliability"
)

// bugs are mistakes that somebody could make in what deals with damage, and the test here that has to catch each.
var bugs = []struct {
	planted.Bug
	by string
}{
	{planted.Bug{Name: "a frame at another offset is taken for one", Edits: []planted.Edit{
		{File: "queue/segment/frame.go", Old: "[2]uint64{salt, uint64(offset)}", New: "[2]uint64{salt, 0}"},
	}}, "TestTable"},
	{planted.Bug{Name: "a frame of another segment is taken for one", Edits: []planted.Edit{
		{File: "queue/segment/frame.go", Old: "[2]uint64{salt, uint64(offset)}", New: "[2]uint64{0, uint64(offset)}"},
	}}, "TestTable"},
	{planted.Bug{Name: "what is lost is not written down", Edits: []planted.Edit{
		{File: "recovery/settle.go", Old: "	if err := s.ledger.Add(losses...); err != nil {", New: "	if err := s.ledger.Add(); err != nil {"},
	}}, "TestTable"},
	{planted.Bug{Name: "bad bytes are sealed over without a copy", Edits: []planted.Edit{
		{File: "recovery/settle.go", Old: "	if p == nil || what.length == 0 || zero {\n		return \"\", nil\n	}\n	f, err", New: "	if true {\n		return \"\", nil\n	}\n	f, err"},
	}}, "TestEveryByte"},
	{planted.Bug{Name: "stripes of every second group are not healed", Edits: []planted.Edit{
		{File: "queue/segment/heal.go", Old: "		if i := alone[g]; i >= 0 {\n", New: "		if i := alone[g]; i%2 == 1 {\n			continue\n		} else if i >= 0 {\n"},
	}}, "TestEveryByte"},
	{planted.Bug{Name: "after a start numbers are given again that only an output has seen", Edits: []planted.Edit{
		{File: "recovery/positions.go", Old: "	last := max(mark, sums.lost.Last())\n", New: "	last := min(mark, sums.lost.Last())\n"},
	}}, "TestTable"},
}

// caught is what a test here says of a run that fails.
var caught = regexp.MustCompile(`(?m)^\s+(?:I\d|agree|one frame|status|row|repeat): .*$`)

// TestPlantedBugs builds the product with one bug at a time: the tests of damage have to catch it.
func TestPlantedBugs(t *testing.T) {
	if level(t) == "" {
		t.Skipf("each takes some seconds; set %s=short", levelVariable)
	}
	root, err := planted.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range bugs {
		t.Run(strings.ReplaceAll(bug.Name, " ", "-"), func(t *testing.T) {
			overlay, err := bug.Overlay(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			test := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=5m", "-run", "^"+bug.by+"$", "./"+filepath.Join("integration", "damage"))
			test.Dir = root
			test.Env = append(os.Environ(), levelVariable+"=", reliability.Variable+"=")
			out, err := test.CombinedOutput()
			found := caught.Find(out)
			if err == nil || found == nil {
				t.Fatalf("not caught: %v\n%.3000s", err, out)
			}
			t.Logf("caught: %.200s", strings.TrimSpace(string(found)))
			reliability.Add(t, reliability.Row{
				Part: reliability.Planted, Fault: bug.Name, Kind: "damage in memory", Tried: 1, Outcome: "caught by " + bug.by + ": a damage broke a promise",
			})
		})
	}
}

// TestBugsFit: each of them can be planted in the code as it is.
func TestBugsFit(t *testing.T) {
	for _, bug := range bugs {
		if _, err := bug.Overlay(t.TempDir()); err != nil {
			t.Error(err)
		}
	}
}
