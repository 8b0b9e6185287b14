package input

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"logmule/forward/pack"
)

// whole collects the records of packs with all their attributes.
type whole struct {
	mu      sync.Mutex // guards:
	records []pack.Record
	packs   []pack.Pack // without bodies
}

func (w *whole) emit(_ context.Context, p *pack.Pack) (Receipt, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	shared, before := p.Shared.Append(nil), len(w.records)
	err := pack.Each(p.Form, p.Body, func(own []byte) error {
		var r pack.Record
		if err := r.Decode(shared, bytes.Clone(own), p.Form); err != nil {
			return err
		}
		w.records = append(w.records, r)
		return nil
	})
	if n := len(w.records) - before; n != p.Count && err == nil {
		err = errors.New("a pack whose count is wrong")
	}
	w.packs = append(w.packs, pack.Pack{Source: p.Source, Position: bytes.Clone(p.Position), Shared: p.Shared, Form: p.Form, Count: p.Count, Kept: p.Kept, Passing: p.Passing})
	return Receipt{Sequence: uint64(len(w.records))}, err
}

// all returns what there is.
func (w *whole) all() ([]pack.Record, []pack.Pack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.records), slices.Clone(w.packs)
}

// TestDecodeErrorsAreCountedOnce refuses a pack before it takes it: its record that is no syslog counts once.
func TestDecodeErrorsAreCountedOnce(t *testing.T) {
	env, got, refusals := testEnv(0), new(whole), 2
	emit, err := env.decoding("syslog", func(ctx context.Context, p *pack.Pack) (Receipt, error) {
		if refusals--; refusals >= 0 {
			return Receipt{}, errors.New("no room")
		}
		return got.emit(ctx, p)
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		p := pack.Pack{Form: pack.Lines, Count: 1, Shared: env.attributes("peer"), Body: []byte("no syslog at all\n")}
		if _, err := emit(t.Context(), &p); err == nil {
			break
		}
	}
	if records, _ := got.all(); len(records) != 1 || env.Counters.DecodeErrors.Load() != 1 {
		t.Errorf("%d records, %d decode errors", len(records), env.Counters.DecodeErrors.Load())
	}
}

func TestDecoding(t *testing.T) {
	env, text, got := testEnv(0), new(logText), new(whole)
	env.Log = slog.New(slog.NewTextHandler(text, nil))
	emit, err := env.decoding("syslog", got.emit)
	if err != nil {
		t.Fatal(err)
	}
	p := pack.Pack{Source: "in/test", Position: []byte("here"), Kept: true, Form: pack.Lines, Count: 3,
		Shared: env.attributes("peer"), Body: []byte("<11>1 2026-01-02T03:04:05Z box app 42 ID1 - it broke\nno syslog at all\n<14>1 - - - - - - \n")}
	p.Shared.Timestamp = 5
	p.Shared.Fields = []pack.Field{{Name: "truncated", Value: true}}
	if receipt, err := emit(t.Context(), &p); err != nil || receipt.Sequence != 3 {
		t.Fatalf("receipt %v, error %v", receipt, err)
	}
	out := got.packs[0]
	if out.Source != p.Source || string(out.Position) != "here" || !out.Kept || out.Count != 3 || !reflect.DeepEqual(out.Shared, p.Shared) {
		t.Errorf("the pack became %+v", out)
	}
	first, second, third := got.records[0], got.records[1], got.records[2]
	if string(first.Payload) != "it broke" || first.Hostname != "box" || first.Pid != 42 || first.Severity != 3 || first.Type != "test" ||
		first.Timestamp != 1767323045_000000000 || first.Fields[0].Name != "truncated" {
		t.Errorf("first record %+v", first)
	}
	if string(second.Payload) != "no syslog at all" || second.Logger != "peer" || second.Timestamp != 5 || second.Severity != 7 ||
		len(second.Fields) != 2 || second.Fields[1].Name != "decode_error" || !strings.Contains(second.Fields[1].Value.(string), "priority") {
		t.Errorf("second record %+v", second)
	}
	if len(third.Payload) != 0 || third.Severity != 6 || third.Hostname != "mule" {
		t.Errorf("third record %+v", third)
	}
	if n := env.Counters.DecodeErrors.Load(); n != 1 || !strings.Contains(text.String(), "no syslog at all") {
		t.Errorf("%d failures counted, log: %s", n, text)
	}
	if string(p.Body[:4]) != "<11>" || p.Form != pack.Lines {
		t.Error("the input's own pack was changed")
	}
}

// TestDecodingRecords decodes packs whose records have attributes of their own already.
func TestDecodingRecords(t *testing.T) {
	env, got := testEnv(0), new(whole)
	emit, err := env.decoding("syslog", got.emit)
	if err != nil {
		t.Fatal(err)
	}
	shared := env.attributes("peer")
	shared.Fields = truncatedField
	own := pack.Record{Attributes: shared, Payload: []byte("<11>1 - box - - - - two\nlines")}
	own.Type, own.EnvVersion, own.Fields = "", "9", []pack.Field{{Name: "f", Value: "v"}}
	bad := own
	bad.Payload = []byte("x\ny")
	var body []byte
	for _, r := range []pack.Record{own, bad} {
		body = pack.AppendOwn(body, r.AppendBeside(nil, &shared))
	}
	if _, err := emit(t.Context(), &pack.Pack{Form: pack.Records, Shared: shared, Body: body, Count: 2}); err != nil {
		t.Fatal(err)
	}
	r := got.records[0]
	if string(r.Payload) != "two\nlines" || r.Hostname != "box" || r.Type != "" || r.EnvVersion != "9" || len(r.Fields) != 3 ||
		r.Fields[0].Name != "truncated" || r.Fields[1] != (pack.Field{Name: "f", Value: "v"}) {
		t.Errorf("first record %+v", r)
	}
	r = got.records[1]
	if string(r.Payload) != "x\ny" || r.Type != "" || r.EnvVersion != "9" || len(r.Fields) != 3 || r.Fields[2].Name != "decode_error" {
		t.Errorf("second record %+v", r)
	}
	if _, err := emit(t.Context(), &pack.Pack{Form: pack.Records, Shared: shared, Body: []byte{9}, Count: 1}); !errors.Is(err, pack.ErrBody) {
		t.Errorf("a malformed body gives %v", err)
	}
}

// TestDecodingGrows decodes a record that becomes longer than the queue can take: it stays as it is.
func TestDecodingGrows(t *testing.T) {
	env, got := testEnv(0), new(whole)
	emit, err := env.decoding("syslog", got.emit)
	if err != nil {
		t.Fatal(err)
	}
	raw := "<11>1 - - - - - [" + strings.Repeat("x", 32) + strings.Repeat(` a=""`, 400_000) + "] text"
	body := raw + "\n<11>1 - - - - - - next\n"
	if _, err := emit(t.Context(), &pack.Pack{Form: pack.Lines, Shared: env.attributes("peer"), Body: []byte(body), Count: 2}); err != nil {
		t.Fatal(err)
	}
	r := got.records[0]
	if string(r.Payload) != raw || len(r.Fields) != 1 || r.Fields[0].Value != errDecodedTooLarge.Error() || r.Severity != 7 || env.Counters.DecodeErrors.Load() != 1 {
		t.Errorf("%d bytes, %d fields, severity %d", len(r.Payload), len(r.Fields), r.Severity)
	}
	if r := got.records[1]; string(r.Payload) != "next" || len(r.Fields) != 1 {
		t.Errorf("the next record %+v", r)
	}
}

func TestDecodingNothing(t *testing.T) {
	env, got := testEnv(0), new(whole)
	emit, err := env.decoding("plain", got.emit)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := emit(t.Context(), &pack.Pack{Shared: env.attributes("peer"), Body: []byte("<1>x\n"), Count: 1}); err != nil {
		t.Fatal(err)
	}
	if string(got.records[0].Payload) != "<1>x" {
		t.Errorf("record %+v", got.records[0])
	}
	if _, err := env.decoding("sislog", got.emit); err == nil || !strings.HasPrefix(err.Error(), "codec = ") {
		t.Errorf("an unknown codec gives %v", err)
	}
}

// TestDecodingIsBounded lets every place be taken: who waits for one ends with its context.
func TestDecodingIsBounded(t *testing.T) {
	env := testEnv(0)
	entered, room := make(chan struct{}, 100), make(chan struct{})
	emit, err := env.decoding("syslog", func(context.Context, *pack.Pack) (Receipt, error) {
		entered <- struct{}{}
		<-room
		return Receipt{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	line := func() *pack.Pack {
		return &pack.Pack{Form: pack.Lines, Shared: env.attributes("peer"), Body: []byte("x\n"), Count: 1}
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const packs = 50
	places := runtime.GOMAXPROCS(0) + 1
	errs := make(chan error, packs)
	for range packs {
		all.Go(func() {
			_, err := emit(ctx, line())
			errs <- err
		})
	}
	for range places {
		<-entered
	}
	cancel()
	for range packs - places {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who found no place gets %v", err)
		}
	}
	close(room)
	all.Wait()
	for range places {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
