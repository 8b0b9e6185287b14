package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"logmule/forward"
	"logmule/forward/pack"
	"logmule/queue/segment"
	"logmule/recovery"
)

// printer writes the records of frames in one format.
type printer struct {
	out    *bufio.Writer
	format format
	first  uint64 // sequences before it and after last are left out
	last   uint64
	note   func(string)

	record pack.Record
	line   []byte
}

func newPrinter(w io.Writer, f format, opt recovery.WalkOptions) *printer {
	p := &printer{out: bufio.NewWriterSize(w, 64<<10), format: f, first: opt.From.Sequence, last: math.MaxUint64, note: opt.Note}
	if opt.To.Sequence > 0 {
		p.last = opt.To.Sequence
	}
	return p
}

// frame prints the records of a frame that are within the bounds.
func (p *printer) frame(f *segment.Frame) error {
	sequence := f.First
	for _, run := range f.Runs {
		form := pack.Form(run.Form)
		next := sequence + uint64(run.Count)
		if form != pack.Lines && form != pack.Records {
			p.note(fmt.Sprintf("records %d to %d are of a form that this version does not know", sequence, next-1))
			sequence = next
			continue
		}
		if p.format == formatRaw && form == pack.Lines && sequence >= p.first && next-1 <= p.last {
			if _, err := p.out.Write(run.Body); err != nil {
				return err
			}
			sequence = next
			continue
		}
		var failed error
		err := pack.Each(form, run.Body, func(own []byte) error {
			if sequence >= p.first && sequence <= p.last {
				failed = p.one(sequence, f.Time, run.Attributes, own, form)
			}
			sequence++
			return failed
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			p.note(fmt.Sprintf("records %d to %d: %v", sequence, next-1, err))
		}
		sequence = next
	}
	return nil
}

// one prints a record. One that cannot be decoded is noted and left out. arrival is in nanoseconds since 1970.
func (p *printer) one(sequence uint64, arrival int64, shared, own []byte, form pack.Form) error {
	if err := p.record.Decode(shared, own, form); err != nil {
		p.note(fmt.Sprintf("record %d is left out: %v", sequence, err))
		return nil
	}
	if p.record.Timestamp == 0 {
		p.record.Timestamp = arrival
	}
	switch p.format {
	case formatRaw:
		p.line = append(append(p.line[:0], p.record.Payload...), '\n')
	case formatJSON:
		text, err := jsonLine(sequence, &p.record)
		if err != nil {
			p.note(fmt.Sprintf("record %d is left out: %v", sequence, err))
			return nil
		}
		p.line = append(p.line[:0], text...)
	default:
		p.line = appendText(p.line[:0], sequence, &p.record)
	}
	_, err := p.out.Write(p.line)
	return err
}

// appendText appends "sequence time type logger payload" and a line feed. Of a dead letter it says in front of the
// payload why it is one.
func appendText(dst []byte, sequence uint64, r *pack.Record) []byte {
	dst = strconv.AppendUint(dst, sequence, 10)
	dst = append(dst, ' ')
	dst = time.Unix(0, r.Timestamp).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	for _, s := range []string{r.Type, r.Logger} {
		dst = append(dst, ' ')
		dst = appendClean(dst, []byte(dash(s)))
	}
	dst = append(dst, ' ')
	if letter, ok := forward.LetterOf(r.Fields); ok {
		dst = appendLetter(dst, letter)
	}
	dst = appendClean(dst, r.Payload)
	return append(dst, '\n')
}

// appendLetter appends "[OUTPUT refused record SEQUENCE at TIME: REASON] ".
func appendLetter(dst []byte, l forward.Letter) []byte {
	dst = append(dst, '[')
	dst = appendClean(dst, []byte(l.Output))
	dst = fmt.Appendf(dst, " refused record %d", l.Sequence)
	if !l.Time.IsZero() {
		dst = append(dst, " at "...)
		dst = l.Time.UTC().AppendFormat(dst, time.RFC3339)
	}
	dst = append(dst, ": "...)
	dst = appendClean(dst, []byte(l.Reason))
	return append(dst, "] "...)
}

// clean escapes what a terminal would obey instead of show.
func clean(s string) string {
	return string(appendClean(nil, []byte(s)))
}

func appendClean(dst, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, text[0])
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\n':
			dst = append(dst, `\n`...)
		case r < ' ' || r == 0x7f:
			dst = fmt.Appendf(dst, `\x%02x`, r)
		case unicode.IsGraphic(r):
			dst = append(dst, text[:n]...)
		default:
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		text = text[n:]
	}
	return dst
}

// jsonRecord is a record as cat --format json prints it.
type jsonRecord struct {
	Sequence      uint64      `json:"sequence"`
	Time          string      `json:"time"`
	Type          string      `json:"type"`
	Logger        string      `json:"logger"`
	Severity      int32       `json:"severity"`
	Hostname      string      `json:"hostname,omitempty"`
	Pid           int32       `json:"pid,omitempty"`
	EnvVersion    string      `json:"env_version,omitempty"`
	UUID          string      `json:"uuid,omitempty"` // hexadecimal
	Fields        []jsonField `json:"fields,omitempty"`
	Payload       *string     `json:"payload,omitempty"`
	PayloadBase64 []byte      `json:"payload_base64,omitempty"`
}

// jsonField is a field of a record. A name may occur twice, so fields are a list.
type jsonField struct {
	Name           string `json:"name"`
	Representation string `json:"representation,omitempty"`
	Value          any    `json:"value,omitempty"`
	ValueBase64    any    `json:"value_base64,omitempty"`
}

func jsonLine(sequence uint64, r *pack.Record) ([]byte, error) {
	j := jsonRecord{
		Sequence: sequence, Time: time.Unix(0, r.Timestamp).UTC().Format(time.RFC3339Nano), Type: r.Type, Logger: r.Logger,
		Severity: r.Severity, Hostname: r.Hostname, Pid: r.Pid, EnvVersion: r.EnvVersion, UUID: hex.EncodeToString(r.UUID),
	}
	if utf8.Valid(r.Payload) {
		text := string(r.Payload)
		j.Payload = &text
	} else {
		j.PayloadBase64 = r.Payload
	}
	for _, f := range r.Fields {
		j.Fields = append(j.Fields, newJSONField(f))
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(j)
	return out.Bytes(), err
}

// newJSONField takes the value over, in base64 what is not text, and as text the numbers that JSON does not have.
func newJSONField(f pack.Field) jsonField {
	j := jsonField{Name: f.Name, Representation: f.Representation, Value: f.Value}
	switch v := f.Value.(type) {
	case []byte, [][]byte:
		j.Value, j.ValueBase64 = nil, v
	case string:
		if !utf8.ValidString(v) {
			j.Value, j.ValueBase64 = nil, []byte(v)
		}
	case []string:
		var all [][]byte
		valid := true
		for _, s := range v {
			all = append(all, []byte(s))
			valid = valid && utf8.ValidString(s)
		}
		if !valid {
			j.Value, j.ValueBase64 = nil, all
		}
	case float64:
		j.Value = jsonNumber(v)
	case []float64:
		all := []any{}
		for _, n := range v {
			all = append(all, jsonNumber(n))
		}
		j.Value = all
	}
	return j
}

func jsonNumber(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return v
}
