package torture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"logmule/integration/judge"
)

// inputKinds and outputKinds are all that exist.
var (
	inputKinds  = []string{"file", "generate", "http", "stdin", "tcp", "udp", "unix"}
	outputKinds = []string{"file", "http", "stdout", "tcp", "udp", "unix"}
)

// feed sends judged records to one input: some, a pause, some more. After an error it goes on with new ones.
type feed struct {
	kind   string
	source *judge.Source
	batch  int
	size   int
	every  time.Duration
	send   func(ctx context.Context, chunk []byte, first, last uint64) error

	mu      sync.Mutex
	answers map[int]int // of the http input: how often each status; 0: none
	silent  int         // 503 without Retry-After
	failed  error       // the latest of other kinds
	fails   int
}

// run sends until ctx ends; what is begun then is finished.
func (f *feed) run(ctx context.Context) error {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		var chunk []byte // new each time: a transport may still be reading the one before
		var first, last uint64
		for range f.batch {
			chunk, last = f.source.Append(chunk, f.size)
			chunk = append(chunk, '\n')
			if first == 0 {
				first = last
			}
		}
		if err := f.send(ctx, chunk, first, last); err != nil {
			f.mu.Lock()
			f.failed = err
			f.fails++
			f.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// failures are the sends that did not work.
func (f *feed) failures() (n int, latest error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fails, f.failed
}

// tally is how often each status came so far.
func (f *feed) tally() map[int]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[int]int{}
	for status, n := range f.answers {
		all[status] = n
	}
	return all
}

// poster posts to the http input and notes the answers; wait is its patience.
func poster(source *judge.Source, url string, wait time.Duration) *feed {
	f := &feed{kind: "http", source: source, batch: 5, size: 150, every: 25 * time.Millisecond, answers: map[int]int{}}
	client := &http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
	f.send = func(ctx context.Context, chunk []byte, first, last uint64) error {
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, url, bytes.NewReader(chunk))
		if err != nil {
			return err
		}
		req.GetBody = nil // a repeat behind the judge's back would double
		status, silent := 0, false
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			status, silent = resp.StatusCode, resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == ""
		}
		switch {
		case err == nil && status == http.StatusOK:
			source.Acknowledged(first, last)
		case err == nil, errors.Is(err, syscall.ECONNREFUSED):
			source.Refused(first, last)
		default:
			status = 0
		}
		f.mu.Lock()
		f.answers[status]++
		if silent {
			f.silent++
		}
		f.mu.Unlock()
		return nil
	}
	return f
}

// stream writes to a connection, which is made again when it broke.
func stream(kind string, source *judge.Source, network, address string) *feed {
	f := &feed{kind: kind, source: source, batch: 5, size: 150, every: 25 * time.Millisecond}
	var c net.Conn
	f.send = func(ctx context.Context, chunk []byte, _, _ uint64) error {
		if chunk == nil {
			if c != nil {
				return c.Close()
			}
			return nil
		}
		if c == nil {
			var err error
			if c, err = net.Dial(network, address); err != nil {
				return err
			}
		}
		if _, err := c.Write(chunk); err != nil {
			_ = c.Close()
			c = nil
			return err
		}
		return nil
	}
	return f
}

// datagrams sends each record as one.
func datagrams(source *judge.Source, address string) *feed {
	f := &feed{kind: "udp", source: source, batch: 1, size: 150, every: 10 * time.Millisecond}
	var c net.Conn
	f.send = func(_ context.Context, chunk []byte, _, _ uint64) (err error) {
		if chunk == nil {
			if c != nil {
				return c.Close()
			}
			return nil
		}
		if c == nil {
			if c, err = net.Dial("udp", address); err != nil {
				return err
			}
		}
		_, err = c.Write(chunk[:len(chunk)-1])
		return err
	}
	return f
}

// lines writes to a file or a pipe. What does not fit is written later, as a careful program does.
func lines(kind string, source *judge.Source, file *os.File) *feed {
	f := &feed{kind: kind, source: source, batch: 5, size: 150, every: 25 * time.Millisecond}
	f.send = func(ctx context.Context, chunk []byte, _, _ uint64) error {
		if chunk == nil {
			return nil
		}
		for at := 0; at < len(chunk); {
			n, err := file.Write(chunk[at:])
			at += n
			if err != nil && at < len(chunk) {
				if errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) {
					return fmt.Errorf("write to the %s: %w", kind, err)
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		return nil
	}
	return f
}
