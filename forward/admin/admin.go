// Package admin serves what an operator and a monitoring system ask a running logmule: metrics, health, status, profiles.
//
// It only reads. It knows nothing of the engine beyond Source.
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is what the pages show. All methods may be called from several goroutines at any time, during start and stop too.
type Source interface {
	// Status is the object that /status prints as JSON. If it is a fmt.Stringer, / shows its text.
	Status() any
	// Ready says whether every input listens and takes records; if not, the text says why.
	Ready() (bool, string)
	// Healthy says whether every plugin runs; if not, the text says which does not and why.
	Healthy() (bool, string)
	// Collector gathers the logmule_ metrics.
	prometheus.Collector
}

// Limits of the server. A CPU profile or trace holds its response open for as long as it was asked to run, so writing
// has the most time.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 2 * time.Minute
	idleTimeout  = time.Minute
	stopTimeout  = time.Second
	maxHeader    = 64 << 10
)

// Server is the admin endpoint, listening since New.
type Server struct {
	listener net.Listener
	handler  http.Handler
}

// New listens on the address, so that a port in use shows before anything else starts. An address beyond loopback is
// refused unless insecure is true: the pages need no password. The caller must call Serve, or Close.
func New(listen string, insecure bool, source Source) (*Server, error) {
	address, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("read admin.listen = %q: %w; write it as host:port", listen, err)
	}
	if !insecure && !address.IP.IsLoopback() {
		return nil, fmt.Errorf("listen on admin.listen = %q: it is open to the network and asks for no password; use 127.0.0.1, or say insecure = true in [admin]", listen)
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{source, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on admin.listen = %q: %w; stop what uses it or choose another address", listen, err)
	}
	return &Server{listener: listener, handler: pages(source, registry)}, nil
}

// Address is where the server listens, with the port that the system chose if the configuration said 0.
func (s *Server) Address() string {
	return s.listener.Addr().String()
}

// Close stops listening. It is for a server that was never served; Serve closes by itself.
func (s *Server) Close() error {
	return s.listener.Close()
}

// Serve answers until ctx ends, then gives running requests a second, and returns nil. Any other end is an error.
func (s *Server) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:        s.handler,
		ReadTimeout:    readTimeout,
		WriteTimeout:   writeTimeout,
		IdleTimeout:    idleTimeout,
		MaxHeaderBytes: maxHeader,
		BaseContext:    func(net.Listener) context.Context { return ctx }, // a profile that runs ends with ctx
	}
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if server.Shutdown(limit) != nil {
			server.Close()
		}
	})
	err := server.Serve(s.listener)
	if !unhook() {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve admin pages on %s: %w", s.Address(), err)
}

// pages routes the endpoints. Nothing here changes anything.
func pages(source Source, registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { index(w, source) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { verdict(w, source.Healthy) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { verdict(w, source.Ready) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { status(w, source) })
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // go tool pprof asks so
	return mux
}

const endpoints = `logmule

/metrics       Prometheus metrics
/healthz       200 while every plugin runs, 503 with the reason otherwise
/readyz        200 while every input takes records, 503 with the reason otherwise
/status        everything below and more, as JSON
/debug/pprof/  profiles of the running process

`

func index(w http.ResponseWriter, source Source) {
	plain(w)
	io.WriteString(w, endpoints)
	if s, ok := source.Status().(fmt.Stringer); ok {
		io.WriteString(w, s.String())
	}
}

func verdict(w http.ResponseWriter, ask func() (bool, string)) {
	plain(w)
	if ok, reason := ask(); !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, reason)
		return
	}
	fmt.Fprintln(w, "ok")
}

func status(w http.ResponseWriter, source Source) {
	text, err := json.MarshalIndent(source.Status(), "", "  ")
	if err != nil {
		http.Error(w, fmt.Sprintf("encode status: %v", err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(text, '\n'))
}

func plain(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}
