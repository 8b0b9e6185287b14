// Package codec turns the bytes of a record into its attributes and back: one file for each format, one line each in
// the tables. A codec keeps nothing between records.
package codec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"logmule/forward/pack"
)

// Decoder reads a format. It may be used by several goroutines.
type Decoder interface {
	// Decode takes the record apart: r.Payload is the raw record and r has the attributes of a plain line. What the
	// format says replaces those; slices of r may be parts of the raw record. An error says that the record is not of
	// the format, and leaves r as it was.
	Decode(r *pack.Record) error
}

// Encoder writes a format. It may be used by several goroutines.
type Encoder interface {
	// AppendEncode appends the record, without any framing. An error says that it cannot be written in this format,
	// ever, and dst is returned as it was.
	AppendEncode(dst []byte, r *pack.Record) ([]byte, error)
}

// Plain is the name of no codec at all: the bytes of a record are its payload.
const Plain = "plain"

// The tables of formats; read-only.
var (
	decoders = map[string]Decoder{
		"syslog": syslogDecoder{},
	}
	encoders = map[string]Encoder{
		"syslog":      syslogEncoder{},
		"syslog-3164": oldSyslogEncoder{},
	}
)

// NewDecoder returns the decoder of that name, nil for "plain". The error begins with the key codec.
func NewDecoder(name string) (Decoder, error) { return find(decoders, name) }

// NewEncoder returns the encoder of that name, nil for "plain". The error begins with the key codec.
func NewEncoder(name string) (Encoder, error) { return find(encoders, name) }

func names[T any](table map[string]T) []string {
	all := append(slices.Collect(maps.Keys(table)), Plain)
	slices.Sort(all)
	return all
}

func find[T any](table map[string]T, name string) (codec T, err error) {
	codec, ok := table[name]
	if !ok && name != Plain {
		return codec, fmt.Errorf("codec = %q is not known; use one of %s", name, strings.Join(names(table), ", "))
	}
	return codec, nil
}
