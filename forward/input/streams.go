package input

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/transport"
)

// streamKeys are the keys of an input that takes connections.
type streamKeys struct {
	Framing   string        `toml:"framing" doc:"where a record ends: \"newline\", \"octet-counted\" (RFC 6587), \"length-prefixed\" (4 bytes, big-endian), \"heka\", or \"auto\": newline, octet-counted or heka, as the first bytes of a connection have it"`
	MaxRecord config.Bytes  `toml:"max_record" doc:"longest record in bytes; of a longer one the head is kept, marked with the field truncated"`
	TLS       transport.TLS `toml:"tls" doc:"certificate with which the input listens; without one connections are not encrypted"`
	codecKeys
}

func defaultStreamKeys() streamKeys {
	return streamKeys{Framing: "newline", MaxRecord: defaultMaxRecord, codecKeys: codecKeys{codec.Plain}}
}

var framings = []string{"auto", "heka", "length-prefixed", "newline", "octet-counted"}

func (k streamKeys) check() error {
	if err := checkWord("framing", k.Framing, framings); err != nil {
		return err
	}
	if err := checkMaxRecord(k.MaxRecord); err != nil {
		return err
	}
	if err := k.TLS.CheckServer(); err != nil {
		return err
	}
	if k.Framing == "heka" && k.Codec != codec.Plain {
		return fmt.Errorf(`codec = %q does not go with framing = "heka", which brings records that are taken apart already; remove one of them`, k.Codec)
	}
	return k.codecKeys.check()
}

// checkWord judges a key that takes one of a few words.
func checkWord(key, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf(`%s = %q is not known%s; use "%s"`, key, word, config.Suggest(word, words), strings.Join(words, `", "`))
}

// handshakeLimit is how long a connection may take until TLS is agreed on.
const handshakeLimit = 10 * time.Second

// errCutOff is the end of a TLS connection whose peer did not say that it is the end: bytes may be missing.
var errCutOff = errors.New("the connection ended without the end of TLS (close_notify)")

// streams serves the connections of an input: tcp or unix.
type streams struct {
	env    *Env
	keys   streamKeys
	secure *tls.Config    // nil: no TLS
	emit   Emit           // through the codec
	whole  Emit           // for records that are taken apart already
	open   sync.WaitGroup // of the connections

	handshake time.Duration // handshakeLimit, less in tests

	cuts, bads, broken sparing
}

func newStreams(env *Env, keys streamKeys) streams {
	return streams{env: env, keys: keys, handshake: handshakeLimit}
}

// Probe tells whether its certificates can be used.
func (s *streams) Probe() error { return s.keys.TLS.Probe() }

// prepare opens what is not opened to check a configuration.
func (s *streams) prepare(emit Emit) (err error) {
	if s.secure, err = s.keys.TLS.Server(); err != nil {
		return startTLS(s.env.Name, err)
	}
	if s.secure != nil {
		// Senders of logs stay connected, and many never read: a ticket that lies unread in their socket turns its close
		// into a reset.
		s.secure.SessionTicketsDisabled = true
	}
	s.whole = emit
	s.emit, err = s.env.decoding(s.keys.Codec, emit)
	return err
}

// accept serves the connections of ln until it is closed. late is the context for handing over what was read.
func (s *streams) accept(ctx, late context.Context, ln net.Listener, about func(net.Conn) (peer string, pid int32)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.open.Go(func() {
			peer, pid := about(conn)
			s.serve(ctx, late, conn, peer, pid)
		})
	}
}

// serve reads one connection to its end. Closing the connection when ctx ends is what unblocks the read: a deadline set
// from outside could be moved by the reader.
func (s *streams) serve(ctx, late context.Context, conn net.Conn, peer string, pid int32) {
	s.env.Counters.Connections.Add(1)
	var stream *secured
	if s.secure != nil {
		stream = newSecured(conn, s.secure)
		conn = stream
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if p := recover(); p != nil {
			s.env.panicked("connection from "+peer, p)
		}
		stop()
		conn.Close()
		s.env.Counters.Connections.Add(-1)
	}()
	if stream != nil {
		if err := stream.agree(ctx, s.handshake); err == io.EOF {
			return
		} else if err != nil {
			s.failed(ctx, "no TLS with a peer", peer, err)
			return
		}
	}
	s.failed(ctx, "connection ended by an error", peer, s.reader(conn, peer, pid).run(late))
}

// failed counts and logs how a connection ended, unless it ended well or with the input.
func (s *streams) failed(ctx context.Context, what, peer string, err error) {
	if err == nil || errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
		return
	}
	s.env.Counters.Broken.Add(1)
	if s.broken.allow(time.Now()) {
		s.env.Log.Warn(what, "input", s.env.Name, "from", peer, "error", err)
	}
}

// reader makes the reader of a connection. With framing "auto" it waits for the first bytes.
func (s *streams) reader(from byteStream, peer string, pid int32) *reader {
	name := s.keys.Framing
	if name == "auto" {
		first := &peeked{byteStream: from}
		name, from = first.recognise(), first
	}
	var f framing
	switch name {
	case "octet-counted":
		f = new(octets)
	case "length-prefixed":
		f = prefixed{}
	case "heka":
		f = new(heka)
	default:
		l := newLines(s.env, from, s.emit, int(s.keys.MaxRecord), &s.cuts, peer)
		l.pack.Shared.Pid = pid
		return &l.reader
	}
	r := newFrames(s.env, from, s.emit, int(s.keys.MaxRecord), &s.cuts, &s.bads, peer, f)
	if r.own {
		r.emit = s.whole
	} else {
		r.pack.Shared.Pid = pid
	}
	return &r.reader
}

// peeked is a stream whose first bytes have been looked at. They are read again, and so is the error that came instead.
type peeked struct {
	byteStream
	first     [maxDigits + 2]byte
	from, end int // what is left of first
	err       error
}

func (p *peeked) recognise() string {
	for {
		if name := recognise(p.first[:p.end]); name != "" {
			return name
		}
		n, err := p.byteStream.Read(p.first[p.end:])
		p.end += n
		if p.err = err; err != nil {
			return "newline"
		}
	}
}

func (p *peeked) Read(b []byte) (int, error) {
	switch {
	case p.from < p.end:
		n := copy(b, p.first[p.from:p.end])
		p.from += n
		return n, nil
	case p.err != nil:
		return 0, p.err
	}
	return p.byteStream.Read(b)
}

// secured is the server's end of a TLS connection that tells an end that was said from one that just came.
type secured struct {
	*tls.Conn
	below *watched
}

type watched struct {
	net.Conn
	said, ended bool // bytes came, the end came
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.said = w.said || n > 0
	w.ended = w.ended || err == io.EOF
	return n, err
}

func newSecured(conn net.Conn, config *tls.Config) *secured {
	below := &watched{Conn: conn}
	return &secured{tls.Server(below, config), below}
}

// agree does the handshake. io.EOF: the peer left without a word, as those do who only look whether anybody listens.
func (s *secured) agree(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not agreed on within %s", limit))
	defer cancel()
	err := s.HandshakeContext(limited)
	if limited.Err() != nil && ctx.Err() == nil {
		err = context.Cause(limited)
	}
	if !s.below.said && s.below.ended {
		return io.EOF
	}
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
		err = errors.New("the peer does not speak TLS; let it use TLS, or remove tls from this input")
	}
	return err
}

func (s *secured) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err == io.EOF && s.below.ended {
		err = errCutOff
	}
	return n, err
}
