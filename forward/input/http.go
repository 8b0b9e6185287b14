package input

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"logmule/forward/config"
)

// Limits of the server, beside those that request.go states for a body.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeader      = 64 << 10 // bytes
	defaultMaxBody = 16 << 20
	maxBodyLimit   = 1 << 30 // a body is in memory as a whole
)

// httpInput takes newline-delimited records in the bodies of requests and answers 200 when they are durable.
type httpInput struct {
	env       Env
	listen    string
	maxBody   int
	maxRecord int

	stall, gone time.Duration // bodyStall and goneAfter, less in tests
	refused     sparing
}

func newHTTP(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		Listen    string       `toml:"listen"`
		MaxBody   config.Bytes `toml:"max_body"`
		MaxRecord config.Bytes `toml:"max_record"`
		Insecure  bool         `toml:"insecure"`
	}{MaxBody: defaultMaxBody, MaxRecord: defaultMaxRecord}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := checkListen(keys.Listen, keys.Insecure); err != nil {
		return nil, err
	}
	if err := checkMaxRecord(keys.MaxRecord); err != nil {
		return nil, err
	}
	if keys.MaxBody < 1 || keys.MaxBody > maxBodyLimit {
		return nil, fmt.Errorf(`max_body = "%s" is out of range; use a size from "1B" to "1GiB"`, keys.MaxBody)
	}
	return &httpInput{env: env, listen: keys.Listen, maxBody: int(keys.MaxBody), maxRecord: int(keys.MaxRecord),
		stall: bodyStall, gone: goneAfter}, nil
}

// Run listens and serves until ctx ends. Requests whose body is still on its way are refused then; those that are
// stored get shutdownGrace to become durable and be answered.
func (h *httpInput) Run(ctx context.Context, emit Emit) error {
	ln, err := h.env.listen(ctx, h.listen)
	if err != nil {
		return err
	}
	late, cancel := withGrace(ctx)
	defer cancel()

	var open sync.WaitGroup // connections
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			newRequest(h, ctx, late, emit, w, r).serve()
		}),
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // it would answer 200 to OPTIONS *
		ErrorLog:                     slog.NewLogLogger(h.env.Log.Handler(), slog.LevelDebug),
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
	_ = server.Serve(ln)
	stopping.Wait()
	open.Wait()
	return nil
}

// Claim is the address, which no other may listen on; empty where the system chooses the port.
func (in *httpInput) Claim() string { return claimAddress(in.listen) }
