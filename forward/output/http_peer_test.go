package output

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/config"
)

// rawServer answers connections one after the other, each with a function.
func rawServer(t *testing.T, conns ...func(conn *net.TCPConn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for _, serve := range conns {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn.(*net.TCPConn), bufio.NewReader(conn))
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); done.Wait() })
	return "http://" + l.Addr().String()
}

// readRequest reads one request and returns its body.
func readRequest(r *bufio.Reader) string {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "no request: " + err.Error()
	}
	body, err := io.ReadAll(req.Body)
	return fmt.Sprint(string(body), err)
}

func answer(text string) func(*net.TCPConn, *bufio.Reader) {
	return func(conn *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		fmt.Fprint(conn, text)
	}
}

// TestHTTPHalfAnswers: an answer counts as soon as its head is whole, and not before.
func TestHTTPHalfAnswers(t *testing.T) {
	for text, accepted := range map[string]bool{
		"":                       false,
		"HTTP/1.1 20":            false,
		"HTTP/1.1 200 OK\r\nCon": false,
		"no HTTP at all\r\n\r\n": false,
		"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf":                            true,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nh":                   true,
		"HTTP/1.1 200 OK\r\n\r\n":                                                       true,
		"HTTP/1.0 200 OK\r\n\r\nuntil the end":                                          true,
		"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\nhalf":                            false,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n": false,
	} {
		url := rawServer(t, answer(text), answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		o := newTestHTTP(t, url, nil)
		b := batchOf("id", linesRun("a"))
		err := o.Send(t.Context(), b)
		if accepted != (err == nil) {
			t.Errorf("after %q: %v", text, err)
		}
		if err != nil && !strings.Contains(err.Error(), url) {
			t.Errorf("after %q: %v does not name the URL", text, err)
		}
		mustSend(t, o, b) // 200 then close, or a broken one: the next request goes over a new connection
	}
}

// TestHTTPAnswersBeforeTheBody: a peer that answers without reading and resets the connection.
func TestHTTPAnswersBeforeTheBody(t *testing.T) {
	early := func(status string) func(conn *net.TCPConn, r *bufio.Reader) {
		return func(conn *net.TCPConn, _ *bufio.Reader) {
			_, _ = conn.Read(make([]byte, 10))
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status)
		}
	}
	for status, accepted := range map[string]bool{"413 Too Large": true, "200 OK": false, "503 No": false} {
		t.Run(status, func(t *testing.T) {
			for range 10 {
				o := newTestHTTP(t, rawServer(t, early(status)), func(c *httpConfig) { c.MaxBatch = mostBytes })
				run := linesRun(strings.Repeat("x", 32<<20))
				b := batchOf("id", run)
				err := o.Send(t.Context(), b)
				clear(run.Body) // the race detector tells if anybody still reads it
				if accepted != (err == nil) || accepted != (len(b.Rejected()) == 1) {
					t.Fatalf("got %v, rejected %d", err, len(b.Rejected()))
				}
			}
		})
	}
}

// TestHTTPStaleConnection: the peer closes a kept connection when the next request comes. What was sent may have been
// taken, so net/http must not send it again by itself; the retry of the engine does.
func TestHTTPStaleConnection(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	second := make(chan string, 1)
	url := rawServer(t, func(conn *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		fmt.Fprint(conn, ok)
		second <- readRequest(r)
	}, answer(ok))
	o := newTestHTTP(t, url, nil)
	mustSend(t, o, batchOf("1", linesRun("a")))
	b := batchOf("2", linesRun("b"))
	err := o.Send(t.Context(), b)
	if got := <-second; err == nil || !strings.Contains(err.Error(), errSent.Error()) || got != "b\n<nil>" {
		t.Fatalf("got %v, the peer had read %q", err, got)
	}
	mustSend(t, o, b)
}

// TestHTTPClosedConnection: a connection that the peer closed in between is no error, nothing was sent on it.
func TestHTTPClosedConnection(t *testing.T) {
	ok := answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	o := newTestHTTP(t, rawServer(t, ok, ok, ok), nil)
	for i := range 3 {
		b := batchOf(fmt.Sprint(i), linesRun("a"))
		for o.Send(t.Context(), b) != nil { // it may have been closed just after the look at it
		}
	}
}

func TestHTTPTimeout(t *testing.T) {
	release := make(chan struct{})
	wait := func(*net.TCPConn, *bufio.Reader) { <-release }
	half := func(conn *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		fmt.Fprint(conn, "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf")
		<-release
	}
	url := rawServer(t, wait, half)
	t.Cleanup(func() { close(release) })
	o := newTestHTTP(t, url, func(c *httpConfig) { c.Timeout, c.MaxBatch = config.Duration(200*time.Millisecond), mostBytes })
	b := batchOf("id", linesRun(strings.Repeat("x", 32<<20)))
	if err := o.Send(t.Context(), b); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "200ms") {
		t.Errorf("got %v", err)
	}
	release <- struct{}{}
	o.timeout = 2 * time.Second // the answer is to come within that, and the rest of it is not
	if err := o.Send(t.Context(), batchOf("id", linesRun("a"))); err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("got %v", err)
	}
}

// TestHTTPSlowLink: a request takes longer than the timeout, because the way is slow; it never stands still.
func TestHTTPSlowLink(t *testing.T) {
	const timeout = 2 * time.Second
	whole := make(chan int, 1)
	url := rawServer(t, func(conn *net.TCPConn, _ *bufio.Reader) {
		tick := time.NewTicker(timeout / 40)
		defer tick.Stop()
		got, b := 0, make([]byte, 128<<10)
		for start := time.Now(); time.Since(start) < 2*timeout; {
			<-tick.C
			n, err := conn.Read(b)
			if got += n; err != nil {
				break
			}
		}
		for got < 32<<20 {
			n, err := conn.Read(b)
			if got += n; err != nil {
				break
			}
		}
		whole <- got
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	o := newTestHTTP(t, url, func(c *httpConfig) { c.Timeout, c.MaxBatch = config.Duration(timeout), mostBytes })
	start := time.Now()
	mustSend(t, o, batchOf("id", linesRun(strings.Repeat("x", 32<<20))))
	if n, d := <-whole, time.Since(start); n < 32<<20 || d < 2*timeout {
		t.Errorf("%d bytes came in %v", n, d)
	}
}

// TestHTTP2PingsAreNoProgress: a peer that has all of a request, and says everything but an answer, has not answered. The
// next request does not go to it.
func TestHTTP2PingsAreNoProgress(t *testing.T) {
	const (
		settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
		ping     = "\x00\x00\x08\x06\x00\x00\x00\x00\x00are you?"
		ok       = "\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88" // headers of stream 1, which end it: status 200
	)
	silent := func(conn *net.TCPConn, r *bufio.Reader) {
		var reads sync.WaitGroup
		reads.Go(func() { _, _ = io.Copy(io.Discard, r) })
		_, err := io.WriteString(conn, settings)
		for err == nil && t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
			_, err = io.WriteString(conn, ping)
		}
		_ = conn.Close()
		reads.Wait()
	}
	answering := func(conn *net.TCPConn, r *bufio.Reader) {
		_, _ = io.WriteString(conn, settings)
		for got, b := "", make([]byte, 1<<10); !strings.Contains(got, "record\n"); {
			n, err := r.Read(b)
			if got += string(b[:n]); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, ok)
		_, _ = io.Copy(io.Discard, r)
	}
	o := newTestHTTP(t, rawServer(t, silent, answering), func(c *httpConfig) { c.HTTP2, c.Timeout = true, config.Duration(time.Second) })
	if err := o.Send(t.Context(), batchOf("id", linesRun("record"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	o.timeout = time.Minute
	mustSend(t, o, batchOf("id", linesRun("record")))
}

// TestHTTPLongAnswers: a long answer is read so that the connection can be used again, one without end is not.
func TestHTTPLongAnswers(t *testing.T) {
	for size, reconnects := range map[int]uint64{60 << 10: 0, 8 << 20: 2} {
		s := newServer(t, func(w http.ResponseWriter, _ string) { _, _ = w.Write(make([]byte, size)) })
		o := newTestHTTP(t, s.URL, nil)
		for i := range 3 {
			mustSend(t, o, batchOf(fmt.Sprint(i), linesRun("a")))
		}
		if n := o.env.Counters.Reconnects.Load(); n != reconnects {
			t.Errorf("%d reconnects after answers of %d bytes, want %d", n, size, reconnects)
		}
	}
}

// TestHTTPBodyEnds: net/http may read on when the request is over, but the lines belong to somebody else then.
func TestHTTPBodyEnds(t *testing.T) {
	b := newBody(net.Buffers{[]byte("one\n"), []byte("two\n")})
	r := b.reader()
	if n, err := r.Read(make([]byte, 5)); n != 5 || err != nil || b.whole {
		t.Fatalf("read %d bytes, %v, whole %v", n, err, b.whole)
	}
	again, err := b.again()
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(again); string(all) != "one\ntwo\n" || err != nil || !b.sent(t.Context(), 1) {
		t.Fatalf("read %q, %v, sent %v", all, err, b.sent(t.Context(), 1))
	}
	b.end()
	if n, err := r.Read(make([]byte, 5)); n != 0 || err == nil {
		t.Errorf("read %d bytes after the end, %v", n, err)
	}
}
