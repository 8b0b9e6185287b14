package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Heka has no lock: who it is that writes there is seen in /proc.
func TestSalvageBesideAWriter(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "0.log")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if who := writerOf(dir); who != "" {
		t.Errorf("a reader is taken for a writer: %s", who)
	}
	writer, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if who := writerOf(dir); !strings.HasSuffix(who, fmt.Sprintf(", process %d,", os.Getpid())) {
		t.Errorf("the writer is %q", who)
	}
	for how, want := range map[string]int{"--check": exitOK, "--export=-": exitFailed, "--into=" + filepath.Join(dir, "data"): exitFailed} {
		var stdout, stderr bytes.Buffer
		code := execute([]string{"salvage", "heka", dir, how}, &stdout, &stderr)
		if code != want || !strings.Contains(stderr.String(), "writes there") || want != exitOK && !strings.Contains(stderr.String(), "hint: stop hekad first") {
			t.Errorf("%s exits %d:\n%s", how, code, &stderr)
		}
	}
}
