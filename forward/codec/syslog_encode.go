package codec

import (
	"bytes"
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"logmule/forward/pack"
)

// The most bytes of each part of a record, as the RFCs have it.
const (
	mostHostname = 255
	mostAppName  = 48
	mostProcid   = 128
	mostMsgid    = 32
	mostSDName   = 32
	mostTag      = 32

	userFacility = 1 // of records that do not name one
)

// syslogEncoder writes RFC 5424, which can say what any record holds.
type syslogEncoder struct{}

// AppendEncode is the method of Encoder.
func (syslogEncoder) AppendEncode(dst []byte, r *pack.Record) ([]byte, error) {
	h := headerOf(r)
	if _, isPid := number(h.procid); isPid { // a reader would take it for one
		h.procid, h.taken[1] = "", -1
	}
	dst = append(appendPriority(dst, h.priority), "1 "...)
	if r.Timestamp == 0 {
		dst = append(dst, '-')
	} else {
		dst = time.Unix(0, r.Timestamp).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	}
	dst = appendWord(append(dst, ' '), r.Hostname, mostHostname)
	dst = appendWord(append(dst, ' '), appName(r, mostAppName), mostAppName)
	dst = append(dst, ' ')
	if r.Pid > 0 {
		dst = strconv.AppendInt(dst, int64(r.Pid), 10)
	} else {
		dst = appendWord(dst, h.procid, mostProcid)
	}
	dst = appendWord(append(dst, ' '), h.msgid, mostMsgid)
	before := len(dst) + 1
	dst = appendElements(append(dst, ' '), r.Fields, h.taken)
	if len(dst) == before {
		dst = append(dst, '-')
	}
	if len(r.Payload) == 0 {
		return dst, nil
	}
	dst = append(dst, ' ')
	if bytes.HasPrefix(r.Payload, bom) {
		dst = append(dst, bom...) // the first one is not part of the text
	}
	return append(dst, r.Payload...), nil
}

// oldSyslogEncoder writes RFC 3164, for receivers that know nothing else. It has no place for fields.
type oldSyslogEncoder struct{}

// AppendEncode is the method of Encoder.
func (oldSyslogEncoder) AppendEncode(dst []byte, r *pack.Record) ([]byte, error) {
	h := headerOf(r)
	dst = appendPriority(dst, h.priority)
	dst = time.Unix(0, r.Timestamp).Local().AppendFormat(dst, time.Stamp)
	dst = appendWord(append(dst, ' '), r.Hostname, mostHostname)
	dst = append(dst, ' ')
	from := len(dst)
	dst = appendWord(dst, appName(r, mostTag), mostTag)
	for i, c := range dst[from:] {
		if c == ':' || c == '[' || c == ']' {
			dst[from+i] = '_'
		}
	}
	if r.Pid > 0 {
		dst = append(strconv.AppendInt(append(dst, '['), int64(r.Pid), 10), ']')
	} else if h.procid != "" {
		from := len(dst) + 1
		dst = appendWord(append(dst, '['), h.procid, mostProcid)
		for i, c := range dst[from:] {
			if c == '[' || c == ']' {
				dst[from+i] = '_'
			}
		}
		dst = append(dst, ']')
	}
	return append(append(dst, ": "...), r.Payload...), nil
}

// header is what the header needs of the fields.
type header struct {
	priority      int
	procid, msgid string
	taken         [3]int // the fields that are in it; -1: none
}

func headerOf(r *pack.Record) header {
	h := header{taken: [3]int{-1, -1, -1}}
	facility := int64(userFacility)
	for i := range r.Fields {
		f := &r.Fields[i]
		text, _ := f.Value.(string)
		n, isNumber := f.Value.(int64)
		switch {
		case f.Name == facilityField && isNumber && n >= 0 && n <= mostPriority/8 && h.taken[0] < 0:
			facility, h.taken[0] = n, i
		case f.Name == procidField && said(text) != "" && r.Pid <= 0 && h.taken[1] < 0:
			h.procid, h.taken[1] = text, i
		case f.Name == msgidField && said(text) != "" && h.taken[2] < 0:
			h.msgid, h.taken[2] = text, i
		}
	}
	h.priority = int(8*facility) + int(min(max(r.Severity, 0), 7))
	return h
}

func appendPriority(dst []byte, priority int) []byte {
	return append(strconv.AppendInt(append(dst, '<'), int64(priority), 10), '>')
}

// appendWord appends text as one word of at most that many printable ASCII characters, the NILVALUE where it is empty.
func appendWord(dst []byte, text string, most int) []byte {
	if text == "" {
		return append(dst, '-')
	}
	for i := range min(len(text), most) {
		c := text[i]
		if !isPrint(c) {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

// appName returns what names the program: the logger, of a path the last part, and the type where that is nothing or the
// address of a peer. It is judged as it will be written, so that whoever reads it writes the same again.
func appName(r *pack.Record, most int) string {
	return cmp.Or(programOf(r.Logger, most), programOf(r.Type, most))
}

// programOf is at most that many bytes of a name, nothing where a reader would not take it for one.
func programOf(name string, most int) string {
	if strings.HasPrefix(name, "/") {
		name = strings.TrimRight(name, "/")
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	short := name[:min(len(name), most)]
	if said(short) == "" || isAddress(name) || isAddress(short) {
		return ""
	}
	return short
}

// isAddress tells whether a logger is a peer: HOST:PORT or an address alone.
func isAddress(name string) bool {
	if !isDigit(name[len(name)-1]) || strings.IndexByte(name, ':') < 0 && !isDigit(name[0]) {
		return false // without the cost of an error
	}
	if _, err := netip.ParseAddrPort(name); err == nil {
		return true
	}
	_, err := netip.ParseAddr(name)
	return err == nil
}
