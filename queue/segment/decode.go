package segment

import (
	"fmt"

	"github.com/golang/snappy"
)

// Frame is a decoded frame. It owns its bytes and uses them again for the next frame: what Runs and Body return is valid
// until then. The zero Frame is ready for use; one goroutine at a time.
type Frame struct {
	FrameHeader
	Offset int64 // where it stands in its segment
	Runs   []Run // of a data frame, with their bodies; empty for other types

	meta []byte // copy of the meta, which Runs point into
	body []byte // the raw body
	buf  []byte // what both are parts of
}

// Body is the raw body: of a data frame the bodies of all runs, of a positions frame what DecodePositions reads, of a gap
// the reason.
func (f *Frame) Body() []byte { return f.body }

// Decode fills f from a frame's header and its payload, the stored meta and body, which are not kept. The checksum of the
// payload is not verified here: a Scanner has done that, other callers ask VerifyPayload first. Every count and length is
// checked against the others before memory is taken for the body. ErrMalformed is the only error; f then holds no frame.
// A frame whose type is unknown is to be skipped, not decoded: its codec may be unknown too.
func (f *Frame) Decode(h FrameHeader, offset int64, payload []byte) error {
	f.reset(h, offset)
	if int64(len(payload)) != h.payload() {
		return f.fail("%d bytes of meta and body where the header says %d", len(payload), h.payload())
	}
	meta, stored := payload[:h.Meta], payload[h.Meta:]
	if h.Codec == Snappy {
		if n, err := snappy.DecodedLen(stored); err != nil || n != int(h.Raw) {
			return f.fail("the body does not decompress to %d bytes", h.Raw)
		}
	}
	if err := f.prepare(meta); err != nil {
		return err
	}
	if h.Codec == None {
		copy(f.body, stored)
	} else if _, err := snappy.Decode(f.body, stored); err != nil {
		return f.fail("decompress the body: %v", err)
	}
	f.slice()
	return nil
}

// SetRaw is Decode for a body that is decompressed already. meta and raw are copied.
func (f *Frame) SetRaw(h FrameHeader, offset int64, meta, raw []byte) error {
	f.reset(h, offset)
	if len(meta) != int(h.Meta) || len(raw) != int(h.Raw) {
		return f.fail("%d bytes of meta and %d of body where the header says %d and %d", len(meta), len(raw), h.Meta, h.Raw)
	}
	if err := f.prepare(meta); err != nil {
		return err
	}
	copy(f.body, raw)
	f.slice()
	return nil
}

// reset empties f for the frame with this header.
func (f *Frame) reset(h FrameHeader, offset int64) {
	f.FrameHeader, f.Offset = h, offset
	f.Runs, f.meta, f.body = f.Runs[:0], nil, nil
}

// prepare checks the header and the meta, then takes room for the raw body and copies the meta.
func (f *Frame) prepare(meta []byte) error {
	if !f.valid() || !f.decodable() {
		return f.fail("the fields of its header do not agree, or codec %d is unknown", f.Codec)
	}
	if f.Type == Data {
		runs, err := DecodeMeta(meta, f.Runs)
		if err != nil {
			return f.fail("%v", err)
		}
		var count, raw uint64
		for i := range runs {
			count += uint64(runs[i].Count)
			raw += uint64(runs[i].Raw)
		}
		if count != uint64(f.Count) || raw != uint64(f.Raw) {
			return f.fail("its runs have %d records in %d bytes, its header says %d in %d", count, raw, f.Count, f.Raw)
		}
		f.Runs = runs
	}
	n := int(f.Meta) + int(f.Raw)
	if cap(f.buf) < n {
		f.buf = make([]byte, n)
	}
	f.meta, f.body = f.buf[:f.Meta:f.Meta], f.buf[f.Meta:n:n]
	copy(f.meta, meta)
	return nil
}

// slice points the runs at the frame's own bytes. prepare has checked the meta and the lengths.
func (f *Frame) slice() {
	if f.Type != Data {
		return
	}
	f.Runs, _ = DecodeMeta(f.meta, f.Runs)
	rest := f.body
	for i := range f.Runs {
		r := &f.Runs[i]
		r.Body, rest = rest[:r.Raw:r.Raw], rest[r.Raw:]
	}
}

// fail empties f and says what is wrong with the frame.
func (f *Frame) fail(format string, args ...any) error {
	h, offset := f.FrameHeader, f.Offset
	f.reset(FrameHeader{}, 0)
	return fmt.Errorf("decode %s frame of sequence %d at offset %d: %s: %w", h.Type, h.First, offset, fmt.Sprintf(format, args...), ErrMalformed)
}
