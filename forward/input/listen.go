package input

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	"logmule/forward/config"
	"logmule/forward/transport"
)

// Waits between attempts to accept a connection while the machine is short of descriptors or memory.
const (
	firstAcceptWait = 5 * time.Millisecond
	lastAcceptWait  = time.Second
)

// checkListen judges the keys listen and insecure without resolving anything, so that a configuration can be checked
// on any machine: a name other than localhost counts as reaching beyond it. Where there is TLS, insecure is to be true.
func checkListen(address string, insecure bool) error {
	return judgeListen(address, insecure, "use 127.0.0.1 or ::1, set tls.cert and tls.key, or add insecure = true")
}

// judgeListen is checkListen for an input that has other ways to be safe.
func judgeListen(address string, insecure bool, ways string) error {
	if address == "" {
		return errors.New(`listen is missing; say where to listen, for example listen = "127.0.0.1:5140"`)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf(`listen = %q is not HOST:PORT; write it like "127.0.0.1:5140" or "[::1]:5140"`, address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("listen = %q has the port %q; use a number from 0 to 65535", address, port)
	}
	if insecure || transport.IsLoopback(host) {
		return nil
	}
	return fmt.Errorf("listen = %q reaches beyond this machine, where anybody could write to it unencrypted; %s", address, ways)
}

// Limits of max_record, in bytes. The upper one is the longest record that a queue takes.
const (
	defaultMaxRecord = 1 << 20
	maxRecordLimit   = 8 << 20
)

// checkMaxRecord judges the key max_record.
func checkMaxRecord(n config.Bytes) error {
	if n < 1 || n > maxRecordLimit {
		return fmt.Errorf(`max_record = "%s" is out of range; use a size from "1B" to "8MiB"`, n)
	}
	return nil
}

// listen opens the socket of an input. Its error is for a person: what failed, where, what to do.
func (e *Env) listen(ctx context.Context, address string) (*listener, error) {
	config := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6,
	}}
	inner, err := config.Listen(ctx, "tcp", address)
	if err == nil {
		return &listener{Listener: inner, ctx: ctx, env: e}, nil
	}
	return nil, e.listenError(address, err)
}

// listenPacket is listen for datagrams.
func (e *Env) listenPacket(ctx context.Context, address string) (*net.UDPConn, error) {
	conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, e.listenError(address, err)
	}
	return conn.(*net.UDPConn), nil
}

// probeAddress listens for a moment.
func (e *Env) probeAddress(address string) error {
	ln, err := e.listen(context.Background(), address)
	if err != nil {
		return err
	}
	return ln.Close()
}

// startTLS is the error of an input whose certificate files cannot be used.
func startTLS(name string, err error) error {
	return fmt.Errorf("start TLS: %w; correct the file, or its name in [input.%s]", err, name)
}

func (e *Env) listenError(address string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the address, which stands before it
	}
	hint := "change listen"
	var unknown *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another process listens there: stop it, or change listen"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		hint = "this machine has no such address: change listen"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or change the port in listen"
	case errors.As(err, &unknown):
		hint = "the host name is not known: write an IP address in listen"
	}
	return fmt.Errorf("listen on %s for input %s: %w; %s in [input.%s]", address, e.Name, err, hint, e.Name)
}

// listener is a net.Listener whose Accept fails only when it is closed or ctx has ended: everything else passes, is
// counted, and tried again. It leaves descriptors to others.
type listener struct {
	net.Listener
	ctx    context.Context
	env    *Env
	warned sparing
}

func (l *listener) Accept() (net.Conn, error) {
	wait := firstAcceptWait
	for {
		conn, err := l.Listener.Accept()
		if err == nil && !l.mayServe(conn) {
			err = errors.Join(net.ErrClosed, conn.Close())
		}
		if err == nil {
			return conn, nil
		}
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil, net.ErrClosed
		}
		l.env.Counters.Refused.Add(1)
		if l.warned.allow(time.Now()) {
			l.env.Log.Warn("connection not accepted, trying again", "input", l.env.Name, "error", err)
		}
		select {
		case <-time.After(wait):
		case <-l.ctx.Done():
		}
		wait = min(2*wait, lastAcceptWait)
	}
}

// claimAddress is what an input that listens on this address says that it needs for itself.
func claimAddress(listen string) string {
	if _, port, err := net.SplitHostPort(listen); err != nil || port == "0" {
		return ""
	}
	return "address " + listen
}
