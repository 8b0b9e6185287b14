package pack

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers inside a field, and its value types.
const (
	numName           protowire.Number = 1
	numValueType      protowire.Number = 2
	numRepresentation protowire.Number = 3
	numValue          protowire.Number = 4 // 4 + the value type: strings, bytes, integers, doubles, bools

	typeString  = 0
	typeBytes   = 1
	typeInteger = 2
	typeDouble  = 3
	typeBool    = 4
)

// decodeField reads a field. Values that are not of its value type are skipped, as Heka does.
func decodeField(b []byte) (Field, error) {
	var f Field
	kind := uint64(typeString)
	err := eachField(b, func(num protowire.Number, wire protowire.Type, value []byte, number uint64) error {
		switch {
		case num == numName && wire == protowire.BytesType:
			f.Name = string(value)
		case num == numRepresentation && wire == protowire.BytesType:
			f.Representation = string(value)
		case num == numValueType && wire == protowire.VarintType:
			// A value type that is not of the schema counts as not stated, as protobuf has it.
			if number <= typeBool {
				kind = number
			}
		case num >= numName && num <= numRepresentation:
			return fmt.Errorf("field %d inside it has wire type %d", num, wire)
		}
		return nil
	})
	if err != nil {
		return Field{}, err
	}
	f.Value, err = decodeValues(b, kind)
	return f, err
}

func decodeValues(b []byte, kind uint64) (any, error) {
	switch kind {
	case typeBytes:
		return values(b, kind, protowire.BytesType, func(b []byte, _ uint64) []byte { return b })
	case typeInteger:
		return values(b, kind, protowire.VarintType, func(_ []byte, n uint64) int64 { return int64(n) })
	case typeDouble:
		return values(b, kind, protowire.Fixed64Type, func(_ []byte, n uint64) float64 { return math.Float64frombits(n) })
	case typeBool:
		return values(b, kind, protowire.VarintType, func(_ []byte, n uint64) bool { return protowire.DecodeBool(n) })
	default:
		return values(b, kind, protowire.BytesType, func(b []byte, _ uint64) string { return string(b) })
	}
}

// values collects the values of one type, packed or not: one is returned by itself, none or several as a slice.
func values[T any](b []byte, kind uint64, wire protowire.Type, convert func([]byte, uint64) T) (any, error) {
	all := []T{}
	err := eachField(b, func(num protowire.Number, got protowire.Type, value []byte, number uint64) error {
		switch {
		case num != numValue+protowire.Number(kind):
			return nil
		case got == wire:
			all = append(all, convert(value, number))
			return nil
		case got != protowire.BytesType:
			return fmt.Errorf("value has wire type %d instead of %d", got, wire)
		}
		for len(value) > 0 {
			number, n := consumeNumber(value, wire)
			if n < 0 {
				return fmt.Errorf("packed values: %w", protowire.ParseError(n))
			}
			all = append(all, convert(nil, number))
			value = value[n:]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

// eachField calls fn for every protobuf field in b that is bytes, a varint or eight bytes, and skips the others.
func eachField(b []byte, fn func(num protowire.Number, wire protowire.Type, value []byte, number uint64) error) error {
	for len(b) > 0 {
		num, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var value []byte
		var number uint64
		switch wire {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType, protowire.Fixed64Type:
			number, n = consumeNumber(b, wire)
		default:
			n = protowire.ConsumeFieldValue(num, wire, b)
		}
		if n < 0 {
			return fmt.Errorf("field %d inside it: %w", num, protowire.ParseError(n))
		}
		if err := fn(num, wire, value, number); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func consumeNumber(b []byte, wire protowire.Type) (uint64, int) {
	if wire == protowire.Fixed64Type {
		return protowire.ConsumeFixed64(b)
	}
	return protowire.ConsumeVarint(b)
}
