package output_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"logmule/forward/output"
	"logmule/forward/output/outputtest"
	"logmule/forward/pack"
)

// unframers take the first record off a stream, by its framing: its payload, and the bytes that it took; 0 where it is
// not there yet.
var unframers = map[string]func(b []byte) (payload []byte, size int){
	"octet-counted": func(b []byte) ([]byte, int) {
		digits, rest, ok := bytes.Cut(b, []byte{' '})
		n, err := strconv.Atoi(string(digits))
		if !ok || err != nil || n > len(rest) {
			return nil, 0
		}
		return rest[:n], len(digits) + 1 + n
	},
	"length-prefixed": func(b []byte) ([]byte, int) {
		if len(b) < 4 || int(binary.BigEndian.Uint32(b)) > len(b)-4 {
			return nil, 0
		}
		n := 4 + int(binary.BigEndian.Uint32(b))
		return b[4:n], n
	},
	"heka": func(b []byte) ([]byte, int) {
		if len(b) < 3 || len(b) < 3+int(b[1]) {
			return nil, 0
		}
		head := 3 + int(b[1])
		size, n := protowire.ConsumeVarint(b[3:head])
		if b[0] != 0x1e || b[2] != 0x08 || b[head-1] != 0x1f || 3+n != head-1 {
			panic("no frame of Heka")
		}
		if len(b) < head+int(size) {
			return nil, 0
		}
		var r pack.Record
		if err := r.Decode(nil, b[head:head+int(size)], pack.Records); err != nil {
			panic(err)
		}
		return r.Payload, head + int(size)
	},
}

func TestStreamConformance(t *testing.T) {
	for framing, unframe := range unframers {
		t.Run("tcp "+framing, func(t *testing.T) {
			t.Parallel()
			outputtest.Run(t, func(t *testing.T) outputtest.Destination {
				s := &tcpServer{unframe: unframe}
				return streamDestination(t, s, "127.0.0.1:0", "framing = \""+framing+"\"\n")
			})
		})
	}
	t.Run("tcp with TLS", func(t *testing.T) {
		t.Parallel()
		c := newCertificates(t)
		outputtest.Run(t, func(t *testing.T) outputtest.Destination {
			s := &tcpServer{tls: c.server(t), unframe: unframers["octet-counted"]}
			return streamDestination(t, s, "127.0.0.1:0", "framing = \"octet-counted\"\ntls.ca = \""+c.ca+"\"\n")
		})
	})
	t.Run("unix", func(t *testing.T) {
		t.Parallel()
		outputtest.Run(t, func(t *testing.T) outputtest.Destination {
			return streamDestination(t, &tcpServer{network: "unix"}, socketPath(t), "")
		})
	})
	t.Run("unix with TLS", func(t *testing.T) {
		t.Parallel()
		c := newCertificates(t)
		outputtest.Run(t, func(t *testing.T) outputtest.Destination {
			s := &tcpServer{network: "unix", tls: c.server(t)}
			return streamDestination(t, s, socketPath(t), "tls.ca = \""+c.ca+"\"\ntls.server_name = \"127.0.0.1\"\n")
		})
	})
}

// socketPath is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "out")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return filepath.Join(dir, "s")
}

func streamDestination(t *testing.T, s *tcpServer, address, keys string) outputtest.Destination {
	s.start(t, address)
	t.Cleanup(s.stop)
	kind, key := "unix", "path"
	if s.network == "" {
		kind, key, address = "tcp", "address", s.listener.Addr().String()
	}
	return outputtest.Destination{
		Output:   build(t, kind, key+" = \""+address+"\"\n"+keys),
		Received: s.bytes,
		Break:    s.stop,
		Mend:     func() { s.start(t, address) },
		Stall:    func() { s.stalled.Store(true) },
	}
}

// datagramServer keeps each datagram as a line.
type datagramServer struct {
	took
	network string
	stalled atomic.Bool
	conn    net.PacketConn
	done    sync.WaitGroup
}

func (s *datagramServer) start(t *testing.T, address string) {
	var conn net.PacketConn
	outputtest.Await(t, "the address, which somebody else may have been given meanwhile", func() (done bool) {
		var err error
		if conn, err = net.ListenPacket(s.network, address); !errors.Is(err, unix.EADDRINUSE) {
			must(t, err)
		}
		return err == nil
	})
	s.conn = conn
	s.done.Go(func() {
		buf := make([]byte, 64<<10)
		for !s.stalled.Load() {
			n, _, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.add(append(buf[:n:n], '\n'))
		}
	})
}

func (s *datagramServer) stop() {
	s.conn.Close()
	s.done.Wait()
}

// paced waits after each batch until the peer has read it, since nothing else keeps datagrams from getting lost.
type paced struct {
	output.Output
	t *testing.T
	s *datagramServer
}

func (p paced) Send(ctx context.Context, b *output.Batch) error {
	want := bytes.Count(p.s.bytes(), []byte{'\n'}) + b.Pending()
	err := p.Output.Send(ctx, b)
	if err == nil {
		want -= len(b.Rejected())
		outputtest.Await(p.t, "the datagrams", func() bool { return bytes.Count(p.s.bytes(), []byte{'\n'}) >= want })
	}
	return err
}

func (p paced) Close() error { return p.Output.(io.Closer).Close() }

func TestDatagramConformance(t *testing.T) {
	t.Run("udp", func(t *testing.T) {
		outputtest.Run(t, func(t *testing.T) outputtest.Destination {
			s := &datagramServer{network: "udp"}
			s.start(t, "127.0.0.1:0")
			t.Cleanup(s.stop)
			address := s.conn.LocalAddr().String()
			return outputtest.Destination{
				Output: paced{build(t, "udp", "address = \""+address+"\"\n"), t, s}, Received: s.bytes, Most: 65507,
				Break: s.stop, Mend: func() { s.start(t, address) },
			}
		})
	})
	t.Run("unix", func(t *testing.T) {
		outputtest.Run(t, func(t *testing.T) outputtest.Destination {
			s := &datagramServer{network: "unixgram"}
			path := socketPath(t)
			s.start(t, path)
			t.Cleanup(s.stop)
			return outputtest.Destination{
				Output: paced{build(t, "unix", "socket = \"datagram\"\npath = \""+path+"\"\n"), t, s}, Received: s.bytes, Most: 60000,
				Break: func() { s.stop(); must(t, os.Remove(path)) }, Mend: func() { s.start(t, path) },
				Stall: func() { s.stalled.Store(true) },
			}
		})
	})
}

// server is the configuration of a peer.
func (c *certificates) server(t *testing.T) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	must(t, err)
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}
