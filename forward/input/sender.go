package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"logmule/forward/pack"
)

// truncatedField marks a record of which only the head was kept.
var truncatedField = []pack.Field{{Name: "truncated", Value: true}}

// Why a record is cut, for the log.
const (
	tooLong  = "longer than max_record"
	tooShort = "the connection ended within it"
)

var tooSlow = "no byte of its rest for " + stallAfter.String()

// sender hands over what one peer sent. One goroutine uses it.
type sender struct {
	env    *Env
	emit   Emit
	peer   string   // for the log
	cuts   *sparing // limits what the log says of cut and refused records, for all senders of an input
	pack   pack.Pack
	latest Receipt // of the last pack that was accepted
}

func newSender(env *Env, emit Emit, cuts *sparing, peer string, shared pack.Attributes) sender {
	return sender{env: env, emit: emit, cuts: cuts, peer: peer, pack: pack.Pack{Source: env.source(), Shared: shared, Form: pack.Lines}}
}

// send emits a body of count records, in parts where a small queue cannot hold them at once. A full queue that drops is no
// reason to stop reading: the pack is counted there.
func (s *sender) send(ctx context.Context, body []byte, count int) error {
	if len(body) == 0 {
		return nil
	}
	s.pack.Body, s.pack.Count = body, count
	receipt, err := s.emit(ctx, &s.pack)
	s.pack.Body = nil
	switch {
	case err == nil:
		s.latest = receipt
	case errors.Is(err, ErrTooLarge) && count > 1: // together they are
		head, n, rest := pack.Split(s.pack.Form, body, len(body)/2)
		if err := s.send(ctx, head, n); err != nil {
			return err
		}
		return s.send(ctx, rest, count-n)
	case errors.Is(err, ErrTooLarge): // its sender would only send it again
		s.env.Counters.TooLarge.Add(uint64(s.pack.Count))
		if s.cuts.allow(time.Now()) {
			s.env.Log.Error("records refused and lost", "input", s.env.Name, "from", s.peer, "records", s.pack.Count, "error", err,
				"so_far", s.env.Counters.TooLarge.Load())
		}
	case !errors.Is(err, ErrDropped):
		return fmt.Errorf("hand over records: %w", err)
	}
	return nil
}

// sendCut emits a body of one record of which only the head was kept, marked.
func (s *sender) sendCut(ctx context.Context, body, payload []byte, why string) error {
	s.env.Counters.Truncated.Add(1)
	if s.cuts.allow(time.Now()) {
		s.env.Log.Warn("record cut, its head kept", "input", s.env.Name, "from", s.peer, "why", why,
			"kept", len(payload), "sample", sample(payload))
	}
	s.pack.Shared.Fields = truncatedField
	defer func() { s.pack.Shared.Fields = nil }()
	return s.send(ctx, body, 1)
}
