package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
	"logmule/queue/vfs"
)

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, cmd := range append(newRoot().Commands(), newRoot()) {
		if cmd.Short == "" || cmd.Long == "" || !strings.Contains(cmd.Example, "logmule ") {
			t.Errorf("%s lacks a description or an example", cmd.CommandPath())
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
			if len(line) > 100 {
				t.Errorf("%s: a line of %d bytes: %s", cmd.CommandPath(), len(line), line)
			}
		}
	}
}

func TestFailurePrint(t *testing.T) {
	for _, c := range []struct {
		f    failure
		want string
	}{
		{failure{}, ""},
		{failure{err: errors.New("no room")}, "logmule: no room\n"},
		{failure{err: errors.New("no room"), hint: "make some"}, "logmule: no room\nhint: make some\n"},
		{failure{err: errors.New("open x: no; none; make some")}, "logmule: open x: no; none\nhint: make some\n"},
		{failure{err: fmt.Errorf("open: %w", &vfs.LockedError{Name: "LOCK", Holder: "me"})},
			"logmule: open: LOCK is locked by me\nhint: one process may use a data directory: stop that one, or use another data_dir\n"},
		{failure{err: errors.New("one; a\ntwo; b")}, "logmule: one; a\nlogmule: two; b\n"},
	} {
		var b bytes.Buffer
		c.f.print(&b)
		if b.String() != c.want {
			t.Errorf("got %q, want %q", b.String(), c.want)
		}
	}
}

func TestVersionLine(t *testing.T) {
	platform := ", " + runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
	built := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	}
	for _, c := range []struct {
		release string
		info    *debug.BuildInfo
		want    string
	}{
		{"", new(debug.BuildInfo), "logmule development, commit unknown"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "logmule development, commit unknown"},
		{"", built, "logmule v1.2.0, commit abc with changes"},
		{"1.3", built, "logmule 1.3, commit abc with changes"},
	} {
		if got := versionLine(c.release, c.info); got != c.want+platform {
			t.Errorf("got %q, want %q", got, c.want+platform)
		}
	}
}

// The configuration knows the kinds without importing them.
func TestConfigKnowsTheKinds(t *testing.T) {
	if !slices.Equal(config.InputKinds, input.Kinds()) {
		t.Errorf("config.InputKinds is %q, forward/input has %q", config.InputKinds, input.Kinds())
	}
	if !slices.Equal(config.OutputKinds, output.Kinds()) {
		t.Errorf("config.OutputKinds is %q, forward/output has %q", config.OutputKinds, output.Kinds())
	}
}

func TestWrite(t *testing.T) {
	if err := write(failing{errors.New("no room")}, "x"); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("error %v", err)
	}
	var b bytes.Buffer
	if err := write(&b, "x"); err != nil || b.String() != "x" {
		t.Errorf("wrote %q, %v", b.String(), err)
	}
}

// TestUntold: a report that cannot be written is an operational error; the status 1 of fsck says that all is repaired.
func TestUntold(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"fsck", dir}, {"fsck", dir, "--json"}, {"fsck", dir, "--repair"}, {"quarantine", "list", dir}} {
		var said bytes.Buffer
		if got := execute(args, failing{errors.New("no room")}, &said); got != exitOperational || !strings.Contains(said.String(), "no room") {
			t.Errorf("%q: exit status %d, %s", args, got, said.String())
		}
	}
	if got := execute([]string{"stat", dir}, failing{errors.New("no room")}, io.Discard); got != exitFailed {
		t.Errorf("stat: exit status %d", got)
	}
}

func TestFsckFailure(t *testing.T) {
	for name, c := range map[string]struct {
		interrupted bool
		err         error
		want        string
	}{
		"interrupted":   {true, errors.New("interrupt"), "logmule: check d: interrupted before the end\nhint: nothing was changed; run it again\n"},
		"not permitted": {false, fs.ErrPermission, "logmule: check d: permission denied\nhint: run it as the user that the daemon runs as, or as root\n"},
		"read-only":     {false, fmt.Errorf("open: %w", syscall.EROFS), "logmule: check d: open: read-only file system\nhint: its file system is read-only: mount it for writing\n"},
		"says it all":   {false, errors.New("no; do this"), "logmule: check d: no\nhint: do this\n"},
		"says nothing":  {false, errors.New("no"), "logmule: check d: no\nhint: DIR is the data_dir of the configuration, such as /var/lib/logmule\n"},
	} {
		var f *failure
		if !errors.As(fsckFailure("d", c.interrupted, c.err), &f) || f.code != exitOperational {
			t.Errorf("%s: exit status %v, want %d", name, f, exitOperational)
			continue
		}
		var b bytes.Buffer
		if f.print(&b); b.String() != c.want {
			t.Errorf("%s: got %q, want %q", name, b.String(), c.want)
		}
	}
}
