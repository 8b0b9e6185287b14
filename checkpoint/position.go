package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"logmule/queue/segment"
)

const (
	// MaxDone is the number of done ranges that a position holds above its floor.
	MaxDone = 1024
	// MaxState is the size of an output's own state, in bytes.
	MaxState = 256
)

// ErrDamaged says that bytes are not what Encode or Save wrote.
var ErrDamaged = errors.New("damaged checkpoint")

// Position is the durable progress of one output.
type Position struct {
	Stream  uint32        // stream number: raised by a rewind, which is the only way back
	Floor   uint64        // every sequence below it is done
	Epoch   segment.Epoch // epoch of the process that wrote the record at Floor
	Segment segment.Name  // where the frame that holds Floor was seen: a hint, to be verified
	Offset  int64         // of that frame in that segment, in bytes: a hint too
	Done    []Range       // done at or above the floor, ascending and disjoint, at most MaxDone
	State   []byte        // the output's own, at most MaxState bytes
	Step    uint64        // raised by every change, to tell positions of one floor apart
	Planned uint64        // last sequence of the batch that was being delivered, 0: none; so it can be cut the same way again
}

// Range is the sequences from First to Last, both included.
type Range struct{ First, Last uint64 }

// Newer tells whether p is further than q: in a later stream, or in the same one with a higher floor, or with the same
// floor and more steps.
func (p Position) Newer(q Position) bool {
	if p.Stream != q.Stream {
		return p.Stream > q.Stream
	}
	if p.Floor != q.Floor {
		return p.Floor > q.Floor
	}
	return p.Step > q.Step
}

// Latest is the newer of two positions of one output, with what the other has done beyond it: within a stream nothing that
// was done becomes undone, and a newer position may have had no room for all of it.
func Latest(p, q Position) Position {
	if q.Newer(p) {
		p, q = q, p
	}
	p = p.clone()
	if p.Stream != q.Stream {
		return p
	}
	done := Ranges(p.Done)
	for _, r := range q.Done {
		done = done.Add(max(r.First, p.Floor), r.Last)
	}
	p.Done = done[:min(len(done), MaxDone)]
	return p
}

// A position as bytes, little-endian, in the database and in positions frames alike. The ranges are distances, since
// a thousand of them have to fit where a few dozen bytes are usual: from the end of the one before (from the floor
// for the first), and from First to Last.
//
//	0 version u8 = 1 | 1 stream u32 | 5 floor u64 | 13 epoch starts u64 | 21 epoch random u64
//	29 segment first u64 | 37 segment salt u64 | 45 offset i64 | 53 ranges u16 | 55 state length u16
//	57 step u64 | 65 planned u64 | 73 ranges: two uvarints each | state | CRC32C of all before it u32
const (
	positionVersion = 1
	positionFixed   = 73
	sumSize         = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode is p as bytes. The error says what of p is beyond its limits or out of order.
func (p Position) Encode() ([]byte, error) {
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("encode position: %w", err)
	}
	b := make([]byte, positionFixed, positionFixed+len(p.Done)*4+len(p.State)+sumSize)
	b[0] = positionVersion
	binary.LittleEndian.PutUint32(b[1:], p.Stream)
	binary.LittleEndian.PutUint64(b[5:], p.Floor)
	binary.LittleEndian.PutUint64(b[13:], p.Epoch.Starts)
	binary.LittleEndian.PutUint64(b[21:], p.Epoch.Random)
	binary.LittleEndian.PutUint64(b[29:], p.Segment.First)
	binary.LittleEndian.PutUint64(b[37:], p.Segment.Salt)
	binary.LittleEndian.PutUint64(b[45:], uint64(p.Offset))
	binary.LittleEndian.PutUint16(b[53:], uint16(len(p.Done)))
	binary.LittleEndian.PutUint16(b[55:], uint16(len(p.State)))
	binary.LittleEndian.PutUint64(b[57:], p.Step)
	binary.LittleEndian.PutUint64(b[65:], p.Planned)
	from := p.Floor
	for _, r := range p.Done {
		b = binary.AppendUvarint(b, r.First-from)
		b = binary.AppendUvarint(b, r.Last-r.First)
		from = r.Last + 1
	}
	b = append(b, p.State...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func (p Position) validate() error {
	if len(p.Done) > MaxDone {
		return fmt.Errorf("%d done ranges, at most %d are kept: leave the last ones out, they come again", len(p.Done), MaxDone)
	}
	if len(p.State) > MaxState {
		return fmt.Errorf("state of %d bytes, at most %d are kept", len(p.State), MaxState)
	}
	if p.Offset < 0 {
		return fmt.Errorf("offset %d is negative", p.Offset)
	}
	from := p.Floor
	for _, r := range p.Done {
		if r.First < from || r.Last < r.First || r.Last == math.MaxUint64 {
			return fmt.Errorf("done range %d to %d is out of order, the floor is %d", r.First, r.Last, p.Floor)
		}
		from = r.Last + 1
	}
	return nil
}

// Decode is the inverse of Encode; what it accepts encodes to the same bytes again. Any error wraps ErrDamaged.
func Decode(b []byte) (Position, error) {
	if len(b) < positionFixed+sumSize {
		return Position{}, fmt.Errorf("decode position: %w: %d bytes are too few", ErrDamaged, len(b))
	}
	body, sum := b[:len(b)-sumSize], binary.LittleEndian.Uint32(b[len(b)-sumSize:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return Position{}, fmt.Errorf("decode position: %w: checksum %08x, want %08x", ErrDamaged, got, sum)
	}
	if body[0] != positionVersion {
		return Position{}, fmt.Errorf("decode position: %w: version %d is unknown", ErrDamaged, body[0])
	}
	p := Position{
		Stream:  binary.LittleEndian.Uint32(body[1:]),
		Floor:   binary.LittleEndian.Uint64(body[5:]),
		Epoch:   segment.Epoch{Starts: binary.LittleEndian.Uint64(body[13:]), Random: binary.LittleEndian.Uint64(body[21:])},
		Segment: segment.Name{First: binary.LittleEndian.Uint64(body[29:]), Salt: binary.LittleEndian.Uint64(body[37:])},
		Offset:  int64(binary.LittleEndian.Uint64(body[45:])),
		Step:    binary.LittleEndian.Uint64(body[57:]),
		Planned: binary.LittleEndian.Uint64(body[65:]),
	}
	done, state := int(binary.LittleEndian.Uint16(body[53:])), int(binary.LittleEndian.Uint16(body[55:]))
	if err := p.decodeTail(body[positionFixed:], done, state); err != nil {
		return Position{}, err
	}
	// The decoder is lenient where a number has several spellings; this makes it strict in one stroke.
	if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
		return Position{}, fmt.Errorf("decode position: %w: not as Encode writes it", ErrDamaged)
	}
	return p, nil
}

// decodeTail reads done ranges and a state of that many bytes, which must be all there is.
func (p *Position) decodeTail(b []byte, done, state int) error {
	if done > MaxDone || state > MaxState || len(b) < 2*done+state {
		return fmt.Errorf("decode position: %w: %d ranges and %d bytes of state in %d bytes", ErrDamaged, done, state, len(b))
	}
	from := p.Floor
	for range done {
		skip, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || skip > math.MaxUint64-from || length >= math.MaxUint64-from-skip {
			return fmt.Errorf("decode position: %w: bad done range", ErrDamaged)
		}
		r := Range{First: from + skip, Last: from + skip + length}
		p.Done = append(p.Done, r)
		from, b = r.Last+1, b[n+m:]
	}
	if len(b) != state {
		return fmt.Errorf("decode position: %w: state of %d bytes, want %d", ErrDamaged, len(b), state)
	}
	p.State = bytes.Clone(b)
	if state == 0 {
		p.State = nil
	}
	return nil
}

func (p Position) equal(q Position) bool {
	return p.Stream == q.Stream && p.Floor == q.Floor && p.Epoch == q.Epoch && p.Segment == q.Segment &&
		p.Offset == q.Offset && p.Step == q.Step && p.Planned == q.Planned && slices.Equal(p.Done, q.Done) && bytes.Equal(p.State, q.State)
}

// clone is a copy that shares nothing.
func (p Position) clone() Position {
	p.Done = slices.Clone(p.Done)
	p.State = bytes.Clone(p.State)
	return p
}

const keyPrefix = "out/"

// Key is the key under which the position of an output is kept, in a Store and in positions frames.
func Key(output string) string { return keyPrefix + output }

// OutputName is the inverse of Key; false where the key is not that of an output.
func OutputName(key string) (string, bool) { return strings.CutPrefix(key, keyPrefix) }
