package input

import (
	"context"
	"net"
)

// tcp takes records from any number of connections. There is no acknowledgement in the protocol: a queue without room is
// felt by the sender as a full socket.
type tcp struct {
	streams
	env    Env
	listen string
}

func newTCP(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Listen   string `toml:"listen" doc:"HOST:PORT where connections are taken"`
		Insecure bool   `toml:"insecure" doc:"true: listen beyond loopback without TLS, where anybody can read and write"`
		streamKeys
	}{streamKeys: defaultStreamKeys()}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := checkListen(keys.Listen, keys.Insecure || keys.TLS.On()); err != nil {
		return nil, err
	}
	if err := keys.check(); err != nil {
		return nil, err
	}
	t := &tcp{env: env, listen: keys.Listen}
	t.streams = newStreams(&t.env, keys.streamKeys)
	return t, nil
}

// Run listens and serves until ctx ends. Then nothing more is read, but what was read is still handed over.
func (t *tcp) Run(ctx context.Context, emit Emit) error {
	if err := t.prepare(emit); err != nil {
		return err
	}
	ln, err := t.env.listen(ctx, t.listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	t.env.Ready(ln.Addr().String())

	late, cancel := withGrace(ctx)
	defer cancel()
	defer t.open.Wait()
	t.accept(ctx, late, ln, func(conn net.Conn) (string, int32) { return conn.RemoteAddr().String(), 0 })
	return nil
}

// Claim is the address, which no other may listen on; empty where the system chooses the port.
func (t *tcp) Claim() string { return claimAddress(t.listen) }

// ProbeAddress tries whether the address is free.
func (t *tcp) ProbeAddress() error { return t.env.probeAddress(t.listen) }
