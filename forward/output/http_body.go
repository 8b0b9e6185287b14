package output

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// body is the lines of one request. The lines belong to the batch, while net/http may go on reading a request's body
// after it has given the answer; so readers copy under a lock, and find nothing once the request is over.
type body struct {
	mu    sync.Mutex
	lines net.Buffers
	over  bool
	whole bool // the last reader gave everything away

	wire *wire // the connection that the request is on
	from int64 // its sent, before
	upto int64 // its sent when something of the request went there last
	read int64 // bytes that readers have given, over all attempts

	written chan bool // gets whether the request was written
}

func newBody(lines net.Buffers) *body { return &body{lines: lines, written: make(chan bool, 1)} }

// reader returns a reader from the first byte on.
func (b *body) reader() io.ReadCloser {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole = false
	return &bodyReader{body: b}
}

// again is GetBody: net/http asks for it when an idle connection turns out to be dead and it wants to use a new one.
func (b *body) again() (io.ReadCloser, error) {
	if w, from := b.on(); w != nil && w.sent.Load() != from {
		return nil, errSent
	}
	return b.reader(), nil
}

// on is the connection that the request is on, nil for none, and what was sent on it before.
func (b *body) on() (*wire, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wire, b.from
}

// moved is how far the request has come: on which connection it is, nil for none, how much was read of it, and how much the
// peer has taken. What else goes over the connection, such as answers to pings, does not count.
func (b *body) moved() (on *wire, read int64, taken uint64) {
	b.mu.Lock()
	on, read, upto := b.wire, b.read, b.upto
	b.mu.Unlock()
	if on != nil {
		taken = min(on.taken(), uint64(upto))
	}
	return on, read, taken
}

func (b *body) gotConn(info httptrace.GotConnInfo) {
	conn := info.Conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if w, ok := conn.(*wire); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.wire, b.from = w, w.sent.Load()
		b.upto = b.from
	}
}

// wrote is called when net/http is done with writing the request, which may be after the answer has come.
func (b *body) wrote(info httptrace.WroteRequestInfo) {
	b.mu.Lock()
	b.reachedLocked()
	b.mu.Unlock()
	select {
	case b.written <- info.Err == nil:
	default: // one of an earlier attempt was not looked at
	}
}

// reachedLocked notes how much was sent so far. b.mu is held.
func (b *body) reachedLocked() {
	if b.wire != nil {
		b.upto = b.wire.sent.Load()
	}
}

// sent tells whether all of the body went to a connection that took it. In HTTP/2 that is not known by what was read of
// the body: the peer may not have asked for the rest.
func (b *body) sent(ctx context.Context, protocol int) bool {
	if protocol > 1 {
		select {
		case all := <-b.written:
			return all
		case <-ctx.Done():
			return false
		}
	}
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
	b.read += int64(n)
	b.reachedLocked()
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
	raw    syscall.RawConn // nil: not known
	sent   atomic.Int64
	broken atomic.Bool
}

// taken is how many bytes the peer's kernel has; where that is not known, how many this one has taken.
func (w *wire) taken() uint64 {
	taken, err := uint64(0), errors.ErrUnsupported
	if w.raw != nil {
		_ = w.raw.Control(func(fd uintptr) { taken, err = acknowledged(fd) }) // what is closed makes no progress
	}
	if errors.Is(err, errors.ErrUnsupported) {
		return uint64(w.sent.Load())
	}
	return taken
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
	began := time.Now()
	dialer := net.Dialer{Timeout: h.timeout}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, &ConnectError{time.Since(began), bare(err)}
	}
	if h.wires.Swap(true) {
		h.env.Counters.Reconnects.Add(1)
	}
	w := &wire{Conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn() // fails only on a connection that is closed
	}
	return w, nil
}
