package states

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

// caught is the first line of what TestStates says of a state.
var caught = regexp.MustCompile(`(?m)^\s+states_test\.go:\d+: after .*:\n\s+(.*)$`)

// mostTries is how many runs, each with seeds of its own, may pass a bug by that shows in few states.
const mostTries = 6

// TestPlantedBugs builds the product with one bug at a time: TestStates has to catch it.
func TestPlantedBugs(t *testing.T) {
	if os.Getenv(levelVariable) == "" {
		t.Skipf("each takes some seconds; set %s=short", levelVariable)
	}
	root, err := planted.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range planted.Bugs {
		if bug.Phase == "" {
			continue
		}
		t.Run(strings.ReplaceAll(bug.Name, " ", "-"), func(t *testing.T) {
			overlay, err := bug.Overlay(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			tries, found := 0, [][]byte(nil)
			var out []byte
			for ; found == nil && tries < mostTries; tries++ {
				test := exec.CommandContext(t.Context(), "go", "test", "-overlay", overlay, "-count=1", "-timeout=5m", "-run", "^TestStates$", "./"+filepath.Join("integration", "states"))
				test.Dir = root
				test.Env = append(os.Environ(), levelVariable+"=short", phaseVariable+"="+bug.Phase, reliability.Variable+"=")
				if out, err = test.CombinedOutput(); err != nil {
					found = caught.FindSubmatch(out)
				}
			}
			if found == nil {
				t.Fatalf("not caught in %d runs of %s: %v\n%.3000s", tries, bug.Phase, err, out)
			}
			t.Logf("caught: %.200s", found[1])
			reliability.Add(t, reliability.Row{
				Part: reliability.Planted, Fault: bug.Name, Kind: "disk in memory", Tried: uint64(tries), Outcome: "caught by TestStates/" + bug.Phase + ": a state after a power loss broke a promise",
			})
		})
	}
}
