package input

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"logmule/forward/pack"
)

// The memory of a reader, in bytes. An idle one has smallBlock; one read of a busy one is up to largeBlock.
const (
	smallBlock = 4 << 10
	largeBlock = 256 << 10
)

// How long a reader waits for the next byte with a block that others may need. The deadline is moved at most once per
// deadlineSlack, not with every read, so it comes up to that much later.
const (
	idleAfter     = time.Second      // then a whole block is exchanged for the small one
	stallAfter    = 30 * time.Second // then a partial record too long for the small one is cut
	deadlineSlack = 250 * time.Millisecond
)

// byteStream is where a reader reads: a connection, or stdin made to look like one.
type byteStream interface {
	Read(b []byte) (int, error)
	SetReadDeadline(t time.Time) error
}

// cutter is what a framing makes of the bytes of a reader.
type cutter interface {
	// take emits the records that the n bytes just read complete, and keeps the rest for the next read.
	take(ctx context.Context, n int, now time.Time) error
	// finish is for a clean end of the stream: what is left becomes a record where the framing knows how.
	finish(ctx context.Context) error
	// stall cuts the partial record, of which nothing came for a while, and leaves less than a small block.
	stall(ctx context.Context) error
}

// reader turns a byte stream into packs. One read becomes one pack: what it completed is emitted in place; what follows
// moves to the front of the block, for the next read to complete.
//
//	block  | base | partial record | free: the next read goes here | 1 byte |
//	       0     base             have                        len-1        len
//
// The last byte is never read into: it leaves room for the LF that a record at the end of the stream lacks.
type reader struct {
	sender
	from   byteStream
	framed cutter
	max    int // longest record, in bytes without its framing

	loan  loan   // holds block, unless block is small
	block []byte // small[:] or the loan's
	final int    // size of the block in which every partial record has room
	base  int    // where the bytes that were read begin in block
	have  int    // where they end

	deadline time.Duration // wait that the read deadline stands for; 0: no deadline
	set      time.Time     // when it was set

	small [smallBlock]byte
}

// prepare sets what readers of all framings need.
func (r *reader) prepare(env *Env, from byteStream, emit Emit, maxRecord int, cuts *sparing, peer string, shared pack.Attributes) {
	r.sender = newSender(env, emit, cuts, peer, shared)
	r.from, r.max = from, maxRecord
	r.loan.from = env.Memory
	r.block = r.small[:]
	r.final = max(largeBlock, maxRecord+2)
}

// run reads to the end of the stream and returns nil there, after what was left went out as a record. On any error, of
// the stream or of emit, that is left behind: its sender was cut off and will send it again. ctx is for emitting and for
// waiting for memory; a blocked read is ended by ending the stream.
func (r *reader) run(ctx context.Context) error {
	defer r.close()
	for {
		if err := r.step(ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (r *reader) close() {
	if r.have > r.base {
		r.env.Counters.Unfinished.Add(1)
	}
	r.loan.end()
	r.block = nil
}

// step is one read. It allocates nothing as long as the records fit the block.
func (r *reader) step(ctx context.Context) error {
	n, err := r.from.Read(r.block[r.have : len(r.block)-1])
	if n > 0 {
		now := time.Now()
		filled := r.have+n == len(r.block)-1
		if failed := r.framed.take(ctx, n, now); failed != nil {
			return failed
		}
		if err == nil {
			if failed := r.fit(ctx, n, filled); failed != nil {
				return failed
			}
			r.setDeadline(now)
		}
	}
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		if failed := r.framed.finish(ctx); failed != nil {
			return failed
		}
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return r.stalled(ctx)
	default:
		return fmt.Errorf("read records: %w", err)
	}
}

// fit chooses the block for the next read after one of n bytes, which filled the block or not.
func (r *reader) fit(ctx context.Context, n int, filled bool) error {
	switch size := len(r.block); {
	case r.have == size-1:
		// A record longer than the block. The final size has room for any that is not cut.
		if err := r.loan.resize(ctx, min(max(largeBlock, 2*size), r.final), r.final, r.block); err != nil {
			return fmt.Errorf("wait for memory (memory_limit) for a long record: %w", err)
		}
		r.block = r.loan.bytes()
	case size == smallBlock:
		if filled && r.loan.tryResize(largeBlock, r.block[:r.have]) {
			r.block = r.loan.bytes()
		}
	case r.have == r.base && n < smallBlock/2:
		r.useSmall()
	case r.loan.reserved > largeBlock && r.have < largeBlock/2:
		if r.loan.tryShrink(largeBlock, r.block[:r.have]) {
			r.block = r.loan.bytes()
		} else if r.fitsSmall() {
			r.useSmall() // others wait: the next of them gets all
		}
	}
	return nil
}

// useSmall goes back to the small block. The partial record must fit, with a byte of room to read more.
func (r *reader) useSmall() {
	copy(r.small[:], r.block[:r.have])
	r.loan.end()
	r.block = r.small[:]
}

func (r *reader) fitsSmall() bool { return r.have < smallBlock-1 }

// setDeadline limits the next read, unless the reader only holds what is its own.
func (r *reader) setDeadline(now time.Time) {
	wait := time.Duration(0)
	if len(r.block) > smallBlock {
		wait = stallAfter
		if r.fitsSmall() {
			wait = idleAfter
		}
	}
	if wait == r.deadline && (wait == 0 || now.Sub(r.set) < deadlineSlack) {
		return
	}
	r.deadline, r.set = wait, now
	limit := time.Time{}
	if wait > 0 {
		limit = now.Add(wait + deadlineSlack)
	}
	// It fails only on a stream that has ended, which the next read reports.
	_ = r.from.SetReadDeadline(limit)
}

// stalled gives the borrowed block back when nothing came for a while.
func (r *reader) stalled(ctx context.Context) error {
	if !r.fitsSmall() {
		if err := r.framed.stall(ctx); err != nil {
			return err
		}
	}
	r.useSmall()
	r.setDeadline(time.Now())
	return nil
}
