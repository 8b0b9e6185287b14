package pack

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// Attributes are what a record says about itself beside its payload: the fields of a Heka message.
// The zero value of a field means that it is not set, except for Severity.
type Attributes struct {
	UUID       []byte  // 16 bytes; a plain line has none
	Timestamp  int64   // nanoseconds since 1970, UTC
	Type       string  // kind of record; the input's name for a plain line
	Logger     string  // where it came from: a file or a peer
	Severity   int32   // as in syslog, 0 emergency to 7 debug. Always written, so set it: 7 where nothing is known
	EnvVersion string  // version of the sender's schema
	Pid        int32   // process that logged it
	Hostname   string  // machine that logged it
	Fields     []Field // further attributes; a name may occur twice
}

// Field is a named value of a record.
type Field struct {
	Name           string
	Representation string // what the value is, such as a unit; mostly empty
	// Value is a string, []byte, int64, float64 or bool, or a slice of one of them when the field has no value or several.
	Value any
}

// Record is one record, taken apart.
type Record struct {
	Attributes
	Payload []byte
}

// DefaultSeverity is the severity of a record that does not state one.
const DefaultSeverity = 7

// Numbers of the protobuf fields, which are Heka's and part of the format.
const (
	numUUID       protowire.Number = 1
	numTimestamp  protowire.Number = 2
	numType       protowire.Number = 3
	numLogger     protowire.Number = 4
	numSeverity   protowire.Number = 5
	numPayload    protowire.Number = 6
	numEnvVersion protowire.Number = 7
	numPid        protowire.Number = 8
	numHostname   protowire.Number = 9
	numFields     protowire.Number = 10
)

// Decode replaces r by the record made of the encoded shared attributes and its own bytes as Each gives them: the payload
// for Lines, protobuf fields for Records. Text need not be UTF-8; protobuf fields that are not of the schema are skipped.
// The byte slices of r are parts of shared and own, and valid as long as those are. The next Decode uses r.Fields again,
// and the strings that did not change, so that a run of plain lines costs no allocation. After an error r is unusable.
func (r *Record) Decode(shared, own []byte, form Form) error {
	old := r.Attributes
	*r = Record{Attributes: Attributes{Severity: DefaultSeverity, Fields: old.Fields[:0]}}
	if err := r.consume(shared, &old); err != nil {
		return fmt.Errorf("decode shared attributes of a record: %w", err)
	}
	if form != Records {
		r.Payload = own
		return nil
	}
	if err := r.consume(own, &old); err != nil {
		return fmt.Errorf("decode record: %w", err)
	}
	return nil
}

// consume adds the protobuf fields in b to the record. old offers its strings for another use.
func (r *Record) consume(b []byte, old *Attributes) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var value []byte
		var number uint64
		known := int(num) < len(recordKinds)
		switch {
		case !known:
			n = protowire.ConsumeFieldValue(num, kind, b)
		case kind != recordKinds[num]:
			return fmt.Errorf("field %d has wire type %d instead of %d", num, kind, recordKinds[num])
		case kind == protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			value, n = protowire.ConsumeBytes(b)
		}
		if n < 0 {
			return fmt.Errorf("field %d: %w", num, protowire.ParseError(n))
		}
		if err := r.set(num, value, number, old); err != nil {
			return fmt.Errorf("field %d: %w", num, err)
		}
		b = b[n:]
	}
	return nil
}

// recordKinds is the wire type of every field of a record, by its number.
var recordKinds = [...]protowire.Type{
	numUUID:       protowire.BytesType,
	numTimestamp:  protowire.VarintType,
	numType:       protowire.BytesType,
	numLogger:     protowire.BytesType,
	numSeverity:   protowire.VarintType,
	numPayload:    protowire.BytesType,
	numEnvVersion: protowire.BytesType,
	numPid:        protowire.VarintType,
	numHostname:   protowire.BytesType,
	numFields:     protowire.BytesType,
}

func (r *Record) set(num protowire.Number, value []byte, number uint64, old *Attributes) error {
	switch num {
	case numUUID:
		r.UUID = value
	case numTimestamp:
		r.Timestamp = int64(number)
	case numType:
		r.Type = same(old.Type, value)
	case numLogger:
		r.Logger = same(old.Logger, value)
	case numSeverity:
		r.Severity = int32(number)
	case numPayload:
		r.Payload = value
	case numEnvVersion:
		r.EnvVersion = same(old.EnvVersion, value)
	case numPid:
		r.Pid = int32(number)
	case numHostname:
		r.Hostname = same(old.Hostname, value)
	case numFields:
		f, err := decodeField(value)
		if err != nil {
			return err
		}
		r.Fields = append(r.Fields, f)
	}
	return nil
}

// same returns b as a string, old itself where it is equal: comparing does not allocate.
func same(old string, b []byte) string {
	if old == string(b) {
		return old
	}
	return string(b)
}
