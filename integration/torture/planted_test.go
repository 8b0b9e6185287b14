package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/planted"
	"logmule/integration/reliability"
	"logmule/integration/rig"
)

// catcher is a test of this package that has to fail with a planted bug, and how it is run for that.
type catcher struct {
	bug   string
	test  string
	env   []string // what keeps the test to that which brings the bug to light
	says  string   // a regular expression: one of the reasons that the test then gives
	alive bool     // nothing but the process is killed: the bug must go unnoticed
}

// catchers are for the bugs that the real binary shows. The ways to lose the power are chosen so that a bug shows at nearly every loss,
// and the number of losses so that one which is missed does not matter.
var catchers = []catcher{
	{bug: "acknowledge before fdatasync", test: "TestPowerLoss", env: losses(8, "within a sync of a segment", disk.Drop), says: `lost: [1-9]|acknowledged: yes`},
	{bug: "acknowledge before fdatasync", test: "TestPowerLoss", env: losses(30, "", disk.Keep), alive: true},
	{bug: "no directory fsync for a new segment", test: "TestPowerLoss", env: losses(16, "", disk.Drop), says: `lost: [1-9]|acknowledged: yes`},
	{bug: "no directory fsync for the checkpoint database", test: "TestPowerLoss",
		env: losses(8, "after a segment was deleted, when a sync of checkpoints.db has failed", disk.Drop), says: `missing segment","acknowledged":"yes"`},
	{bug: "checkpoint before delivery", test: "TestPowerLoss", env: losses(20, "", disk.Drop), says: `lost: [1-9]`},
	{bug: "unlink before the checkpoint is durable", test: "TestPowerLoss",
		env: losses(6, "after a segment was deleted, while each sync of checkpoints.db", disk.Drop), says: `missing segment","acknowledged":"yes"`},
	{bug: "a failed fsync is retried on the same file", test: "TestPowerLoss", env: losses(12, "after a sync of a segment has failed", disk.Drop), says: `lost: [1-9]|acknowledged: yes`},
	{bug: "a sequence is used twice after a crash", test: "TestPowerLoss", env: losses(20, "", disk.Drop), says: `sequences stand for other records|lost: [1-9]`},
	{bug: "a source position is stored apart from its data", test: "TestPowerLoss", env: losses(16, "", disk.Drop), says: `the archive has records twice`},
	{bug: "readers go past the durable mark", test: "TestPowerLoss", env: losses(10, "within a sync of a segment", disk.Drop),
		says: `came to one output and never to another|sequences stand for other records`},
}

// losses is the environment for so many power losses of those ways.
func losses(n int, ways string, leaves disk.Mode) []string {
	return []string{fmt.Sprintf("%s=%d", RoundsVariable, n), CutsVariable + "=" + regexp.QuoteMeta(ways), LeavesVariable + "=" + string(leaves)}
}

// TestPlanted builds logmule with one bug at a time and runs the tests that are to catch it: they must fail, and for that reason.
func TestPlanted(t *testing.T) {
	need(t, disk.Available())
	if level == smoke {
		t.Skip("each bug is a build; set LOGMULE_TORTURE=short")
	}
	server, err := disk.Program()
	must(t, err)
	began := time.Now()
	for _, bug := range planted.Bugs {
		var own []catcher
		for _, c := range catchers {
			if c.bug == bug.Name {
				own = append(own, c)
			}
		}
		if len(own) == 0 && bug.Phase == "" {
			t.Errorf("nobody catches %q; add a catcher, or name a phase of the crash states", bug.Name)
		}
		if len(own) == 0 {
			continue
		}
		t.Run(strings.ReplaceAll(bug.Name, " ", "-"), func(t *testing.T) {
			at := time.Now()
			binary, err := buildWith(t, bug)
			must(t, err)
			t.Logf("built in %v", time.Since(at).Round(time.Millisecond))
			for _, c := range own {
				c.run(t, rig.BinaryVariable+"="+binary, disk.ServerVariable+"="+server)
			}
		})
	}
	t.Logf("%d bugs in %v", len(planted.Bugs), time.Since(began).Round(time.Second))
}

// buildWith builds logmule with a bug.
func buildWith(t *testing.T, bug planted.Bug) (string, error) {
	t.Helper()
	root, err := planted.Root()
	if err != nil {
		return "", err
	}
	overlay, err := bug.Overlay(t.TempDir())
	if err != nil {
		return "", err
	}
	binary := filepath.Join(t.TempDir(), "logmule")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./cmd/logmule")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with the bug %q: %w\n%s", bug.Name, err, out)
	}
	return binary, nil
}

// run runs the test in a process of its own, as it stands, and judges that.
func (c catcher) run(t *testing.T, env ...string) {
	t.Helper()
	dir := t.TempDir()
	rows := filepath.Join(dir, "rows")
	ctx, stop := context.WithTimeout(t.Context(), 2*rig.Patience)
	defer stop()
	test := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+c.test+"$", "-test.v", "-test.count=1")
	// What a failed test keeps goes with this one. The level is that of a smoke, but for the number of losses.
	test.Env = append(os.Environ(), append(env, LevelVariable+"=", reliability.Variable+"="+rows, "TMPDIR="+dir)...)
	test.Env = append(test.Env, c.env...)
	test.WaitDelay = time.Second
	began := time.Now()
	out, err := test.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) || ctx.Err() != nil {
		t.Fatalf("%s did not end by itself: %v\n%s", c.test, err, out)
	}
	tried := triedIn(t, rows)
	reason := regexp.MustCompile(c.says).Find(out)
	row := reliability.Row{Part: reliability.Planted, Fault: c.bug, Kind: "built binary", Tried: tried}
	switch {
	case tried == 0:
		t.Fatalf("%s has not lost the power once:\n%s", c.test, out)
	case c.alive && err != nil:
		t.Fatalf("%s noticed %q though only the process was killed, or failed by itself:\n%s", c.test, c.bug, out)
	case c.alive:
		row.Kind = "built binary, killed with SIGKILL only"
		row.Outcome = "not caught: what the process had written is in the page cache, so nothing is missing; " + c.test + " passed"
	case err == nil:
		t.Fatalf("%s has not caught %q in %d losses:\n%s", c.test, c.bug, tried, out)
	case reason == nil:
		t.Fatalf("%s failed with %q, but not as expected (%s):\n%s", c.test, c.bug, c.says, out)
	default:
		row.Outcome = fmt.Sprintf("caught by %s: %s", c.test, meaning(string(reason)))
	}
	t.Logf("%s, after %d losses in %v", row.Outcome, tried, time.Since(began).Round(time.Millisecond))
	reliability.Add(t, row)
}

// triedIn is how often the power was lost according to the rows of a test; that of the sum has all the others in it.
func triedIn(t *testing.T, name string) (most uint64) {
	t.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	must(t, err)
	defer func() { _ = f.Close() }()
	rows, err := reliability.Read(f)
	must(t, err)
	for _, r := range rows {
		most = max(most, r.Tried)
	}
	return most
}

// meaning says a reason in words for the table.
func meaning(reason string) string {
	switch {
	case strings.HasPrefix(reason, "lost"):
		return "acknowledged records were lost"
	case strings.Contains(reason, "acknowledged"):
		return "the loss ledger had acknowledged records"
	case strings.Contains(reason, "twice"):
		return "the archive had lines twice"
	}
	return reason
}
