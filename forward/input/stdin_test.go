package input

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/forward/pack"
)

// pipe gives an input a pipe for its standard input.
func pipe(t testing.TB) (w *os.File, change func(*stdin)) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return w, func(s *stdin) { s.file = r }
}

func TestStdinRecords(t *testing.T) {
	st := newStore()
	st.log = newDurability()
	w, change := pipe(t)
	r := begin(t, "stdin", "", st.emit, change)
	io.WriteString(w, "one\n\ntw")
	st.want(t, plain("one", "")...)
	io.WriteString(w, "o\nthree")
	w.Close()
	st.want(t, plain("one", "", "two", "three")...)
	<-st.log.waiting
	select {
	case <-r.done:
		t.Error("Run returned before the records were durable")
	default:
	}
	close(st.log.open)
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if logger := st.mu.packs[0].Logger; logger != "stdin" {
		t.Errorf("logger %q", logger)
	}
	if !strings.Contains(r.text.String(), "standard input ended") {
		t.Errorf("the end is not in the log: %s", r.text)
	}
}

func TestStdinFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "in")
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 30_000) + strings.Repeat("y", 1<<20)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	st := newStore()
	r := begin(t, "stdin", "", st.emit, func(s *stdin) { s.file = file })
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	compare(t, st.wait(t, 0), model(text, 1<<20))
}

// TestStdinShutdown stops while a read is blocked and a record is unfinished.
func TestStdinShutdown(t *testing.T) {
	st := newStore()
	w, change := pipe(t)
	r := begin(t, "stdin", "max_record = \"4B\"\n", st.emit, change)
	io.WriteString(w, "one\ntoo long\nunf")
	st.want(t, line{"one", false}, line{"too ", true})
	r.stop()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if n := len(st.records()); n != 2 {
		t.Errorf("%d records", n)
	}
}

func TestStdinFailure(t *testing.T) {
	fault := errors.New("disk on fire")
	w, change := pipe(t)
	io.WriteString(w, "one\n")
	s, err := New("stdin", section(t, "stdin", ""), Env{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	change(s.(*stdin))
	err = s.Run(t.Context(), func(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, fault })
	if !errors.Is(err, fault) || !strings.Contains(err.Error(), "input test") {
		t.Errorf("Run returns %v", err)
	}
}

func TestPolledDeadline(t *testing.T) {
	w, change := pipe(t)
	var s stdin
	change(&s)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := newPolled(ctx, s.file)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	b := make([]byte, 10)
	p.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := p.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read returns %v after the deadline", err)
	}
	io.WriteString(w, "x")
	if n, err := p.Read(b); n != 1 || err != nil {
		t.Errorf("Read returns %d, %v", n, err)
	}
	p.SetReadDeadline(time.Time{})
	cancel()
	if _, err := p.Read(b); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read returns %v after the end", err)
	}
}
