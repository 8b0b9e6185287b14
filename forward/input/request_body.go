package input

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"logmule/forward/transport"
)

// read reads the whole body, as it was sent, into the loan. There is a byte of room behind it.
func (q *request) read() ([]byte, *refusal) {
	q.begun = true
	// The deadline set below may undo this one, so running is looked at after it.
	defer context.AfterFunc(q.running, func() { q.control.SetReadDeadline(time.Unix(1, 0)) })()

	// All that the body needs: one byte to see that it is too long, one for an LF. The block grows with what has come, not
	// with what is announced, so that nobody holds much more than he has sent.
	whole, size, n := blockSize(q.in.maxBody+2), firstBlock, q.in.maxBody
	if length := int(q.r.ContentLength); length >= 0 {
		whole, n = min(whole, blockSize(length+2)), length
	}
	final := whole // all that the request can ever need
	if q.coding.Packed() {
		final = blockSize(n + q.coding.Most(n, q.in.maxBody) + 2)
	}
	for have := 0; ; {
		if block := q.loan.bytes(); have >= len(block)-1 {
			if no := q.resize(size, final, have); no != nil {
				return nil, no
			}
			size = min(4*size, whole)
		}
		if q.overdue() {
			return nil, &refusal{http.StatusRequestTimeout, "the body takes longer than " + q.in.stall.String() + " while others wait for memory (memory_limit)"}
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
			q.lost = true
			return nil, &refusal{http.StatusRequestTimeout, "no byte of the body for " + q.in.stall.String()}
		case err != nil:
			q.lost = true
			return nil, &refusal{http.StatusBadRequest, "the body cannot be read: " + err.Error()}
		}
	}
}

// overdue tells whether the body has had its time, and others have asked for memory in vain since.
func (q *request) overdue() bool {
	return !q.until.IsZero() && time.Now().After(q.until) && q.in.env.Memory.waits() != q.waits
}

// resize makes room for what follows the bytes that are there. A body that had to wait for it has got room for all that
// may come, and has to come soon when others want some.
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
	q.until, q.waits = time.Now().Add(q.in.stall), q.in.env.Memory.waits()
	return nil
}

// unpack takes a compressed body apart, into the loan and behind the body as it was sent, and returns the content. There
// is a byte of room behind it. The room grows with what comes out, so that a lie about it costs no memory.
func (q *request) unpack(body []byte) ([]byte, *refusal) {
	if !q.coding.Packed() {
		return body, nil
	}
	n := len(body)
	most := q.coding.Most(n, q.in.maxBody)
	for room := q.coding.Guess(body, most); ; room = min(max(4*room, minBlock), most) {
		if len(q.loan.bytes()) < n+room+1 {
			if no := q.resize(blockSize(n+room+1), blockSize(n+most+1), n); no != nil {
				return nil, no
			}
		}
		block := q.loan.bytes()
		room = min(len(block)-n-1, q.in.maxBody)
		size, err := q.in.unpacker.Unpack(q.running, q.coding, block[n:n+room], block[:n])
		switch {
		case err == nil:
			return block[n : n+size], nil
		case err == transport.ErrRoom && room == q.in.maxBody:
			return nil, q.tooLong()
		case err == transport.ErrRoom:
			continue
		}
		if no := q.stopping(); no != nil {
			return nil, no
		}
		return nil, &refusal{http.StatusBadRequest, err.Error()}
	}
}
