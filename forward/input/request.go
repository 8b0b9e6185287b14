package input

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"logmule/forward/pack"
)

// Limits of one request.
const (
	roomAfter  = time.Second      // wait for memory, or for room in the queue, before 503
	bodyStall  = 30 * time.Second // wait for the next byte of a body before 408
	goneAfter  = 10 * time.Second // wait for the queue after the client seems gone; it may have closed its sending side only
	firstBlock = 64 << 10         // bytes of memory for a body before any of it has come, at most
	drainLimit = 64 << 20         // bytes of a refused body that are read and thrown away, so that its sender sees the answer
	drainAfter = 5 * time.Second  // and for how long
)

// request is one request on its way through the http input. Any answer but 200 means that nothing of it was stored; when
// that cannot be said any more, the connection is closed without an answer.
type request struct {
	in      *httpInput
	running context.Context // ends at shutdown
	late    context.Context // ends shutdownGrace later
	emit    Emit
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController

	loan     loan // holds the body
	begun    bool // the body has been asked for
	whole    bool // nothing of the body is left on the connection
	stored   bool // emit has accepted the body, or may have
	answered bool
}

// refusal is why a request is not answered with 200.
type refusal struct {
	status int
	why    string // for the person who runs the client
}

func newRequest(in *httpInput, running, late context.Context, emit Emit, w http.ResponseWriter, r *http.Request) *request {
	return &request{in: in, running: running, late: late, emit: emit, w: w, r: r, control: http.NewResponseController(w),
		loan: loan{from: in.env.Memory}, whole: r.ContentLength == 0}
}

func (q *request) serve() {
	defer q.loan.end()
	defer q.contain()
	if no := q.check(); no != nil {
		q.refuse(no)
		return
	}
	body, no := q.read()
	if no != nil {
		q.refuse(no)
		return
	}
	records, receipt, no := q.store(body)
	if no != nil {
		q.refuse(no)
		return
	}
	q.loan.end()
	if q.wait(receipt) != nil {
		q.in.env.Counters.Broken.Add(1)
		panic(http.ErrAbortHandler) // closes the connection
	}
	q.answer(http.StatusOK, map[string]int{"records": records})
}

// check judges what the header says.
func (q *request) check() *refusal {
	if q.r.Method != http.MethodPost && q.r.Method != http.MethodPut {
		q.w.Header().Set("Allow", "POST, PUT")
		return &refusal{http.StatusMethodNotAllowed, "records are taken with POST or PUT"}
	}
	if coding := q.r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		q.w.Header().Set("Accept-Encoding", "identity")
		return &refusal{http.StatusUnsupportedMediaType, "the body must not be compressed (Content-Encoding)"}
	}
	if !q.r.ProtoAtLeast(1, 1) && q.r.Header.Get("Content-Length") == "" {
		return &refusal{http.StatusLengthRequired, "a request of HTTP/1.0 needs a Content-Length"}
	}
	if q.r.ContentLength > int64(q.in.maxBody) {
		return q.tooLong()
	}
	return q.stopping()
}

func (q *request) tooLong() *refusal {
	return &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than max_body, %d bytes", q.in.maxBody)}
}

func (q *request) stopping() *refusal {
	if q.running.Err() == nil {
		return nil
	}
	return &refusal{http.StatusServiceUnavailable, "shutting down"}
}

// read reads the whole body into the loan. There is a byte of room behind it.
func (q *request) read() ([]byte, *refusal) {
	q.begun = true
	// The deadline set below may undo this one, so running is looked at after it.
	defer context.AfterFunc(q.running, func() { q.control.SetReadDeadline(time.Unix(1, 0)) })()

	// All that the body can ever need: one byte to see that it is too long, one for an LF.
	final, size := blockSize(q.in.maxBody+2), minBlock
	if n := q.r.ContentLength; n >= 0 {
		final = min(final, blockSize(int(n)+2))
		size = min(final, firstBlock)
	}
	for have := 0; ; {
		if block := q.loan.bytes(); have >= len(block)-1 {
			if no := q.resize(size, final, have); no != nil {
				return nil, no
			}
			size = min(4*size, final)
		}
		q.control.SetReadDeadline(time.Now().Add(q.in.stall))
		if no := q.stopping(); no != nil {
			return nil, no
		}
		block := q.loan.bytes()
		n, err := q.r.Body.Read(block[have : len(block)-1])
		have += n
		switch {
		case have > q.in.maxBody:
			return nil, q.tooLong()
		case err == io.EOF:
			q.whole = true
			// The server goes on reading, to see the client go, and that may take long.
			q.control.SetReadDeadline(time.Time{})
			return block[:have], nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if no := q.stopping(); no != nil {
				return nil, no
			}
			return nil, &refusal{http.StatusRequestTimeout, "no byte of the body for " + q.in.stall.String()}
		case err != nil:
			return nil, &refusal{http.StatusBadRequest, "the body cannot be read: " + err.Error()}
		}
	}
}

func (q *request) resize(size, final, have int) *refusal {
	keep := q.loan.bytes()[:have]
	if q.loan.tryResize(size, keep) {
		return nil
	}
	ctx, cancel := context.WithTimeout(q.running, roomAfter)
	defer cancel()
	if q.loan.resize(ctx, size, final, keep) != nil {
		return &refusal{http.StatusServiceUnavailable, "no memory for the body at the moment (memory_limit)"}
	}
	return nil
}

// store hands the body over as one pack and returns how many records it holds.
func (q *request) store(body []byte) (records int, receipt Receipt, no *refusal) {
	if len(body) == 0 {
		return 0, Receipt{}, nil
	}
	if body[len(body)-1] != '\n' {
		body = append(body, '\n') // in place: read left room
	}
	if n := longRecord(body, q.in.maxRecord); n > 0 {
		return 0, Receipt{}, &refusal{http.StatusRequestEntityTooLarge,
			fmt.Sprintf("record %d is longer than max_record, %d bytes", n, q.in.maxRecord)}
	}
	p := pack.Pack{Source: q.in.env.source(), Shared: q.in.env.attributes(q.r.RemoteAddr), Form: pack.Lines,
		Body: body, Count: pack.CountLines(body)}
	p.Shared.Timestamp = time.Now().UnixNano()
	ctx, cancel := context.WithTimeout(q.running, roomAfter)
	defer cancel()
	q.stored = true // a panic in emit leaves it open
	receipt, err := q.emit(ctx, &p)
	if err != nil {
		q.stored = false
		if errors.Is(err, ErrTooLarge) {
			return 0, Receipt{}, &refusal{http.StatusRequestEntityTooLarge, err.Error()}
		}
		return 0, Receipt{}, &refusal{http.StatusServiceUnavailable, "the queue takes no records: " + err.Error()}
	}
	return p.Count, receipt, nil
}

// longRecord returns the number, from 1, of the first record of more than limit bytes, or 0.
func longRecord(body []byte, limit int) int {
	if len(body) <= limit+1 {
		return 0
	}
	for n := 1; len(body) > 0; n++ {
		size := bytes.IndexByte(body, '\n')
		if size > limit {
			return n
		}
		body = body[size+1:]
	}
	return 0
}

// wait waits until the records are durable. There is no status for a slow queue: the client's patience decides.
func (q *request) wait(receipt Receipt) error {
	ctx, cancel := context.WithCancel(q.late)
	defer cancel()
	defer context.AfterFunc(q.r.Context(), func() { time.AfterFunc(q.in.gone, cancel) })()
	return receipt.Wait(ctx)
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
		q.answer(no.status, map[string]string{"error": no.why})
		return
	}
	header.Set("Connection", "close")
	q.answer(no.status, map[string]string{"error": no.why})
	q.drain(no)
}

// drain reads what the client is still sending. A connection closed with bytes unread is reset, and the answer with it.
func (q *request) drain(no *refusal) {
	wait := drainAfter
	switch {
	case q.running.Err() != nil:
		wait = shutdownGrace / 2
	case !q.begun && q.r.Header.Get("Expect") != "": // the client waits for the answer before it sends
		wait = 0
	case no.status == http.StatusBadRequest || no.status == http.StatusRequestTimeout:
		wait = 0
	}
	if wait > 0 {
		q.control.Flush()
		q.control.SetReadDeadline(time.Now().Add(wait))
		_, _ = io.CopyN(io.Discard, q.r.Body, drainLimit)
	}
	q.control.SetReadDeadline(time.Unix(1, 0))
}

func (q *request) answer(status int, content any) {
	q.answered = true
	var text bytes.Buffer
	_ = json.NewEncoder(&text).Encode(content) // cannot fail: maps of strings and numbers
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
