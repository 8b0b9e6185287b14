package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"logmule/forward/transport"
)

// writeSlice is how long a write may block before ctx and the stall clock are looked at.
const writeSlice = 100 * time.Millisecond

// errPeerClosed is why a connection ended when the peer closed it.
var errPeerClosed = errors.New("the peer closed the connection")

// streamConn is what a *net.TCPConn and a *net.UnixConn have in common.
type streamConn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// link is one connection. Its goroutine reads, and throws away, what the peer sends: that is the only way to learn at
// once that the peer went away.
type link struct {
	conn    streamConn
	raw     syscall.RawConn
	sealed  *sealed       // nil: no TLS
	closing atomic.Bool   // this end closes it
	done    chan struct{} // closed when it is dead
	err     error         // why; read it after done only
	useful  bool          // a batch was accepted on it

	look    func(fd uintptr) // made once, so that looking allocates nothing
	queued  int
	lookErr error
}

// newLink starts reading from the connection, under TLS where settings are given; lost is signalled when the peer ends
// it. On an error conn is closed.
func newLink(ctx context.Context, conn streamConn, settings *tls.Config, timeout time.Duration, lost chan<- struct{}) (*link, error) {
	l := &link{conn: conn, done: make(chan struct{})}
	l.look = func(fd uintptr) { l.queued, l.lookErr = unacknowledged(fd) }
	var err, set error
	if l.raw, err = conn.SyscallConn(); err == nil {
		if _, ok := conn.(*net.TCPConn); ok {
			err = l.raw.Control(func(fd uintptr) { set = setUserTimeout(fd, timeout) })
		}
	}
	if err = errors.Join(err, set); err != nil {
		_ = conn.Close() // nothing was sent on it
		return nil, fmt.Errorf("prepare the connection: %w", err)
	}
	if settings != nil {
		within, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		if l.sealed, err = newSealed(within, conn, settings); err != nil {
			_ = conn.Close() // nothing of a batch was sent on it
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, transport.ExplainHandshake(err)
		}
	}
	go l.read(lost)
	if l.sealed == nil {
		return l, nil
	}
	switch l.sealed.settled(ctx, l.done); {
	case l.alive():
	case errors.Is(l.err, errPeerClosed):
		return nil, fmt.Errorf("TLS handshake: %w, having asked for a certificate; show one that it takes with tls.cert and tls.key", l.err)
	default:
		return nil, fmt.Errorf("TLS handshake: %w", l.err)
	}
	return l, nil
}

func (l *link) read(lost chan<- struct{}) {
	var from io.Reader = l.conn
	if l.sealed != nil {
		from = l.sealed.tls
	}
	if _, l.err = io.Copy(io.Discard, from); l.err == nil {
		l.err = errPeerClosed
	}
	l.err = bare(transport.Explain(l.err))
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

// write writes of out what the kernel takes within a slice of time, at most limit, takes it off out, and returns how many
// bytes went to the kernel: with TLS, those of the sealed records.
func (l *link) write(out *net.Buffers, limit time.Duration) (int, error) {
	if err := l.conn.SetWriteDeadline(time.Now().Add(min(writeSlice, limit))); err != nil {
		return 0, err
	}
	var n int64
	var err error
	if l.sealed == nil {
		n, err = out.WriteTo(l.conn)
	} else {
		n, err = l.sealed.write(out)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return int(n), err
}

// rest tells whether there is something left to write of out or of what was sealed.
func (l *link) rest(out net.Buffers) bool {
	return len(out) > 0 || l.sealed != nil && l.sealed.pending()
}

// closeWrite says to the peer that nothing more comes.
func (l *link) closeWrite(limit time.Duration) error {
	if l.sealed != nil {
		if err := errors.Join(l.sealed.tls.CloseWrite(), l.conn.SetWriteDeadline(time.Now().Add(limit))); err != nil {
			return err
		}
		if _, err := l.sealed.write(&net.Buffers{}); err != nil {
			return err
		}
	}
	return l.conn.CloseWrite()
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
	return bare(err)
}

// bare is an error of a connection without the addresses, for a text that begins with the peer's.
func bare(err error) error {
	for {
		op, ok := err.(*net.OpError) // itself: what wraps one says more than it
		if !ok {
			return err
		}
		err = op.Err
	}
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
