package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// answerText is how much of an answer an error quotes, and answerMost how much is read so that the connection can be
	// used again; both in bytes.
	answerText = 200
	answerMost = 64 << 10

	// longestRetryAfter bounds what a destination can ask for.
	longestRetryAfter = time.Hour
)

// errSent is why net/http must not send a request again on another connection: the engine shall know about it.
var errSent = errors.New("the connection ended when a part of the request had been sent")

// post sends h.lines, size bytes, as one request. It returns nil and "" when the destination took them, and as refused
// what it answered when it does not want them. After it returned nothing refers to the lines any more.
func (h *httpOutput) post(ctx context.Context, key string, size int) (refused string, err error) {
	h.env.Counters.Requests.Add(1)
	within, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	body := &body{lines: h.lines}
	defer body.end()
	trace := &httptrace.ClientTrace{GotConn: body.gotConn}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(within, trace), http.MethodPost, h.url.String(), nil)
	if err != nil {
		return "", fmt.Errorf("POST %s: %w", h.where, err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("User-Agent", "logmule")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if user := h.url.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	req.Body, req.GetBody, req.ContentLength = body.reader(), body.again, int64(size)

	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() == nil && within.Err() != nil {
			err = fmt.Errorf("no answer within %s: %w", h.timeout, err)
		}
		return "", fmt.Errorf("POST %s: %w", h.where, err)
	}
	defer resp.Body.Close()
	return h.judge(resp, body)
}

// judge reads the answer and says what it means.
func (h *httpOutput) judge(resp *http.Response, body *body) (refused string, err error) {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, answerText)) // the status is what counts
	_, _ = io.CopyN(io.Discard, resp.Body, answerMost-answerText)
	answer := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if text := strings.Join(strings.Fields(strings.ToValidUTF8(string(head), "?")), " "); text != "" {
		answer += ": " + text
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		if !body.sent() {
			return "", fmt.Errorf("POST %s: answered %s before it had the whole request", h.where, answer)
		}
		return "", nil
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge,
		code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		return answer, nil
	case code >= 300 && code < 400 && resp.Header.Get("Location") != "":
		err = fmt.Errorf("POST %s: answered %s; redirects are not followed, change url to %q if that is right",
			h.where, answer, resp.Header.Get("Location"))
	default:
		err = fmt.Errorf("POST %s: answered %s", h.where, answer)
	}
	if after := retryAfter(resp.Header.Get("Retry-After"), time.Now()); after > 0 {
		err = &RetryError{After: after, Err: err}
	}
	return "", err
}

// retryAfter reads a Retry-After header, seconds or a date; 0 when it says nothing of use.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err == nil || errors.Is(err, strconv.ErrRange):
		return time.Duration(max(0, min(seconds, int64(longestRetryAfter/time.Second)))) * time.Second
	default:
		date, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		return max(0, min(date.Sub(now), longestRetryAfter))
	}
}

// body is the lines of one request. The lines belong to the batch, while net/http may go on reading a request's body
// after it has given the answer; so readers copy under a lock, and find nothing once the request is over.
type body struct {
	mu    sync.Mutex
	lines net.Buffers
	over  bool
	whole bool // the last reader gave everything away

	wire *wire // the connection that the request is on
	from int64 // its sent, before
}

// reader returns a reader from the first byte on.
func (b *body) reader() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = false
	return &bodyReader{body: b}
}

// again is GetBody: net/http asks for it when an idle connection turns out to be dead and it wants to use a new one.
func (b *body) again() (io.ReadCloser, error) {
	if b.wire != nil && b.wire.sent.Load() != b.from {
		return nil, errSent
	}
	return b.reader(), nil
}

func (b *body) gotConn(info httptrace.GotConnInfo) {
	conn := info.Conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if w, ok := conn.(*wire); ok {
		b.wire, b.from = w, w.sent.Load()
	}
}

// sent tells whether all of the body went to a connection that took it.
func (b *body) sent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.whole && (b.wire == nil || !b.wire.broken.Load())
}

func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines, b.over = nil, true
}

type bodyReader struct {
	body   *body
	slice  int // the next byte is in this slice
	offset int // at this place
}

// Read copies the next bytes.
func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, errSent
	}
	n := 0
	for n < len(p) && r.slice < len(b.lines) {
		c := copy(p[n:], b.lines[r.slice][r.offset:])
		n, r.offset = n+c, r.offset+c
		if r.offset == len(b.lines[r.slice]) {
			r.slice, r.offset = r.slice+1, 0
		}
	}
	b.whole = r.slice == len(b.lines)
	if n == 0 && b.whole {
		return 0, io.EOF
	}
	return n, nil
}

// Close does nothing: a reader holds nothing.
func (r *bodyReader) Close() error { return nil }

// wire is a connection that remembers what was sent. A peer that refuses a request without reading all of it closes the
// connection, and net/http drops the answer when a write fails before it has read that; so a write into a connection
// that the peer has closed counts as done, and the next read tells what became of it.
type wire struct {
	net.Conn
	sent   atomic.Int64
	broken atomic.Bool
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent.Add(int64(n))
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		w.broken.Store(true)
		return len(p), nil
	}
	return n, err
}

func (h *httpOutput) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: h.timeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if h.wires.Swap(true) {
		h.env.Counters.Reconnects.Add(1)
	}
	return &wire{Conn: conn}, nil
}
