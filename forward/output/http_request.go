package output

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"time"

	"logmule/forward/transport"
)

const (
	// answerText is how much of an answer an error quotes, and answerMost how much is read so that the connection can be
	// used again; both in bytes.
	answerText = 200
	answerMost = 64 << 10

	// longestRetryAfter bounds what a destination can ask for.
	longestRetryAfter = time.Hour
)

// errSent is why net/http must not send a request again on another connection: the engine shall know about it.
var errSent = errors.New("the connection ended when a part of the request had been sent")

// post sends h.lines, size bytes, as one request. It returns nil and "" when the destination took them, and as refused
// what it answered when it does not want them. After it returned nothing refers to the lines any more.
func (h *httpOutput) post(ctx context.Context, key string, size int) (refused string, err error) {
	h.env.Counters.Requests.Add(1)
	if err := h.prepare(); err != nil {
		return "", fmt.Errorf("POST %s: %w", h.where, err)
	}
	lines, err := h.pack(size)
	if err != nil {
		return "", fmt.Errorf("POST %s: %w", h.where, err)
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := newBody(lines)
	defer body.end()
	defer newPatience(h.timeout, body, cancel).end()
	trace := &httptrace.ClientTrace{GotConn: body.gotConn, WroteRequest: body.wrote}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(within, trace), http.MethodPost, h.url.String(), nil)
	if err != nil {
		return "", fmt.Errorf("POST %s: %w", h.where, err)
	}
	maps.Copy(req.Header, h.header)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	req.Body, req.GetBody, req.ContentLength = body.reader(), body.again, int64(total(lines))

	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		if on, _ := body.on(); h.http2 && on != nil { // one that is dead would be used again and again
			_ = on.Close()
		}
		if ctx.Err() == nil && within.Err() != nil {
			err = context.Cause(within)
		}
		return "", fmt.Errorf("POST %s: %w", h.where, explainEnd(err))
	}
	defer resp.Body.Close()
	return h.judge(within, resp, body)
}

// explainEnd says of the end of a connection what it was: net/http has hardly a word for it.
func explainEnd(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the peer closed the connection before it had answered (%w)", err)
	case strings.HasPrefix(err.Error(), "readLoopPeekFailLocked"):
		return fmt.Errorf("the peer said something before it was asked (%w)", err)
	}
	return transport.Explain(bare(err))
}

// prepare reads the files that tls names, once.
func (h *httpOutput) prepare() error {
	if h.ready {
		return nil
	}
	secure, err := h.tls.Client(h.url.Hostname())
	if err != nil {
		return err
	}
	if secure != nil {
		h.transport.TLSClientConfig = secure
	}
	if h.inTheClear {
		h.env.Log.Warn("credentials are sent in the clear (insecure = true): everybody on the way can read them", "output", h.env.Name)
	}
	h.ready = true
	return nil
}

// pack returns h.lines as they are sent. What was compressed for the request before is sent again where it is the same:
// a destination that compares requests sees no difference.
func (h *httpOutput) pack(size int) (net.Buffers, error) {
	if h.packer == nil {
		return h.lines, nil
	}
	h.hash.Reset()
	for _, part := range h.lines {
		_, _ = h.hash.Write(part)
	}
	if sum := h.hash.Sum64(); h.packed == nil || sum != h.packedOf {
		h.packer.Shrink(2 * h.maxBatch)
		packed, err := h.packer.Pack(h.lines, size)
		if err != nil {
			h.packed = nil
			return nil, err
		}
		h.packed, h.packedOf = packed, sum
	}
	return net.Buffers{h.packed}, nil
}

// judge reads the answer and says what it means.
func (h *httpOutput) judge(ctx context.Context, resp *http.Response, body *body) (refused string, err error) {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, answerText)) // the status is what counts
	_, _ = io.CopyN(io.Discard, resp.Body, answerMost-answerText)
	answer := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if text := strings.Join(strings.Fields(strings.ToValidUTF8(string(head), "?")), " "); text != "" {
		answer += ": " + text
	}
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		if !body.sent(ctx, resp.ProtoMajor) {
			return "", fmt.Errorf("POST %s: answered %s before it had the whole request", h.where, answer)
		}
		return "", nil
	case code == http.StatusUnsupportedMediaType && h.packer != nil: // it says nothing about the records
		accepts := resp.Header.Get("Accept-Encoding")
		if accepts == "" {
			accepts = "other codings, or none"
		}
		err = fmt.Errorf("POST %s: answered %s; if it cannot read %s, change compression (it takes %s)", h.where, answer, h.packer.Coding(), accepts)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		err = fmt.Errorf("POST %s: answered %s; check token, or username and password", h.where, answer)
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge,
		code == http.StatusUnsupportedMediaType, code == http.StatusUnprocessableEntity:
		return answer, nil
	case code >= 300 && code < 400 && resp.Header.Get("Location") != "":
		err = fmt.Errorf("POST %s: answered %s; redirects are not followed, change url to %q if that is right",
			h.where, answer, resp.Header.Get("Location"))
	default:
		err = fmt.Errorf("POST %s: answered %s", h.where, answer)
	}
	if after := retryAfter(resp.Header.Get("Retry-After"), time.Now()); after > 0 {
		err = &RetryError{After: after, Err: err}
	}
	return "", err
}

// retryAfter reads a Retry-After header, seconds or a date; 0 when it says nothing of use.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err == nil || errors.Is(err, strconv.ErrRange):
		return time.Duration(max(0, min(seconds, int64(longestRetryAfter/time.Second)))) * time.Second
	default:
		date, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		return max(0, min(date.Sub(now), longestRetryAfter))
	}
}
