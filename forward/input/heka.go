package input

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"

	"logmule/forward/pack"
)

// heka is the stream framing of Heka: 0x1E, the length of the header in one byte, the header, 0x1F, the message. The
// header says how long the message is, and may carry a signature, which nobody verifies.
//
// Where this is not so, or the message is none, the next 0x1E is looked for from the byte after the last one: behind a
// wrong length there are frames that are right.
type heka struct {
	record pack.Record // of the last message, for its strings
	wasted int         // bytes of messages that were none, since one was
}

const (
	hekaStart  = 0x1e
	hekaMiddle = 0x1f
	// maxWasted is how many bytes are decoded in vain, since the last good message, before whole frames are thrown away
	// rather than looked into: time that a hostile sender takes must not grow with the square of what it sends.
	maxWasted = 16 << 20
)

func (h *heka) next(b []byte) find {
	if b[0] != hekaStart {
		size := bytes.IndexByte(b, hekaStart)
		if size < 0 {
			size = len(b)
		}
		return find{what: bad, size: size, why: "no 0x1E where a frame has to begin"}
	}
	if len(b) < 2 {
		return find{}
	}
	// The length of the message is field 1, which everybody writes first: most of what is no header is seen at once.
	from := 2 + int(b[1]) + 1
	switch {
	case b[1] < 2 || len(b) > 2 && b[2] != 0x08:
		return find{what: bad, size: 1, why: "no header behind 0x1E"}
	case len(b) < from:
		return find{}
	case b[from-1] != hekaMiddle:
		return find{what: bad, size: 1, why: "no 0x1F behind the header"}
	}
	size, ok := hekaLength(b[2 : from-1])
	if !ok {
		return find{what: bad, size: 1, why: "a header that is none"}
	}
	if from+size <= len(b) && h.record.Decode(nil, b[from:from+size], pack.Records) != nil {
		if h.wasted += size; h.wasted > maxWasted {
			return find{what: bad, size: from + size, why: "not a Heka message"}
		}
		return find{what: bad, size: 1, why: "not a Heka message"}
	}
	if from+size <= len(b) {
		h.wasted = 0
	}
	return find{what: found, from: from, size: size}
}

// head cuts a message behind its last whole field, or within its payload.
func (h *heka) head(own []byte) ([]byte, bool) {
	own, ok := pack.CutOwn(own)
	return own, ok && h.record.Decode(nil, own, pack.Records) == nil
}

// hekaLength reads the length of the message from a header. The other fields, those of a signature, have to be such.
func hekaLength(header []byte) (size int, ok bool) {
	for len(header) > 0 {
		num, kind, n := protowire.ConsumeTag(header)
		if n < 0 {
			return 0, false
		}
		header = header[n:]
		switch {
		case (num == 1 || num == 3 || num == 5) && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(header)
			if num == 1 {
				size, ok = int(min(v, frameLimit+1)), true
			}
		case (num == 4 || num == 6) && kind == protowire.BytesType:
			_, n = protowire.ConsumeBytes(header)
		default:
			return 0, false
		}
		if n < 0 {
			return 0, false
		}
		header = header[n:]
	}
	return size, ok && size <= frameLimit
}
