package input

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"logmule/forward/codec"
	"logmule/forward/pack"
)

// codecKeys are the keys of an input whose records can be taken apart.
type codecKeys struct {
	Codec string `toml:"codec" doc:"what a record is: \"plain\": its bytes are the payload; \"syslog\": RFC 5424 or RFC 3164, taken apart into attributes"`
}

func (k codecKeys) check() error {
	_, err := codec.NewDecoder(k.Codec)
	return err
}

// maxReason is the longest reason, in bytes, that a record gets which could not be decoded.
const maxReason = 500

// maxDecoded is the longest that a record may become when it is taken apart, in bytes: each name in it can grow longer by
// that of what it is in, and the queue has a limit for one record.
const maxDecoded = 12 << 20

var errDecodedTooLarge = errors.New("taken apart it is too long for the queue")

// decoding returns an Emit that takes the records apart with the named codec before emit gets them: emit itself where
// they are taken as they are. One pack stays one pack of as many records. A record that the codec cannot read stays as
// it is and gets a field decode_error. The error begins with the key codec.
func (e *Env) decoding(name string, emit Emit) (Emit, error) {
	decoder, err := codec.NewDecoder(name)
	if err != nil {
		return nil, err
	}
	if decoder == nil {
		return emit, nil
	}
	d := &decodings{env: e, name: name, decoder: decoder, emit: emit, slots: make(chan struct{}, runtime.GOMAXPROCS(0)+1)}
	return d.take, nil
}

// decodings are all those of one input.
type decodings struct {
	env     *Env
	name    string
	decoder codec.Decoder
	emit    Emit
	slots   chan struct{} // bounds how many packs exist twice at a time, however many connections there are
	failed  sparing
}

func (d *decodings) take(ctx context.Context, p *pack.Pack) (Receipt, error) {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
	defer func() { <-d.slots }()
	decoded := pack.Get()
	defer decoded.Release()
	body := decoded.Body[:0]
	*decoded = *p
	decoded.Form, decoded.Body = pack.Records, body
	failed, err := d.decode(decoded, p)
	if err != nil {
		return Receipt{}, err
	}
	receipt, err := d.emit(ctx, decoded)
	if err == nil { // what is not stored comes again, and is counted then
		d.env.Counters.DecodeErrors.Add(failed)
	}
	return receipt, err
}

// decode fills the body of decoded with the records of p, and returns how many of them the codec could not read. Attributes
// that p shares stay shared, the fields among them out of the decoder's sight: it only adds.
func (d *decodings) decode(decoded, p *pack.Pack) (failed uint64, err error) {
	shared := p.Shared
	shared.Fields = nil
	var encoded, own []byte
	if p.Form == pack.Records {
		encoded = shared.Append(nil)
	}
	var r pack.Record
	err = pack.Each(p.Form, p.Body, func(record []byte) error {
		fields := r.Fields[:0]
		r = pack.Record{Attributes: shared, Payload: record}
		r.Fields = fields
		if p.Form == pack.Records {
			if err := r.Decode(encoded, record, pack.Records); err != nil {
				return err
			}
		}
		raw := r
		err := d.decoder.Decode(&r)
		if err == nil {
			if own = r.AppendBeside(own[:0], &shared); len(own) > maxDecoded {
				err, r = errDecodedTooLarge, raw
			}
		}
		if err != nil {
			reason := err.Error()
			r.Fields = append(r.Fields, pack.Field{Name: "decode_error", Value: reason[:min(len(reason), maxReason)]})
			d.report(r.Logger, r.Payload, reason)
			failed++
			own = r.AppendBeside(own[:0], &shared)
		}
		decoded.Body = pack.AppendOwn(decoded.Body, own)
		return nil
	})
	return failed, err
}

func (d *decodings) report(from string, payload []byte, reason string) {
	if d.failed.allow(time.Now()) {
		d.env.Log.Warn(fmt.Sprintf("record is not %s, kept as it is", d.name), "input", d.env.Name, "from", from, "why", reason,
			"sample", sample(payload))
	}
}

// sample is the beginning of some bytes, for the log.
func sample(b []byte) string { return strconv.QuoteToASCII(string(b[:min(100, len(b))])) }
