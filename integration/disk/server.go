package disk

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// ServerVariable names the environment variable that gives a built faultdisk; without it one is built.
const ServerVariable = "LOGMULE_FAULTDISK"

// errEnded says that the server is gone.
var errEnded = errors.New("the server of the fault disk has ended; its output says why")

// command is one line to the server.
type command struct {
	Do   string `json:"do"`
	N    int64  `json:"n,omitempty"`
	Rule *Rule  `json:"rule,omitempty"`
	IDs  []int  `json:"ids,omitempty"`
	Name string `json:"name,omitempty"`
	To   string `json:"to,omitempty"`
	Mode Mode   `json:"mode,omitempty"`
	Seed uint64 `json:"seed,omitempty"`
}

// answer is one line from it: to the command before, or by itself where it is frozen.
type answer struct {
	Frozen bool   `json:"frozen"`
	N      int64  `json:"n"`
	Error  string `json:"error"`
}

// server is one process of integration/faultdisk. It ends when its standard input does.
type server struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	frozen  chan struct{}
	answers chan answer
	ended   chan struct{} // closed when the process is gone

	mu sync.Mutex // one command at a time
}

// startServer starts one and waits until it has mounted.
func startServer(o Options) (*server, error) {
	program, err := program()
	if err != nil {
		return nil, err
	}
	s := &server{frozen: make(chan struct{}), answers: make(chan answer, 1), ended: make(chan struct{})}
	s.cmd = exec.Command(program, "-mount", o.Mount, "-backing", o.Backing, "-free", fmt.Sprint(o.Free))
	s.cmd.Args[0] = serverName
	if o.Output != "" {
		output, err := os.OpenFile(o.Output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open output of the fault disk: %w", err)
		}
		defer func() { _ = output.Close() }()
		s.cmd.Stderr = output
	}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server of the fault disk: %w", err)
	}
	go s.listen(out)
	if _, err := s.wait(command{Do: "mount"}); err != nil {
		s.end()
		return nil, err
	}
	return s, nil
}

// listen takes what the server says until it has ended.
func (s *server) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			a.Error = fmt.Sprintf("the server of the fault disk says %q: %v", lines.Text(), err)
		}
		if a.Frozen {
			close(s.frozen)
			continue
		}
		s.answers <- a
	}
	_ = s.cmd.Wait() // the answers have told
	close(s.ended)
}

func (s *server) pid() int { return s.cmd.Process.Pid }

func (s *server) do(c command) error {
	_, err := s.ask(c)
	return err
}

// ask sends a command and waits for the answer.
func (s *server) ask(c command) (uint64, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		return 0, fmt.Errorf("%s: %w", c.Do, errEnded)
	}
	return s.wait(c)
}

func (s *server) wait(c command) (uint64, error) {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-s.answers:
		if a.Error != "" {
			return 0, fmt.Errorf("fault disk, %s: %s", c.Do, a.Error)
		}
		return uint64(a.N), nil
	case <-s.ended:
		return 0, fmt.Errorf("%s: %w", c.Do, errEnded)
	case <-late.C:
		return 0, fmt.Errorf("fault disk, %s: no answer within %v", c.Do, patience)
	}
}

// end ends the process: it unmounts when its input ends, and is killed where that takes long.
func (s *server) end() {
	_ = s.in.Close() // it may have ended
	late := time.NewTimer(patience / 2)
	defer late.Stop()
	for {
		select {
		case <-s.ended:
			return
		case <-s.answers: // nobody waits for it any more
		case <-late.C:
			_ = s.cmd.Process.Kill()
			<-s.ended
			return
		}
	}
}

// serverName is how a server calls itself in the list of processes.
const serverName = "logmule-faultdisk"

// program is the built server: LOGMULE_FAULTDISK, or one that is built once and has no name any more, so that nothing is left.
var program = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(ServerVariable); given != "" {
		return given, nil
	}
	dir, err := os.MkdirTemp("", "logmule-faultdisk-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the source of the fault disk: %w", err)
	}
	built := filepath.Join(dir, serverName)
	cmd := exec.Command("go", "build", "-o", built, ".")
	cmd.Dir = filepath.Join(filepath.Dir(strings.TrimSpace(string(root))), "integration", "faultdisk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the fault disk in %s: %w\n%s", cmd.Dir, err, out)
	}
	file, err := os.Open(built)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), keep(file)), nil
})

// keep holds a file open as long as this process lives, and gives its descriptor.
func keep(file *os.File) uintptr {
	kept = append(kept, file)
	return file.Fd()
}

var kept []*os.File // only program adds to it

// Program is the built server, for the ServerVariable of a process that this one starts and waits for.
func Program() (string, error) { return program() }
