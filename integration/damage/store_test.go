package damage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/recovery"
)

const scratchPrefix = "logmule-damage-"

// scratchDir is where bbolt works, which needs real files: in memory where there is such a place, since it syncs often.
var scratchDir string

func TestMain(m *testing.M) {
	code, err := withScratch(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// withScratch runs with a scratchDir of this process, and removes those that killed ones have left.
func withScratch(run func() int) (code int, err error) {
	base := "/dev/shm"
	if info, err := os.Stat(base); err != nil || !info.IsDir() {
		base = os.TempDir()
	}
	old, _ := filepath.Glob(filepath.Join(base, scratchPrefix+"*"))
	for _, dir := range old {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), scratchPrefix))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // somebody else's may stay
		}
	}
	scratchDir = filepath.Join(base, scratchPrefix+strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(scratchDir, 0o700); err != nil {
		return 1, err
	}
	code = run()
	return code, os.RemoveAll(scratchDir)
}

// scratch is a directory of its own.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratchDir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// boltFile is the bytes of a checkpoint database with these positions.
func boltFile(t testing.TB, positions map[string]checkpoint.Position) []byte {
	t.Helper()
	path := filepath.Join(scratch(t), recovery.CheckpointFile)
	store, _, err := checkpoint.Open(path)
	if err == nil {
		err = store.Save(positions)
	}
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
