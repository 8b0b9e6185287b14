package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The unit is one that systemd understands, and gives a stop the time that it may take.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../packaging/logmule.service")
	must(t, err)
	seconds := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindSubmatch(text)
	if seconds == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	const stop = 10*time.Second + 2*5*time.Second // shutdown_timeout, and the grace for plugins and for the queue
	if n, _ := strconv.Atoi(string(seconds[1])); time.Duration(n)*time.Second <= stop {
		t.Errorf("TimeoutStopSec=%d is no more than a stop may take, %v", n, stop)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no systemd-analyze here, which .ci/run installs")
	}
	unit := filepath.Join(t.TempDir(), "logmule.service")
	installed := strings.ReplaceAll(string(text), "/usr/local/bin/logmule", binary(t))
	must(t, os.WriteFile(unit, []byte(installed), 0o600))
	out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "logmule.service") {
			t.Errorf("systemd-analyze: %s", line)
		}
	}
	if err != nil {
		t.Logf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The configuration that is installed checks.
func TestInstalledConfigurationChecks(t *testing.T) {
	if out, err := exec.Command(binary(t), "check", "-c", "../packaging/logmule.toml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
