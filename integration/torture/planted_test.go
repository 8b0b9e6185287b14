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
	test  string   // with or without one of its parts: Test/part
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
	{bug: "a failed fsync is retried on the same file", test: "TestPowerLoss", env: losses(12, "after a sync of a segment has failed", disk.Drop),
		says: `lost: [1-9]|acknowledged: yes|fsck exits 4`}, // what it costs may be little enough for the parity
	{bug: "a failed fsync is retried on the same file", test: "TestBadDisks/errors", says: `nothing was destroyed, and the loss ledger has`},
	{bug: "a length is trusted before its checksum", test: "TestBadDisks/damage", says: `of which \d+ were in the damaged frame`},
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
		if len(catchersOf(bug)) == 0 && bug.Phase == "" {
			t.Errorf("nobody catches %q; add a catcher, or name a phase of the crash states", bug.Name)
		}
	}
	built := buildAll(t)
	for b := range built {
		t.Run(strings.ReplaceAll(b.bug.Name, " ", "-"), func(t *testing.T) {
			must(t, b.err)
			for _, c := range catchersOf(b.bug) {
				c.run(t, rig.BinaryVariable+"="+b.binary, disk.ServerVariable+"="+server)
			}
		})
	}
	t.Logf("all in %v", time.Since(began).Round(time.Second))
}

func catchersOf(bug planted.Bug) (own []catcher) {
	for _, c := range catchers {
		if c.bug == bug.Name {
			own = append(own, c)
		}
	}
	return own
}

// build is a logmule with a bug.
type build struct {
	bug    planted.Bug
	binary string
	err    error
}

// buildAll builds one for each bug that has a catcher, one ahead of the tests, which mostly wait.
func buildAll(t *testing.T) <-chan build {
	t.Helper()
	all := make(chan build)
	stop := rig.Background(t, func(ctx context.Context) error {
		defer close(all)
		for _, bug := range planted.Bugs {
			if len(catchersOf(bug)) == 0 {
				continue
			}
			binary, err := buildWith(t, bug)
			select {
			case all <- build{bug, binary, err}:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	t.Cleanup(func() { _ = stop() })
	return all
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
	compile := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, "./cmd/logmule")
	compile.Dir, compile.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with the bug %q: %w\n%s", bug.Name, err, out)
	}
	return binary, nil
}

// tries is how often a test may run until it fails: by chance a bug may do no harm.
const tries = 5

// run runs the test until it fails, and judges that.
func (c catcher) run(t *testing.T, env ...string) {
	t.Helper()
	row := reliability.Row{Part: reliability.Planted, Fault: c.bug, Kind: "built binary"}
	began := time.Now()
	for try := 1; ; try++ {
		out, tried, err := c.once(t, env)
		row.Tried += tried
		reason := regexp.MustCompile(c.says).FindString(out)
		switch {
		case c.alive && err == nil && tried > 1:
			row.Kind = "built binary, killed with SIGKILL only"
			row.Outcome = "not caught: what the process had written is in the page cache, so nothing is missing; " + c.test + " passed"
		case c.alive:
			t.Fatalf("%s noticed %q though only the process was killed, or failed by itself:\n%s", c.test, c.bug, out)
		case err == nil && try < tries:
			continue
		case err == nil:
			t.Fatalf("%s has not caught %q in %d tries:\n%s", c.test, c.bug, row.Tried, out)
		case reason == "":
			t.Fatalf("%s failed with %q, but not as expected (%s):\n%s", c.test, c.bug, c.says, out)
		default:
			row.Outcome = fmt.Sprintf("caught by %s: %s", c.test, meaning(reason))
		}
		break
	}
	t.Logf("%s, after %d tries in %v", row.Outcome, row.Tried, time.Since(began).Round(time.Millisecond))
	reliability.Add(t, row)
}

// once runs the test in a process of its own, as it stands, and says what it printed, whether it failed, and how often the power was lost.
func (c catcher) once(t *testing.T, env []string) (printed string, tried uint64, failed error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "logmule-") // its name is short, for the sockets in it
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	rows := filepath.Join(dir, "rows")
	ctx, stop := context.WithTimeout(t.Context(), 2*rig.Patience)
	defer stop()
	test := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+strings.ReplaceAll(c.test, "/", "$/^")+"$", "-test.v", "-test.count=1", "-test.timeout=100s")
	// What a failed test keeps goes with this one. The level is that of a smoke, but for the number of losses.
	test.Env = append(os.Environ(), append(env, LevelVariable+"=", reliability.Variable+"="+rows, "TMPDIR="+dir)...)
	test.Env = append(test.Env, c.env...)
	test.WaitDelay = time.Second
	out, err := test.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s did not end by itself: %v\n%s", c.test, err, out)
	}
	return string(out), max(triedIn(t, rows), 1), err // a test that failed may leave no row
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
	case strings.Contains(reason, "nothing was destroyed"):
		return "records were lost though no byte was destroyed"
	case strings.Contains(reason, "damaged frame"):
		return "damage cost more than the frame that it hit"
	case strings.Contains(reason, "acknowledged"):
		return "the loss ledger had acknowledged records"
	case strings.Contains(reason, "twice"):
		return "the archive had lines twice"
	case strings.Contains(reason, "fsck"):
		return "fsck found damage that a power loss alone does not do"
	}
	return reason
}
