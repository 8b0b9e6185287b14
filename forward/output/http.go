package output

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"logmule/forward/config"
)

type httpConfig struct {
	URL      string          `toml:"url"`
	Timeout  config.Duration `toml:"timeout"`
	MaxBatch config.Bytes    `toml:"max_batch"`
}

// httpOutput posts batches. A batch that the destination refuses is halved again and again, until it is known which
// single records it does not want.
type httpOutput struct {
	env      Env
	url      *url.URL
	where    string // the URL without its password
	timeout  time.Duration
	maxBatch int

	transport *http.Transport
	wires     atomic.Bool // there was a connection

	// What is left of the batch: ranges of records, the next one last. They outlive an error, so that a retry sends the
	// very same parts under the very same keys.
	parts []span
	batch string
	count int

	lines net.Buffers
}

func newHTTP(decode func(into any) error, env Env) (Output, error) {
	c := httpConfig{Timeout: config.Duration(10 * time.Second), MaxBatch: 1 << 20}
	if err := decode(&c); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	switch {
	case c.URL == "":
		return nil, errors.New(`url is missing; add the destination's, such as url = "http://127.0.0.1:9000/logs"`)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New(`url is not that of a web server; write one such as "http://127.0.0.1:9000/logs"`)
	case c.Timeout < config.Duration(time.Millisecond):
		return nil, fmt.Errorf(`timeout = "%v" is too short; write a duration of at least 1ms, such as "10s"`, c.Timeout)
	case c.MaxBatch < 1 || c.MaxBatch > mostBytes:
		return nil, fmt.Errorf(`max_batch = "%v" is out of range; write from 1B to %v`, c.MaxBatch, mostBytes)
	}
	h := &httpOutput{
		env: env, url: u, where: u.Redacted(), timeout: time.Duration(c.Timeout), maxBatch: int(c.MaxBatch),
	}
	// One request is under way at a time, so one connection is kept. HTTP/1 only: the rules about what was sent on a
	// connection, see wire, are about those. No proxy: what an environment variable says about browsers is no
	// configuration of a log forwarder.
	h.transport = &http.Transport{
		DialContext:            h.dial,
		TLSHandshakeTimeout:    h.timeout,
		MaxIdleConns:           1,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		WriteBufferSize:        32 << 10,
		Protocols:              new(http.Protocols),
	}
	h.transport.Protocols.SetHTTP1(true)
	return h, nil
}

// MaxBatch returns max_batch, in bytes.
func (h *httpOutput) MaxBatch() int { return h.maxBatch }

// Concurrent says that batches may be posted at once: each request stands for itself.
func (h *httpOutput) Concurrent() {}

// Close closes the idle connection.
func (h *httpOutput) Close() error {
	h.transport.CloseIdleConnections()
	return nil
}

// Send posts the batch, in parts where it is larger than max_batch. What a part that was answered says about its records
// counts at once, whatever happens to the next one.
func (h *httpOutput) Send(ctx context.Context, b *Batch) error {
	h.begin(b)
	for len(h.parts) > 0 {
		last := len(h.parts) - 1
		part := h.parts[last]
		h.lines = b.AppendLines(h.lines[:0], part.from, part.to)
		size, pending := total(h.lines), b.pendingIn(part.from, part.to)
		if pending > 1 && size > h.maxBatch {
			h.halve(part)
			continue
		}
		refused := ""
		if pending > 0 {
			var err error
			if refused, err = h.post(ctx, key(b, part), size); err != nil {
				h.env.Counters.Errors.Add(1)
				return err
			}
		}
		if refused != "" && pending > 1 {
			h.env.Counters.Bisections.Add(1)
			h.halve(part)
			continue
		}
		if refused != "" {
			b.rejectIn(part.from, part.to, refused) // which leaves out those that are settled
		} else {
			h.env.Counters.BytesSent.Add(uint64(size))
			if last > 0 || b.finished > 0 { // else nil says it all
				b.acceptIn(part.from, part.to)
			}
		}
		h.parts = h.parts[:last]
	}
	return nil
}

// begin goes on with the parts of a batch that is retried, and takes any other batch as one part.
func (h *httpOutput) begin(b *Batch) {
	pending := 0
	for _, p := range h.parts {
		pending += b.pendingIn(min(p.from, b.Len()), min(p.to, b.Len()))
	}
	if b.ID == "" || b.ID != h.batch || b.Len() != h.count || b.Pending() != pending {
		h.batch, h.count = b.ID, b.Len()
		h.parts = append(h.parts[:0], span{0, b.Len()})
	}
}

// halve replaces the next part by its halves.
func (h *httpOutput) halve(part span) {
	middle := part.from + (part.to-part.from)/2
	h.parts = append(h.parts[:len(h.parts)-1], span{middle, part.to}, span{part.from, middle})
}

// key is the name under which a destination can recognise a part that it has: the batch's, with the indices of the
// first and last record where it is not all of it.
func key(b *Batch, part span) string {
	if part.from == 0 && part.to == b.Len() {
		return b.ID
	}
	return fmt.Sprintf("%s.%d-%d", b.ID, part.from, part.to-1)
}
