package forward

import (
	"bytes"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"logmule/forward/match"
	"logmule/forward/pack"
)

// The beginnings of source keys: of records from an input, and of records meant for one output, such as replayed dead
// letters.
const (
	keyOfInput  = "in/"
	keyOfOutput = "to/"
)

// route says which records an output is to have. It belongs to the feed of the output.
type route struct {
	output string
	from   map[string]bool // names of inputs; nil: all
	match  *match.Match    // nil: all
	log    *slog.Logger

	bits   []uint64 // memory for part.out, of one frame
	told   time.Time
	passed atomic.Uint64 // records that were filtered out
	failed atomic.Uint64 // records for which match has failed
}

// filtered counts records that were filtered out and are done.
func (r *route) filtered(n uint64) { r.passed.Add(n) }

// begin is called before the parts of another frame are judged; those of the frame before are in batches by then.
func (r *route) begin() { r.bits = r.bits[:0] }

// judge decides what of p, whose source key is given, is to be delivered.
func (r *route) judge(p *part, key []byte) {
	p.passes, p.size, p.out = p.run.Count, len(p.run.Body), nil
	if name, ok := bytes.CutPrefix(key, []byte(keyOfOutput)); ok {
		if string(firstOf(name)) != r.output {
			p.none()
		}
		return
	}
	if r.from != nil {
		name, ok := bytes.CutPrefix(key, []byte(keyOfInput))
		if !ok || !r.from[string(firstOf(name))] {
			p.none()
			return
		}
	}
	switch {
	case r.match == nil:
	case p.run.Form != pack.Records && !r.match.NeedsPayload():
		takes, err := r.match.Attributes(p.run.Attributes)
		if err != nil {
			r.fail(p.first, p.run.Count, err)
		}
		if !takes {
			p.none()
		}
	default:
		r.judgeEach(p)
	}
}

// judgeEach decides one record after the other. What cannot be told apart is passed on: the output will refuse it, and so
// it is kept as a dead letter.
func (r *route) judgeEach(p *part) {
	lines := p.run.Form != pack.Records
	if lines {
		if err := r.match.Share(p.run.Attributes); err != nil {
			r.fail(p.first, p.run.Count, err)
			p.none()
			return
		}
	}
	words := (p.run.Count + 63) / 64
	at := len(r.bits)
	for range words {
		r.bits = append(r.bits, 0)
	}
	out := r.bits[at:]
	i := 0
	_ = pack.Each(p.run.Form, p.run.Body, func(own []byte) error {
		if i == p.run.Count {
			return errEnough
		}
		var takes bool
		var err error
		if lines {
			takes, err = r.match.Payload(own)
		} else {
			takes, err = r.match.Record(p.run.Attributes, own, p.run.Form)
		}
		if err != nil {
			r.fail(p.first+uint64(i), 1, err)
		}
		if !takes {
			out[i/64] |= 1 << (i % 64)
			p.passes--
			p.size -= len(own) + 1
		}
		i++
		return nil
	})
	if p.passes == 0 {
		p.none()
	} else if p.passes < p.run.Count {
		p.out = out
	}
}

// errEnough ends a walk over records.
var errEnough = errors.New("enough")

// none filters out all of p.
func (p *part) none() { p.passes, p.size, p.out = 0, 0, nil }

// firstOf is the first name of a key whose beginning is cut off.
func firstOf(key []byte) []byte {
	name, _, _ := bytes.Cut(key, []byte{'/'})
	return name
}

// fail notes that match has failed for n records from a sequence on.
func (r *route) fail(sequence uint64, n int, err error) {
	total := r.failed.Add(uint64(n))
	if now := time.Now(); now.Sub(r.told) >= foldFor {
		r.told = now
		r.log.Warn("match fails for a record, which counts as not matched", "match", r.match.String(), "sequence", sequence, "error", err, "so_far", total)
	}
}
