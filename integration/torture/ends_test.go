package torture

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"logmule/integration/judge"
	"logmule/integration/rig"
)

// end is where the records of one output arrive: judged ones, and those that the generate input makes up.
type end struct {
	name    string
	judged  *judge.Destination
	instead func([]byte) // nil: records are judged

	mu    sync.Mutex
	runs  map[string]*made
	wrong []string // generated records that are none
	again uint64   // those that came twice, or out of order
	alien uint64   // records of strangers
}

// made is what came of one run of the generate input, whose records are numbered from 1.
type made struct{ count, last uint64 }

func newEnd(j *judge.Judge, name string) *end {
	return &end{name: name, judged: j.Destination(name), runs: map[string]*made{}}
}

// stranger is what connections write that are no sources.
const stranger = "stranger"

// arrived takes one record.
func (e *end) arrived(record []byte) {
	if e.instead != nil {
		e.instead(record)
		return
	}
	if string(record) == stranger {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.alien++
		return
	}
	const head = len("seq=000000000001 run=")
	if !bytes.HasPrefix(record, []byte("seq=")) {
		e.judged.Arrived(record)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(record) < head+17 {
		e.wrong = append(e.wrong, fmt.Sprintf("%.60q", record))
		return
	}
	number, err := strconv.ParseUint(string(record[4:16]), 10, 64)
	run := string(record[head : head+16])
	m := e.runs[run]
	if m == nil {
		m = &made{}
		e.runs[run] = m
	}
	if err != nil {
		e.wrong = append(e.wrong, fmt.Sprintf("%.60q", record))
		return
	}
	if number <= m.last {
		e.again++
		return
	}
	m.count++
	m.last = number
}

// unjudged counts the records of the generate input and of strangers that came.
func (e *end) unjudged() (n uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n = e.alien
	for _, m := range e.runs {
		n += m.count
	}
	return n
}

// gate is a destination for an http output that answers only while it is open: what waits for it has to be read from the disk.
type gate struct {
	server *http.Server

	mu   sync.Mutex
	open chan struct{} // closed: answers
	shut bool
}

// newGate listens on address and is open.
func newGate(t *testing.T, address string, arrived func([]byte)) *gate {
	t.Helper()
	l, err := net.Listen("tcp", address)
	must(t, err)
	g := &gate{open: make(chan struct{})}
	close(g.open)
	var storing sync.Mutex
	g.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away in the middle
		}
		if g.wait(r.Context()) != nil {
			return
		}
		storing.Lock()
		defer storing.Unlock()
		rig.Lines(body, arrived)
	})}
	go func() { _ = g.server.Serve(l) }()
	t.Cleanup(func() { _ = g.server.Close() })
	return g
}

func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close lets requests wait from now on.
func (g *gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut {
		g.open, g.shut = make(chan struct{}), true
	}
}

// Open answers them.
func (g *gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		close(g.open)
		g.shut = false
	}
}

// lineWriter gives the lines that are written to it to a function.
type lineWriter struct {
	arrived func([]byte)
	rest    []byte
	slow    time.Duration // that each write takes
}

func (w *lineWriter) Write(p []byte) (int, error) {
	size := len(p)
	time.Sleep(w.slow)
	for {
		line, rest, found := bytes.Cut(p, []byte{'\n'})
		if !found {
			w.rest = append(w.rest, p...)
			return size, nil
		}
		if len(w.rest) > 0 {
			line = append(w.rest, line...)
			w.rest = w.rest[:0]
		}
		w.arrived(line)
		p = rest
	}
}
