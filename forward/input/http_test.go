package input

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/pack"
)

// client is an HTTP client that leaves no connection behind.
func client(t testing.TB) *http.Client {
	transport := &http.Transport{ExpectContinueTimeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// do sends a request and returns the status, the body and the header of the answer.
func do(t testing.TB, c *http.Client, r *http.Request) (int, string, http.Header) {
	t.Helper()
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Header
}

func post(t testing.TB, method, address string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/any/path?x=y", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// unsized hides the length of a body, so that it is sent in chunks.
type unsized struct{ io.Reader }

func TestHTTPRecords(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	c := client(t)
	long := strings.Repeat("l", 1<<20)
	var want []line
	for i, x := range []struct {
		method, body string
		records      []string
	}{
		{"POST", "one\ntwo\n", []string{"one", "two"}},
		{"PUT", "three", []string{"three"}},
		{"POST", "", nil},
		{"POST", "\n", []string{""}},
		{"POST", "\n\na\r\n\x00\xff", []string{"", "", "a\r", "\x00\xff"}},
		{"POST", long, []string{long}},
		{"POST", long + "\n" + long + "\n", []string{long, long}},
		{"POST", strings.Repeat("m\n", minBlock/2) + "n", append(strings.Split(strings.Repeat("m", minBlock/2), ""), "n")},
	} {
		for _, body := range []io.Reader{strings.NewReader(x.body), unsized{strings.NewReader(x.body)}} {
			status, text, header := do(t, c, post(t, x.method, r.address, body))
			if status != 200 || text != fmt.Sprintf("{\"records\":%d}\n", len(x.records)) || header.Get("Content-Type") != "application/json" {
				t.Errorf("request %d: %d %s %v", i, status, text, header)
			}
			want = append(want, plain(x.records...)...)
			compare(t, st.wait(t, 0), want)
		}
	}
	if n := r.counters.RejectedRequests.Load(); n != 0 {
		t.Errorf("%d requests counted as rejected", n)
	}
}

// TestHTTPOnePack looks at what reaches the queue: one pack a body, whatever its size.
func TestHTTPOnePack(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	body := strings.Repeat(strings.Repeat("x", 99)+"\n", 50_000)
	if status, text, _ := do(t, client(t), post(t, "POST", r.address, strings.NewReader(body))); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	st.wait(t, 50_000)
	if len(st.mu.packs) != 1 || !strings.HasPrefix(st.mu.packs[0].Logger, "127.0.0.1:") {
		t.Errorf("%d packs, attributes %+v", len(st.mu.packs), st.mu.packs)
	}
}

func TestHTTPRefusals(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort+"max_body = \"300KB\"\nmax_record = \"100B\"\n", st.emit)
	c := client(t)
	fits := strings.Repeat("x", 100)
	for name, x := range map[string]struct {
		method, body string
		header       [2]string
		status       int
		says         string
		answer       [2]string
	}{
		"get":             {"GET", "", [2]string{}, 405, "POST", [2]string{"Allow", "POST, PUT"}},
		"options":         {"OPTIONS", "", [2]string{}, 405, "POST", [2]string{"Allow", "POST, PUT"}},
		"delete":          {"DELETE", "x\n", [2]string{}, 405, "POST", [2]string{"Allow", "POST, PUT"}},
		"unknown coding":  {"POST", "x\n", [2]string{"Content-Encoding", "br"}, 415, "codings", [2]string{"Accept-Encoding", "gzip, deflate, zstd, snappy, x-snappy-framed"}},
		"two codings":     {"POST", "x\n", [2]string{"Content-Encoding", "gzip, gzip"}, 415, "codings", [2]string{"Accept-Encoding", "gzip, deflate, zstd, snappy, x-snappy-framed"}},
		"not compressed":  {"POST", "x\n", [2]string{"Content-Encoding", "gzip"}, 400, "gzip", [2]string{}},
		"long record":     {"POST", fits + "\n" + fits + "x\n" + fits, [2]string{}, 413, "record 2 is longer than max_record", [2]string{}},
		"long last":       {"POST", fits + "\n" + fits + "x", [2]string{}, 413, "record 2", [2]string{}},
		"long body":       {"POST", strings.Repeat("x\n", 150_000) + "x", [2]string{}, 413, "max_body", [2]string{"Connection", "close"}},
		"very long body":  {"POST", strings.Repeat("x\n", 5_000_000), [2]string{}, 413, "max_body", [2]string{"Connection", "close"}},
		"expectation":     {"POST", strings.Repeat("x\n", 5_000_000), [2]string{"Expect", "100-continue"}, 413, "max_body", [2]string{"Connection", "close"}},
		"identity":        {"POST", "i\n", [2]string{"Content-Encoding", "identity"}, 200, "records", [2]string{}},
		"longest record":  {"POST", fits + "\n" + fits, [2]string{}, 200, "records", [2]string{}},
		"longest body":    {"POST", strings.Repeat("x\n", 150_000), [2]string{}, 200, "records", [2]string{}},
		"expect and send": {"POST", strings.Repeat("x\n", 100_000), [2]string{"Expect", "100-continue"}, 200, "records", [2]string{}},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s chunked=%v", name, chunked), func(t *testing.T) {
				stored, rejected := len(st.records()), r.counters.RejectedRequests.Load()
				var body io.Reader = strings.NewReader(x.body)
				if chunked && x.body != "" {
					body = unsized{body}
				}
				q := post(t, x.method, r.address, body)
				if x.header[0] != "" {
					q.Header.Set(x.header[0], x.header[1])
				}
				status, text, header := do(t, c, q)
				if status != x.status || !strings.Contains(text, x.says) || x.answer[0] != "" && header.Get(x.answer[0]) != x.answer[1] && x.answer[0] != "Connection" {
					t.Errorf("%d %s %v", status, text, header)
				}
				if grown := len(st.records()) > stored; grown != (status == 200) {
					t.Errorf("answered %d, records stored: %v", status, grown)
				}
				if n := r.counters.RejectedRequests.Load() - rejected; status == 200 != (n == 0) {
					t.Errorf("answered %d, %d requests counted as rejected", status, n)
				}
			})
		}
	}
}

// raw sends text as it is and returns what comes back until the server closes.
func raw(t testing.TB, address, text string, then func(*net.TCPConn)) string {
	t.Helper()
	conn := dial(t, address)
	say(t, conn, text)
	if then != nil {
		then(conn)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %q: %v", answer, err)
	}
	return string(answer)
}

func TestHTTPUnreadableBody(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	hasty := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.stall = 500 * time.Millisecond })
	closeWrite := func(c *net.TCPConn) { c.CloseWrite() }
	for name, x := range map[string]struct {
		text   string
		then   func(*net.TCPConn)
		status string
	}{
		"short body":    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\none\n", closeWrite, "400 Bad Request"},
		"no body":       {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n", closeWrite, "400 Bad Request"},
		"short chunks":  {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n", closeWrite, "400 Bad Request"},
		"bad chunk":     {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\nzz\r\n", nil, "400 Bad Request"},
		"stalled body":  {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\none\n", nil, "408 Request Timeout"},
		"stalled chunk": {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n", nil, "408 Request Timeout"},
		"huge length":   {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000000000000000\r\n\r\nx", closeWrite, "413 Request Entity"},
		"nonsense":      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\r\n\r\n", nil, "400 Bad Request"},
	} {
		t.Run(name, func(t *testing.T) {
			address := r.address
			if strings.HasPrefix(name, "stalled") {
				address = hasty.address
			}
			answer := raw(t, address, x.text, x.then)
			if !strings.HasPrefix(answer, "HTTP/1.1 "+x.status) || !strings.Contains(answer, "Connection: close") {
				t.Errorf("answer %q, want %s", answer, x.status)
			}
		})
	}
	if records := st.records(); len(records) != 0 {
		t.Errorf("%d records stored of requests that were refused", len(records))
	}
}

// TestHTTPSlowBody sends a byte at a time, each well before the stall.
func TestHTTPSlowBody(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 8\r\n\r\n")
	for _, b := range "one\ntwo\n" {
		say(t, conn, string(b))
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 OK") {
		t.Errorf("answer %q, %v", answer, err)
	}
	st.want(t, plain("one", "two")...)
}

// TestHTTPWaitsForDurability gives no status before the receipt.
func TestHTTPWaitsForDurability(t *testing.T) {
	st := newStore()
	st.log = newDurability()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\none\n")
	<-st.log.waiting
	if used := r.memory.Used(); used != 0 {
		t.Errorf("%d bytes of the budget held while waiting", used)
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("answered before the record was durable")
	}
	conn.CloseWrite() // a client may do so and still want its answer
	close(st.log.open)
	conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("answer %v, %v", answer, err)
	}
}

// TestHTTPOutlastsStall waits for durability much longer than a body may stall: the limits of the body are over by then.
func TestHTTPOutlastsStall(t *testing.T) {
	st := newStore()
	st.log = newDurability()
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.stall, h.gone = 200*time.Millisecond, time.Millisecond })
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\none\n")
	<-st.log.waiting
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection ends while waiting: %v", err)
	}
	close(st.log.open)
	conn.SetReadDeadline(time.Now().Add(patience))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("answer %v, %v", answer, err)
	}
}

// TestHTTPClientGone ends the wait when the client has gone.
func TestHTTPClientGone(t *testing.T) {
	st := newStore()
	st.log = newDurability()
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.gone = time.Millisecond })
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\none\n")
	<-st.log.waiting
	conn.Close()
	eventually(t, "the end of the connection", func() bool { return r.counters.Connections.Load() == 0 })
	if n := r.counters.RejectedRequests.Load(); n != 0 {
		t.Errorf("%d requests counted as rejected, though stored", n)
	}
}

func TestHTTPNoRoom(t *testing.T) {
	t.Parallel()
	for name, emit := range map[string]Emit{
		"full":    func(ctx context.Context, _ *pack.Pack) (Receipt, error) { <-ctx.Done(); return Receipt{}, ctx.Err() },
		"dropped": func(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, ErrDropped },
		"failed":  func(context.Context, *pack.Pack) (Receipt, error) { return Receipt{}, errors.New("disk on fire") },
		"the disk takes no data": func(ctx context.Context, _ *pack.Pack) (Receipt, error) {
			<-ctx.Done()
			return Receipt{}, fmt.Errorf("%w: %w", ErrDisk, ctx.Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := begin[*httpInput](t, "http", anyPort, emit)
			status, text, header := do(t, client(t), post(t, "POST", r.address, strings.NewReader("one\n")))
			if status != 503 || header.Get("Retry-After") != "1" || strings.Contains(name, "disk") && !strings.Contains(text, name) {
				t.Errorf("%d %s %v", status, text, header)
			}
		})
	}
}

// TestHTTPNoMemory refuses a body that the budget has no room for, and takes it once it has.
func TestHTTPNoMemory(t *testing.T) {
	t.Parallel()
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	if err := r.memory.Acquire(t.Context(), 2<<20); err != nil {
		t.Fatal(err)
	}
	c := client(t)
	body := strings.Repeat("x\n", 1<<20)
	status, text, header := do(t, c, post(t, "POST", r.address, strings.NewReader(body)))
	if status != 503 || header.Get("Retry-After") != "1" || !strings.Contains(text, "memory_limit") {
		t.Errorf("%d %s %v", status, text, header)
	}
	r.memory.Release(2 << 20)
	if status, text, _ = do(t, c, post(t, "POST", r.address, strings.NewReader(body))); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	st.wait(t, 1<<20)
}

// TestHTTPMemoryFollowsBytes declares a large body and sends little of it.
func TestHTTPMemoryFollowsBytes(t *testing.T) {
	r := begin[*httpInput](t, "http", anyPort, discard)
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16777216\r\n\r\n"+strings.Repeat("x", firstBlock+1))
	eventually(t, "memory for what has come", func() bool { return r.memory.Used() == 3*firstBlock })
	say(t, conn, strings.Repeat("x", 3*firstBlock))
	eventually(t, "memory for more", func() bool { return r.memory.Used() == 15*firstBlock })
	conn.Close()
	eventually(t, "it to be given back", func() bool { return r.memory.Used() == 0 })
}

// TestHTTPSmallBodies: what fits in the memory that every request has is taken, whatever the others hold.
func TestHTTPSmallBodies(t *testing.T) {
	st := newStore()
	r := begin[*httpInput](t, "http", anyPort, st.emit)
	if err := r.memory.Acquire(t.Context(), 1<<30); err != nil {
		t.Fatal(err)
	}
	for _, body := range []io.Reader{strings.NewReader("sized\n"), io.MultiReader(strings.NewReader("chunked\n"))} {
		if status, text, _ := do(t, client(t), post(t, "POST", r.address, body)); status != 200 {
			t.Errorf("%d %s", status, text)
		}
	}
	st.want(t, plain("sized", "chunked")...)
	r.memory.Release(1 << 30)
}

// TestHTTPTricklesForMemory: who got memory for all that he has announced has to send it when others want some.
func TestHTTPTricklesForMemory(t *testing.T) {
	st := newStore()
	memory := NewBudget(0)
	r := begin(t, "http", anyPort, st.emit, func(h *httpInput) { h.stall, h.env.Memory = 3*time.Second, memory })
	conn := dial(t, r.address)
	say(t, conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", firstBlock))
	eventually(t, "memory for all of it", func() bool { return memory.Used() > 100_000 })
	stop := make(chan struct{})
	var trickle sync.WaitGroup
	trickle.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				_, _ = conn.Write([]byte("x"))
			case <-stop:
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := memory.Acquire(ctx, 1); err != nil {
		t.Error("nobody else gets memory")
	}
	memory.Release(1)
	close(stop)
	trickle.Wait()
	conn.SetReadDeadline(time.Now().Add(patience))
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 408") || !strings.Contains(string(answer[:n]), "others wait") {
		t.Errorf("%q, %v", answer[:n], err)
	}
}

func BenchmarkHTTP(b *testing.B) {
	r := begin[*httpInput](b, "http", anyPort, discard)
	c := client(b)
	body := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if status, text, _ := do(b, c, post(b, "POST", r.address, bytes.NewReader(body))); status != 200 {
			b.Fatalf("%d %s", status, text)
		}
	}
}
