package hekaqueue

import (
	"bytes"
	"unicode/utf8"
)

// Wire types of protobuf.
const (
	varintType  = 0
	fixed64Type = 1
	bytesType   = 2
	fixed32Type = 5
)

// badMessage is why bytes are no Heka message.
type badMessage uint8

const (
	fine badMessage = iota
	badTag
	badType
	badNumber
	badLength
	badUUID
	noUUID
	badField
	noName
	cutMessage // only for a message of which a part is there: that part is right
)

// String says what is wrong.
func (m badMessage) String() string {
	switch m {
	case badTag:
		return "a byte that begins no attribute"
	case badType:
		return "an attribute of a type that it does not have"
	case badNumber:
		return "a number that does not end"
	case badLength:
		return "a length beyond the end"
	case badUUID:
		return "a uuid that does not have 16 bytes"
	case noUUID:
		return "no uuid"
	case badField:
		return "a field that is broken inside"
	case noName:
		return "a field without a name"
	default:
		return "it is not whole"
	}
}

// Numbers of the attributes of a message.
const (
	numUUID      = 1
	numTimestamp = 2
	numFields    = 10
)

// messageTypes are the wire types of the attributes 1 to 10.
var messageTypes = [...]uint64{0, bytesType, varintType, bytesType, bytesType, varintType, bytesType, bytesType, varintType, bytesType, bytesType}

// text says which attributes are text: type, logger, payload, env_version, hostname.
const text = 1<<3 | 1<<4 | 1<<6 | 1<<7 | 1<<9

// judge tells whether b is a whole Heka message, what makes one doubtful, and its uuid, a part of b. size is how many bytes
// it has; where b is only the first of them, cutMessage says that nothing in b is wrong.
//
// It takes the bulk of the time of a salvage, so that it allocates nothing and copies nothing.
func judge(b []byte, size int) (uuid []byte, doubt Doubts, bad badMessage) {
	left := size // bytes of the message from b on; len(b) of them are there
	var seen uint
	timestamp := uint64(0)
	for len(b) > 0 {
		tag, n := uvarint(b)
		num, wire := tag>>3, tag&7
		if n <= 0 || num == 0 || num >= 1<<29 {
			return nil, 0, orCut(badTag, n, b, left)
		}
		b, left = b[n:], left-n
		known := num < uint64(len(messageTypes))
		if known {
			if wire != messageTypes[num] {
				return nil, 0, badType
			}
			if seen&(1<<num) != 0 && num != numFields {
				doubt |= Twice
			}
			seen |= 1 << num
		} else {
			doubt |= Unknown
		}
		value, number, n, bad := cutValue(b, left, wire)
		if bad != fine {
			return nil, 0, bad
		}
		switch {
		case num == numUUID:
			if len(value) != 16 {
				return nil, 0, badUUID
			}
			uuid = value
		case num == numTimestamp:
			timestamp = number
		case num == numFields:
			d, bad := judgeField(value)
			if bad != fine {
				return nil, 0, bad
			}
			doubt |= d
		case known && text&(1<<num) != 0:
			doubt |= judgeText(value)
		}
		b, left = b[n:], left-n
	}
	switch {
	case left > 0:
		return nil, 0, cutMessage
	case uuid == nil:
		return nil, 0, noUUID
	case timestamp == 0:
		doubt |= NoTimestamp
	}
	if string(uuid) == string(noBytes[:16]) {
		doubt |= Zeros
	}
	return uuid, doubt, fine
}

// noBytes are NULs to compare with.
var noBytes [16]byte

// orCut is bad, unless it is only that b ends where more bytes are to come.
func orCut(bad badMessage, n int, b []byte, left int) badMessage {
	if n == 0 && len(b) < left {
		return cutMessage
	}
	return bad
}

// cutValue takes a value of a wire type off b: its bytes, or its number, and how many bytes it takes there. left is how many
// there are, of which b may be only the first.
func cutValue(b []byte, left int, wire uint64) (value []byte, number uint64, n int, bad badMessage) {
	switch wire {
	case varintType:
		number, n = uvarint(b)
		if n <= 0 {
			return nil, 0, 0, orCut(badNumber, n, b, left)
		}
		return nil, number, n, fine
	case bytesType:
		length, n := uvarint(b)
		if n <= 0 {
			return nil, 0, 0, orCut(badLength, n, b, left)
		}
		if length > uint64(left-n) {
			return nil, 0, 0, badLength
		}
		if length > uint64(len(b)-n) {
			return nil, 0, 0, cutMessage
		}
		end := n + int(length)
		return b[n:end:end], 0, end, fine
	case fixed64Type, fixed32Type:
		n = 8
		if wire == fixed32Type {
			n = 4
		}
		if n > left {
			return nil, 0, 0, badLength
		}
		if n > len(b) {
			return nil, 0, 0, cutMessage
		}
		return nil, 0, n, fine
	default:
		return nil, 0, 0, badType
	}
}

// judgeText finds what damage leaves in a text.
func judgeText(b []byte) (doubt Doubts) {
	if i := bytes.IndexByte(b, 0); i >= 0 && bytes.Contains(b[i:], noBytes[:]) {
		doubt |= Zeros
	}
	if !utf8.Valid(b) {
		doubt |= NotUTF8
	}
	return doubt
}

// Numbers inside a field. Values have 4 + their type: strings, bytes, integers, doubles, bools.
const (
	numName           = 1
	numValueType      = 2
	numRepresentation = 3
	numValue          = 4
	lastType          = 4
)

// judgeField is judge for a field. Numbers may be packed or not.
func judgeField(b []byte) (doubt Doubts, bad badMessage) {
	named, kind, there := false, uint64(0), uint(0)
	for len(b) > 0 {
		tag, n := uvarint(b)
		num, wire := tag>>3, tag&7
		if n <= 0 || num == 0 || num >= 1<<29 {
			return 0, badField
		}
		value, number, size, bad := cutValue(b[n:], len(b)-n, wire)
		if bad != fine {
			return 0, badField
		}
		b = b[n+size:]
		switch {
		case num == numName && wire == bytesType:
			named = true
			doubt |= judgeText(value)
		case num == numRepresentation && wire == bytesType:
			doubt |= judgeText(value)
		case num == numValueType && wire == varintType:
			if kind = number; kind > lastType {
				kind = 0 // as protobuf has it
				doubt |= Unknown
			}
		case num >= numValue && num <= numValue+lastType:
			there |= 1 << (num - numValue)
			if num == numValue {
				doubt |= judgeText(value)
			}
			if !valuesFit(num-numValue, wire, value) {
				return 0, badField
			}
		case num <= numRepresentation:
			return 0, badField
		default:
			doubt |= Unknown
		}
	}
	if !named {
		return 0, noName
	}
	if there&(1<<kind) == 0 {
		doubt |= NoValue
	}
	return doubt, fine
}

// valuesFit tells whether what was found under the number of a type of values is such values.
func valuesFit(kind, wire uint64, packed []byte) bool {
	switch {
	case kind <= 1: // strings, bytes
		return wire == bytesType
	case kind == 3: // doubles
		return wire == fixed64Type || wire == bytesType && len(packed)%8 == 0
	case wire == bytesType:
		for len(packed) > 0 {
			_, n := uvarint(packed)
			if n <= 0 {
				return false
			}
			packed = packed[n:]
		}
		return true
	default:
		return wire == varintType
	}
}
