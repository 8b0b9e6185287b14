package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"logmule/forward/config"
)

const (
	// firstLook and slowestLook bound the time between two looks at what the kernel has left to send: a peer nearby
	// acknowledges within microseconds, one far away needs no busy waiting.
	firstLook   = 20 * time.Microsecond
	slowestLook = 5 * time.Millisecond

	// writeSlice is how long a write may block before ctx and the stall clock are looked at.
	writeSlice = 100 * time.Millisecond

	// goodbye is how long Close waits for the peer to close its end too. Closing while its bytes are still on the way
	// here would send a reset, which can cost the peer what it has not read yet.
	goodbye = 200 * time.Millisecond
)

// mostBytes bounds the keys that are about memory.
const mostBytes config.Bytes = 256 << 20

// errPeerClosed is why a connection ended when the peer closed it.
var errPeerClosed = errors.New("the peer closed the connection")

type tcpConfig struct {
	Address string          `toml:"address"`
	Resend  config.Bytes    `toml:"resend"`
	Timeout config.Duration `toml:"timeout"`
}

// tcp writes newline-framed records to one connection. Plain TCP acknowledges nothing but bytes, kernel to kernel, so a
// batch is accepted once the peer's kernel has all of it, and what the peer's process may not have read when it died is
// sent again: every connection after the first begins with the last accepted bytes.
type tcp struct {
	env     Env
	address string
	timeout time.Duration
	lost    chan struct{}
	timer   *time.Timer

	link   *link // nil: not connected
	before bool  // there was a connection
	window window

	lines net.Buffers // of the batch
	spare net.Buffers // a copy, because writing eats it up
	out   net.Buffers // what is left of the copy
}

// link is one connection. Its goroutine reads, and throws away, what the peer sends: that is the only way to learn at
// once that the peer went away.
type link struct {
	conn    *net.TCPConn
	raw     syscall.RawConn
	closing atomic.Bool   // this end closes it
	done    chan struct{} // closed when it is dead
	err     error         // why; read it after done only
	useful  bool          // a batch was accepted on it

	look    func(fd uintptr) // made once, so that looking allocates nothing
	queued  int
	lookErr error
}

func newTCP(decode func(into any) error, env Env) (Output, error) {
	c := tcpConfig{Resend: 1 << 20, Timeout: config.Duration(10 * time.Second)}
	if err := decode(&c); err != nil {
		return nil, err
	}
	switch _, port, err := net.SplitHostPort(c.Address); {
	case c.Address == "":
		return nil, errors.New(`address is missing; add the peer's, such as address = "127.0.0.1:5150"`)
	case err != nil || port == "":
		return nil, fmt.Errorf(`address = %q is no address; write HOST:PORT, such as "127.0.0.1:5150"`, c.Address)
	case c.Timeout < config.Duration(time.Millisecond):
		return nil, fmt.Errorf(`timeout = "%v" is too short; write a duration of at least 1ms, such as "10s"`, c.Timeout)
	case c.Resend > mostBytes:
		return nil, fmt.Errorf(`resend = "%v" is too large, it is kept in memory; write at most "%v"`, c.Resend, mostBytes)
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &tcp{
		env: env, address: c.Address, timeout: time.Duration(c.Timeout),
		lost: make(chan struct{}, 1), timer: timer,
		window: window{limit: int(c.Resend)},
	}, nil
}

// Lost signals when the peer closed or reset the connection, or it timed out.
func (t *tcp) Lost() <-chan struct{} { return t.lost }

// Send connects where there is no connection, which delivers the window, then writes the batch and waits until the
// peer's kernel has it. After an error the connection is closed, because a part of the batch may be on its way.
func (t *tcp) Send(ctx context.Context, b *Batch) error {
	err := t.send(ctx, b)
	if err != nil {
		t.env.Counters.Errors.Add(1)
		return fmt.Errorf("send to %s: %w", t.address, err)
	}
	return nil
}

func (t *tcp) send(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return err // before anything is written that would cost the connection
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	t.lines = b.AppendLines(t.lines[:0], 0, b.Len())
	size := total(t.lines)
	if size == 0 {
		return nil
	}
	t.spare = append(t.spare[:0], t.lines...)
	t.out = t.spare
	if err := t.deliver(ctx); err != nil {
		t.drop()
		return err
	}
	t.link.useful = true
	t.window.add(t.lines, b.inner)
	t.env.Counters.BytesSent.Add(uint64(size))
	return nil
}

// connect returns with a connection that is alive as far as is known and on which the window has been delivered.
func (t *tcp) connect(ctx context.Context) error {
	if t.link != nil {
		if t.link.alive() {
			return nil
		}
		died := t.link
		t.link = nil
		if !died.useful {
			// A peer that takes connections only to close them must look like one that refuses them, or the engine
			// would reconnect and send the window without ever backing off.
			return fmt.Errorf("connection ended before anything new went through: %w", died.err)
		}
	}
	dialer := net.Dialer{Timeout: t.timeout}
	conn, err := dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return err
	}
	if t.before {
		t.env.Counters.Reconnects.Add(1)
	}
	t.before = true
	if t.link, err = newLink(conn.(*net.TCPConn), t.timeout, t.lost); err != nil {
		return err
	}
	again := t.window.bytes()
	if len(again) == 0 {
		return nil
	}
	t.spare = append(t.spare[:0], again)
	t.out = t.spare
	if err := t.deliver(ctx); err != nil {
		t.drop()
		return fmt.Errorf("send the last %d bytes again: %w", len(again), err)
	}
	t.env.Counters.Resent.Add(uint64(len(again)))
	return nil
}

// deliver writes t.out and returns nil when the peer's kernel has acknowledged all of it. Time counts as lost only while
// not a byte is acknowledged.
func (t *tcp) deliver(ctx context.Context) error {
	t.env.Counters.Requests.Add(1)
	l, written, acked, since := t.link, 0, 0, time.Now()
	for wait := firstLook; ; wait = min(2*wait, slowestLook) {
		n, err := t.write(ctx)
		written += n
		if err != nil {
			return l.why(err)
		}
		queued, err := l.unacknowledged()
		if err != nil {
			return l.why(err)
		}
		now := time.Now()
		if written-queued > acked {
			acked, since = written-queued, now
		}
		if len(t.out) == 0 && queued == 0 {
			return l.why(nil)
		}
		if now.Sub(since) >= t.timeout {
			return fmt.Errorf("the peer took nothing for %s, although it is connected", t.timeout)
		}
		if len(t.out) > 0 {
			continue // the write has waited
		}
		t.timer.Reset(wait)
		select {
		case <-t.timer.C:
		case <-l.done:
			t.timer.Stop()
		case <-ctx.Done():
			t.timer.Stop()
			return ctx.Err()
		}
	}
}

// write writes of t.out what the kernel takes within a slice of time.
func (t *tcp) write(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil || len(t.out) == 0 {
		return 0, err
	}
	if err := t.link.conn.SetWriteDeadline(time.Now().Add(min(writeSlice, t.timeout/4))); err != nil {
		return 0, err
	}
	n, err := t.out.WriteTo(t.link.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return int(n), err
}

// drop closes the connection.
func (t *tcp) drop() {
	t.link.close()
	t.link = nil
}

// Close ends the connection and the goroutine that reads from it.
func (t *tcp) Close() error {
	if t.link == nil {
		return nil
	}
	t.link.closing.Store(true)
	if t.link.conn.CloseWrite() == nil {
		t.timer.Reset(goodbye)
		select {
		case <-t.link.done:
			t.timer.Stop()
		case <-t.timer.C:
		}
	}
	t.drop()
	return nil
}

// newLink starts reading from the connection; lost is signalled when the peer ends it. On an error conn is closed.
func newLink(conn *net.TCPConn, timeout time.Duration, lost chan<- struct{}) (*link, error) {
	l := &link{conn: conn, done: make(chan struct{})}
	l.look = func(fd uintptr) { l.queued, l.lookErr = unacknowledged(fd) }
	var err, set error
	if l.raw, err = conn.SyscallConn(); err == nil {
		err = l.raw.Control(func(fd uintptr) { set = setUserTimeout(fd, timeout) })
	}
	if err = errors.Join(err, set); err != nil {
		_ = conn.Close() // nothing was sent on it
		return nil, fmt.Errorf("prepare the connection: %w", err)
	}
	go l.read(lost)
	return l, nil
}

func (l *link) read(lost chan<- struct{}) {
	_, l.err = io.Copy(io.Discard, l.conn)
	if l.err == nil {
		l.err = errPeerClosed
	}
	_ = l.conn.Close() // l.err says more
	close(l.done)
	if l.closing.Load() {
		return
	}
	select {
	case lost <- struct{}{}:
	default: // one signal is enough
	}
}

func (l *link) alive() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// why returns the reason for which the connection died where it did, which says more than what failed because of that.
func (l *link) why(err error) error {
	if err == nil && l.alive() {
		return nil
	}
	if errors.Is(err, net.ErrClosed) {
		<-l.done
	}
	if !l.alive() {
		return l.err
	}
	return err
}

// unacknowledged returns how many written bytes the peer's kernel has not acknowledged.
func (l *link) unacknowledged() (int, error) {
	if err := l.raw.Control(l.look); err != nil {
		return 0, err
	}
	return l.queued, l.lookErr
}

func (l *link) close() {
	l.closing.Store(true)
	_ = l.conn.Close() // what was not accepted is sent again
	<-l.done
}

// total returns the size of all slices together.
func total(lines net.Buffers) int {
	n := 0
	for _, s := range lines {
		n += len(s)
	}
	return n
}
