package integration

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"logmule/integration/rig"
)

// How a block of commands in the README is meant, said by the word after "sh":
//
//	sh              run to its end; it must exit 0, and print what a following "text" block shows, numbers apart
//	sh background   started; the next block follows when the admin pages answer
//	sh ci           what .ci/run runs by itself
//
// A "toml" block is saved as logmule.toml before the next commands.
type block struct {
	kind, text string
	shown      string // of the text block right after it
}

var fenced = regexp.MustCompile("(?ms)^```([a-z ]*)\n(.*?)^```$")

func readmeBlocks(t *testing.T) (blocks []block) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	must(t, err)
	for _, m := range fenced.FindAllSubmatch(readme, -1) {
		kind, text := string(m[1]), string(m[2])
		if kind == "text" && len(blocks) > 0 {
			blocks[len(blocks)-1].shown = text
			continue
		}
		blocks = append(blocks, block{kind: kind, text: text})
	}
	return blocks
}

// TestReadmeCommands does what the README says, in a copy of the tree without what git ignores.
func TestReadmeCommands(t *testing.T) {
	for _, tool := range []string{"bash", "make", "git", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s, which .ci/run installs", tool)
		}
	}
	const admin = "http://127.0.0.1:8686/readyz" // the default, which the README uses
	if answers(admin) {
		t.Skip("something already listens on 127.0.0.1:8686, the default address of the admin pages")
	}
	dir := copyTree(t)
	ci, err := os.ReadFile("../.ci/run")
	must(t, err)
	for _, b := range readmeBlocks(t) {
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
			logFile := inBackground(t, dir, b.text)
			if err := rig.Wait(2*patience, "the admin pages answer", func() bool { return answers(admin) }); err != nil {
				out, _ := os.ReadFile(logFile)
				t.Fatalf("%s%v\n%s", b.text, err, out)
			}
		case "sh":
			cmd := exec.Command("bash", "-euo", "pipefail", "-c", b.text)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			t.Logf("%s%s", b.text, out)
			if err != nil {
				t.Fatal(err)
			}
			if want, got := withoutNumbers(b.shown), withoutNumbers(string(out)); want != "" && want != got {
				t.Errorf("the README shows for\n%s\n%s\nand it prints\n%s", b.text, b.shown, out)
			}
		default:
			t.Errorf("a block of kind %q in the README, which nothing runs", b.kind)
		}
	}
}

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// inBackground starts commands in a process group of their own, which ends with the test, and gives the file of their output.
func inBackground(t *testing.T, dir, text string) string {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "output")
	must(t, err)
	defer func() { _ = out.Close() }()
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return out.Name()
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
