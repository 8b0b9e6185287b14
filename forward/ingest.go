package forward

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"logmule/forward/input"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
)

// appender is the end of an input's way: the queue.
type appender interface {
	Append(ctx context.Context, runs []segment.Run) (last uint64, err error)
	AppendKept(ctx context.Context, runs []segment.Run) (last uint64, err error)
	WaitDurable(ctx context.Context, sequence uint64) error
}

// waiter is the disk under the queue.
type waiter interface {
	WaitDisk(ctx context.Context) error
}

// ingest is where the packs of one input become runs of the queue. Together with feed it is all that knows both.
type ingest struct {
	queue   appender
	disk    waiter    // nil: it always takes data
	scratch sync.Pool // of *scratch

	records, bytes atomic.Uint64 // accepted
}

// scratch is what one emit needs besides the pack.
type scratch struct {
	runs       []segment.Run
	attributes []byte
	key        []byte
}

// emit is the input.Emit of the engine. Nothing of the pack is kept after it returned, and its body is not copied here.
func (g *ingest) emit(ctx context.Context, p *pack.Pack) (input.Receipt, error) {
	if p.Count == 0 {
		return input.Receipt{}, nil
	}
	if g.disk != nil && !p.Passing {
		if err := g.disk.WaitDisk(ctx); err != nil {
			return input.Receipt{}, fmt.Errorf("%w: %w", input.ErrDisk, err)
		}
	}
	s, ok := g.scratch.Get().(*scratch)
	if !ok {
		s = new(scratch)
	}
	defer g.scratch.Put(s)
	defer func() { clear(s.runs) }() // the body belongs to the input again
	if err := s.fill(p); err != nil {
		return input.Receipt{}, err
	}
	add := g.queue.Append
	if p.Kept {
		add = g.queue.AppendKept
	}
	last, err := add(ctx, s.runs)
	if errors.Is(err, queue.ErrDropped) {
		return input.Receipt{}, input.ErrDropped
	}
	if errors.Is(err, queue.ErrTooLarge) {
		return input.Receipt{}, fmt.Errorf("%w: %v", input.ErrTooLarge, err)
	}
	if err != nil {
		return input.Receipt{}, fmt.Errorf("append pack to queue: %w", err)
	}
	g.records.Add(uint64(p.Count))
	g.bytes.Add(uint64(len(p.Body)))
	return input.Receipt{Sequence: last, Log: g.queue}, nil
}

// fill makes the runs of a pack: one, or for a body larger than a frame as many as it takes. Each says where it is from;
// the source position goes with the last one, so that it never becomes durable before all records that it covers.
func (s *scratch) fill(p *pack.Pack) error {
	form := p.Form
	if form == 0 {
		form = pack.Lines
	}
	s.attributes = p.Shared.Append(s.attributes[:0])
	s.key = append(s.key[:0], p.Source...)
	s.runs = s.runs[:0]
	rest, left := p.Body, p.Count
	for len(rest) > segment.FrameTarget {
		head, count, after := pack.Split(form, rest, segment.FrameTarget)
		if count == 0 {
			return fmt.Errorf("split pack of %d bytes, %d from its end: %w", len(p.Body), len(rest), pack.ErrBody)
		}
		s.add(form, head, count)
		rest, left = after, left-count
	}
	if (len(rest) > 0) != (left > 0) || left < 0 {
		return fmt.Errorf("read pack of %d records in %d bytes: the numbers differ: %w", p.Count, len(p.Body), pack.ErrBody)
	}
	if left > 0 {
		s.add(form, rest, left)
	}
	s.runs[len(s.runs)-1].Position = p.Position
	return nil
}

func (s *scratch) add(form pack.Form, body []byte, count int) {
	s.runs = append(s.runs, segment.Run{
		Form: segment.Form(form), Count: uint32(count), Raw: uint32(len(body)), Key: s.key, Attributes: s.attributes, Body: body,
	})
}
