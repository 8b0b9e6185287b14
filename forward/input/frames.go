package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"logmule/forward/pack"
)

// frameLimit is the longest record, in bytes, that a length of a framing may announce. Of a record up to it that is
// longer than max_record the head is kept and the rest thrown away as it comes; a larger length is no length at all, and
// is not waited for.
const frameLimit = 64 << 20

// errFrame ends a connection whose framing cannot be found again.
var errFrame = errors.New("broken framing")

// find is what a framing sees at the front of some bytes.
type find struct {
	what finding
	size int    // found: bytes of the record; noise, bad: bytes to throw away
	from int    // found: bytes before the record
	trim int    // found: bytes at its end that do not belong to it
	why  string // bad, lost: what is wrong
}

type finding uint8

const (
	more  finding = iota // too few bytes to tell
	found                // a record, which may go on behind the bytes that are here
	noise                // bytes that mean nothing
	bad                  // bytes in which no record can be found
	lost                 // as bad, and there is no way to find the next record
)

// framing knows where records begin and end that have their length written before them. It belongs to one stream.
type framing interface {
	// next looks at the front of b, which is not empty. It never wants to see more than maxHead bytes before it can tell
	// where the record begins.
	next(b []byte) find
	// head makes a record of the first bytes of one, in place. False: they are not the beginning of a record.
	head(own []byte) ([]byte, bool)
}

const (
	// maxHead is the longest that stands before a record, in bytes: Heka's 0x1E, length, 255 bytes of header and 0x1F.
	maxHead = 258
	// maxOwnHead is the longest that stands before the payload in a records body, in bytes.
	maxOwnHead = 9
	// slack is free room in front of the block. What stands before a record in a records body can be a few bytes longer
	// than what stood before it in the stream; without slack a pack would end there.
	slack = 64
)

// frames is the reader of framings with a length. The records of one read become one pack, in place: what stood before
// each of them in the stream has room for what stands before or behind it in the pack. They are lines until one of them
// holds an LF; that one and the rest of the read go as records.
//
// Bytes in which no record can be found are thrown away, counted once for each stretch of them.
type frames struct {
	reader
	framing framing
	own     bool     // the records are protobuf messages with attributes of their own, not payloads
	bads    *sparing // limits the samples of bad frames in the log, for all readers of an input
	astray  bool     // the last bytes were bad
	wasted  int      // bytes looked at in vain, since a record was found, for the beginning of one that is cut
	skip    int      // bytes of a cut record that are still to come, thrown away
	body    int      // the pack so far is block[:body]
	count   int
}

func newFrames(env *Env, from byteStream, emit Emit, maxRecord int, cuts, bads *sparing, peer string, f framing) *frames {
	r := &frames{framing: f, bads: bads}
	shared := env.attributes(peer)
	if _, r.own = f.(*heka); r.own {
		shared = pack.Attributes{Severity: pack.DefaultSeverity} // what a message does not say was not said
	}
	r.prepare(env, from, emit, maxRecord, cuts, peer, shared)
	r.base, r.have, r.final = slack, slack, max(r.final, slack+maxHead+maxRecord+2)
	r.framed = r
	return r
}

func (r *frames) take(ctx context.Context, n int, now time.Time) error {
	r.pack.Shared.Timestamp = now.UnixNano()
	return r.keep(ctx, r.have+n, "")
}

// finish lets what is left of a record be one, marked.
func (r *frames) finish(ctx context.Context) error {
	if err := r.keep(ctx, r.have, tooShort); err != nil {
		return err
	}
	if r.have > r.base {
		r.report(r.block[r.base:r.have], "the connection ended before the record began")
		r.have = r.base
	}
	return nil
}

func (r *frames) stall(ctx context.Context) error { return r.keep(ctx, r.have, tooSlow) }

// keep emits the records in block[base:end] and moves what follows them to the front. A record that is not whole waits,
// or is cut, if there is a reason for that.
func (r *frames) keep(ctx context.Context, end int, cutFor string) error {
	r.pack.Form = r.first()
	dropped := min(r.skip, end-r.base)
	r.skip -= dropped
	at, err := r.scan(ctx, r.base+dropped, end, cutFor)
	r.have = r.base
	if err == nil || errors.Is(err, errFrame) {
		if failed := r.flush(ctx); failed != nil {
			return failed
		}
	}
	if err != nil {
		return err
	}
	r.have += copy(r.block[r.base:], r.block[at:end])
	return nil
}

// scan goes through block[at:end] and returns where the bytes begin that have to wait for more.
func (r *frames) scan(ctx context.Context, at, end int, cutFor string) (int, error) {
	for at < end {
		f := r.framing.next(r.block[at:end])
		switch f.what {
		case more:
			return at, nil
		case found:
			size, err := r.record(ctx, at+f.from, f, end, cutFor)
			switch {
			case err == errNotWhole:
				return at, nil
			case err == errNoRecord:
				r.report(r.block[at:end], err.Error())
				at = r.next(at, f, end)
			case err != nil:
				return end, err
			default:
				r.astray, r.wasted = false, 0
				at += f.from + size
			}
		case noise:
			at += f.size
		case bad:
			r.report(r.block[at:end], f.why)
			at += f.size
		case lost:
			r.report(r.block[at:end], f.why)
			return end, fmt.Errorf("%w: %s", errFrame, f.why)
		}
	}
	return end, nil
}

// next is where to look for a record behind what began at block[at:] like one and is none: at the next byte, since
// behind a wrong length there are frames that are right, but not for ever.
func (r *frames) next(at int, f find, end int) int {
	if r.wasted += min(f.size, r.max); r.wasted > maxWasted {
		return end
	}
	return at + 1
}

// What record has to say to scan.
var (
	errNotWhole = errors.New("not all of the record is here")
	errNoRecord = errors.New("not the beginning of a record")
)

// record adds what was found, the record at block[from:], to the pack and returns how many bytes of it are here.
func (r *frames) record(ctx context.Context, from int, f find, end int, cutFor string) (int, error) {
	here := min(f.size, end-from)
	size := f.size - f.trim
	switch {
	case size > r.max && here >= r.max && (here == f.size || f.size > r.max+1):
		return here, r.cut(ctx, from, r.max, f.size-here, tooLong)
	case here < f.size && cutFor == "":
		return 0, errNotWhole
	case here < f.size:
		return here, r.cut(ctx, from, min(here, r.max), f.size-here, cutFor)
	}
	return here, r.put(ctx, from, r.block[from:from+size])
}

// put adds a record to the pack. own is at block[from:].
func (r *frames) put(ctx context.Context, from int, own []byte) error {
	if !r.own && r.pack.Form == pack.Lines && bytes.IndexByte(own, '\n') >= 0 {
		if err := r.flush(ctx); err != nil {
			return err
		}
		r.pack.Form = pack.Records
	}
	if r.pack.Form == pack.Lines {
		r.body += copy(r.block[r.body:], own)
		r.block[r.body] = '\n'
		r.body++
		r.count++
		return nil
	}
	if r.body+maxOwnHead > from {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	// What is appended ends in front of own, and own moves towards the front or not at all.
	if r.own {
		r.body = len(pack.AppendOwn(r.block[:r.body], own))
	} else {
		r.body = len(append(pack.AppendHead(r.block[:r.body], "", len(own)), own...))
	}
	r.count++
	return nil
}

// cut emits the first size bytes of a record by itself, marked, and has the rest thrown away as it comes.
func (r *frames) cut(ctx context.Context, from, size, rest int, why string) error {
	own, ok := r.framing.head(r.block[from : from+size])
	if !ok {
		return errNoRecord
	}
	r.skip = rest
	if err := r.flush(ctx); err != nil {
		return err
	}
	form := r.pack.Form
	defer func() { r.pack.Form = form }()
	r.pack.Form = r.first()
	if err := r.put(ctx, from, own); err != nil {
		return err
	}
	body := r.block[:r.body]
	r.body, r.count = 0, 0
	kept := body[:len(body)-1]
	if r.pack.Form == pack.Records {
		kept = body[len(body)-len(own):]
	}
	return r.sendCut(ctx, body, kept, why)
}

// flush emits the pack so far.
func (r *frames) flush(ctx context.Context) error {
	body, count := r.block[:r.body], r.count
	r.body, r.count = 0, 0
	return r.send(ctx, body, count)
}

// first is the form with which a pack begins.
func (r *frames) first() pack.Form {
	if r.own {
		return pack.Records
	}
	return pack.Lines
}

// report counts a stretch of bad bytes where it begins, and now and then logs its beginning.
func (r *frames) report(b []byte, why string) {
	if r.astray {
		return
	}
	r.astray = true
	r.env.Counters.BadFrames.Add(1)
	if r.bads.allow(time.Now()) {
		r.env.Log.Warn("bytes thrown away, the framing allows no record there", "input", r.env.Name, "from", r.peer, "why", why, "sample", sample(b))
	}
}
