package pack

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// CutFront takes off the front of encoded attributes what Attributes with nothing but a severity and fields of these
// names, each at most once, put there. What stood behind them is rest, a part of b. Without such a front there are no
// fields and rest is b. An error says that b is no encoded attributes.
func CutFront(b []byte, names ...string) (fields []Field, rest []byte, err error) {
	num, kind, n := protowire.ConsumeTag(b)
	if n < 0 || num != numSeverity || kind != protowire.VarintType {
		return nil, b, nil
	}
	_, size := protowire.ConsumeVarint(b[n:])
	if size < 0 {
		return nil, b, fmt.Errorf("read the severity in front of attributes: %w", protowire.ParseError(size))
	}
	rest = b[n+size:]
	for len(rest) > 0 {
		num, kind, n := protowire.ConsumeTag(rest)
		if n < 0 || num != numFields || kind != protowire.BytesType {
			break
		}
		value, size := protowire.ConsumeBytes(rest[n:])
		if size < 0 {
			return nil, b, fmt.Errorf("read a field in front of attributes: %w", protowire.ParseError(size))
		}
		f, err := decodeField(value)
		if err != nil {
			return nil, b, fmt.Errorf("read a field in front of attributes: %w", err)
		}
		known := slices.Contains(names, f.Name)
		if !known || slices.ContainsFunc(fields, func(g Field) bool { return g.Name == f.Name }) {
			break
		}
		fields = append(fields, f)
		rest = rest[n+size:]
	}
	if len(fields) == 0 {
		return nil, b, nil
	}
	return fields, rest, nil
}
