package output

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"logmule/forward/codec"
	"logmule/forward/config"
	"logmule/forward/pack"
)

// framings are the values of the key framing: how a stream says where a record ends.
var framings = []string{newlineFraming, octetFraming, lengthFraming, hekaFraming}

const (
	newlineFraming = "newline"         // LF after every record
	octetFraming   = "octet-counted"   // RFC 6587: the length in decimal digits, a space, the record
	lengthFraming  = "length-prefixed" // four bytes of length, the highest first, the record
	hekaFraming    = "heka"            // Heka's stream frames of the record's protobuf message
	noFraming      = ""                // a datagram is its own frame
)

// format is what records look like on their way out.
type format struct {
	encoder codec.Encoder // nil: the payload as it is
	framing string
	most    int  // bytes of an encoded record; 0: any
	strict  bool // a record with LF inside is refused where LF is what ends records
}

// newFormat checks the keys codec, framing and max_record; its errors begin with the one that is wrong.
func newFormat(codecName, framing string, most config.Bytes) (f format, err error) {
	f = format{framing: framing, most: int(most)}
	if f.encoder, err = codec.NewEncoder(codecName); err != nil {
		return f, err
	}
	switch {
	case framing != noFraming && !slices.Contains(framings, framing):
		return f, fmt.Errorf("framing = %q is not known; use one of %s", framing, strings.Join(framings, ", "))
	case framing == hekaFraming && f.encoder != nil:
		return f, fmt.Errorf("codec = %q does not go with framing = %q, which writes whole records; remove one of them", codecName, framing)
	case most > mostBytes:
		return f, fmt.Errorf(`max_record = "%v" is out of range; write at most "%v"`, most, mostBytes)
	}
	// A receiver of syslog would take the rest of such a record for another one: whoever writes a line of a log could
	// then write records of other machines.
	f.strict = framing == newlineFraming && f.encoder != nil
	return f, nil
}

// lineFormat is that of outputs without a key framing.
func lineFormat(encoder codec.Encoder) format {
	return format{encoder: encoder, framing: newlineFraming}
}

// asLines tells whether records leave as AppendLines writes them.
func (f *format) asLines() bool {
	return f.encoder == nil && f.framing == newlineFraming && f.most == 0
}

// AppendEncoded is AppendLines for records that an encoder writes, nil for their payloads: each is followed by LF, and an
// LF inside is left as it is. A record that cannot be written is rejected.
func (b *Batch) AppendEncoded(dst net.Buffers, from, to int, encoder codec.Encoder) net.Buffers {
	f := lineFormat(encoder)
	return b.appendFramed(dst, from, to, &f)
}

// appendFramed appends the pending records [from, to), in one slice unless AppendLines does it. A record that cannot be
// written is rejected. b.inner then holds a range for every record, but as AppendLines leaves it where that does it.
func (b *Batch) appendFramed(dst net.Buffers, from, to int, f *format) net.Buffers {
	if f.asLines() {
		return b.AppendLines(dst, from, to)
	}
	b.scratch, b.inner = b.scratch[:0], b.inner[:0]
	for n := range b.runs {
		run := &b.runs[n]
		lo, hi := max(from, b.starts[n]), min(to, b.starts[n]+run.Count)
		if lo < hi {
			b.scratch = slices.Grow(b.scratch, len(run.Body))
			b.each(n, lo, hi, func(i int, own []byte) { b.frame(i, run, own, f) })
		}
	}
	if len(b.scratch) == 0 {
		return dst
	}
	return append(dst, b.scratch)
}

// frame appends record i to the scratch bytes.
func (b *Batch) frame(i int, run *Run, own []byte, f *format) {
	text, err := b.encode(i, run, own, f)
	switch {
	case err != nil:
	case f.most > 0 && len(text) > f.most:
		err = fmt.Errorf("it takes %d bytes, more than max_record = %d allows", len(text), f.most)
	case f.strict && bytes.IndexByte(text, '\n') >= 0:
		err = fmt.Errorf(`an LF is inside, at which a receiver would end it; framing = %q can carry it`, octetFraming)
	}
	if err != nil {
		b.Reject(i, err.Error())
		return
	}
	at := len(b.scratch)
	switch f.framing {
	case newlineFraming:
		b.scratch = append(append(b.scratch, text...), '\n')
	case octetFraming:
		b.scratch = append(strconv.AppendInt(b.scratch, int64(len(text)), 10), ' ')
		b.scratch = append(b.scratch, text...)
	case lengthFraming:
		b.scratch = append(binary.BigEndian.AppendUint32(b.scratch, uint32(len(text))), text...)
	case hekaFraming:
		b.scratch = append(appendHekaHeader(b.scratch, len(text)), text...)
	default:
		b.scratch = append(b.scratch, text...)
	}
	b.inner = append(b.inner, span{at, len(b.scratch)})
}

// encode returns what stands between the marks of the framing. It is part of the run or of memory that the next call
// uses again.
func (b *Batch) encode(i int, run *Run, own []byte, f *format) (text []byte, err error) {
	whole := f.encoder != nil || f.framing == hekaFraming
	shared := run.Attributes
	if !whole {
		if run.Form != pack.Records {
			return own, nil
		}
		shared = nil
	}
	if err := b.record.Decode(shared, own, run.Form); err != nil {
		return nil, err
	}
	switch {
	case f.encoder != nil:
		text, err = f.encoder.AppendEncode(b.encoded[:0], &b.record)
	case whole:
		text = b.appendHekaMessage(b.encoded[:0], i)
	default:
		return b.record.Payload, nil
	}
	if err == nil {
		b.encoded = text
	}
	return text, err
}

// Bytes and field numbers of Heka's stream frames.
const (
	hekaRecord = 0x1e
	hekaUnit   = 0x1f

	hekaLength    protowire.Number = 1 // in the header
	hekaTimestamp protowire.Number = 2 // in the message
)

// appendHekaHeader appends 1E, the length of the header, the header, which says the length of the message, and 1F.
func appendHekaHeader(dst []byte, size int) []byte {
	header := protowire.SizeTag(hekaLength) + protowire.SizeVarint(uint64(size))
	dst = protowire.AppendTag(append(dst, hekaRecord, byte(header)), hekaLength, protowire.VarintType)
	return append(protowire.AppendVarint(dst, uint64(size)), hekaUnit)
}

// appendHekaMessage appends b.record, which is record i, with the two fields that Heka demands: a UUID, which is always
// the same for the same record, and a timestamp.
func (b *Batch) appendHekaMessage(dst []byte, i int) []byte {
	var uuid [sha256.Size]byte
	if len(b.record.UUID) != 16 {
		queue := b.ID
		for range 2 { // First and Last: another batch may hold the record the next time
			queue = queue[:max(0, strings.LastIndexByte(queue, '-'))]
		}
		uuid = sha256.Sum256(strconv.AppendUint(append([]byte(queue), '-'), b.First+uint64(i), 10))
		uuid[6], uuid[8] = uuid[6]&0x0f|0x80, uuid[8]&0x3f|0x80 // version 8: made in a way of its own
		b.record.UUID = uuid[:16]
	}
	if dst = b.record.Append(dst); b.record.Timestamp == 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, hekaTimestamp, protowire.VarintType), 0)
	}
	return dst
}
