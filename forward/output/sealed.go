package output

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// sealMost is how many bytes are encrypted at a time. They wait in memory until the kernel has them.
const sealMost = 64 << 10

// verdictWait is how long a peer that asked for a certificate may take to say that it will do. One that has no way to
// say so costs a new connection this much.
const verdictWait = time.Second

// sealed is a TLS connection whose writes do no input or output: a write of crypto/tls that runs into a deadline makes
// the connection unusable, while here a peer that is slow is looked after in slices of time. So crypto/tls writes into
// memory, and from there the bytes go to the socket by themselves.
type sealed struct {
	tls   *tls.Conn
	box   *box
	asked bool          // the peer wants a certificate
	taken chan struct{} // signals when it was content with that
}

// newSealed makes the handshake.
func newSealed(ctx context.Context, conn net.Conn, settings *tls.Config) (*sealed, error) {
	s := &sealed{box: &box{Conn: conn}, taken: make(chan struct{}, 1)}
	settings = settings.Clone()
	certificate := settings.GetClientCertificate
	settings.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		s.asked = true
		if certificate == nil {
			return new(tls.Certificate), nil // none
		}
		return certificate(info)
	}
	settings.ClientSessionCache = tickets{s.taken}
	s.tls = tls.Client(s.box, settings)
	if err := s.tls.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	s.box.mu.Lock()
	s.box.mu.keeps = true
	s.box.mu.Unlock()
	return s, nil
}

// settled waits for what the peer thinks of the certificate that it asked for. In TLS 1.3 the handshake is over before
// that, and the peer's kernel would acknowledge records that its process will never take. A peer that is content sends a
// ticket for the next session, most of them at once.
func (s *sealed) settled(ctx context.Context, dead <-chan struct{}) {
	if !s.asked || s.tls.ConnectionState().Version < tls.VersionTLS13 {
		return
	}
	timer := time.NewTimer(verdictWait)
	defer timer.Stop()
	select {
	case <-s.taken:
	case <-dead:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tickets is a cache that keeps no session and signals when it is given one.
type tickets struct{ got chan<- struct{} }

// Get has none.
func (t tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put signals.
func (t tickets) Put(string, *tls.ClientSessionState) {
	select {
	case t.got <- struct{}{}:
	default: // one signal is enough
	}
}

// pending tells whether sealed bytes wait for the kernel.
func (s *sealed) pending() bool {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	return len(s.box.mu.bytes) > 0
}

// write seals and writes of out what the kernel takes until the connection's deadline, takes it off out, and returns how
// many sealed bytes the kernel took.
func (s *sealed) write(out *net.Buffers) (total int64, err error) {
	for {
		n, err := s.box.flush()
		total += int64(n)
		if err != nil || len(*out) == 0 {
			return total, err
		}
		chunk := (*out)[0]
		if len(chunk) > sealMost {
			chunk = chunk[:sealMost]
		}
		if _, err := s.tls.Write(chunk); err != nil {
			return total, err
		}
		if (*out)[0] = (*out)[0][len(chunk):]; len((*out)[0]) == 0 {
			*out = (*out)[1:]
		}
	}
}

// box is the socket as crypto/tls sees it: what it writes after the handshake stays in memory until flush. The reading
// goroutine may write too, when the peer asks for new keys.
type box struct {
	net.Conn
	mu struct { // guards:
		sync.Mutex
		keeps bool
		bytes []byte
	}
}

// Write keeps p.
func (b *box) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mu.keeps {
		return b.Conn.Write(p)
	}
	b.mu.bytes = append(b.mu.bytes, p...)
	return len(p), nil
}

// SetWriteDeadline does nothing once writes are kept: the deadlines of the socket are for flush alone.
func (b *box) SetWriteDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.keeps {
		return nil
	}
	return b.Conn.SetWriteDeadline(t)
}

// flush writes what was kept to the socket.
func (b *box) flush() (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mu.bytes) == 0 {
		return 0, nil
	}
	n, err := b.Conn.Write(b.mu.bytes)
	b.mu.bytes = b.mu.bytes[:copy(b.mu.bytes, b.mu.bytes[n:])]
	return n, err
}
