package output

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/transport"
)

const (
	// firstLook and slowestLook bound the time between two looks at what the kernel has left to send: a peer nearby
	// acknowledges within microseconds, one far away needs no busy waiting.
	firstLook   = 20 * time.Microsecond
	slowestLook = 5 * time.Millisecond

	// goodbye is how long Close waits for the peer to close its end too. Closing while its bytes are still on the way
	// here would send a reset, which can cost the peer what it has not read yet.
	goodbye = 200 * time.Millisecond
)

// mostBytes bounds the keys that are about memory.
const mostBytes config.Bytes = 256 << 20

// streamKeys are the keys of outputs that write to a connection.
type streamKeys struct {
	Framing   string          `toml:"framing" doc:"how the peer finds the end of a record: \"newline\": LF after every record; \"octet-counted\": RFC 6587; \"length-prefixed\": four bytes of length, the highest first; \"heka\": whole records in Heka's stream frames"`
	Codec     string          `toml:"codec" doc:"what is written of a record: \"plain\": its payload; \"syslog\": RFC 5424; \"syslog-3164\": RFC 3164"`
	MaxRecord config.Bytes    `toml:"max_record" doc:"size of the largest record, encoded, that the peer takes; larger ones become dead letters; 0: any"`
	Resend    config.Bytes    `toml:"resend" doc:"how much of what was accepted goes out again at the start of a new connection, because the peer may have died before it read that, in bytes; 0B: nothing"`
	Timeout   config.Duration `toml:"timeout" doc:"how long to wait for a connection, for its TLS handshake, and for a peer far away that takes nothing"`
	TLS       transport.TLS   `toml:"tls" doc:"TLS to the peer"`
}

func defaultStreamKeys() streamKeys {
	return streamKeys{Framing: newlineFraming, Codec: codec.Plain, Resend: 1 << 20, Timeout: config.Duration(10 * time.Second)}
}

// stream writes framed records to one connection. Such a connection acknowledges nothing but bytes, kernel to kernel, so
// a batch is accepted once the peer's kernel has all of it, and what the peer's process may not have read when it died is
// sent again: every connection after the first begins with the last accepted bytes.
type stream struct {
	env     Env
	network string
	address string
	host    string // for TLS
	tls     transport.TLS
	format  format
	timeout time.Duration
	patient bool // a peer that takes nothing is only slow: it is on this machine, so no network can have lost it
	lost    chan struct{}
	timer   *time.Timer

	link   *link // nil: not connected
	before bool  // there was a connection
	window window

	lines net.Buffers // of the batch
	spare net.Buffers // a copy, because writing eats it up
	out   net.Buffers // what is left of the copy
}

// newStream checks the keys; its errors begin with the one that is wrong.
func newStream(env Env, c streamKeys) (*stream, error) {
	switch {
	case c.Framing == noFraming:
		return nil, fmt.Errorf("framing is empty; remove it, or write framing = %q", newlineFraming)
	case c.Timeout < config.Duration(time.Millisecond):
		return nil, fmt.Errorf(`timeout = "%v" is too short; write a duration of at least 1ms, such as "10s"`, c.Timeout)
	case c.Resend > mostBytes:
		return nil, fmt.Errorf(`resend = "%v" is too large, it is kept in memory; write at most "%v"`, c.Resend, mostBytes)
	}
	if err := c.TLS.CheckClient(); err != nil {
		return nil, err
	}
	format, err := newFormat(c.Codec, c.Framing, c.MaxRecord)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &stream{
		env: env, format: format, tls: c.TLS, timeout: time.Duration(c.Timeout),
		lost: make(chan struct{}, 1), timer: timer,
		window: window{limit: int(c.Resend)},
	}, nil
}

// Probe tells whether its certificates can be used.
func (s *stream) Probe() error { return s.tls.Probe() }

// Lost signals when the peer closed or reset the connection, or it timed out.
func (s *stream) Lost() <-chan struct{} { return s.lost }

// Send connects where there is no connection, which delivers the window, then writes the batch and waits until the
// peer's kernel has it. After an error the connection is closed, because a part of the batch may be on its way.
func (s *stream) Send(ctx context.Context, b *Batch) error {
	err := s.send(ctx, b)
	if err != nil {
		s.env.Counters.Errors.Add(1)
		return fmt.Errorf("send to %s: %w", s.address, err)
	}
	return nil
}

func (s *stream) send(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return err // before anything is written that would cost the connection
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	s.lines = b.appendFramed(s.lines[:0], 0, b.Len(), &s.format)
	size := total(s.lines)
	if size == 0 {
		return nil
	}
	s.spare = append(s.spare[:0], s.lines...)
	s.out = s.spare
	if err := s.deliver(ctx); err != nil {
		s.drop()
		return err
	}
	s.link.useful = true
	s.window.add(s.lines, b.inner)
	s.env.Counters.BytesSent.Add(uint64(size))
	return nil
}

// connect returns with a connection that is alive as far as is known and on which the window has been delivered.
func (s *stream) connect(ctx context.Context) error {
	if s.link != nil {
		if s.link.alive() {
			return nil
		}
		died := s.link
		s.link = nil
		if !died.useful {
			// A peer that takes connections only to close them must look like one that refuses them, or the engine
			// would reconnect and send the window without ever backing off.
			return fmt.Errorf("connection ended before anything new went through: %w", died.err)
		}
	}
	settings, err := s.tls.Client(s.host)
	if err != nil {
		return err
	}
	began := time.Now()
	dialer := net.Dialer{Timeout: s.timeout}
	conn, err := dialer.DialContext(ctx, s.network, s.address)
	if err != nil {
		return &ConnectError{time.Since(began), err}
	}
	if s.before {
		s.env.Counters.Reconnects.Add(1)
	}
	s.before = true
	if s.link, err = s.newLink(ctx, conn, settings); err != nil {
		return &ConnectError{time.Since(began), err}
	}
	again := s.window.bytes()
	if len(again) == 0 {
		return nil
	}
	s.spare = append(s.spare[:0], again)
	s.out = s.spare
	if err := s.deliver(ctx); err != nil {
		s.drop()
		return fmt.Errorf("send the last %d bytes again: %w", len(again), err)
	}
	s.env.Counters.Resent.Add(uint64(len(again)))
	return nil
}

func (s *stream) newLink(ctx context.Context, conn net.Conn, settings *tls.Config) (*link, error) {
	c, ok := conn.(streamConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a connection of network %s cannot be looked into", s.network), conn.Close())
	}
	return newLink(ctx, c, settings, s.timeout, s.lost)
}

// deliver writes s.out and returns nil when the peer's kernel has acknowledged all of it. Time counts as lost only while
// not a byte is acknowledged.
func (s *stream) deliver(ctx context.Context) error {
	s.env.Counters.Requests.Add(1)
	// What was written less what is queued: it grows when the peer's kernel takes something. That holds also where the
	// queue is longer than what was written here, be it by what TLS wrote or by how a unix socket counts.
	taken, written, since := math.MinInt, 0, time.Now()
	l := s.link
	for wait := firstLook; ; wait = min(2*wait, slowestLook) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if l.rest(s.out) {
			n, err := l.write(&s.out, s.timeout/4)
			written += n
			if err != nil {
				return l.why(err)
			}
		}
		queued, err := l.unacknowledged()
		if err != nil {
			return l.why(err)
		}
		now, more := time.Now(), l.rest(s.out)
		if written-queued > taken {
			since = now
		}
		taken = written - queued
		if !more && queued == 0 {
			return l.why(nil)
		}
		if !s.patient && now.Sub(since) >= s.timeout {
			return fmt.Errorf("the peer took nothing for %s, although it is connected", s.timeout)
		}
		if more {
			continue // the write has waited
		}
		s.timer.Reset(wait)
		select {
		case <-s.timer.C:
		case <-l.done:
			s.timer.Stop()
		case <-ctx.Done():
			s.timer.Stop()
			return ctx.Err()
		}
	}
}

// drop closes the connection.
func (s *stream) drop() {
	s.link.close()
	s.link = nil
}

// Close ends the connection and the goroutine that reads from it.
func (s *stream) Close() error {
	if s.link == nil {
		return nil
	}
	s.link.closing.Store(true)
	if s.link.closeWrite(goodbye) == nil {
		s.timer.Reset(goodbye)
		select {
		case <-s.link.done:
			s.timer.Stop()
		case <-s.timer.C:
		}
	}
	s.drop()
	return nil
}

// total returns the size of all slices together.
func total(lines net.Buffers) int {
	n := 0
	for _, s := range lines {
		n += len(s)
	}
	return n
}
