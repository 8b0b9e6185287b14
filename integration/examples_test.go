package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"logmule/integration/rig"
)

// step is one command under "Try it" in an example, and what it has to show.
type step struct {
	command string
	shows   []string
}

// Every example does what it says: its commands are typed as they stand there, with other ports, in a directory made as
// examples/README.md says. A command that only looks is repeated until it shows what it should; the others are typed
// once, and what they should show may come later. A command that shows nothing must succeed.
func TestExamples(t *testing.T) {
	examples, err := filepath.Glob("../examples/*.toml")
	must(t, err)
	index, err := os.ReadFile("../examples/README.md")
	must(t, err)
	for _, file := range examples {
		name := filepath.Base(file)
		if !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("examples/README.md does not have %s", name)
		}
		t.Run(strings.TrimSuffix(name, ".toml"), func(t *testing.T) { tryExample(t, name, examples) })
	}
}

func tryExample(t *testing.T, name string, examples []string) {
	dir := t.TempDir()
	shell := newTerminal(t, dir)
	admins := withFreePorts(t, examples, filepath.Join(dir, "examples"))
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(t, os.Symlink(binary(t), filepath.Join(dir, "bin", "logmule")))
	for _, b := range blocksOf(t, "../examples/README.md") {
		commands, _ := strings.CutPrefix(b.text, "make build\n")
		if out, status := shell.do(commands); status != "0" {
			t.Fatalf("%sexits %s\n%s", commands, status, out)
		}
	}
	steps := stepsOf(t, filepath.Join(dir, "examples", name))
	for _, s := range steps {
		s.try(t, shell, admins)
		if t.Failed() {
			return
		}
	}
	if out, status := shell.do("kill $(jobs -p); wait; for d in var/lib/*; do logmule fsck --quiet $d || exit; done"); status != "0" {
		t.Errorf("the data is not clean in the end: %s\n%s", status, out)
	}
	if strings.Contains(shell.shown(0), "WARNING: DATA RACE") {
		t.Error("the daemon has a data race")
	}
}

// onlyLooks tells commands that may be repeated.
var onlyLooks = regexp.MustCompile(`^(cat|cut|logmule (cat|stat)|curl -s [^-]*$)`)

func (s step) try(t *testing.T, shell *terminal, admins map[string]string) {
	t.Helper()
	if config, ok := strings.CutPrefix(s.command, "logmule run -c "); ok {
		shell.start(s.command, admins[strings.TrimSuffix(config, " &")])
		return
	}
	from := len(shell.shown(0))
	_, status := shell.do(s.command)
	if len(s.shows) == 0 && status != "0" {
		t.Fatalf("%s\nexits %s", s.command, status)
	}
	for _, text := range s.shows {
		err := rig.Wait(patience, fmt.Sprintf("%q is shown", text), func() bool {
			if strings.Contains(shell.shown(from), text) {
				return true
			}
			if onlyLooks.MatchString(s.command) {
				from = len(shell.shown(0))
				shell.do(s.command)
			}
			return false
		})
		if err != nil {
			t.Fatalf("%s\n%v", s.command, err)
		}
	}
}

// stepsOf reads what stands under "Try it" in the comment at the top of an example: commands are indented, a line that
// ends with \ goes on, and "# -> text" is what the command before it shows.
func stepsOf(t *testing.T, file string) (steps []step) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	comment, _, _ := strings.Cut(string(text), "\n\n")
	_, try, ok := strings.Cut(comment, "# Try it")
	if !ok {
		t.Fatalf("%s does not say how to try it", filepath.Base(file))
	}
	shows := 0
	for line := range strings.Lines(strings.ReplaceAll(try, "\\\n#     ", "")) {
		line, ok := strings.CutPrefix(strings.TrimSpace(line), "#   ")
		if !ok {
			continue
		}
		if shown, ok := strings.CutPrefix(line, "# -> "); ok {
			last := &steps[len(steps)-1]
			last.shows = append(last.shows, shown)
			shows++
			continue
		}
		steps = append(steps, step{command: line})
	}
	if shows == 0 {
		t.Fatalf("%s has nothing to show", filepath.Base(file))
	}
	return steps
}

var (
	aPort    = regexp.MustCompile(`127\.0\.0\.1:(\d+)`)
	anAdmin  = regexp.MustCompile(`(?m)^\[admin\]\nlisten = "(.*?)"`)
	anyWord  = regexp.MustCompile(`\b\d+\b`)
	ownAdmin = "\n[admin]\nlisten = \"%s\"\n"
)

// withFreePorts copies the examples to a directory, with a free port in the place of each that they name, the same in
// all of them, and says where the admin pages of each are.
func withFreePorts(t *testing.T, examples []string, to string) (admins map[string]string) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o755))
	ports, texts := map[string]string{}, map[string]string{}
	for _, file := range examples {
		text, err := os.ReadFile(file)
		must(t, err)
		texts[filepath.Base(file)] = string(text)
		for _, m := range aPort.FindAllStringSubmatch(string(text), -1) {
			if ports[m[1]] == "" {
				ports[m[1]] = strings.TrimPrefix(freeAddress(t), "127.0.0.1:")
			}
		}
	}
	admins = map[string]string{}
	for name, text := range texts {
		text = anyWord.ReplaceAllStringFunc(text, func(number string) string {
			if port := ports[number]; port != "" {
				return port
			}
			return number
		})
		if !anAdmin.MatchString(text) {
			text += fmt.Sprintf(ownAdmin, freeAddress(t))
		}
		admins[name] = anAdmin.FindStringSubmatch(text)[1]
		must(t, os.WriteFile(filepath.Join(to, name), []byte(text), 0o600))
	}
	return admins
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
