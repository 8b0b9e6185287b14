package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"logmule/queue/segment"
)

// openTerminal makes a terminal of so many columns: what the screen side shows, and the side that a process has.
func openTerminal(t *testing.T, columns uint16) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err == nil {
		tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// shownBy collects what a terminal shows.
type shownBy struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // has one when there is more
}

func watchScreen(screen *os.File) *shownBy {
	s := &shownBy{more: make(chan struct{}, 1)}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := screen.Read(b)
			s.mu.Lock()
			s.text.Write(b[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil { // the last one of the other side has closed it
				return
			}
		}
	}()
	return s
}

func (s *shownBy) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the terminal has shown this.
func (s *shownBy) await(t *testing.T, want string) {
	t.Helper()
	limit := time.After(time.Minute)
	for !strings.Contains(s.String(), want) {
		select {
		case <-s.more:
		case <-limit:
			t.Fatalf("%q is not shown, but %q", want, s)
		}
	}
}

// screenOf is what a screen looks like after this text, line by line, without trailing blanks.
func screenOf(text string) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		var row []byte
		at := 0
		for i := range len(line) {
			if line[i] == '\r' {
				at = 0
				continue
			}
			if at == len(row) {
				row = append(row, ' ')
			}
			row[at] = line[i]
			at++
		}
		lines = append(lines, strings.TrimRight(string(row), " "))
	}
	return lines
}

// bigQueue is a data directory whose segments are a header and a hole, nothing but zeros: much to read, and no room on the disk.
func bigQueue(t *testing.T, segments int) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range segments {
		h := segment.Header{Queue: segment.ID{1}, Epoch: segment.Epoch{Starts: 1, Random: 1}, Salt: uint64(77 + i), First: uint64(1 + 1000*i), Size: 64 << 20}
		file := filepath.Join(dir, "segments", h.Name().String())
		err := os.WriteFile(file, h.Encode(), 0o600)
		if err = errors.Join(err, os.Truncate(file, 64<<20)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// onTerminal starts logmule as a person does: in a session of its own, with the terminal that Ctrl-C comes from.
func onTerminal(t *testing.T, tty *os.File, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "logmule") // by this name the test binary is the command
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd
}

// TestCtrlC is a check that somebody ends: the bar is gone, and the two lines say that nothing was changed.
func TestCtrlC(t *testing.T) {
	screen, tty := openTerminal(t, 100)
	shown := watchScreen(screen)
	cmd := onTerminal(t, tty, "fsck", bigQueue(t, 4000))
	shown.await(t, "B/s")
	if _, err := screen.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitOperational {
		t.Fatalf("%v, and the terminal shows %q", err, shown)
	}
	shown.await(t, "hint: nothing was changed; run it again\r\n")
	var left []string
	for _, line := range screenOf(shown.String()) {
		if line != "" {
			left = append(left, line)
		}
	}
	if len(left) != 2 || !strings.HasPrefix(left[0], "logmule: check ") || !strings.HasSuffix(left[0], ": interrupted before the end") {
		t.Errorf("the terminal shows %q", left)
	}
}

// TestBarOnTerminal is a check to its end: the bar was there, never as wide as the terminal, and nothing of it is left.
func TestBarOnTerminal(t *testing.T) {
	const columns = 72
	screen, tty := openTerminal(t, columns)
	shown := watchScreen(screen)
	cmd := onTerminal(t, tty, "fsck", bigQueue(t, 20))
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v, and the terminal shows %q", err, shown)
	}
	shown.await(t, "records  none\r\n")
	text := shown.String()
	if !strings.Contains(text, "%  ") || !strings.Contains(text, "\r[") {
		t.Errorf("no bar: %q", text)
	}
	before, page, _ := strings.Cut(text, "CLEAN")
	for drawn := range strings.SplitSeq(before, "\r") {
		if len(drawn) >= columns {
			t.Errorf("%q is %d columns wide", drawn, len(drawn))
		}
	}
	if rows := screenOf(before); len(rows) != 1 || rows[0] != "" {
		t.Errorf("before the page stands %q", rows)
	}
	if strings.Contains(page, "\x1b") || strings.Contains(page, "\r\r") {
		t.Errorf("the page has control characters: %q", page)
	}
}
