package hekaqueue

import "fmt"

const (
	frameStart = 0x1e // begins a frame
	headerEnd  = 0x1f // stands between header and message
	tagLength  = 0x08 // field 1 of the header, the length of the message

	// maxFrame bounds the message in a frame, and so the memory for it. Heka's own limit, max_message_size, is 64 KiB unless it is configured.
	maxFrame = 64 << 20
	// maxHead is the most that stands before the message.
	maxHead = 3 + 255
)

// fault is why a place is not the beginning of a record. It is a value, so that finding one costs nothing; only the
// first of a range becomes text.
type fault struct {
	kind faultKind
	a, b int64
}

type faultKind uint8

const (
	none faultKind = iota
	noStart
	noHeader
	endsInFrame // a: bytes of the frame as its header says, 0: the header itself is cut; b: bytes that are left
	tooLarge    // a: bytes of the frame
	noMessage   // a: bytes of the frame, b: a badMessage
)

func (f fault) text() string {
	switch f.kind {
	case noStart:
		return "no frame begins here"
	case noHeader:
		return "0x1E without the header of a frame behind it"
	case endsInFrame:
		if f.a == 0 {
			return fmt.Sprintf("a frame of which only the first %d bytes are there", f.b)
		}
		return fmt.Sprintf("a frame of %d bytes, of which only the first %d are there", f.a, f.b)
	case tooLarge:
		return fmt.Sprintf("a frame that would have %d bytes; of a message at most %d are read", f.a, maxFrame)
	default:
		return fmt.Sprintf("a frame of %d bytes with no Heka message in it: %s", f.a, badMessage(f.b))
	}
}

// head is what a frame's beginning says.
type head struct {
	size   int // of all before the message
	length int // of the message
}

// readHead judges the first bytes of a frame. b begins with 0x1E; more says that the file goes on behind b, which then has
// maxHead bytes at least. The unsigned header of queue files has to be exactly what Heka writes; a signed one, which
// other streams have, its fields.
func readHead(b []byte, more bool) (head, fault) {
	cut := fault{kind: endsInFrame, b: int64(len(b))}
	if len(b) < 2 {
		return head{}, cut
	}
	h := int(b[1])
	if h < 2 || len(b) > 2 && b[2] != tagLength {
		return head{}, fault{kind: noHeader}
	}
	if len(b) < 3+h {
		if more {
			return head{}, fault{kind: noHeader} // cannot be: 3+h is at most maxHead
		}
		return head{}, cut
	}
	length, n := uvarint(b[3 : 2+h])
	if n <= 0 || n > 1 && b[2+n] == 0 || b[2+h] != headerEnd {
		return head{}, fault{kind: noHeader} // no number, not the shortest form of it, or no 0x1F
	}
	if h != 1+n && !signature(b[3+n:2+h]) || length > 1<<31-1 {
		return head{}, fault{kind: noHeader}
	}
	return head{size: 3 + h, length: int(length)}, fault{}
}

// signature tells whether b is the fields that sign a message: hash function, signer, version of the key, digest.
func signature(b []byte) bool {
	for len(b) > 0 {
		tag := b[0]
		b = b[1:]
		v, n := uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		switch tag {
		case 3<<3 | varintType, 5<<3 | varintType:
		case 4<<3 | bytesType, 6<<3 | bytesType:
			if v > uint64(len(b)) || tag == 6<<3|bytesType && v != 16 && v != 20 {
				return false
			}
			b = b[v:]
		default:
			return false
		}
	}
	return true
}

// uvarint reads a number, and says how many bytes it takes: 0 where b ends in it, -1 where it is longer than 64 bits.
func uvarint(b []byte) (v uint64, n int) {
	for i, c := range b {
		if i == 9 && c > 1 || i > 9 {
			return 0, -1
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}
