package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logmule/integration/rig"
)

// terminal is a shell into which a test types what the documents tell users to type. What it started ends with the test.
type terminal struct {
	t     *testing.T
	stdin io.WriteCloser
	ended chan struct{} // the shell has ended and all its output is read

	mu   sync.Mutex
	text strings.Builder // all that it and everything started in it have printed
	done []string        // one line for each command that has come to its end
}

// doneMark begins the line by which the shell says that a command is at its end. No document has it.
const doneMark = "\x01done "

func newTerminal(t *testing.T, dir string) *terminal {
	t.Helper()
	for _, tool := range []string{"bash", "make", "git", "curl", "logger", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%v; .ci/run installs it", err)
			}
			t.Skipf("needs %s, which .ci/run installs", tool)
		}
	}
	cmd := exec.Command("bash")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10") // instead of a second for each command
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	out, in, err := os.Pipe()
	must(t, err)
	cmd.Stdout, cmd.Stderr = in, in
	must(t, cmd.Start())
	_ = in.Close()
	s := &terminal{t: t, stdin: stdin, ended: make(chan struct{})}
	go s.read(out)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		<-s.ended
		if t.Failed() {
			t.Logf("the terminal shows\n%s", s.shown(0))
		}
	})
	s.do("set -o pipefail")
	return s
}

func (s *terminal) read(out *os.File) {
	defer close(s.ended)
	defer func() { _ = out.Close() }()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		s.mu.Lock()
		if before, status, ok := strings.Cut(line, doneMark); ok {
			s.text.WriteString(before)
			s.done = append(s.done, strings.TrimSpace(status))
		} else {
			s.text.WriteString(line)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// shown is what has been printed from a byte on.
func (s *terminal) shown(from int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()[from:]
}

// do types commands, waits for their end, and gives what was printed meanwhile and the exit status of the last one.
func (s *terminal) do(commands string) (out string, status string) {
	s.t.Helper()
	s.mu.Lock()
	from, nth := s.text.Len(), len(s.done)
	s.mu.Unlock()
	_, err := fmt.Fprintf(s.stdin, "%s\nprintf '\\001done %%d\\n' $?\n", commands)
	must(s.t, err)
	err = rig.Wait(patience, "the command ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.done) > nth {
			status = s.done[nth]
		}
		return status != ""
	})
	if err != nil {
		s.t.Fatalf("%s\n%v", commands, err)
	}
	return s.shown(from), status
}

// start types a command that goes on, and waits until the admin pages of what it starts answer.
func (s *terminal) start(command, admin string) {
	s.t.Helper()
	s.do(command)
	if err := rig.Wait(2*patience, "the admin pages answer", func() bool { return answers("http://" + admin + "/readyz") }); err != nil {
		s.t.Fatalf("%s\n%v", command, err)
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

// block is what stands between two fences of a document, and the word after the first one.
type block struct {
	kind, text string
	shown      string // of the text block right after it
}

var fenced = regexp.MustCompile("(?ms)^```([a-z ]*)\n(.*?)^```$")

func blocksOf(t *testing.T, document string) (blocks []block) {
	t.Helper()
	page, err := os.ReadFile(document)
	must(t, err)
	for _, m := range fenced.FindAllSubmatch(page, -1) {
		kind, text := string(m[1]), string(m[2])
		if kind == "text" && len(blocks) > 0 {
			blocks[len(blocks)-1].shown = text
			continue
		}
		blocks = append(blocks, block{kind: kind, text: text})
	}
	return blocks
}
