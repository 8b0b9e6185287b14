package codec

import (
	"bytes"
	"time"
)

// parse3164 reads what follows the priority in the way of RFC 3164, which describes habits more than it rules: every part
// may be missing, and what is not recognised belongs to the payload.
func parse3164(b []byte, arrival time.Time) (p parsed) {
	rest, header := b, parsed{}
	rest = header.cutCisco(rest)
	at, rest, found := cutTime(rest, arrival)
	if !found {
		p.payload = b
		p.cutTag()
		return p
	}
	p = header
	p.timestamp, p.payload = at, rest
	if p.cutTag() {
		return p // written on the machine itself, which leaves its own name out
	}
	host, after, _ := bytes.Cut(rest, space)
	if !isHost(host) {
		return p
	}
	p.hostname, p.payload = said(host), after
	if after, ok := bytes.CutPrefix(after, []byte(": ")); ok {
		p.payload = after // Cisco ASA
	}
	p.cutTag()
	return p
}

// cutCisco takes off what Cisco devices write before the time: up to two counters, each followed by a colon, and a mark
// that says that the clock is not set.
func (p *parsed) cutCisco(b []byte) []byte {
	for range 2 {
		n := 0
		for n < len(b) && isDigit(b[n]) {
			n++
		}
		if !bytes.HasPrefix(b[n:], []byte(": ")) {
			break
		}
		if n > 0 {
			p.sequence = append(p.sequence, b[:n])
		}
		b = b[n+2:]
	}
	if len(b) > 0 && (b[0] == '*' || b[0] == '.') {
		p.clock, b = b[:1], b[1:]
	}
	return b
}

// cutTime reads the time that b begins with, and what separates it from the rest: a space, or a colon and a space.
func cutTime(b []byte, arrival time.Time) (at int64, rest []byte, ok bool) {
	token, rest, _ := bytes.Cut(b, space)
	if at, ok := parseRFC3339(bytes.TrimSuffix(token, colon)); ok {
		return at, rest, true
	}
	end := clockEnd(b)
	text, rest := bytes.TrimSuffix(b[:end], colon), bytes.TrimPrefix(b[end:], space)
	zone := time.Local
	if after, ok := bytes.CutPrefix(rest, []byte("UTC: ")); ok { // as Cisco devices are told to with show-timezone
		zone, rest = time.UTC, after
	}
	if stamp, err := time.ParseInLocation("Jan _2 2006 15:04:05", string(text), zone); err == nil {
		at, ok = nanoseconds(stamp)
		return at, rest, ok
	}
	stamp, err := time.ParseInLocation("Jan _2 15:04:05", string(text), zone)
	if err != nil {
		return 0, nil, false
	}
	at, ok = nanoseconds(nearest(stamp, arrival.In(zone)))
	return at, rest, ok
}

var colon = []byte{':'}

// clockEnd returns where the word with the time of day ends, if b begins like "Nov  5 08:11:59" or "Nov 5 2026 08:11:59",
// else 0.
func clockEnd(b []byte) int {
	const longest = len("Nov 20 2026 08:11:59.123456789:")
	b = b[:min(len(b), longest+1)]
	start := bytes.IndexByte(b, ':')
	if start < 0 || len(b) < 4 || b[3] != ' ' {
		return 0
	}
	if end := bytes.IndexByte(b[start:], ' '); end >= 0 {
		return start + end
	}
	return min(len(b), longest)
}

// nearest gives a time without a year the one that brings it nearest to arrival: a record of New Year's Eve that arrives
// in January is of last year.
func nearest(stamp, arrival time.Time) time.Time {
	var best time.Time
	for year := arrival.Year() - 1; year <= arrival.Year()+1; year++ {
		at := time.Date(year, stamp.Month(), stamp.Day(), stamp.Hour(), stamp.Minute(), stamp.Second(), stamp.Nanosecond(), stamp.Location())
		if at.Day() != stamp.Day() {
			continue // the 29th of February of another year
		}
		if best.IsZero() || at.Sub(arrival).Abs() < best.Sub(arrival).Abs() {
			best = at
		}
	}
	return best // zero, which is out of range, for a 29th of February with no leap year near
}

// cutTag takes TAG: or TAG[PROCID]: off the payload, false where it does not begin with one.
func (p *parsed) cutTag() bool {
	n := bytes.IndexAny(p.payload, ": [")
	if n <= 0 || p.payload[n] == ' ' || len(bytes.Trim(p.payload[:n], "0123456789")) == 0 {
		return false // numbers count something
	}
	tag, rest := p.payload[:n], p.payload[n:]
	var procid []byte
	if rest[0] == '[' {
		end := bytes.Index(rest, []byte("]:"))
		if end < 0 || bytes.IndexByte(rest[:end], ' ') >= 0 {
			return false
		}
		procid, rest = rest[1:end], rest[end+1:]
	}
	if len(rest) > 1 && rest[1] != ' ' {
		return false
	}
	p.logger, p.procid = said(tag), said(procid)
	p.payload = bytes.TrimPrefix(rest[1:], space)
	return true
}

// isHost tells whether a word may be the name or the address of a machine, with what syslog-ng puts around it when it
// passes a record on.
func isHost(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && bytes.IndexByte([]byte(".-_:/@%"), c) < 0 && c < 0x80 {
			return false
		}
	}
	return len(b) > 0
}
