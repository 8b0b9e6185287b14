package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadmeCommands does what the README says, in a copy of the tree without what git ignores. How a block of commands
// is meant is said by the word after "sh":
//
//	sh              run to its end; it must exit 0, and print what a following "text" block shows, numbers apart
//	sh background   started; the next block follows when the admin pages answer
//	sh ci           what .ci/run runs by itself
//
// A "toml" block is saved as logmule.toml before the next commands.
func TestReadmeCommands(t *testing.T) {
	const admin = "127.0.0.1:8686" // the default, which the README uses
	if answers("http://" + admin + "/readyz") {
		t.Skip("something already listens on 127.0.0.1:8686, the default address of the admin pages")
	}
	dir := copyTree(t)
	shell := newTerminal(t, dir)
	ci, err := os.ReadFile("../.ci/run")
	must(t, err)
	for _, b := range blocksOf(t, "../README.md") {
		switch b.kind {
		case "toml":
			must(t, os.WriteFile(filepath.Join(dir, "logmule.toml"), []byte(b.text), 0o600))
		case "sh ci":
			for line := range strings.Lines(b.text) {
				if !bytes.Contains(ci, []byte("\n"+line)) {
					t.Errorf(".ci/run does not run %q", line)
				}
			}
		case "sh background":
			shell.start("{ "+b.text+"} >>background.log 2>&1 &", admin)
		case "sh":
			out, status := shell.do("( set -eu; " + b.text + ")")
			t.Logf("%s%s", b.text, out)
			if status != "0" {
				t.Fatalf("exit %s", status)
			}
			if want, got := withoutNumbers(b.shown), withoutNumbers(out); want != "" && want != got {
				t.Errorf("the README shows for\n%s\n%s\nand it prints\n%s", b.text, b.shown, out)
			}
		default:
			t.Errorf("a block of kind %q in the README, which nothing runs", b.kind)
		}
	}
}

// copyTree copies what a clone of the present state would hold.
func copyTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = ".."
	out, err := list.Output()
	must(t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		from, to := filepath.Join("..", name), filepath.Join(dir, name)
		info, err := os.Lstat(from)
		if os.IsNotExist(err) || err == nil && !info.Mode().IsRegular() {
			continue // deleted and not yet committed
		}
		must(t, err)
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		must(t, os.WriteFile(to, text, info.Mode()))
	}
	return dir
}

var (
	times   = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(Z|[+-]\d\d:\d\d)?`)
	numbers = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|\d+(\.\d+)?`)
	spaces  = regexp.MustCompile(` +`)
)

// withoutNumbers makes outputs of two runs comparable.
func withoutNumbers(text string) string {
	text = times.ReplaceAllString(text, "T")
	return spaces.ReplaceAllString(numbers.ReplaceAllString(text, "N"), " ")
}
