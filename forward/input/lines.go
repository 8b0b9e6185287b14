package input

import (
	"bytes"
	"context"
	"time"

	"logmule/forward/pack"
)

// lines is the reader of newline framing: one read becomes one pack as far as the last LF.
type lines struct {
	reader
	skipping bool // the rest of a cut record, up to its LF, is thrown away; have is 0
}

func newLines(env *Env, from byteStream, emit Emit, maxRecord int, cuts *sparing, logger string) *lines {
	l := new(lines)
	l.prepare(env, from, emit, maxRecord, cuts, logger, env.attributes(logger))
	l.framed = l
	return l
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
		return l.cut(ctx, rest[:l.max+1], tooLong)
	}
	l.have = copy(l.block, rest)
	return nil
}

// records emits whole lines: as one pack, unless one of them is too long.
func (l *lines) records(ctx context.Context, body []byte) error {
	if len(body) <= l.max+1 {
		return l.whole(ctx, body)
	}
	from, at := 0, 0
	for at < len(body) {
		size := bytes.IndexByte(body[at:], '\n')
		if size > l.max {
			if err := l.whole(ctx, body[from:at]); err != nil {
				return err
			}
			if err := l.cut(ctx, body[at:at+l.max+1], tooLong); err != nil {
				return err
			}
			from = at + size + 1
		}
		at += size + 1
	}
	return l.whole(ctx, body[from:])
}

func (l *lines) whole(ctx context.Context, body []byte) error {
	return l.send(ctx, body, pack.CountLines(body))
}

// cut emits the head of a record as a record of its own, marked. The last byte of head is overwritten with the LF.
func (l *lines) cut(ctx context.Context, head []byte, why string) error {
	head[len(head)-1] = '\n'
	return l.sendCut(ctx, head, head[:len(head)-1], why)
}

// finish emits the bytes after the last LF as a record.
func (l *lines) finish(ctx context.Context) error {
	if l.have > 0 {
		l.block[l.have] = '\n'
		if err := l.whole(ctx, l.block[:l.have+1]); err != nil {
			return err
		}
		l.have = 0
	}
	return nil
}

func (l *lines) stall(ctx context.Context) error {
	head := l.block[:l.have+1]
	l.skipping, l.have = true, 0
	return l.cut(ctx, head, tooSlow)
}
