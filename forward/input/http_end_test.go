package input

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/pack"
)

func TestHTTPPanic(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		switch {
		case bytes.HasPrefix(p.Body, []byte("boom")):
			panic("planted")
		case bytes.HasPrefix(p.Body, []byte("later")):
			return Receipt{Log: explosive{}}, nil
		}
		return st.emit(ctx, p)
	})
	c := client(t)
	for i, body := range []string{"boom\n", "later\n"} {
		// It may have been stored, so nothing is said about it.
		answer, err := c.Do(post(t, "PUT", r.address, strings.NewReader(body)))
		if err == nil {
			answer.Body.Close()
			t.Errorf("a panic is answered with %s", answer.Status)
		}
		if n := r.counters.Panics.Load(); n != uint64(i)+1 || !strings.Contains(r.text.String(), "planted") {
			t.Errorf("%d panics counted, log: %s", n, r.text)
		}
	}
	if status, text, _ := do(t, c, post(t, "POST", r.address, strings.NewReader("fine\n"))); status != 200 {
		t.Errorf("%d %s after a panic", status, text)
	}
	st.want(t, plain("fine")...)
}

// explosive is a log that panics.
type explosive struct{}

func (explosive) WaitDurable(context.Context, uint64) error { panic("planted too") }

// TestHTTPPanicBefore panics before anything can have been stored.
func TestHTTPPanicBefore(t *testing.T) {
	r := begin(t, "http", anyPort, discard, func(h *httpInput) { h.env.Memory = nil })
	status, text, _ := do(t, client(t), post(t, "POST", r.address, unsized{strings.NewReader("x\n")}))
	if status != 500 || !strings.Contains(text, "internal error") || r.counters.Panics.Load() != 1 {
		t.Errorf("%d %s, %d panics", status, text, r.counters.Panics.Load())
	}
}

// TestHTTPShutdown stops while requests are at every stage.
func TestHTTPShutdown(t *testing.T) {
	t.Parallel()
	st := newStore()
	st.log = newDurability()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	idle, partial, stored := dial(t, r.address), dial(t, r.address), dial(t, r.address)
	say(t, stored, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\none\n")
	<-st.log.waiting
	say(t, partial, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n"+strings.Repeat("two\n", 2000))
	eventually(t, "memory for the body", func() bool { return r.memory.Used() > 0 })
	r.stop()
	answers := make([]string, 3)
	var readers sync.WaitGroup
	for i, conn := range []*net.TCPConn{idle, partial, stored} {
		readers.Go(func() {
			conn.SetReadDeadline(time.Now().Add(patience))
			b, err := io.ReadAll(conn)
			if err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
			answers[i] = string(b)
		})
	}
	close(st.log.open)
	readers.Wait()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if answers[0] != "" || !strings.HasPrefix(answers[1], "HTTP/1.1 503 ") || !strings.HasPrefix(answers[2], "HTTP/1.1 200 ") {
		t.Errorf("answers %q", answers)
	}
	compare(t, st.records(), plain("one"))
}

// TestHTTPShutdownWhileStuck stops while a receipt never comes: the client gets no status.
func TestHTTPShutdownWhileStuck(t *testing.T) {
	t.Parallel()
	st := newStore()
	st.log = newDurability()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\none\n")
	<-st.log.waiting
	r.stop()
	if err := r.end(t); err != nil {
		t.Errorf("Run returns %v", err)
	}
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("answer %q", answer)
	}
}
