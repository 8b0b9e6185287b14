package output

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"logmule/forward/codec"
	"logmule/forward/pack"
)

const (
	// stdoutSlice is how long Send may wait for room before it looks at ctx.
	stdoutSlice = 100 * time.Millisecond
	// pipeChunk is what a pipe takes without blocking once it has room at all, and regularChunk what a regular file is
	// given at once.
	pipeChunk    = 4 << 10
	regularChunk = 1 << 20
)

var newline = []byte{'\n'}

// stdout writes lines to the standard output. It goes past os.File, which ends the process when the reader of the pipe
// is gone and cannot stop waiting for a reader that is asleep.
type stdout struct {
	env    Env
	raw    syscall.RawConn
	format format
	chunk  int // 0: not known yet

	torn      int    // bytes of a line that were written before an error
	tornBatch string // the batch it is in
	tornAt    int    // and its index

	lines net.Buffers
}

type stdoutKeys struct {
	Codec string `toml:"codec" doc:"what is written of a record: \"plain\": its payload; \"syslog\": RFC 5424; \"syslog-3164\": RFC 3164"`
}

func newStdout(decode func(into any) error, env Env) (Output, error) {
	c := stdoutKeys{Codec: codec.Plain}
	if err := decode(&c); err != nil {
		return nil, err
	}
	encoder, err := codec.NewEncoder(c.Codec)
	if err != nil {
		return nil, err
	}
	return newStdoutFile(os.Stdout, encoder, env)
}

func newStdoutFile(f *os.File, encoder codec.Encoder, env Env) (*stdout, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use standard output: %w; start logmule with one, such as >/dev/null", err)
	}
	return &stdout{env: env, raw: raw, format: lineFormat(encoder)}, nil
}

// Send writes the batch. After an error what was written is accepted, and the retry goes on in the middle of the line.
func (s *stdout) Send(ctx context.Context, b *Batch) error {
	s.lines = b.appendFramed(s.lines[:0], 0, b.Len(), &s.format)
	if len(s.lines) == 0 {
		return ctx.Err()
	}
	first := b.firstPending()
	skip := 0
	if s.torn > 0 {
		if s.tornBatch == b.ID && s.tornAt == first {
			skip = s.torn
		} else if _, err := s.write(ctx, newline); err != nil { // the rest of the torn line will not come
			return s.failed(err)
		}
		s.torn = 0
	}
	s.env.Counters.Requests.Add(1)
	written := skip
	for _, line := range s.lines {
		// A slice is never shorter than what it starts with, the torn line.
		n, err := s.write(ctx, line[skip:])
		skip, written = 0, written+n
		s.env.Counters.BytesSent.Add(uint64(n))
		if err != nil {
			s.tear(b, first, written)
			return s.failed(err)
		}
	}
	return nil
}

func (s *stdout) failed(err error) error {
	s.env.Counters.Errors.Add(1)
	return fmt.Errorf("write to standard output: %w", err)
}

// tear accepts the records from first on whose lines are within the written bytes, and notes how far the one after them
// got.
func (s *stdout) tear(b *Batch, first, written int) {
	var r pack.Record
	for i, n := first, 0; i < b.Len(); i++ {
		if !b.IsPending(i) {
			continue
		}
		size := 0
		if s.format.asLines() {
			if err := b.Record(i, &r); err != nil {
				return // cannot be: AppendLines decoded it
			}
			size = len(r.Payload) + 1
		} else {
			size = b.inner[n].to - b.inner[n].from
			n++
		}
		if written < size {
			s.torn, s.tornBatch, s.tornAt = written, b.ID, i
			return
		}
		written -= size
		b.Accept(i)
	}
}

// write writes all of p and returns what was written when it could not. A reader that is slow is waited for until ctx
// ends.
func (s *stdout) write(ctx context.Context, p []byte) (int, error) {
	written := 0
	for written < len(p) {
		if err := ctx.Err(); err != nil {
			return written, err
		}
		var n int
		var err error
		if e := s.raw.Control(func(fd uintptr) { n, err = s.writeSome(int(fd), p[written:]) }); e != nil {
			return written, e
		}
		written += max(n, 0)
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			return written, err
		}
	}
	return written, nil
}

// writeSome writes what can be written without blocking, EAGAIN when there is no room for a slice of time.
func (s *stdout) writeSome(fd int, p []byte) (int, error) {
	if s.chunk == 0 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return 0, err
		}
		s.chunk = pipeChunk
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			s.chunk = regularChunk
		}
	}
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(stdoutSlice.Milliseconds()))
	if err != nil {
		return 0, err
	}
	if ready == 0 {
		return 0, unix.EAGAIN
	}
	return unix.Write(fd, p[:min(len(p), s.chunk)])
}
