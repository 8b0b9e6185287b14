package codec

import (
	"bytes"

	"logmule/forward/pack"
)

// ownElement is the SD-ID of fields that have no SD-ID of their own. 32473 is the enterprise number that RFC 5612 keeps
// for examples: logmule has none.
const ownElement = "logmule@32473"

// parse5424 reads what follows the priority as RFC 5424, false where version and timestamp are not there. Structured data
// that is malformed, or missing, is no reason to lose the rest of the header: all from there on is the payload.
func parse5424(b []byte) (p parsed, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte("1 "))
	if !ok {
		return p, false
	}
	token, b, ok := bytes.Cut(b, space)
	if !ok {
		return p, false
	}
	if said(token) != nil {
		if p.timestamp, ok = parseRFC3339(token); !ok {
			return p, false
		}
	}
	for _, place := range []*[]byte{&p.hostname, &p.logger, &p.procid, &p.msgid} {
		if token, b, ok = bytes.Cut(b, space); !ok || len(token) == 0 {
			return p, false
		}
		*place = said(token)
	}
	n, ok := structuredEnd(b)
	if !ok {
		p.payload = b
		return p, true
	}
	p.structured, b = said(b[:n]), b[n:]
	if len(b) > 0 {
		b = b[1:]
	}
	p.payload = bytes.TrimPrefix(b, bom)
	return p, true
}

var space = []byte{' '}

// structuredEnd returns where the structured data at the start of b ends: NILVALUE or elements, then a space or nothing.
func structuredEnd(b []byte) (n int, ok bool) {
	if len(b) > 0 && b[0] == '-' {
		n = 1
	}
	for n < len(b) && b[n] == '[' {
		size, ok := eachParam(b[n:], func([]byte, []byte, []byte) {})
		if !ok {
			return 0, false
		}
		n += size
	}
	return n, n > 0 && (n == len(b) || b[n] == ' ')
}

// eachParam calls fn for every parameter of the element that b begins with, the value still escaped, once with neither
// name nor value where there is none, and returns the bytes of the element.
func eachParam(b []byte, fn func(id, name, value []byte)) (size int, ok bool) {
	id := sdName(b[1:])
	at := 1 + len(id)
	if len(id) == 0 {
		return 0, false
	}
	for first := true; ; first = false {
		from := at
		for at < len(b) && b[at] == ' ' { // one, but some senders write more
			at++
		}
		switch {
		case at == len(b):
			return 0, false
		case b[at] == ']' && first:
			fn(id, nil, nil)
			return at + 1, true
		case b[at] == ']':
			return at + 1, true
		case at == from:
			return 0, false
		}
		name := sdName(b[at:])
		at += len(name)
		if len(name) == 0 || !bytes.HasPrefix(b[at:], []byte(`="`)) {
			return 0, false
		}
		at += 2
		end := valueEnd(b[at:])
		if end < 0 {
			return 0, false
		}
		fn(id, name, b[at:at+end])
		at += end + 1
	}
}

// sdName returns the SD-ID or the name of a parameter that b begins with.
func sdName(b []byte) []byte {
	n := 0
	for n < len(b) && isNameByte(b[n]) {
		n++
	}
	return b[:n]
}

// isNameByte tells whether c may stand in an SD-ID or in the name of a parameter.
func isNameByte(c byte) bool { return isPrint(c) && c != '=' && c != ']' && c != '"' }

// isPrint is PRINTUSASCII.
func isPrint(c byte) bool { return c > ' ' && c < 0x7f }

// valueEnd returns where the closing quote of a value is, -1 without one. A bracket that is not escaped ends no value:
// many forget to.
func valueEnd(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// appendStructured adds a field for every parameter: SD-ID.name, or the name alone where logmule wrote it.
func appendStructured(fields []pack.Field, elements []byte) []pack.Field {
	for len(elements) > 0 {
		size, _ := eachParam(elements, func(id, name, value []byte) {
			field := string(name)
			if string(id) != ownElement {
				field = string(id) + "." + field
			}
			if field == "" {
				return // an element of ours that says nothing
			}
			fields = append(fields, pack.Field{Name: field, Value: unescape(value)})
		})
		elements = elements[size:]
	}
	return fields
}

// unescape takes the backslashes before ", \ and ] away. Any other is a backslash, as the RFC has it.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	plain := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && isEscaped(b[i+1]) {
			i++
		}
		plain = append(plain, b[i])
	}
	return string(plain)
}

func isEscaped(c byte) bool { return c == '"' || c == '\\' || c == ']' }
