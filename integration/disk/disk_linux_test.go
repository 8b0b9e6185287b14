package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// start starts a fault disk for a test, or skips the test where there can be none and nobody insists.
func start(t *testing.T, o Options) *Disk {
	t.Helper()
	if err := Available(); err != nil {
		if os.Getenv("LOGMULE_TORTURE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	o.Mount, o.Backing, o.Output = filepath.Join(dir, "mount"), filepath.Join(dir, "backing"), filepath.Join(dir, "output")
	d, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if out, _ := os.ReadFile(o.Output); len(out) > 0 {
			t.Errorf("the server says:\n%s", out)
		}
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSpeed shows that a test on this disk is not slowed down by it so much that its load is none.
func TestSpeed(t *testing.T) {
	d := start(t, Options{})
	file, err := os.OpenFile(filepath.Join(d.Path(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer func() { must(t, file.Close()) }()
	line := []byte(strings.Repeat("x", 99) + "\n")
	const syncs = 2000
	began := time.Now()
	for range syncs {
		_, err := file.Write(line)
		must(t, err)
		must(t, file.Sync())
	}
	took := time.Since(began)
	block := bytes.Repeat(line, 1<<20/len(line))
	const blocks = 100
	began = time.Now()
	for range blocks {
		_, err := file.Write(block)
		must(t, err)
	}
	must(t, file.Sync())
	t.Logf("%.0f appends with fsync a second, %.0f MiB/s", syncs/took.Seconds(), blocks/time.Since(began).Seconds())
}

