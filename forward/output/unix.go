package output

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

type unixKeys struct {
	Path   string `toml:"path" doc:"path of the peer's socket; one that begins with @ is in the abstract name space of Linux"`
	Socket string `toml:"socket" doc:"kind of the socket: \"stream\", or \"datagram\", where each record is a datagram and framing, resend and tls have no use"`
	streamKeys
}

const (
	streamSocket   = "stream"
	datagramSocket = "datagram"
)

// newUnix makes an output to a socket of this machine.
func newUnix(decode func(into any) error, env Env) (Output, error) {
	c := unixKeys{Socket: streamSocket, streamKeys: defaultStreamKeys()}
	if err := decode(&c); err != nil {
		return nil, err
	}
	switch {
	case c.Path == "":
		return nil, errors.New(`path is missing; add that of the peer's socket, such as path = "/run/peer.sock"`)
	case !filepath.IsAbs(c.Path) && !strings.HasPrefix(c.Path, "@"):
		return nil, fmt.Errorf(`path = %q is not absolute; write it from / on`, c.Path)
	case c.Socket != streamSocket && c.Socket != datagramSocket:
		return nil, fmt.Errorf(`socket = %q is not known; use one of %s, %s`, c.Socket, streamSocket, datagramSocket)
	}
	if c.Socket == datagramSocket {
		return newUnixDatagram(env, &c)
	}
	if c.TLS.On() && c.TLS.ServerName == "" {
		return nil, errors.New(`tls needs the name in the peer's certificate, which a path does not tell; write it as tls.server_name`)
	}
	s, err := newStream(env, c.streamKeys)
	if err != nil {
		return nil, err
	}
	s.network, s.address, s.patient = "unix", c.Path, true
	return s, nil
}

func newUnixDatagram(env Env, c *unixKeys) (Output, error) {
	switch {
	case c.Framing != newlineFraming:
		return nil, fmt.Errorf(`framing = %q has no use where each record is a datagram; remove it`, c.Framing)
	case c.TLS.On():
		return nil, errors.New(`tls has no use with datagrams; remove its keys, or write socket = "stream"`)
	}
	return newDatagrams(env, datagramKeys{Codec: c.Codec, MaxRecord: c.MaxRecord, Timeout: c.Timeout}, "unixgram", c.Path)
}
