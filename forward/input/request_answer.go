package input

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"
)

// stored is the answer to a request whose records are durable.
type stored struct {
	Records  int  `json:"records"`
	Repeated bool `json:"repeated,omitempty"`
}

// refused is the answer to any other.
type refused struct {
	Error string `json:"error"`
}

func (q *request) refuse(no *refusal) {
	q.in.env.Counters.RejectedRequests.Add(1)
	if q.in.refused.allow(time.Now()) {
		q.in.env.Log.Warn("request refused", "input", q.in.env.Name, "from", q.r.RemoteAddr, "status", no.status, "why", no.why)
	}
	header := q.w.Header()
	if no.status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	if q.whole {
		q.answer(no.status, refused{no.why})
		return
	}
	if q.r.ProtoMajor == 1 { // in HTTP/2 the stream ends, and the connection stays for the others
		header.Set("Connection", "close")
	}
	q.answer(no.status, refused{no.why})
	q.drain()
}

// drain reads what the client is still sending. A connection closed with bytes unread is reset, and the answer with it;
// and of a stream that is reset after its answer many a client does not look at that.
func (q *request) drain() {
	wait := drainAfter
	switch {
	case q.running.Err() != nil:
		wait = shutdownGrace / 2
	case !q.begun && q.r.Header.Get("Expect") != "": // the client waits for the answer before it sends
		wait = 0
	case q.lost:
		wait = 0
	}
	if wait > 0 {
		q.control.Flush()
		_, _ = io.CopyN(io.Discard, &draining{q: q, until: time.Now().Add(wait)}, drainLimit)
	}
	q.control.SetReadDeadline(time.Unix(1, 0))
}

// draining reads a body until a moment. In HTTP/2 it is over earlier when nothing comes: the client has stopped sending
// and waits for the end of the answer, which comes after this.
type draining struct {
	q     *request
	until time.Time
}

// Read reads on.
func (d *draining) Read(p []byte) (int, error) {
	until := d.until
	if idle := time.Now().Add(drainIdle); d.q.r.ProtoMajor > 1 && idle.Before(until) {
		until = idle
	}
	d.q.control.SetReadDeadline(until)
	return d.q.r.Body.Read(p)
}

func (q *request) answer(status int, content any) {
	q.answered = true
	var text bytes.Buffer
	_ = json.NewEncoder(&text).Encode(content) // cannot fail: strings and numbers
	header := q.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(text.Len())) // stated, so that the answer is complete before drain is done
	q.w.WriteHeader(status)
	_, _ = q.w.Write(text.Bytes()) // a client that is gone cannot be told
}

// contain keeps a panic from net/http, which would hide it.
func (q *request) contain() {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	q.in.env.panicked("request from "+q.r.RemoteAddr, p)
	if q.stored || q.answered {
		panic(http.ErrAbortHandler)
	}
	q.refuse(&refusal{http.StatusInternalServerError, "internal error"})
}
