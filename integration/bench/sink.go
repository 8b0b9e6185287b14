package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// expect is what a sink waits for; it is passed to its process as JSON.
type expect struct {
	Kind    string // tcp or http
	Records uint64 // in all; the sink ends after them
}

// receive listens on a free port, which it prints, checks every record, and prints the wall time of the last one in nanoseconds.
func receive(e expect) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start sink: %w", err)
	}
	fmt.Println(l.Addr())
	s := &sink{want: e.Records, check: newCheck(newCorpus()), result: make(chan error, 1)}
	if e.Kind == "http" {
		go func() { _ = http.Serve(l, s) }()
	} else {
		go s.accept(l)
	}
	if err := <-s.result; err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(time.Now().UnixNano())
}

type sink struct {
	want   uint64
	result chan error // the verdict, once

	mu    sync.Mutex
	check *check
}

// take says whether the sink wants more.
func (s *sink) take(b []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.check.records >= s.want {
		s.end(fmt.Errorf("check: more than %d records came", s.want))
		return false
	}
	if err := s.check.take(b); err != nil {
		s.end(err)
		return false
	}
	if s.check.records == s.want {
		s.end(nil)
	}
	return true
}

func (s *sink) end(err error) {
	select {
	case s.result <- err:
	default: // the first verdict stands
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if int(r.ContentLength) > cap(*buf) {
		*buf = make([]byte, r.ContentLength)
	}
	body := (*buf)[:max(0, r.ContentLength)]
	if r.ContentLength < 0 {
		s.end(errors.New("check: a request without Content-Length"))
		return
	}
	if _, err := io.ReadFull(r.Body, body); err != nil {
		s.end(fmt.Errorf("read request: %w", err))
		return
	}
	if !s.take(body) {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

func (s *sink) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			s.end(fmt.Errorf("accept: %w", err))
			return
		}
		go s.read(conn)
	}
}

func (s *sink) read(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	buf := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := conn.Read(buf[kept:])
		whole := (kept + n) / lineSize * lineSize
		if whole > 0 && !s.take(buf[:whole]) {
			return
		}
		kept = copy(buf, buf[whole:kept+n])
		if err != nil {
			if kept > 0 {
				s.end(fmt.Errorf("read connection: %w: %d bytes at its end", errTorn, kept))
			}
			return
		}
	}
}
