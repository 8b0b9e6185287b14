// Package codec turns the bytes of a record into its attributes and back: one file for each format, one line each in
// the tables. A codec keeps nothing between records.
package codec

import "logmule/forward/pack"

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
