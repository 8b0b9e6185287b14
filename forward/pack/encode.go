package pack

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Append appends the attributes as the protobuf fields 1 to 5 and 7 to 10 in order, without those that are not set;
// severity is always written. The result is canonical: equal attributes give equal bytes.
func (a *Attributes) Append(dst []byte) []byte {
	return a.appendRest(a.appendFirst(dst))
}

// Append appends the whole record as one protobuf message, in the order of field numbers. What Decode gives for the
// result is r again, and encodes to the same bytes.
func (r *Record) Append(dst []byte) []byte {
	dst = r.appendFirst(dst)
	dst = appendBytes(dst, numPayload, r.Payload)
	return r.appendRest(dst)
}

// appendFirst appends the fields before the payload.
func (a *Attributes) appendFirst(dst []byte) []byte {
	dst = appendBytes(dst, numUUID, a.UUID)
	dst = appendInt(dst, numTimestamp, a.Timestamp)
	dst = appendBytes(dst, numType, a.Type)
	dst = appendBytes(dst, numLogger, a.Logger)
	dst = protowire.AppendTag(dst, numSeverity, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(int64(a.Severity)))
}

// appendRest appends the fields after the payload.
func (a *Attributes) appendRest(dst []byte) []byte {
	dst = appendBytes(dst, numEnvVersion, a.EnvVersion)
	dst = appendInt(dst, numPid, int64(a.Pid))
	dst = appendBytes(dst, numHostname, a.Hostname)
	for i := range a.Fields {
		dst = protowire.AppendTag(dst, numFields, protowire.BytesType)
		dst = protowire.AppendBytes(dst, a.Fields[i].append(nil))
	}
	return dst
}

// append appends the inside of a field. Name and value type are always there, as Heka has them.
func (f *Field) append(dst []byte) []byte {
	dst = protowire.AppendTag(dst, numName, protowire.BytesType)
	dst = protowire.AppendString(dst, f.Name)
	switch v := f.Value.(type) {
	case nil:
		return appendValues(f.appendKind(dst, typeString), typeString, []string(nil))
	case string:
		return appendValues(f.appendKind(dst, typeString), typeString, []string{v})
	case []string:
		return appendValues(f.appendKind(dst, typeString), typeString, v)
	case []byte:
		return appendValues(f.appendKind(dst, typeBytes), typeBytes, [][]byte{v})
	case [][]byte:
		return appendValues(f.appendKind(dst, typeBytes), typeBytes, v)
	case int64:
		return appendPacked(f.appendKind(dst, typeInteger), typeInteger, []int64{v}, appendInteger)
	case []int64:
		return appendPacked(f.appendKind(dst, typeInteger), typeInteger, v, appendInteger)
	case float64:
		return appendPacked(f.appendKind(dst, typeDouble), typeDouble, []float64{v}, appendDouble)
	case []float64:
		return appendPacked(f.appendKind(dst, typeDouble), typeDouble, v, appendDouble)
	case bool:
		return appendPacked(f.appendKind(dst, typeBool), typeBool, []bool{v}, appendBool)
	case []bool:
		return appendPacked(f.appendKind(dst, typeBool), typeBool, v, appendBool)
	default:
		// A value of another type is a mistake of the code that made the field. Its text is worth more than a panic.
		return appendValues(f.appendKind(dst, typeString), typeString, []string{fmt.Sprint(v)})
	}
}

// appendKind appends the value type and the representation, which stand between name and values.
func (f *Field) appendKind(dst []byte, kind uint64) []byte {
	dst = protowire.AppendTag(dst, numValueType, protowire.VarintType)
	dst = protowire.AppendVarint(dst, kind)
	return appendBytes(dst, numRepresentation, f.Representation)
}

// appendValues appends texts or byte strings, each by itself.
func appendValues[T string | []byte](dst []byte, kind protowire.Number, values []T) []byte {
	for _, v := range values {
		dst = protowire.AppendTag(dst, numValue+kind, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	return dst
}

// appendPacked appends numbers together behind one length, nothing where there are none.
func appendPacked[T any](dst []byte, kind protowire.Number, values []T, one func([]byte, T) []byte) []byte {
	if len(values) == 0 {
		return dst
	}
	var packed []byte
	for _, v := range values {
		packed = one(packed, v)
	}
	dst = protowire.AppendTag(dst, numValue+kind, protowire.BytesType)
	return protowire.AppendBytes(dst, packed)
}

func appendInteger(dst []byte, v int64) []byte { return protowire.AppendVarint(dst, uint64(v)) }

func appendDouble(dst []byte, v float64) []byte {
	return protowire.AppendFixed64(dst, math.Float64bits(v))
}

func appendBool(dst []byte, v bool) []byte {
	return protowire.AppendVarint(dst, protowire.EncodeBool(v))
}

// appendBytes appends a field of text or bytes, nothing where it is empty.
func appendBytes[T string | []byte](dst []byte, num protowire.Number, v T) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

// appendInt appends a field that is a number, nothing where it is 0.
func appendInt(dst []byte, num protowire.Number, v int64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(v))
}
