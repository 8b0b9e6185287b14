package input

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/transport"
)

// unixSocket takes records from a unix socket: connections, or datagrams.
type unixSocket struct {
	streams
	env       Env
	file      socketFile
	datagrams bool

	retried sparing
}

func newUnix(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Path   string `toml:"path" doc:"file of the socket, made here; \"@NAME\" on Linux: a name without a file"`
		Socket string `toml:"socket" doc:"\"stream\": connections; \"datagram\": datagrams, as /dev/log has them"`
		Mode   string `toml:"mode" doc:"permissions of the file, in octal: who may connect or send"`

		Framing   string        `toml:"framing" doc:"as of a tcp input for connections, \"newline\" by default; as of a udp input for datagrams, \"datagram\" by default"`
		MaxRecord config.Bytes  `toml:"max_record" doc:"longest record in bytes; of a longer one the head is kept, marked with the field truncated; 0B: 1MiB for connections, 64KiB for datagrams"`
		TLS       transport.TLS `toml:"tls" doc:"certificate with which the input takes connections; without one they are not encrypted"`
		codecKeys
	}{Socket: "stream", Mode: "0600", codecKeys: codecKeys{codec.Plain}}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	u := &unixSocket{env: env, datagrams: keys.Socket == "datagram"}
	if err := checkWord("socket", keys.Socket, []string{"stream", "datagram"}); err != nil {
		return nil, err
	}
	mode, err := strconv.ParseUint(keys.Mode, 8, 32)
	if err != nil || mode > 0o777 {
		return nil, fmt.Errorf(`mode = %q is not permissions in octal; use one from "0000" to "0777", such as "0660"`, keys.Mode)
	}
	u.file = socketFile{path: keys.Path, mode: uint32(mode), datagrams: u.datagrams}
	if err := u.file.check(); err != nil {
		return nil, err
	}
	chosen := streamKeys{keys.Framing, keys.MaxRecord, keys.TLS, keys.codecKeys}
	if err := chosen.choose(u.datagrams); err != nil {
		return nil, err
	}
	u.streams = newStreams(&u.env, chosen)
	return u, nil
}

// choose sets what was left open, for connections or datagrams, and checks the keys.
func (k *streamKeys) choose(datagrams bool) error {
	framing, longest := "newline", config.Bytes(defaultMaxRecord)
	if datagrams {
		framing, longest = "datagram", defaultMaxDatagram
	}
	if k.Framing == "" {
		k.Framing = framing
	}
	if k.MaxRecord == 0 {
		k.MaxRecord = longest
	}
	if !datagrams {
		return k.check()
	}
	if k.TLS.On() {
		return fmt.Errorf(`tls is for connections; remove it, or use socket = "stream"`)
	}
	return checkDatagrams(k.Framing, k.MaxRecord, k.codecKeys)
}

// Run serves until ctx ends. Then nothing more is read from connections, and of datagrams what the socket has still got.
// Where somebody takes the file of the socket away it is made again; connections live on.
func (u *unixSocket) Run(ctx context.Context, emit Emit) error {
	if err := u.prepare(emit); err != nil {
		return err
	}
	socket, err := u.file.bind(ctx)
	if err != nil {
		return fmt.Errorf("listen on %s for input %s: %w, in [input.%s]", u.file.path, u.env.Name, err, u.env.Name)
	}
	late, cancel := withGrace(ctx)
	defer cancel()
	defer u.open.Wait()
	u.env.Ready(u.file.path)
	for socket != nil {
		err := u.use(ctx, late, socket)
		if err != nil || ctx.Err() != nil {
			return err
		}
		socket = u.again(ctx)
	}
	return nil
}

// use serves until ctx ends or the file of the socket has gone.
func (u *unixSocket) use(ctx, late context.Context, s *boundSocket) error {
	watched, done := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer s.close()
	defer watch.Wait()
	defer done()
	watch.Go(func() {
		u.file.watch(watched)
		u.file.remove() // while the socket lives, nobody else's file can be taken for its own
		s.end()
	})
	if s.listener != nil {
		ln := &listener{Listener: s.listener, ctx: ctx, env: &u.env}
		u.accept(ctx, late, ln, func(conn net.Conn) (string, int32) { return u.file.path, processOf(conn) })
		return nil
	}
	d, err := newDatagrams(&u.env, s.conn, u.emit, u.keys.Framing, int(u.keys.MaxRecord), &u.cuts, u.file.path)
	if err != nil {
		return err
	}
	return d.serve(ctx, late)
}

// again makes a socket whose file has gone, as soon as that can be done; nil when ctx ended before.
func (u *unixSocket) again(ctx context.Context) *boundSocket {
	for ctx.Err() == nil {
		socket, err := u.file.bind(ctx)
		if err == nil {
			u.env.Counters.Rebinds.Add(1)
			u.env.Log.Warn("somebody removed or replaced the file of the socket; it is made again", "input", u.env.Name, "path", u.file.path)
			return socket
		}
		if u.retried.allow(time.Now()) {
			u.env.Log.Error("somebody removed or replaced the file of the socket, and it cannot be made again yet", "input", u.env.Name, "path", u.file.path, "error", err)
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

// processOf is the process at the other end, 0 where that is not known.
func processOf(conn net.Conn) (pid int32) {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	if raw.Control(func(fd uintptr) { pid = peerProcess(int(fd)) }) != nil {
		return 0
	}
	return pid
}

// Claim is the path, which no other may use.
func (u *unixSocket) Claim() string {
	if strings.HasPrefix(u.file.path, "@") {
		return "path " + u.file.path
	}
	path, err := filepath.Abs(u.file.path)
	if err != nil {
		path = filepath.Clean(u.file.path)
	}
	return "path " + path
}
