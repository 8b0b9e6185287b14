package pack

import (
	"bytes"
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendHead appends to a records body what stands before a payload of size bytes when the record has nothing else of
// its own but a logger, or not even that where logger is empty. The payload has to follow.
func AppendHead(body []byte, logger string, size int) []byte {
	inside := 0
	if logger != "" {
		inside += protowire.SizeTag(numLogger) + protowire.SizeBytes(len(logger))
	}
	if size > 0 {
		inside += protowire.SizeTag(numPayload) + protowire.SizeBytes(size)
	}
	body = protowire.AppendVarint(body, uint64(inside))
	body = appendBytes(body, numLogger, logger)
	if size > 0 {
		body = protowire.AppendTag(body, numPayload, protowire.BytesType)
		body = protowire.AppendVarint(body, uint64(size))
	}
	return body
}

// AppendBeside appends what the record has beside shared: its payload, all its Fields, and the attributes that differ.
// So shared followed by the result is the record, with the fields of shared in front of its own.
func (r *Record) AppendBeside(dst []byte, shared *Attributes) []byte {
	if !bytes.Equal(r.UUID, shared.UUID) {
		dst = appendAlways(dst, numUUID, r.UUID)
	}
	if r.Timestamp != shared.Timestamp {
		dst = appendNumber(dst, numTimestamp, r.Timestamp)
	}
	if r.Type != shared.Type {
		dst = appendAlways(dst, numType, r.Type)
	}
	if r.Logger != shared.Logger {
		dst = appendAlways(dst, numLogger, r.Logger)
	}
	if r.Severity != shared.Severity {
		dst = appendNumber(dst, numSeverity, int64(r.Severity))
	}
	dst = appendBytes(dst, numPayload, r.Payload)
	if r.EnvVersion != shared.EnvVersion {
		dst = appendAlways(dst, numEnvVersion, r.EnvVersion)
	}
	if r.Pid != shared.Pid {
		dst = appendNumber(dst, numPid, int64(r.Pid))
	}
	if r.Hostname != shared.Hostname {
		dst = appendAlways(dst, numHostname, r.Hostname)
	}
	for i := range r.Fields {
		dst = protowire.AppendTag(dst, numFields, protowire.BytesType)
		dst = protowire.AppendBytes(dst, r.Fields[i].append(nil))
	}
	return dst
}

// appendAlways appends a field of text or bytes even where it is empty, to take the place of a shared one.
func appendAlways[T string | []byte](dst []byte, num protowire.Number, v T) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(v)))
	return append(dst, v...)
}

func appendNumber(dst []byte, num protowire.Number, v int64) []byte {
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(v))
}

// CutOwn makes whole fields of a record whose end is missing: a payload that is cut keeps what is there of it, any other
// field that is not whole goes. It works in place. False says that own is not even the beginning of a record.
func CutOwn(own []byte) ([]byte, bool) {
	for at := 0; at < len(own); {
		num, kind, n := protowire.ConsumeTag(own[at:])
		if n < 0 {
			return own[:at], ended(n)
		}
		value := own[at+n:]
		size := protowire.ConsumeFieldValue(num, kind, value)
		if size >= 0 {
			at += n + size
			continue
		}
		_, width := protowire.ConsumeVarint(value)
		if num != numPayload || kind != protowire.BytesType || width < 0 || !ended(size) {
			return own[:at], ended(size)
		}
		putVarint(value[:width], uint64(len(value)-width))
		return own, true
	}
	return own, true
}

// ended tells whether an error of protowire is that the bytes end too early.
func ended(code int) bool { return errors.Is(protowire.ParseError(code), io.ErrUnexpectedEOF) }

// putVarint writes a number that fits, in exactly len(dst) bytes.
func putVarint(dst []byte, v uint64) {
	for i := range dst {
		dst[i] = byte(v) | 0x80
		v >>= 7
	}
	dst[len(dst)-1] &= 0x7f
}
