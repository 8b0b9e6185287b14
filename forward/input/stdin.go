package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"logmule/forward/codec"
	"logmule/forward/config"
)

// stdin takes newline-delimited records from the standard input until its end.
type stdin struct {
	env   Env
	file  *os.File
	max   int
	codec string

	cuts sparing
}

func newStdin(decode func(into any) error, env Env) (Input, error) {
	keys := struct {
		MaxRecord config.Bytes `toml:"max_record" doc:"longest record in bytes; of a longer one the head is kept, marked with the field truncated"`
		codecKeys
	}{MaxRecord: defaultMaxRecord, codecKeys: codecKeys{codec.Plain}}
	if err := decode(&keys); err != nil {
		return nil, err
	}
	if err := checkMaxRecord(keys.MaxRecord); err != nil {
		return nil, err
	}
	if err := keys.check(); err != nil {
		return nil, err
	}
	return &stdin{env: env, file: os.Stdin, max: int(keys.MaxRecord), codec: keys.Codec}, nil
}

// Run reads until the end of the file, waits until all of it is durable and returns nil, or until ctx ends.
func (s *stdin) Run(ctx context.Context, emit Emit) error {
	emit, err := s.env.decoding(s.codec, emit)
	if err != nil {
		return err
	}
	stream, err := newPolled(ctx, s.file)
	if err != nil {
		return fmt.Errorf("read standard input for input %s: %w", s.env.Name, err)
	}
	defer stream.close()
	s.env.Ready("stdin")
	late, cancel := withGrace(ctx)
	defer cancel()

	l := newLines(&s.env, stream, emit, s.max, &s.cuts, "stdin")
	switch err := l.run(late); {
	case errors.Is(err, os.ErrClosed):
		return nil // ctx ended
	case err != nil:
		return fmt.Errorf("read standard input for input %s: %w; without it the rest of the pipeline goes on, start again to read more", s.env.Name, err)
	}
	if err := l.latest.Wait(late); err != nil && ctx.Err() == nil {
		return fmt.Errorf("wait for the records of input %s to be durable: %w; see the queue's errors", s.env.Name, err)
	}
	s.env.Log.Info("standard input ended", "input", s.env.Name)
	return nil
}

// polled reads a file without ever being stuck in a read: it waits with poll(2), which a second descriptor can end. A
// file opened by somebody else may be a pipe or a terminal that cannot be made non-blocking without harm to its other
// users. One goroutine uses it.
type polled struct {
	file       *os.File
	ended, end *os.File // a pipe; end is closed to end the wait
	stop       func() bool
	fds        [2]unix.PollFd
	deadline   time.Time
}

func newPolled(ctx context.Context, file *os.File) (*polled, error) {
	ended, end, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	p := &polled{file: file, ended: ended, end: end}
	p.fds = [2]unix.PollFd{
		{Fd: int32(file.Fd()), Events: unix.POLLIN},
		{Fd: int32(ended.Fd()), Events: unix.POLLIN},
	}
	p.stop = context.AfterFunc(ctx, func() { end.Close() })
	return p, nil
}

func (p *polled) close() {
	p.stop()
	p.end.Close()
	p.ended.Close()
}

// SetReadDeadline is as for a connection.
func (p *polled) SetReadDeadline(t time.Time) error {
	p.deadline = t
	return nil
}

// Read is as for a connection; os.ErrClosed once the context has ended.
func (p *polled) Read(b []byte) (int, error) {
	for {
		wait := -1
		if !p.deadline.IsZero() {
			wait = max(0, int(time.Until(p.deadline)/time.Millisecond)+1)
		}
		n, err := unix.Poll(p.fds[:], wait)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, fmt.Errorf("poll: %w", err)
		case p.fds[1].Revents != 0:
			return 0, os.ErrClosed
		case n == 0 && wait >= 0:
			return 0, os.ErrDeadlineExceeded
		}
		n, err = unix.Read(int(p.fds[0].Fd), b)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
