package hekaqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"logmule/queue/vfs"
)

// scanner finds the records of one file after the other. The functions may be nil.
type scanner struct {
	fsys   vfs.FS
	window window
	uuids  uuids
	record Record // the one that is given out
	plain  bool   // the file has what an encoder has made, and no messages

	found   func(*Record) error
	skipped func(Skip)
	passed  func(offset int64) // how far it is, now and then
}

// tally is what stands about a file besides its records.
type tally struct {
	skips     int
	bytes     int64 // skipped
	zeros     int64 // of bytes
	badFrames int
	torn      bool
}

// passEvery is after how many bytes a scan looks whether it is to end.
const passEvery = 4 << 20

// file scans a file. An error that is not ctx's or found's is that it cannot be opened.
func (s *scanner) file(ctx context.Context, path string, file File) (sum tally, size int64, err error) {
	f, err := s.fsys.Open(path)
	if err != nil {
		return tally{}, 0, err
	}
	defer f.Close()
	if size, err = f.Size(); err != nil {
		return tally{}, 0, err
	}
	s.window.open(f, size)
	defer s.window.release()
	c := crossing{scanner: s, ctx: ctx, sum: &sum, file: file}
	return sum, size, c.run(size)
}

// crossing is the way through one file.
type crossing struct {
	*scanner
	ctx  context.Context
	sum  *tally
	file File

	gap    int64 // where the range of unreadable bytes under way began
	in     bool  // there is one
	first  fault // what is wrong at gap
	bad    int   // frames in it without a message
	zeros  int64
	looked int64
}

func (c *crossing) run(size int64) error {
	for p := int64(0); ; {
		if err := c.extent(p); err != nil {
			return err
		}
		w := &c.window
		c.closeGap(w.end, w.hole == nil)
		if w.hole == nil {
			if w.end < size {
				c.tell(Skip{File: c.file.Name, From: w.end, To: size, Why: "the file has become shorter while it was read"})
			}
			return nil
		}
		from, why := w.end, w.hole
		p = w.behind(size)
		c.tell(Skip{File: c.file.Name, From: from, To: p, Why: fmt.Sprintf("cannot be read: %v", why), Refused: true})
		if p == size {
			return nil
		}
	}
}

// extent scans from p to the end of what can be read. No record crosses that.
//
// Behind a record that is not followed by a frame the search goes on inside it: its length may be wrong, and the next
// record begin there. What ends in it, too, is part of it, since payloads may hold frames.
func (c *crossing) extent(p int64) error {
	w := &c.window
	inside := p // up to there is a record that is not followed by a frame
	for {
		if p-c.looked >= passEvery {
			c.looked = p
			if c.passed != nil {
				c.passed(p)
			}
			if err := c.ctx.Err(); err != nil {
				return err
			}
		}
		b := w.at(p, maxHead)
		if len(b) == 0 {
			return nil
		}
		if b[0] != frameStart {
			n := bytes.IndexByte(b, frameStart)
			if n < 0 {
				n = len(b)
			}
			if p < inside {
				n = int(min(int64(n), inside-p))
			} else {
				c.miss(p, fault{kind: noStart}, b[:n])
			}
			p += int64(n)
			continue
		}
		size, f := c.try(p, b)
		if f.kind != none && p >= inside {
			c.miss(p, f, b[:1])
		}
		if f.kind != none || p+int64(size) <= inside {
			p++
			continue
		}
		c.closeGap(p, false)
		if c.found != nil {
			if err := c.found(&c.record); err != nil {
				return err
			}
		}
		if c.record.followed || c.record.Plain {
			p += int64(size)
			continue
		}
		inside = p + int64(size)
		p++
	}
}

// try judges what begins at p, of which b is the first bytes, and fills in the record where it is one.
func (c *crossing) try(p int64, b []byte) (size int, f fault) {
	w := &c.window
	left := w.end - p
	h, f := readHead(b, int64(len(b)) < left)
	if f.kind != none {
		return 0, f
	}
	if h.length > maxFrame {
		return 0, fault{kind: tooLarge, a: int64(h.size) + int64(h.length)}
	}
	size = h.size + h.length
	switch {
	case int64(size) > left:
		return 0, fault{kind: endsInFrame, a: int64(size), b: left}
	case size > readStep && len(b) < size && !c.plain:
		// Mostly a wrong length, which the bytes that are here already show.
		if _, _, bad := judge(b[h.size:], h.length); bad != cutMessage {
			return 0, fault{kind: noMessage, a: int64(size), b: int64(bad)}
		}
	}
	if len(b) <= size {
		b = w.at(p, size+1)
	}
	if int64(len(b)) < int64(size) {
		return 0, fault{kind: endsInFrame, a: int64(size), b: int64(len(b))}
	}
	r := &c.record
	*r = Record{File: c.file, Offset: p, End: p + int64(size), Frame: b[:size:size], Message: b[h.size:size:size]}
	uuid, doubt, bad := judge(r.Message, len(r.Message))
	if bad != fine {
		if !c.plain || !r.unwrap() {
			return 0, fault{kind: noMessage, a: int64(size), b: int64(bad)}
		}
		if r.Plain {
			uuid, doubt = nil, judgeText(r.Message)
		} else {
			uuid, doubt, _ = judge(r.Message, len(r.Message))
		}
	}
	if uuid != nil && c.uuids.add(uuid) {
		doubt |= Repeated
	}
	r.Doubts = doubt
	r.followed = len(b) > size && b[size] == frameStart || r.End == w.end && w.hole == nil
	switch {
	case doubt != 0:
		r.Class = Suspect
	case !r.followed:
		r.Class = Probable
	}
	return size, fault{}
}

// unwrap makes a record of a frame with no message in it, as version 0.9 wrote them: with what an encoder had made, or with
// another frame. False says that it is none: it begins as a message does, so that it was one.
func (r *Record) unwrap() bool {
	b := r.Message
	if len(b) == 0 || wasMessage(b) {
		return false
	}
	r.Plain = true
	if b[0] != frameStart {
		return true
	}
	if h, f := readHead(b, false); f.kind == none && h.size+h.length == len(b) {
		_, _, bad := judge(b[h.size:], h.length)
		r.Frame, r.Message, r.Plain = b, b[h.size:], bad != fine
	}
	return true
}

// wasMessage tells whether b begins like a message, one byte perhaps excepted: tag and length of the uuid, and behind it the
// tag of the timestamp.
func wasMessage(b []byte) bool {
	has := func(at int, is byte) bool { return at < len(b) && b[at] == is }
	tag, length, next := has(0, numUUID<<3|bytesType), has(1, 16), has(18, numTimestamp<<3|varintType)
	return tag && length || tag && next || length && next
}

// miss notes that nothing begins at p, nor in the other bytes of b.
func (c *crossing) miss(p int64, f fault, b []byte) {
	if !c.in {
		c.in, c.gap, c.first, c.bad, c.zeros = true, p, f, 0, 0
	}
	if f.kind == noMessage {
		c.bad++
	}
	c.zeros += int64(bytes.Count(b, noBytes[:1]))
}

// closeGap ends the range that cannot be read, if there is one, at p.
func (c *crossing) closeGap(p int64, end bool) {
	if !c.in {
		return
	}
	c.in = false
	s := Skip{File: c.file.Name, From: c.gap, To: p, Why: c.first.text(), BadFrames: c.bad, Zeros: c.zeros, Torn: end && c.first.kind == endsInFrame}
	if s.Zeros == s.To-s.From {
		s.Why = "nothing but NUL bytes"
	}
	c.tell(s)
}

func (c *crossing) tell(s Skip) {
	c.sum.skips++
	c.sum.bytes += s.To - s.From
	c.sum.zeros += s.Zeros
	c.sum.badFrames += s.BadFrames
	c.sum.torn = c.sum.torn || s.Torn
	if c.skipped != nil {
		c.skipped(s)
	}
}

// uuids remembers those of the latest records, some ten thousand, in memory that does not grow.
type uuids struct {
	seen [][16]byte // by a part of themselves; nil: nothing is remembered
}

const uuidBits = 16

// add notes a uuid, and says whether it is there already.
func (u *uuids) add(uuid []byte) bool {
	if u.seen == nil || string(uuid) == string(noBytes[:]) {
		return false // NULs are what an empty place holds
	}
	var a, b uint64
	for i := range 8 {
		a, b = a<<8|uint64(uuid[i]), b<<8|uint64(uuid[8+i])
	}
	slot := &u.seen[(a^b)*0x9e3779b97f4a7c15>>(64-uuidBits)]
	if string(slot[:]) == string(uuid) {
		return true
	}
	copy(slot[:], uuid)
	return false
}

// errEnough ends a scan that has seen what it wanted.
var errEnough = errors.New("enough")

// probe tells whether a file is one of version 0.9: there are frames one behind the other in it, and none of the first has
// a message.
func (s *scanner) probe(ctx context.Context, path string, file File) (plain bool, err error) {
	const enough = 16
	messages, frames, covered := 0, 0, int64(0)
	p := scanner{fsys: s.fsys, plain: true}
	p.window.buf = s.window.buf
	p.found = func(r *Record) error {
		covered += r.End - r.Offset
		switch {
		case !r.Plain && len(r.Frame) == int(r.End-r.Offset):
			messages++
		case r.followed && r.Doubts&Zeros == 0:
			frames++
		}
		if messages > 0 || frames >= enough {
			return errEnough
		}
		return nil
	}
	sum, _, err := p.file(ctx, path, file)
	s.window.buf = p.window.buf
	if err == errEnough {
		err = nil
	}
	// Frames that are only here and there are the contents of damaged messages.
	return messages == 0 && frames > 0 && covered > sum.bytes-sum.zeros, err
}
