package input

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/transport"
)

// Limits of the server, beside those that request.go states for a body.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeader      = 64 << 10 // bytes
	defaultMaxBody = 16 << 20
	maxBodyLimit   = 1 << 30 // a body is in memory as a whole

	// Of HTTP/2. What a connection holds of bodies that nobody reads yet, in bytes, bounds its speed over long ways too.
	maxStreams    = 100
	streamBuffer  = 256 << 10
	answerTimeout = 30 * time.Second // for a peer that reads none of the answers
)

type httpKeys struct {
	Listen    string        `toml:"listen" doc:"HOST:PORT to listen on, HTTP/1.1 and HTTP/2; needed"`
	MaxBody   config.Bytes  `toml:"max_body" doc:"longest body of a request, as it is sent and as it is unpacked; 413 answers a longer one"`
	MaxRecord config.Bytes  `toml:"max_record" doc:"longest record; 413 answers a request with a longer one"`
	Insecure  bool          `toml:"insecure" doc:"true: listen beyond this machine without TLS, and take credentials in the clear"`
	TLS       transport.TLS `toml:"tls" doc:"certificate to listen with, and whose certificates clients have to show"`
	transport.Credentials
	codecKeys
}

// checkPeers judges who can reach the input and what of theirs others could read on the way.
func (k *httpKeys) checkPeers() error {
	if err := k.TLS.CheckServer(); err != nil {
		return err
	}
	if err := k.Credentials.Check(); err != nil {
		return err
	}
	inTheClear := k.Credentials.On() && !k.TLS.On()
	if err := checkListen(k.Listen, k.Insecure || k.TLS.On() || inTheClear); err != nil {
		return err
	}
	if inTheClear && !k.Insecure && !transport.IsLoopbackAddress(k.Listen) {
		return fmt.Errorf("listen = %q reaches beyond this machine, where the credentials would travel in the clear; "+
			"add tls.cert and tls.key, or insecure = true", k.Listen)
	}
	return nil
}

// httpInput takes newline-delimited records in the bodies of requests and answers 200 when they are durable.
type httpInput struct {
	env       Env
	listen    string
	maxBody   int
	maxRecord int
	codec     string
	tls       transport.TLS

	credentials transport.Credentials
	inTheClear  bool // others can read them on the way
	unpacker    *transport.Unpacker

	stall, gone time.Duration // bodyStall and goneAfter, less in tests
	refused     sparing
}

func newHTTP(decode func(into any) error, env Env) (Input, error) {
	keys := httpKeys{MaxBody: defaultMaxBody, MaxRecord: defaultMaxRecord, codecKeys: codecKeys{codec.Plain}}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := keys.checkPeers(); err != nil {
		return nil, err
	}
	if err := keys.codecKeys.check(); err != nil {
		return nil, err
	}
	if err := checkMaxRecord(keys.MaxRecord); err != nil {
		return nil, err
	}
	if keys.MaxBody < 1 || keys.MaxBody > maxBodyLimit {
		return nil, fmt.Errorf(`max_body = "%s" is out of range; use a size from "1B" to "1GiB"`, keys.MaxBody)
	}
	return &httpInput{env: env, listen: keys.Listen, maxBody: int(keys.MaxBody), maxRecord: int(keys.MaxRecord), codec: keys.Codec, tls: keys.TLS,
		credentials: keys.Credentials, inTheClear: keys.Credentials.On() && !keys.TLS.On() && !transport.IsLoopbackAddress(keys.Listen),
		unpacker: transport.NewUnpacker(), stall: bodyStall, gone: goneAfter}, nil
}

// Run listens and serves until ctx ends. Requests whose body is still on its way are refused then; those that are
// stored get shutdownGrace to become durable and be answered.
func (h *httpInput) Run(ctx context.Context, emit Emit) error {
	emit, err := h.env.decoding(h.codec, emit)
	if err != nil {
		return err
	}
	secure, err := h.tls.Server()
	if err != nil {
		return startTLS(h.env.Name, err)
	}
	ln, err := h.env.listen(ctx, h.listen)
	if err != nil {
		return err
	}
	if h.inTheClear {
		h.env.Log.Warn("credentials are taken in the clear (insecure = true): everybody on the way can read them", "input", h.env.Name)
	}
	late, cancel := withGrace(ctx)
	defer cancel()

	var open sync.WaitGroup // connections
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			newRequest(h, ctx, late, emit, w, r).serve()
		}),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         secure,
		Protocols:         new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: streamBuffer,
			MaxReceiveBufferPerStream:     streamBuffer,
			WriteByteTimeout:              answerTimeout,
		},
		DisableGeneralOptionsHandler: true, // it would answer 200 to OPTIONS *
		ErrorLog:                     log.New(&serverLog{env: &h.env}, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
				h.env.Counters.Connections.Add(1)
			case http.StateClosed:
				h.env.Counters.Connections.Add(-1)
				open.Done()
			}
		},
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(secure != nil)
	server.Protocols.SetUnencryptedHTTP2(secure == nil) // of clients that know that it is spoken here
	var stopping sync.WaitGroup
	stopping.Add(1)
	context.AfterFunc(ctx, func() {
		defer stopping.Done()
		if server.Shutdown(late) != nil {
			server.Close()
		}
	})
	h.env.Ready(ln.Addr().String())
	// It ends for one reason: the listener's Accept fails only after ctx has ended.
	if secure != nil {
		_ = server.ServeTLS(ln, "", "")
	} else {
		_ = server.Serve(ln)
	}
	stopping.Wait()
	open.Wait()
	return nil
}

// Claim is the address, which no other may listen on; empty where the system chooses the port.
func (in *httpInput) Claim() string { return claimAddress(in.listen) }

// Probe tells whether its certificates can be used.
func (in *httpInput) Probe() error { return in.tls.Probe() }

// ProbeAddress tries whether the address is free.
func (in *httpInput) ProbeAddress() error { return in.env.probeAddress(in.listen) }

// serverLog is where the server of an http input says what went wrong on a connection: most of it is of no interest, but
// a peer that fails at TLS sees nothing of this side's reasons.
type serverLog struct {
	env    *Env
	warned sparing
}

// Write logs a line.
func (l *serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if !strings.Contains(text, "TLS handshake error") || strings.HasSuffix(text, ": EOF") { // who only looks whether anybody listens
		l.env.Log.Debug(text, "input", l.env.Name)
		return len(line), nil
	}
	l.env.Counters.Broken.Add(1)
	if l.warned.allow(time.Now()) {
		l.env.Log.Warn("connection refused", "input", l.env.Name, "error", text)
	}
	return len(line), nil
}
