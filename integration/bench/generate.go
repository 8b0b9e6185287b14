package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// load is what a generator sends; it is passed to its process as JSON.
type load struct {
	Kind        string // tcp or http
	Address     string // of the receiver
	Connections int
	Records     int  // in all
	Cut         bool // the receiver goes away in the middle of it, as it should
}

// generate sends the load and prints the wall time of its first write in nanoseconds.
func generate(l load) error {
	c := newCorpus()
	streams := make([]*stream, l.Connections)
	for i := range streams {
		streams[i] = newStream(c, i)
	}
	start := time.Now().UnixNano()
	results := make(chan error, l.Connections)
	for i, s := range streams {
		records := l.Records / l.Connections
		if i == 0 {
			records += l.Records % l.Connections
		}
		go func() {
			if l.Kind == "http" {
				results <- post(l.Address, s, records)
			} else {
				results <- write(l.Address, s, records)
			}
		}()
	}
	for range streams {
		if err := <-results; err != nil && !l.Cut {
			return fmt.Errorf("generate %s load: %w", l.Kind, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(start)
}

func write(address string, s *stream, records int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for records > 0 {
		b := s.chunk(records)
		if _, err := conn.Write(b); err != nil {
			return err
		}
		records -= len(b) / lineSize
	}
	return nil
}

// post sends one chunk for each request, one request at a time: the next goes out when the last is durable.
func post(address string, s *stream, records int) error {
	client := &http.Client{Transport: &http.Transport{WriteBufferSize: 64 << 10}}
	for records > 0 {
		b := s.chunk(records)
		resp, err := client.Post("http://"+address+"/", "text/plain", bytes.NewReader(b))
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			records -= len(b) / lineSize
		default:
			// The numbers of a refused chunk would be missing at the sink; a bench in which that happens is no bench.
			return fmt.Errorf("post to %s: %s", address, resp.Status)
		}
	}
	return nil
}
