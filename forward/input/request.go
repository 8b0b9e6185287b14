package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"logmule/forward/pack"
	"logmule/forward/transport"
)

// Limits of one request.
const (
	roomAfter  = time.Second      // wait for memory, or for room in the queue, before 503
	bodyStall  = 30 * time.Second // wait for the next byte of a body before 408
	goneAfter  = 10 * time.Second // wait for the queue after the client seems gone; it may have closed its sending side only
	firstBlock = minBlock         // bytes of memory for a body that every request has, whatever the others hold
	drainLimit = 64 << 20         // bytes of a refused body that are read and thrown away, so that its sender sees the answer
	drainAfter = 5 * time.Second  // and for how long
	drainIdle  = time.Second / 4  // and for how long none may come, in HTTP/2
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

	coding transport.Coding // of the body
	id     repeatID         // zero: it may be stored as often as it comes
	loan   loan             // holds the body

	until    time.Time // when the body has to be here if others want memory, because it has more than it fills; zero: it has not
	waits    uint64    // of the Budget when it got that
	begun    bool      // the body has been asked for
	whole    bool      // nothing of the body is left on the connection
	lost     bool      // what is left of it cannot be read
	stored   bool      // emit has accepted the body, or may have
	answered bool
}

// refusal is why a request is not answered with 200.
type refusal struct {
	status int
	why    string // for the person who runs the client
}

func newRequest(in *httpInput, running, late context.Context, emit Emit, w http.ResponseWriter, r *http.Request) *request {
	return &request{in: in, running: running, late: late, emit: emit, w: w, r: r, control: http.NewResponseController(w),
		loan: loan{from: in.env.Memory, free: firstBlock}, whole: r.ContentLength == 0}
}

func (q *request) serve() {
	defer q.loan.end()
	defer q.contain()
	out, no := q.take()
	if no != nil {
		q.refuse(no)
		return
	}
	q.loan.end()
	if err := q.wait(out.receipt); err != nil {
		if !errors.Is(err, context.Canceled) { // it failed, so a repeat has to be stored anew
			q.in.env.Repeats.forget(q.id)
		}
		q.in.env.Counters.Broken.Add(1)
		panic(http.ErrAbortHandler) // closes the connection
	}
	q.answer(http.StatusOK, stored{Records: out.records, Repeated: out.repeated})
}

// outcome is what became of a request that is not refused.
type outcome struct {
	records  int
	receipt  Receipt
	repeated bool // another request had stored them
}

// take does everything up to the receipt.
func (q *request) take() (outcome, *refusal) {
	if no := q.check(); no != nil {
		return outcome{}, no
	}
	body, no := q.read()
	if no == nil {
		body, no = q.unpack(body)
	}
	if no != nil {
		return outcome{}, no
	}
	if q.id != (repeatID{}) {
		return q.once(body)
	}
	return q.store(body)
}

// check judges what the header says.
func (q *request) check() *refusal {
	if no := q.admit(); no != nil {
		return no
	}
	if q.r.Method != http.MethodPost && q.r.Method != http.MethodPut {
		q.w.Header().Set("Allow", "POST, PUT")
		return &refusal{http.StatusMethodNotAllowed, "records are taken with POST or PUT"}
	}
	var err error
	if q.coding, err = transport.ParseCoding(q.r.Header["Content-Encoding"]); err != nil {
		q.w.Header().Set("Accept-Encoding", transport.AcceptEncoding)
		return &refusal{http.StatusUnsupportedMediaType, err.Error() + " (Content-Encoding)"}
	}
	if !q.r.ProtoAtLeast(1, 1) && q.r.Header.Get("Content-Length") == "" {
		return &refusal{http.StatusLengthRequired, "a request of HTTP/1.0 needs a Content-Length"}
	}
	if q.r.ContentLength > int64(q.in.maxBody) {
		return q.tooLong()
	}
	return q.stopping()
}

// admit judges who sends, and the name of the request by which a repeat of it is known.
func (q *request) admit() *refusal {
	who, ok := q.in.credentials.Accepts(q.r.Header.Get("Authorization"))
	if !ok {
		q.in.env.Counters.Unauthorized.Add(1)
		for _, challenge := range q.in.credentials.Challenges() {
			q.w.Header().Add("WWW-Authenticate", challenge)
		}
		return &refusal{http.StatusUnauthorized, "the credentials are missing or wrong (Authorization)"}
	}
	keys := q.r.Header["Idempotency-Key"]
	switch {
	case len(keys) == 0 || len(keys) == 1 && keys[0] == "":
		return nil
	case len(keys) > 1:
		return &refusal{http.StatusBadRequest, "there is more than one Idempotency-Key"}
	case len(keys[0]) > longestKey:
		return &refusal{http.StatusBadRequest, fmt.Sprintf("the Idempotency-Key is longer than %d bytes", longestKey)}
	}
	if peer := q.r.TLS; who == "" && peer != nil && len(peer.PeerCertificates) > 0 {
		who = "certificate " + peer.PeerCertificates[0].Subject.String()
	}
	q.id = newRepeatID(who, keys[0])
	return nil
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

// store hands the body over as one pack.
func (q *request) store(body []byte) (outcome, *refusal) {
	if len(body) == 0 {
		return outcome{}, nil
	}
	if body[len(body)-1] != '\n' {
		body = append(body, '\n') // in place: read left room
	}
	if n := longRecord(body, q.in.maxRecord); n > 0 {
		return outcome{}, &refusal{http.StatusRequestEntityTooLarge,
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
			return outcome{}, &refusal{http.StatusRequestEntityTooLarge, err.Error()}
		}
		if errors.Is(err, ErrDisk) {
			return outcome{}, &refusal{http.StatusServiceUnavailable, "the disk takes no data: nothing of this is stored, send it again"}
		}
		return outcome{}, &refusal{http.StatusServiceUnavailable, "the queue takes no records: " + err.Error()}
	}
	return outcome{records: p.Count, receipt: receipt}, nil
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
