package input

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"logmule/forward/config"
)

// tcp takes newline-delimited records from any number of connections. There is no acknowledgement in the protocol: a
// queue without room is felt by the sender as a full socket.
type tcp struct {
	env    Env
	listen string
	max    int

	cuts, broken sparing
}

func newTCP(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Listen    string       `toml:"listen"`
		MaxRecord config.Bytes `toml:"max_record"`
		Insecure  bool         `toml:"insecure"`
	}{MaxRecord: defaultMaxRecord}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := checkListen(keys.Listen, keys.Insecure); err != nil {
		return nil, err
	}
	if err := checkMaxRecord(keys.MaxRecord); err != nil {
		return nil, err
	}
	return &tcp{env: env, listen: keys.Listen, max: int(keys.MaxRecord)}, nil
}

// Run listens and serves until ctx ends. Then nothing more is read, but what was read is still handed over.
func (t *tcp) Run(ctx context.Context, emit Emit) error {
	ln, err := t.env.listen(ctx, t.listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	t.env.Ready(ln.Addr().String())

	late, cancel := withGrace(ctx)
	defer cancel()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return nil // closed, because ctx ended
		}
		open.Go(func() { t.serve(ctx, late, conn, emit) })
	}
}

// serve reads one connection to its end. Closing the connection when ctx ends is what unblocks the read: a deadline set
// from outside could be moved by the reader.
func (t *tcp) serve(ctx, late context.Context, conn net.Conn, emit Emit) {
	peer := conn.RemoteAddr().String()
	t.env.Counters.Connections.Add(1)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if p := recover(); p != nil {
			t.env.panicked("connection from "+peer, p)
		}
		stop()
		conn.Close()
		t.env.Counters.Connections.Add(-1)
	}()
	err := newLines(&t.env, conn, emit, t.max, &t.cuts, peer).run(late)
	if err == nil || errors.Is(err, net.ErrClosed) {
		return
	}
	t.env.Counters.Broken.Add(1)
	if t.broken.allow(time.Now()) {
		t.env.Log.Warn("connection ended by an error", "input", t.env.Name, "from", peer, "err", err)
	}
}

// Claim is the address, which no other may listen on; empty where the system chooses the port.
func (in *tcp) Claim() string { return claimAddress(in.listen) }
