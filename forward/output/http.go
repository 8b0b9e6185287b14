package output

import (
	"context"
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"logmule/forward/codec"
	"logmule/forward/transport"
)

// httpOutput posts batches. A batch that the destination refuses is halved again and again, until it is known which
// single records it does not want.
type httpOutput struct {
	env      Env
	url      *url.URL
	where    string // the URL without its password
	timeout  time.Duration
	maxBatch int

	http2   bool
	encoder codec.Encoder // nil: payloads

	tls        transport.TLS
	inTheClear bool        // credentials can be read on the way
	header     http.Header // of every request
	keyed      string      // the beginning of every Idempotency-Key
	transport  *http.Transport
	ready      bool        // transport has what tls says
	wires      atomic.Bool // there was a connection

	// What is left of the batch: ranges of records, the next one last. They outlive an error, so that a retry sends the
	// very same parts under the very same keys.
	parts []span
	batch string
	count int

	lines net.Buffers

	packer   *transport.Packer // nil: no compression
	packed   []byte            // what it made of the last part, nil for none
	packedOf uint64            // the hash of that
	hash     maphash.Hash
}

func newHTTP(decode func(into any) error, env Env) (Output, error) {
	c := newHTTPConfig()
	if err := decode(c); err != nil {
		return nil, err
	}
	u, err := c.check()
	if err != nil {
		return nil, err
	}
	h := &httpOutput{
		env: env, url: u, where: u.Redacted(), timeout: time.Duration(c.Timeout), maxBatch: int(c.MaxBatch),
		http2: c.HTTP2, tls: c.TLS, inTheClear: c.inTheClear(u), header: c.header(u),
	}
	if h.encoder, err = codec.NewEncoder(c.Codec); err != nil {
		return nil, err
	}
	if env.Name != "" {
		h.keyed = env.Name + ":"
	}
	if h.encoder != nil {
		h.keyed += c.Codec + ":"
	}
	if h.packer, err = transport.NewPacker(c.Compression); err != nil {
		return nil, err
	}
	if h.packer != nil {
		h.header.Set("Content-Encoding", h.packer.Coding().String())
	}
	// One request is under way at a time, so one connection is kept. No proxy: what an environment variable says about
	// browsers is no configuration of a log forwarder.
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
	h.transport.Protocols.SetHTTP1(!h.http2 || u.Scheme == "https")
	h.transport.Protocols.SetHTTP2(h.http2)
	h.transport.Protocols.SetUnencryptedHTTP2(h.http2)
	return h, nil
}

// MaxBatch returns max_batch, in bytes.
func (h *httpOutput) MaxBatch() int { return h.maxBatch }

// Concurrent says that batches may be posted at once: each request stands for itself.
func (h *httpOutput) Concurrent() {}

// Probe tells whether its certificates can be used.
func (h *httpOutput) Probe() error { return h.tls.Probe() }

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
		if h.encoder == nil {
			h.lines = b.AppendLines(h.lines[:0], part.from, part.to)
		} else {
			h.lines = b.AppendEncoded(h.lines[:0], part.from, part.to, h.encoder)
		}
		size, pending := total(h.lines), b.pendingIn(part.from, part.to)
		if pending > 1 && size > h.maxBatch {
			h.halve(part)
			continue
		}
		refused := ""
		if pending > 0 {
			var err error
			if refused, err = h.post(ctx, h.key(b, part), size); err != nil {
				h.env.Counters.Errors.Add(1)
				return err
			}
		}
		if refused != "" && pending > 1 {
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

// key is the name under which a destination can recognise a part that it has: the output's and the batch's, since other
// outputs may send it other bytes of the same records, with the indices of the first and last record where it is not all
// of it.
func (h *httpOutput) key(b *Batch, part span) string {
	switch {
	case b.ID == "":
		return "" // what has no name is no repeat of anything
	case part.from == 0 && part.to == b.Len():
		return h.keyed + b.ID
	}
	return fmt.Sprintf("%s%s.%d-%d", h.keyed, b.ID, part.from, part.to-1)
}
