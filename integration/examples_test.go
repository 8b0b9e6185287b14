package integration

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every example is a configuration that checks.
func TestExamplesCheck(t *testing.T) {
	examples, err := filepath.Glob("../examples/*.toml")
	must(t, err)
	if len(examples) < 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, name := range examples {
		if out, err := exec.Command(binary(t), "check", "-c", name).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// The binary needs no library of the system.
func TestBinaryIsStatic(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs cgo")
	}
	out, err := exec.Command("go", "version", "-m", binary(t)).CombinedOutput()
	must(t, err)
	if !strings.Contains(string(out), "CGO_ENABLED=0") {
		t.Errorf("not built with CGO_ENABLED=0:\n%s", out)
	}
}
