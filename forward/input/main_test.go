package input

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logmule/forward/config"
	"logmule/forward/pack"
	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience is how long a test waits for what must happen.
const patience = time.Minute

// line is a record as a test sees it.
type line struct {
	text      string
	truncated bool
}

// store stands for the queue: it keeps copies of the packs that it is given.
type store struct {
	refuse func(p *pack.Pack) error // nil: takes everything; set before use
	log    *durability              // nil: durable at once

	mu struct {
		sync.Mutex
		records []line
		packs   []pack.Attributes
		err     error
		grown   chan struct{} // closed and replaced when records came
	}
}

func newStore() *store {
	s := new(store)
	s.mu.grown = make(chan struct{})
	return s
}

func (s *store) emit(ctx context.Context, p *pack.Pack) (Receipt, error) {
	if s.refuse != nil {
		if err := s.refuse(p); err != nil {
			return Receipt{}, err
		}
	}
	truncated := len(p.Shared.Fields) > 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkPack(p); err != nil && s.mu.err == nil {
		s.mu.err = err
	}
	pack.Each(p.Form, p.Body, func(own []byte) error {
		s.mu.records = append(s.mu.records, line{string(own), truncated})
		return nil
	})
	s.mu.packs = append(s.mu.packs, p.Shared)
	close(s.mu.grown)
	s.mu.grown = make(chan struct{})
	receipt := Receipt{Sequence: uint64(len(s.mu.records))}
	if s.log != nil {
		receipt.Log = s.log
	}
	return receipt, nil
}

// checkPack holds a pack against what every pack of a line input must be.
func checkPack(p *pack.Pack) error {
	switch {
	case p.Form != pack.Lines || len(p.Body) == 0 || p.Body[len(p.Body)-1] != '\n':
		return fmt.Errorf("pack of form %v with a body of %d bytes that does not end in LF", p.Form, len(p.Body))
	case p.Count != bytes.Count(p.Body, []byte("\n")):
		return fmt.Errorf("pack counts %d records and has %d", p.Count, bytes.Count(p.Body, []byte("\n")))
	case p.Source != "in/test" || p.Shared.Type != "test" || p.Shared.Hostname != "mule" || p.Shared.Severity != 7:
		return fmt.Errorf("pack of %q with attributes %+v", p.Source, p.Shared)
	case p.Shared.Logger == "" || p.Shared.Timestamp == 0:
		return fmt.Errorf("pack without logger or timestamp: %+v", p.Shared)
	case len(p.Shared.Fields) > 0 && (p.Count != 1 || p.Shared.Fields[0] != (pack.Field{Name: "truncated", Value: true})):
		return fmt.Errorf("pack of %d records with fields %+v", p.Count, p.Shared.Fields)
	}
	return nil
}

func (s *store) records() []line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mu.records)
}

// wait returns the records once there are n, and fails the test when they do not come or a pack was wrong.
func (s *store) wait(t testing.TB, n int) []line {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		records, err, grown := slices.Clone(s.mu.records), s.mu.err, s.mu.grown
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if len(records) >= n {
			return records
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("waiting for %d records, have %d", n, len(records))
		}
	}
}

// want waits for as many records and compares them.
func (s *store) want(t testing.TB, want ...line) {
	t.Helper()
	compare(t, s.wait(t, len(want)), want)
}

func compare(t testing.TB, got, want []line) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("record %d is %s, want %s", i, show(got[i]), show(want[i]))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
}

func show(l line) string {
	return fmt.Sprintf("%d bytes %.40q truncated=%v", len(l.text), l.text, l.truncated)
}

func plain(texts ...string) []line {
	var all []line
	for _, t := range texts {
		all = append(all, line{text: t})
	}
	return all
}

// durability is the log of receipts: what was stored is durable once it is opened.
type durability struct {
	open    chan struct{}
	waiting chan struct{} // gets a value for each wait that begins
}

func newDurability() *durability {
	return &durability{open: make(chan struct{}), waiting: make(chan struct{}, 100)}
}

func (d *durability) WaitDurable(ctx context.Context, _ uint64) error {
	d.waiting <- struct{}{}
	select {
	case <-d.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// section makes the decode function of a section with the given keys.
func section(t testing.TB, kind, keys string) func(into any) error {
	t.Helper()
	c, err := config.Parse("test.toml", []byte("data_dir = \"d\"\n[output.o]\ntype = \"stdout\"\n[input.test]\ntype = \""+kind+"\"\n"+keys))
	if err != nil {
		t.Fatal(err)
	}
	return c.Inputs[0].Decode
}

// running is an input at work.
type running struct {
	address  string
	counters *Counters
	memory   *Budget
	text     *logText
	stop     context.CancelFunc
	done     chan error
}

// begin runs an input until the end of the test. change, if any, adjusts it before.
func begin[T Input](t testing.TB, kind, keys string, emit Emit, change ...func(T)) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{counters: new(Counters), memory: NewBudget(1 << 20), text: new(logText), stop: cancel, done: make(chan error, 1)}
	ready := make(chan string, 1)
	env := Env{Name: "test", Hostname: "mule", Log: slog.New(slog.NewTextHandler(r.text, nil)), Memory: r.memory,
		Ready: func(address string) { ready <- address }, Counters: r.counters}
	in, err := New(kind, section(t, kind, keys), env)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(in.(T))
	}
	go func() { r.done <- in.Run(ctx, emit) }()
	t.Cleanup(func() {
		cancel()
		if err := r.end(t); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case r.address = <-ready:
		return r
	case err := <-r.done:
		r.done <- err
	case <-time.After(patience):
	}
	select {
	case r.address = <-ready: // it was, and is done already
	default:
		t.Fatal("the input was never ready")
	}
	return r
}

// end waits for Run to return. It may be called again.
func (r *running) end(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		if n := r.memory.Used(); n != 0 {
			t.Errorf("%d bytes of the budget not given back", n)
		}
		if n := r.counters.Connections.Load(); n != 0 {
			t.Errorf("%d connections counted as open", n)
		}
		return err
	case <-time.After(patience):
		t.Fatal("Run does not return")
		return nil
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waiting for %s", what)
		}
	}
}

// logText collects what is logged.
type logText struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
