package rig

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Answer is how a destination treats one request.
type Answer struct {
	Store  bool          // the records count as arrived
	Status int           // 0: 200
	After  time.Duration // before the answer
	Hang   bool          // no answer at all: the connection is closed when the client or the sink gives up
}

// Accept stores and answers 200 at once.
var Accept = Answer{Store: true}

// HTTPSink is a destination for the http output.
type HTTPSink struct {
	URL    string
	server *http.Server
	stop   chan struct{}

	mu       sync.Mutex
	answer   func() Answer
	arrived  func(record []byte)
	requests int
	batches  []batch
	largest  int
	keys     map[string]bool // the Idempotency-Keys stored; nil: nobody looks at them
	repeats  int
	open     map[net.Conn]bool // connections
	watch    func(key string, body []byte)
}

// batch is a request whose records were stored.
type batch struct {
	at      time.Time
	records int
	told    bool // the answer was 200 at once, so that the client knows
}

// atOnce is what an answer at once may take: on a machine that is busy a client may have given up before it.
const atOnce = 100 * time.Millisecond

// NewHTTPSink listens on address. arrived gets each record without its LF; it is called by one goroutine at a time and must not keep it.
func NewHTTPSink(address string, arrived func(record []byte)) (*HTTPSink, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start http sink: %w", err)
	}
	s := &HTTPSink{URL: "http://" + l.Addr().String() + "/logs", stop: make(chan struct{}), arrived: arrived, open: map[net.Conn]bool{}}
	s.answer = func() Answer { return Accept }
	s.server = &http.Server{Handler: http.HandlerFunc(s.serve), ConnState: s.note}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

// Answer sets how requests are treated from now on; answer is called once for each, by one goroutine at a time.
func (s *HTTPSink) Answer(answer func() Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// Once makes the sink drop batches whose Idempotency-Key it has stored already, as a careful destination does.
func (s *HTTPSink) Once() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = map[string]bool{}
}

// Repeats counts the batches that Once dropped.
func (s *HTTPSink) Repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repeats
}

// Watch shows each body that is stored, with its Idempotency-Key, to somebody; one goroutine calls it at a time. It must not keep the body.
func (s *HTTPSink) Watch(watch func(key string, body []byte)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = watch
}

// Close ends the sink and its connections.
func (s *HTTPSink) Close() {
	close(s.stop)
	_ = s.server.Close()
}

// Requests counts the requests that came whole.
func (s *HTTPSink) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Largest is the most records that one request held.
func (s *HTTPSink) Largest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.largest
}

// Stored counts the records stored since then.
func (s *HTTPSink) Stored(since time.Time) int {
	return s.sum(func(b batch) bool { return !b.at.Before(since) })
}

// Newest counts the records of the last batch that was stored.
func (s *HTTPSink) Newest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.batches) == 0 {
		return 0
	}
	return s.batches[len(s.batches)-1].records
}

// Left says whether no client is connected any more, so that nothing more comes from those that there were.
func (s *HTTPSink) Left() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) == 0
}

func (s *HTTPSink) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.open[c] = true
	case http.StateClosed, http.StateHijacked:
		delete(s.open, c)
	}
}

// Untold counts the records stored without telling the client at once: those it is right to send again.
func (s *HTTPSink) Untold() int { return s.sum(func(b batch) bool { return !b.told }) }

func (s *HTTPSink) sum(counts func(batch) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		if counts(b) {
			n += b.records
		}
	}
	return n
}

func (s *HTTPSink) serve(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away in the middle
	}
	a, stored := s.take(body, r.Header.Get("Idempotency-Key"))
	if stored >= 0 {
		defer func() {
			if time.Since(began) > atOnce {
				s.mu.Lock()
				s.batches[stored].told = false
				s.mu.Unlock()
			}
		}()
	}
	if a.After > 0 {
		pause(r.Context(), s.stop, a.After)
	}
	if a.Hang {
		pause(r.Context(), s.stop, time.Hour)
		panic(http.ErrAbortHandler) // the documented way to close without an answer
	}
	if a.Status != 0 {
		w.WriteHeader(a.Status)
	}
}

// take gives the answer to a request, and which batch it is; -1: it is not stored.
func (s *HTTPSink) take(body []byte, key string) (a Answer, stored int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	a = s.answer()
	records := bytes.Count(body, []byte{'\n'})
	s.largest = max(s.largest, records)
	if a.Store && s.keys[key] {
		s.repeats++
		return a, -1
	}
	stored = -1
	if a.Store {
		if s.keys != nil {
			s.keys[key] = true
		}
		s.batches = append(s.batches, batch{time.Now(), records, a.After == 0 && !a.Hang && (a.Status == 0 || a.Status == http.StatusOK)})
		if s.watch != nil {
			s.watch(key, body)
		}
		Lines(body, s.arrived)
		stored = len(s.batches) - 1
	}
	return a, stored
}

// Lines calls fn for each line without its LF, also for a last one that lacks it.
func Lines(body []byte, fn func(line []byte)) {
	for len(body) > 0 {
		line, rest, _ := bytes.Cut(body, []byte{'\n'})
		fn(line)
		body = rest
	}
}

func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-stop:
	case <-t.C:
	}
}
