package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Main runs the tests of a package that uses Binary, and removes what was built. TestMain calls it.
func Main(m *testing.M) (code int) {
	if RaceEnabled { // a binary with the detector sleeps for a second before it exits, and these are started a thousand times
		_ = os.Setenv("GORACE", "atexit_sleep_ms=10")
	}
	defer func() {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
	}()
	return m.Run()
}

// BinaryVariable names the environment variable that gives a built logmule to test; without it one is built.
const BinaryVariable = "LOGMULE_BINARY"

// built is the binary of this test process.
var built struct {
	once    sync.Once
	dir     string
	program string
	err     error
}

// Binary is the program under test, built once, as its users do; under the race detector with it.
func Binary(t testing.TB) string {
	t.Helper()
	if given := os.Getenv(BinaryVariable); given != "" {
		return given
	}
	built.once.Do(func() { built.dir, built.program, built.err = build() })
	Must(t, built.err)
	return built.program
}

func build() (dir, program string, err error) {
	if dir, err = os.MkdirTemp("", "logmule-build-"); err != nil {
		return "", "", err
	}
	program = filepath.Join(dir, "logmule")
	args := []string{"build", "-o", program}
	env := os.Environ()
	if RaceEnabled {
		args = append(args, "-race")
	} else {
		env = append(env, "CGO_ENABLED=0")
	}
	cmd := exec.Command("go", append(args, "logmule/cmd/logmule")...)
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, "", fmt.Errorf("build logmule: %w\n%s", err, out)
	}
	return dir, program, nil
}
