package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"logmule/forward/config"
)

const (
	// burst is how many datagrams go to the kernel in one call.
	burst = 64
	// lookAgain is how long an address is good for: nothing ever says that a name stands for another machine by now.
	lookAgain = time.Minute
	// heedFor is how long a refusal of the first datagram may take to come back, where the attempt before was refused.
	heedFor = 20 * time.Millisecond
	// refusedFor is the pause after a refusal: machines send no more than one of them a second.
	refusedFor = 1100 * time.Millisecond
)

// datagramKeys are the keys of outputs that send each record as one datagram.
type datagramKeys struct {
	Codec     string          `toml:"codec" doc:"what is written of a record: \"plain\": its payload; \"syslog\": RFC 5424; \"syslog-3164\": RFC 3164"`
	MaxRecord config.Bytes    `toml:"max_record" doc:"size of the largest datagram, at most 65507B; records that need a larger one become dead letters"`
	Timeout   config.Duration `toml:"timeout" doc:"how long the system may take no datagram before the attempt counts as failed"`
}

func errMaxDatagram(most config.Bytes) error {
	return fmt.Errorf(`max_record = "%v" is out of range; write from 1B to "%v", which is all that a datagram can hold`, most, mostUDP)
}

// datagrams sends each record as one datagram. Over udp nothing acknowledges them: a batch is accepted when the kernel
// took it and has heard of no refusal. A unix socket holds what it took until its reader reads it, and makes the sender
// wait.
type datagrams struct {
	env     Env
	network string
	address string
	format  format
	timeout time.Duration

	conn     net.Conn         // nil: not connected
	packets  *ipv4.PacketConn // the same for udp, to send many at once
	dialed   time.Time        // when conn was made
	named    bool             // the address is a name
	before   bool             // there was a connection
	wary     bool             // the last attempt was refused, and no datagram has gone through since
	pending  []int            // indices of the records that are to be sent
	messages []ipv4.Message   // room for a burst
	lines    net.Buffers
}

// newDatagrams checks the keys; its errors begin with the one that is wrong.
func newDatagrams(env Env, c datagramKeys, network, address string) (Output, error) {
	if c.Timeout < config.Duration(time.Millisecond) {
		return nil, fmt.Errorf(`timeout = "%v" is too short; write a duration of at least 1ms, such as "10s"`, c.Timeout)
	}
	format, err := newFormat(c.Codec, noFraming, c.MaxRecord)
	if err != nil {
		return nil, err
	}
	d := &datagrams{env: env, network: network, address: address, format: format, timeout: time.Duration(c.Timeout)}
	if host, _, err := net.SplitHostPort(address); err == nil {
		_, err := netip.ParseAddr(host)
		d.named = err != nil && network == "udp"
	}
	d.messages = make([]ipv4.Message, burst)
	for i := range d.messages {
		d.messages[i].Buffers = make([][]byte, 1)
	}
	return d, nil
}

// Send sends the pending records. What of them a unix socket took is accepted even if it did not take all. A batch that
// went out over udp is sent again as a whole when a refusal comes back.
func (d *datagrams) Send(ctx context.Context, b *Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := d.connect(ctx)
	if err == nil {
		err = d.send(ctx, b)
	}
	if err != nil {
		d.env.Counters.Errors.Add(1)
		return fmt.Errorf("send to %s: %w", d.address, err)
	}
	return nil
}

func (d *datagrams) connect(ctx context.Context) error {
	again := d.conn != nil
	if again && (!d.named || time.Since(d.dialed) < lookAgain) {
		return nil
	}
	d.dialed = time.Now()
	dialer := net.Dialer{Timeout: d.timeout}
	conn, err := dialer.DialContext(ctx, d.network, d.address)
	switch {
	case err != nil && again:
		return ctx.Err() // the address that was good so far has to do
	case err != nil:
		return err
	case again && conn.RemoteAddr().String() == d.conn.RemoteAddr().String():
		return conn.Close()
	case again:
		d.drop()
	}
	if d.before {
		d.env.Counters.Reconnects.Add(1)
	}
	d.conn, d.before = conn, true
	c, ok := conn.(*net.UDPConn)
	if !ok {
		return nil
	}
	d.packets = ipv4.NewPacketConn(c) // for IPv6 too: nothing is asked of it that has to do with addresses
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	failed := error(nil)
	err = raw.Control(func(fd uintptr) { failed = keepRefusals(fd) })
	return errors.Join(err, failed)
}

func (d *datagrams) send(ctx context.Context, b *Batch) error {
	d.lines = b.appendFramed(d.lines[:0], 0, b.Len(), &d.format)
	d.pending = d.pending[:0]
	for i := range b.Len() {
		if b.IsPending(i) {
			d.pending = append(d.pending, i)
		}
	}
	if len(d.pending) == 0 {
		return nil
	}
	d.env.Counters.Requests.Add(1)
	size, sent := 0, 0
	since := time.Now()
	for sent < len(d.pending) {
		if err := ctx.Err(); err != nil {
			return err
		}
		spans := b.inner[sent:]
		if d.wary {
			spans = spans[:1]
		}
		n, err := d.write(b, spans)
		if err == nil && d.wary {
			err = d.heed(ctx)
		}
		for _, s := range b.inner[sent : sent+n] {
			size += s.to - s.from
		}
		if d.packets == nil {
			for _, i := range d.pending[sent : sent+n] {
				b.Accept(i)
			}
		}
		if sent += n; n > 0 {
			since = time.Now()
		}
		switch {
		case err == nil:
		case errors.Is(err, syscall.EMSGSIZE):
			s := b.inner[sent]
			b.Reject(d.pending[sent], fmt.Sprintf("it takes %d bytes, more than a datagram to this peer can hold", s.to-s.from))
			sent++
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(since) < d.timeout:
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("no datagram was taken for %s", d.timeout)
		default:
			return d.fail(err)
		}
	}
	if err := d.refused(); err != nil {
		return d.fail(err)
	}
	d.env.Counters.BytesSent.Add(uint64(size))
	return nil
}

// write sends some of the records at spans of the scratch bytes, within a slice of time, and returns how many.
func (d *datagrams) write(b *Batch, spans []span) (int, error) {
	if err := d.conn.SetWriteDeadline(time.Now().Add(min(writeSlice, d.timeout/4))); err != nil {
		return 0, err
	}
	if d.packets == nil {
		for n, s := range spans {
			if _, err := d.conn.Write(b.scratch[s.from:s.to]); err != nil {
				return n, err
			}
		}
		return len(spans), nil
	}
	messages := d.messages[:min(len(spans), burst)]
	for i := range messages {
		messages[i].Buffers[0] = b.scratch[spans[i].from:spans[i].to]
	}
	return d.packets.WriteBatch(messages, 0)
}

// refused returns the error that came back for a datagram which the kernel had taken: of a peer on this machine it is
// there at once, of others it may come with the next batch, or never.
func (d *datagrams) refused() error {
	c, ok := d.conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	code, failed := 0, error(nil)
	if err := raw.Control(func(fd uintptr) {
		code, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if kept := keptRefusal(fd); code == 0 && d.packets != nil {
			code = int(kept)
		}
	}); err != nil {
		return err
	}
	if code != 0 {
		return os.NewSyscallError("send", syscall.Errno(code))
	}
	return failed
}

// heed gives a refusal the time to come back from another machine, before all the records that waited follow the first
// one into nothing.
func (d *datagrams) heed(ctx context.Context) error {
	timer := time.NewTimer(heedFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := d.refused()
	d.wary = err != nil
	return err
}

// fail ends a connection over which nothing goes.
func (d *datagrams) fail(err error) error {
	far := d.packets != nil
	d.drop()
	if d.wary = far; far && errors.Is(err, syscall.ECONNREFUSED) {
		return &RetryError{After: refusedFor, Err: err}
	}
	return err
}

// drop closes the connection: the next one looks the address up again.
func (d *datagrams) drop() {
	_ = d.conn.Close() // nothing is under way on it
	d.conn, d.packets = nil, nil
}

// Close closes the socket.
func (d *datagrams) Close() error {
	if d.conn != nil {
		d.drop()
	}
	return nil
}
