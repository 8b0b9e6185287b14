package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"logmule/forward/pack"
)

// The memory of a line reader, in bytes. An idle one has smallBlock; one read of a busy one is up to largeBlock.
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

// truncatedField marks a record of which only the head was kept.
var truncatedField = []pack.Field{{Name: "truncated", Value: true}}

// byteStream is where a line reader reads: a connection, or stdin made to look like one.
type byteStream interface {
	Read(b []byte) (int, error)
	SetReadDeadline(t time.Time) error
}

// lines turns a byte stream into packs. One read becomes one pack: what the read completed is emitted in place, as far
// as the last LF; what follows moves to the front of the block, for the next read to complete.
//
//	block  | partial record | free: the next read goes here | 1 byte |
//	       0               have                        len-1        len
//
// The last byte is never read into: it leaves room for the LF that a record at the end of the stream lacks.
type lines struct {
	env    *Env
	from   byteStream
	emit   Emit
	max    int      // longest record, in bytes without its LF
	cuts   *sparing // limits the samples of cut records in the log, for all readers of an input
	pack   pack.Pack
	latest Receipt // of the last pack that was accepted

	loan     loan   // holds block, unless block is small
	block    []byte // small[:] or the loan's
	have     int    // length of the partial record at the front of block
	skipping bool   // the rest of a cut record, up to its LF, is thrown away; have is 0

	deadline time.Duration // wait that the read deadline stands for; 0: no deadline
	set      time.Time     // when it was set

	small [smallBlock]byte
}

func newLines(env *Env, from byteStream, emit Emit, maxRecord int, cuts *sparing, logger string) *lines {
	l := &lines{env: env, from: from, emit: emit, max: maxRecord, cuts: cuts}
	l.pack = pack.Pack{Source: env.source(), Shared: env.attributes(logger), Form: pack.Lines}
	l.loan.from = env.Memory
	l.block = l.small[:]
	return l
}

// run reads to the end of the stream and returns nil there, after the bytes behind the last LF went out as a record. On
// any error, of the stream or of emit, those bytes are left behind: their sender was cut off and will send them again.
// ctx is for emitting and for waiting for memory; a blocked read is ended by ending the stream.
func (l *lines) run(ctx context.Context) error {
	defer l.close()
	for {
		if err := l.step(ctx); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (l *lines) close() {
	if l.have > 0 {
		l.env.Counters.Unfinished.Add(1)
	}
	l.loan.end()
	l.block = nil
}

// step is one read. It allocates nothing as long as the records fit the block.
func (l *lines) step(ctx context.Context) error {
	n, err := l.from.Read(l.block[l.have : len(l.block)-1])
	if n > 0 {
		now := time.Now()
		filled := l.have+n == len(l.block)-1
		if failed := l.take(ctx, n, now); failed != nil {
			return failed
		}
		if err == nil {
			if failed := l.fit(ctx, n, filled); failed != nil {
				return failed
			}
			l.setDeadline(now)
		}
	}
	switch {
	case err == nil:
		return nil
	case err == io.EOF:
		return l.finish(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return l.stalled(ctx)
	default:
		return fmt.Errorf("read lines: %w", err)
	}
}

// take emits the records that the n bytes just read complete, and keeps the rest for the next read.
func (l *lines) take(ctx context.Context, n int, now time.Time) error {
	l.pack.Shared.Timestamp = now.UnixNano()
	start, end := 0, l.have+n
	if l.skipping {
		lf := bytes.IndexByte(l.block[:end], '\n')
		if lf < 0 {
			return nil
		}
		l.skipping = false
		start = lf + 1
	}
	// The partial record holds no LF, so only what is new has to be searched.
	fresh := max(l.have, start)
	whole := start
	if lf := bytes.LastIndexByte(l.block[fresh:end], '\n'); lf >= 0 {
		whole = fresh + lf + 1
	}
	l.have = 0
	if err := l.records(ctx, l.block[start:whole]); err != nil {
		return err
	}
	rest := l.block[whole:end]
	if len(rest) > l.max {
		l.skipping = true
		return l.cut(ctx, rest[:l.max+1], "longer than max_record")
	}
	l.have = copy(l.block, rest)
	return nil
}

// records emits whole lines: as one pack, unless one of them is too long.
func (l *lines) records(ctx context.Context, body []byte) error {
	if len(body) <= l.max+1 {
		return l.send(ctx, body)
	}
	from, at := 0, 0
	for at < len(body) {
		size := bytes.IndexByte(body[at:], '\n')
		if size > l.max {
			if err := l.send(ctx, body[from:at]); err != nil {
				return err
			}
			if err := l.cut(ctx, body[at:at+l.max+1], "longer than max_record"); err != nil {
				return err
			}
			from = at + size + 1
		}
		at += size + 1
	}
	return l.send(ctx, body[from:])
}

// cut emits the head of a record as a record of its own, marked. The last byte of head is overwritten with the LF.
func (l *lines) cut(ctx context.Context, head []byte, why string) error {
	head[len(head)-1] = '\n'
	l.env.Counters.Truncated.Add(1)
	if l.cuts.allow(time.Now()) {
		l.env.Log.Warn("record cut, its head kept", "input", l.env.Name, "from", l.pack.Shared.Logger, "why", why,
			"kept", len(head)-1, "sample", strconv.QuoteToASCII(string(head[:min(100, len(head)-1)])))
	}
	l.pack.Shared.Fields = truncatedField
	defer func() { l.pack.Shared.Fields = nil }()
	return l.send(ctx, head)
}

// send emits a body. A full queue that drops is no reason to stop reading: the pack is counted there.
func (l *lines) send(ctx context.Context, body []byte) error {
	if len(body) == 0 {
		return nil
	}
	l.pack.Body, l.pack.Count = body, pack.CountLines(body)
	receipt, err := l.emit(ctx, &l.pack)
	l.pack.Body = nil
	switch {
	case err == nil:
		l.latest = receipt
	case errors.Is(err, ErrTooLarge): // its sender would only send it again
		l.env.Counters.TooLarge.Add(uint64(l.pack.Count))
		l.env.Log.Error("records refused and lost", "input", l.env.Name, "records", l.pack.Count, "error", err)
	case !errors.Is(err, ErrDropped):
		return fmt.Errorf("hand over records: %w", err)
	}
	return nil
}

// finish emits the bytes after the last LF as a record and returns io.EOF.
func (l *lines) finish(ctx context.Context) error {
	if l.have > 0 {
		l.block[l.have] = '\n'
		if err := l.send(ctx, l.block[:l.have+1]); err != nil {
			return err
		}
		l.have = 0
	}
	return io.EOF
}

// fit chooses the block for the next read after one of n bytes, which filled the block or not.
func (l *lines) fit(ctx context.Context, n int, filled bool) error {
	switch size := len(l.block); {
	case l.have == size-1:
		// A record longer than the block. It is never longer than max here, so the final size has room for its LF.
		final := max(largeBlock, l.max+2)
		if err := l.loan.resize(ctx, min(max(largeBlock, 2*size), final), final, l.block); err != nil {
			return fmt.Errorf("wait for memory (memory_limit) for a long record: %w", err)
		}
		l.block = l.loan.bytes()
	case size == smallBlock:
		if filled && l.loan.tryResize(largeBlock, l.block[:l.have]) {
			l.block = l.loan.bytes()
		}
	case l.have == 0 && n < smallBlock/2:
		l.useSmall()
	case size > largeBlock && l.have < largeBlock/2:
		l.loan.shrink(largeBlock, l.block[:l.have])
		l.block = l.loan.bytes()
	}
	return nil
}

// useSmall goes back to the small block. The partial record must fit, with a byte of room to read more.
func (l *lines) useSmall() {
	copy(l.small[:], l.block[:l.have])
	l.loan.end()
	l.block = l.small[:]
}

func (l *lines) fitsSmall() bool { return l.have < smallBlock-1 }

// setDeadline limits the next read, unless the reader only holds what is its own.
func (l *lines) setDeadline(now time.Time) {
	wait := time.Duration(0)
	if len(l.block) > smallBlock {
		wait = stallAfter
		if l.fitsSmall() {
			wait = idleAfter
		}
	}
	if wait == l.deadline && (wait == 0 || now.Sub(l.set) < deadlineSlack) {
		return
	}
	l.deadline, l.set = wait, now
	limit := time.Time{}
	if wait > 0 {
		limit = now.Add(wait + deadlineSlack)
	}
	// It fails only on a stream that has ended, which the next read reports.
	_ = l.from.SetReadDeadline(limit)
}

// stalled gives the borrowed block back when nothing came for a while.
func (l *lines) stalled(ctx context.Context) error {
	if !l.fitsSmall() {
		head := l.block[:l.have+1]
		l.skipping, l.have = true, 0
		if err := l.cut(ctx, head, "no byte of its rest for "+stallAfter.String()); err != nil {
			return err
		}
	}
	l.useSmall()
	l.setDeadline(time.Now())
	return nil
}
