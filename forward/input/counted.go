package input

import "encoding/binary"

// octets is the octet counting of RFC 6587: a decimal length, a space, the record. An LF at its end does not belong to
// it, nor does one between two frames: senders put it there out of habit. A length of 0 is an empty record.
//
// Where no length stands, the next frame is looked for behind the next LF, or where digits, a space and the "<" of a
// syslog priority are. All before that is thrown away.
type octets struct {
	astray bool
}

const maxDigits = 8 // those of frameLimit

func (o *octets) next(b []byte) find {
	if o.astray {
		return o.search(b)
	}
	if b[0] == '\n' {
		return find{what: noise, size: 1}
	}
	size, digits := 0, 0
	for digits < len(b) && digits <= maxDigits && isDigit(b[digits]) {
		size = 10*size + int(b[digits]-'0')
		digits++
	}
	switch {
	case digits == len(b) && digits <= maxDigits && (b[0] != '0' || digits == 1):
		return find{}
	case digits == 0 || digits > maxDigits || b[0] == '0' && digits > 1 || digits == len(b) || b[digits] != ' ' || size > frameLimit:
		o.astray = true
		return find{what: bad, size: 1, why: `no length and space; if the sender ends its records with an LF, use framing = "newline" or "auto"`}
	}
	f := find{what: found, from: digits + 1, size: size}
	if end := f.from + size; size > 0 && end <= len(b) && b[end-1] == '\n' {
		f.trim = 1
	}
	return f
}

// search finds the next place where a frame may begin.
func (o *octets) search(b []byte) find {
	for i, c := range b {
		if c == '\n' {
			o.astray = false
			return find{what: bad, size: i + 1}
		}
		if c < '1' || c > '9' {
			continue
		}
		digits := 1
		for i+digits < len(b) && digits <= maxDigits && isDigit(b[i+digits]) {
			digits++
		}
		switch rest := b[i+digits:]; {
		case digits > maxDigits:
		case len(rest) == 0 || len(rest) == 1 && rest[0] == ' ':
			if i == 0 {
				return find{}
			}
			return find{what: bad, size: i}
		case rest[0] == ' ' && rest[1] == '<':
			o.astray = false
			return find{what: bad, size: i}
		}
	}
	return find{what: bad, size: len(b)}
}

func (o *octets) head(own []byte) ([]byte, bool) { return own, true }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// prefixed has the length of each record before it in four bytes, the most significant first. There is no finding back
// from a wrong length.
type prefixed struct{}

func (prefixed) next(b []byte) find {
	if len(b) < 4 {
		return find{}
	}
	size := binary.BigEndian.Uint32(b)
	if size > frameLimit {
		return find{what: lost, why: "a length over 64MiB, so the sender has another framing, or lost its place"}
	}
	return find{what: found, from: 4, size: int(size)}
}

func (prefixed) head(own []byte) ([]byte, bool) { return own, true }

// recognise names the framing of a stream by its first bytes; empty: too few to tell. A length is one only before the
// priority of a syslog record: a line may begin with a number as well.
func recognise(first []byte) string {
	switch {
	case len(first) == 0:
		return ""
	case first[0] == hekaStart:
		return "heka"
	case first[0] < '1' || first[0] > '9':
		return "newline"
	}
	digits := 1
	for digits < len(first) && digits <= maxDigits && isDigit(first[digits]) {
		digits++
	}
	switch rest := first[digits:]; {
	case digits > maxDigits:
		return "newline"
	case len(rest) == 0 || len(rest) == 1 && rest[0] == ' ':
		return ""
	case rest[0] == ' ' && rest[1] == '<':
		return "octet-counted"
	}
	return "newline"
}
