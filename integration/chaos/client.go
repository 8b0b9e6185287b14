package chaos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Farewell is how a client leaves a connection.
type Farewell int

// The farewells.
const (
	Leave      Farewell = iota // an orderly end
	LeaveReset                 // RST, where there is one
	Hang                       // it stays, silent, until its context ends or the other end leaves
	Hear                       // it says that nothing more comes, and stays to hear the answer
)

// Talk is what a client that keeps to no rule does on one connection.
type Talk struct {
	Text   []byte
	Every  time.Duration // from one byte to the next; 0: all at once
	Repeat bool          // the text goes on without end
	Then   Farewell
	Secure *tls.Config // nil: no TLS
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// Run talks, and returns what the other end had to say. A context that ends is no error.
func (t Talk) Run(ctx context.Context, address string) (answer []byte, err error) {
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c, err := dial(ctx, network(address), address)
	if err != nil {
		return nil, fmt.Errorf("talk to %s: %w", address, err)
	}
	below := c
	defer func() { _ = below.Close() }()
	defer context.AfterFunc(ctx, func() { _ = below.SetDeadline(time.Unix(1, 0)) })()
	if t.Secure != nil {
		c = tls.Client(below, t.Secure)
	}
	heard := make(chan []byte, 1)
	var speaking sync.WaitGroup
	speaking.Go(func() { err = t.speak(ctx, c) })
	if t.Then == Hear || t.Then == Hang {
		go func() {
			text, _ := io.ReadAll(io.LimitReader(c, 1<<20)) // what came before an error counts
			heard <- text
		}()
	}
	speaking.Wait()
	if ctx.Err() != nil {
		err = nil
	}
	switch {
	case t.Then == LeaveReset:
		abort(below)
	case t.Then == Hear && ctx.Err() == nil:
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			err = errors.Join(err, half.CloseWrite())
		}
	}
	if t.Then == Hear || t.Then == Hang {
		answer = <-heard
	}
	return answer, err
}

func (t Talk) speak(ctx context.Context, c net.Conn) error {
	for ctx.Err() == nil {
		text := t.Text
		for len(text) > 0 && ctx.Err() == nil {
			n := len(text)
			if t.Every > 0 {
				n = 1
			}
			if _, err := c.Write(text[:n]); err != nil {
				return err
			}
			text = text[n:]
			if t.Every > 0 {
				pause(ctx, t.Every)
			}
		}
		if !t.Repeat {
			return nil
		}
	}
	return nil
}

// Storm connects and leaves n times, some at a time, by turns orderly, with RST, and after half a line. It counts those
// that could connect.
func Storm(ctx context.Context, address string, n int) (connected int) {
	const atOnce = 16
	turns := make(chan int)
	var mu sync.Mutex // guards connected
	var work sync.WaitGroup
	for range atOnce {
		work.Go(func() {
			for i := range turns {
				talk := []Talk{{}, {Then: LeaveReset}, {Text: []byte("bad half a li"), Then: LeaveReset}}[i%3]
				if _, err := talk.Run(ctx, address); err == nil {
					mu.Lock()
					connected++
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		turns <- i
	}
	close(turns)
	work.Wait()
	return connected
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
