package rig

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"logmule/integration/judge"
)

// HTTPSource posts batches of judged records, one request in flight, and never sends a record twice: after an error it
// goes on with new ones, so that every repeat at the destination is logmule's.
type HTTPSource struct {
	URL    string
	Source *judge.Source
	Batch  int                      // records of a request; 0: 20
	Size   int                      // bytes of a record; 0: 200
	Every  time.Duration            // from one request to the next; 0: at once
	Limit  uint64                   // records after which Run returns; 0: none
	Wait   time.Duration            // for an answer; 0: 30 s
	Told   func(first, last uint64) // is told of each acknowledgement; nil: nobody is

	client http.Client
}

// Run posts until ctx ends or Limit is reached. It returns the number of requests for each status; 0 stands for no answer.
func (s *HTTPSource) Run(ctx context.Context) map[int]int {
	transport := &http.Transport{}
	s.client = http.Client{Transport: transport, Timeout: cmp.Or(s.Wait, 30*time.Second)}
	defer transport.CloseIdleConnections()
	every := cmp.Or(s.Every, time.Nanosecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	statuses := map[int]int{}
	var body []byte
	for s.Limit == 0 || s.Source.Sent() < s.Limit {
		var status int
		body, status = s.post(context.WithoutCancel(ctx), body[:0]) // a request once begun has its answer
		statuses[status]++
		if status != http.StatusOK {
			body = nil // the transport may still be reading it
			tick.Reset(max(every, 5*time.Millisecond))
		} else {
			tick.Reset(every)
		}
		select {
		case <-ctx.Done():
			return statuses
		case <-tick.C:
		}
	}
	return statuses
}

func (s *HTTPSource) post(ctx context.Context, body []byte) ([]byte, int) {
	batch, size := cmp.Or(s.Batch, 20), cmp.Or(s.Size, 200)
	var first, last uint64
	for range batch {
		body, last = s.Source.Append(body, size)
		body = append(body, '\n')
		if first == 0 {
			first = last
		}
	}
	status, err := Post(ctx, &s.client, s.URL, body)
	switch {
	case err == nil && status == http.StatusOK:
		s.Source.Acknowledged(first, last)
		if s.Told != nil {
			s.Told(first, last)
		}
	case err == nil, errors.Is(err, syscall.ECONNREFUSED):
		s.Source.Refused(first, last)
	}
	return body, status
}

// Post posts one body and gives the status, 0 with an error.
func Post(ctx context.Context, client *http.Client, url string, body []byte) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("post to %s: %w", url, err)
	}
	// A request that the transport repeats by itself would double its records behind the judge's back.
	req.GetBody = nil
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post to %s: %w", url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, fmt.Errorf("post to %s: %w", url, err)
	}
	return resp.StatusCode, nil
}

// TCPSource writes judged records with newline framing. Nothing tells it what was stored: the caller decides what is owed.
type TCPSource struct {
	Address string
	Source  *judge.Source
	Size    int           // bytes of a record; 0: 200
	Batch   int           // records of a write; 0: 20
	Every   time.Duration // from one write to the next; 0: at once
	Limit   uint64        // records after which Run closes and returns; 0: none
}

// Run writes until ctx ends or Limit is reached and then closes the connection cleanly.
func (s *TCPSource) Run(ctx context.Context) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("run tcp source: %w", err)
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	batch, size := cmp.Or(s.Batch, 20), cmp.Or(s.Size, 200)
	var chunk []byte
	for ctx.Err() == nil && (s.Limit == 0 || s.Source.Sent() < s.Limit) {
		chunk = chunk[:0]
		for range batch {
			chunk, _ = s.Source.Append(chunk, size)
			chunk = append(chunk, '\n')
		}
		if _, err := c.Write(chunk); err != nil {
			return fmt.Errorf("run tcp source: %w", err)
		}
		if s.Every > 0 {
			pause(ctx, nil, s.Every)
		}
	}
	return nil
}
