package output

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"logmule/forward/codec"
)

func newTestStdout(t *testing.T, f *os.File) *stdout {
	t.Helper()
	o, err := newStdoutFile(f, nil, Env{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// blockingPipe returns a pipe as a shell makes it, whose writes block.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	must(t, unix.Pipe(fds[:]))
	r, w = os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return r, w
}

// TestStdoutReaderGone: a write to a broken pipe is an error, not the end of the process.
func TestStdoutReaderGone(t *testing.T) {
	r, w := blockingPipe(t)
	must(t, r.Close())
	o := newTestStdout(t, w)
	b := batchOf("1", linesRun("x"))
	if err := o.Send(t.Context(), b); !errors.Is(err, syscall.EPIPE) || b.Pending() != 1 {
		t.Errorf("got %v with %d pending", err, b.Pending())
	}
}

// interrupt ends a Send of more than the pipe holds, once it is full.
func interrupt(t *testing.T, o *stdout, b *Batch, w *os.File) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- o.Send(ctx, b) }()
	for room := 1; room > 0; {
		var err error
		if room, err = unix.Poll([]unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}, 0); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want the error of the context", err)
	}
}

// TestStdoutGoesOn: a Send that ended in the middle of a line has accepted what was written, and the next one goes on
// there. So a reader that comes back finds every line, whole and once.
func TestStdoutGoesOn(t *testing.T) {
	t.Run("plain", func(t *testing.T) { stdoutGoesOn(t, codec.Plain) })
	t.Run("syslog", func(t *testing.T) { stdoutGoesOn(t, "syslog") })
}

func stdoutGoesOn(t *testing.T, name string) {
	r, w := blockingPipe(t)
	o := newTestStdout(t, w)
	o.format = *mustFormat(t, name, newlineFraming, 0)
	var texts []string
	for i := range 500 {
		texts = append(texts, strings.Repeat(string(rune('a'+i%26)), 400+i*13%1000))
	}
	b := batchOf("1", linesRun(texts[:100]...), recordsRun(texts[100:200]...), linesRun(texts[200:]...))
	b.Accept(3)
	want := sent(b, &o.format)

	interrupt(t, o, b, w)
	if p := b.Pending(); p == 499 || p == 0 || o.torn == 0 {
		t.Fatalf("%d pending, %d bytes of the next one written", p, o.torn)
	}
	read := make(chan string, 1)
	go func() { all, _ := io.ReadAll(r); read <- string(all) }()
	mustSend(t, o, b)
	must(t, w.Close())
	if got := <-read; got != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

// TestStdoutOtherBatch: when another batch comes than the one that was torn, its lines stay whole.
func TestStdoutOtherBatch(t *testing.T) {
	r, w := blockingPipe(t)
	o := newTestStdout(t, w)
	interrupt(t, o, batchOf("1", linesRun(strings.Repeat("x", 1<<20))), w)
	read := make(chan string, 1)
	go func() { all, _ := io.ReadAll(r); read <- string(all) }()
	mustSend(t, o, batchOf("2", linesRun("whole")))
	must(t, w.Close())
	if got := <-read; !strings.HasSuffix(got, "x\nwhole\n") {
		t.Errorf("got ...%q", got[max(0, len(got)-20):])
	}
}

// TestStdoutFile: standard output may be a file, which may be full.
func TestStdoutFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	mustSend(t, newTestStdout(t, f), batchOf("1", linesRun("a", strings.Repeat("b", 3<<20)), recordsRun("c")))
	mustHold(t, path, "a\n"+strings.Repeat("b", 3<<20)+"\nc\n")

	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	b := batchOf("1", linesRun("x"))
	if err := newTestStdout(t, full).Send(t.Context(), b); !errors.Is(err, syscall.ENOSPC) || b.Pending() != 1 {
		t.Errorf("got %v with %d pending", err, b.Pending())
	}
}

func TestStdoutConfiguration(t *testing.T) {
	bad := errors.New("unknown key")
	if _, err := newStdout(func(any) error { return bad }, Env{}); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}
