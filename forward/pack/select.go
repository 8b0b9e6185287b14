package pack

import "google.golang.org/protobuf/encoding/protowire"

// Parts is a set of parts of a record.
type Parts uint16

// The parts of a record that have a name for people.
const (
	OfTimestamp Parts = 1 << numTimestamp
	OfType      Parts = 1 << numType
	OfLogger    Parts = 1 << numLogger
	OfSeverity  Parts = 1 << numSeverity
	OfPayload   Parts = 1 << numPayload
	OfPid       Parts = 1 << numPid
	OfHostname  Parts = 1 << numHostname
	OfFields    Parts = 1 << numFields
)

// Select appends the given parts of an encoded record, or of encoded attributes, as they stand there: where two records
// select to the same bytes, they agree in those parts. false: b is malformed, and what was appended is of no use.
func Select(dst, b []byte, which Parts) ([]byte, bool) {
	for len(b) > 0 {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return dst, false
		}
		if num <= numFields && which&(1<<num) != 0 {
			dst = append(dst, b[:n]...)
		}
		b = b[n:]
	}
	return dst, true
}
