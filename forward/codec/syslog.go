package codec

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"time"

	"logmule/forward/pack"
)

const (
	facilityField = "facility" // int64, 0 to 23
	procidField   = "procid"   // a process that is not a number
	msgidField    = "msgid"
	sequenceField = "sequence" // what Cisco devices count, as they write it
	clockField    = "clock"    // "*" or "." before a Cisco time: the device's clock is not, or no longer, set

	mostPriority = 191 // 23 facilities and 7 severities
)

var (
	errNoPriority = errors.New("it does not begin with a syslog priority such as <13>")
	bom           = []byte("\ufeff")
)

// syslogDecoder reads RFC 5424 and what is in use as RFC 3164, told apart record by record. See docs/syslog.md.
type syslogDecoder struct{}

// parsed is what a record says about itself. It replaces the attributes only when all of it was read.
type parsed struct {
	timestamp                int64 // 0: nothing said
	hostname, logger, procid []byte
	msgid                    []byte
	sequence                 [][]byte
	clock                    []byte
	structured               []byte // the elements, known to be well-formed
	payload                  []byte
}

// Decode is the method of Decoder.
func (syslogDecoder) Decode(r *pack.Record) error {
	priority, rest, ok := cutPriority(r.Payload)
	if !ok {
		return errNoPriority
	}
	if n := len(rest); n > 0 && (rest[n-1] == '\n' || rest[n-1] == 0) {
		rest = rest[:n-1] // a terminator, which many send in datagrams and in counted frames too
	}
	p, ok := parse5424(rest)
	if !ok {
		p = parse3164(rest, time.Unix(0, r.Timestamp))
	}
	p.store(r, priority)
	return nil
}

// cutPriority reads <0> to <191>.
func cutPriority(b []byte) (priority int, rest []byte, ok bool) {
	if len(b) < 3 || b[0] != '<' {
		return 0, nil, false
	}
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 {
		return 0, nil, false
	}
	for _, c := range b[1:end] {
		if !isDigit(c) {
			return 0, nil, false
		}
		priority = 10*priority + int(c-'0')
	}
	return priority, b[end+1:], priority <= mostPriority
}

// store replaces the attributes that were said.
func (p *parsed) store(r *pack.Record, priority int) {
	r.Severity = int32(priority % 8)
	r.Fields = append(r.Fields, pack.Field{Name: facilityField, Value: int64(priority / 8)})
	if p.timestamp != 0 {
		r.Timestamp = p.timestamp
	}
	if len(p.hostname) > 0 {
		r.Hostname = string(p.hostname)
	}
	if len(p.logger) > 0 {
		r.Logger = string(p.logger)
	}
	if pid, ok := number(p.procid); ok {
		r.Pid = pid
	} else {
		r.Fields = appendText(r.Fields, procidField, p.procid)
	}
	r.Fields = appendText(r.Fields, msgidField, p.msgid)
	for _, s := range p.sequence {
		r.Fields = appendText(r.Fields, sequenceField, s)
	}
	r.Fields = appendText(r.Fields, clockField, p.clock)
	r.Fields = appendStructured(r.Fields, p.structured)
	r.Payload = p.payload
}

func appendText(fields []pack.Field, name string, value []byte) []pack.Field {
	if len(value) == 0 {
		return fields
	}
	return append(fields, pack.Field{Name: name, Value: string(value)})
}

// number reads a process id that is written again as it was: no zero in front.
func number[T string | []byte](b T) (int32, bool) {
	if len(b) == 0 || len(b) > 10 || b[0] == '0' {
		return 0, false
	}
	for i := range len(b) {
		if !isDigit(b[i]) {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(b), 10, 32)
	return int32(n), err == nil
}

// said returns a header field, nothing for the NILVALUE.
func said[T string | []byte](b T) (none T) {
	if string(b) == "-" {
		return none
	}
	return b
}

// parseRFC3339 reads a time with its zone, false where it is none or beyond what nanoseconds since 1970 can say.
func parseRFC3339(b []byte) (int64, bool) {
	const shortest, longest = len("2006-01-02T15:04:05Z"), len("2006-01-02T15:04:05.999999999+07:00")
	if len(b) < shortest || len(b) > longest || b[4] != '-' || b[10] != 'T' {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return 0, false
	}
	return nanoseconds(at)
}

func nanoseconds(at time.Time) (int64, bool) {
	if s := at.Unix(); s <= math.MinInt64/int64(time.Second) || s >= math.MaxInt64/int64(time.Second) {
		return 0, false
	}
	return at.UnixNano(), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
