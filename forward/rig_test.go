package forward

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/forward/admin"
	"logmule/forward/config"
	"logmule/forward/input"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/integration/leaks"
	"logmule/queue"
	"logmule/queue/vfs/faultfs"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// rig is an engine with made-up inputs and outputs on a disk in memory. A test runs it in a synctest bubble, where
// time passes only when everything waits.
type rig struct {
	t       *testing.T
	log     lines
	fs      *faultfs.FS
	stores  map[string]*checkpoint.Memory
	cfg     *config.Config
	inputs  map[string]func(input.Env) (input.Input, error)
	outputs map[string]func(output.Env) (output.Output, error)

	opt    Options // Log excepted
	e      *Engine
	cancel context.CancelFunc
	over   <-chan struct{} // closed when run has returned err
	err    error
}

func newRig(t *testing.T) *rig {
	cfg := config.QuickStart("/data")
	cfg.Inputs, cfg.Outputs = nil, nil
	cfg.Queue.SegmentSize, cfg.Queue.MaxSize, cfg.Queue.KeepFor = 1<<20, 64<<20, 0
	return &rig{
		t: t, fs: faultfs.New(), stores: map[string]*checkpoint.Memory{}, cfg: cfg,
		inputs: map[string]func(input.Env) (input.Input, error){}, outputs: map[string]func(output.Env) (output.Output, error){},
	}
}

func (r *rig) addInput(name string, build func(input.Env) (input.Input, error)) {
	r.cfg.Inputs = append(r.cfg.Inputs, config.Section{Name: name, Type: "fake"})
	r.inputs[name] = build
}

func (r *rig) addOutput(name string, build func(output.Env) (output.Output, error)) {
	r.cfg.Outputs = append(r.cfg.Outputs, config.Section{Name: name, Type: "fake"})
	r.outputs[name] = build
}

func (r *rig) outside() outside {
	return outside{
		input: func(_ string, _ func(any) error, env input.Env) (input.Input, error) { return r.inputs[env.Name](env) },
		output: func(_ string, decode func(any) error, env output.Env) (output.Output, error) {
			env.Counters.Requests.Add(0)
			if err := decode(&struct{}{}); err != nil {
				return nil, err
			}
			return r.outputs[env.Name](env)
		},
		queue: r.open,
		admin: func(string, bool, admin.Source) (pages, error) { return noPages{}, nil },
	}
}

func (r *rig) open(opt queue.Options) (*queue.Queue, error) {
	opt.FS = r.fs
	opt.OpenStore = func(path string) (checkpoint.Store, []checkpoint.Problem, error) {
		if r.stores[path] == nil {
			r.stores[path] = checkpoint.NewMemory()
		}
		return r.stores[path].Reopen(), nil, nil
	}
	return queue.Open(opt)
}

// noPages stands in for the admin pages, since a socket keeps a synctest bubble from telling that everything waits.
type noPages struct{}

func (noPages) Address() string                 { return "nowhere" }
func (noPages) Serve(ctx context.Context) error { <-ctx.Done(); return nil }

// start runs the engine; it is stopped at the end of the test at the latest.
func (r *rig) start() {
	r.t.Helper()
	opt := r.opt
	opt.Log = r.log.logger()
	e, err := newEngine(r.cfg, opt, r.outside())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	r.e, r.cancel = e, cancel
	r.over = ended(func() { r.err = e.Run(ctx) })
	synctest.Wait()
}

// stop ends the engine and returns what run returned.
func (r *rig) stop() error {
	r.cancel()
	<-r.over
	return r.err
}

// running says whether run has not returned.
func (r *rig) running() bool {
	select {
	case <-r.over:
		return false
	default:
		return true
	}
}

func (r *rig) mustStop() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Errorf("stop: %v\n%s", err, strings.Join(r.log.with(), ""))
	}
}

// output is the status of an output.
func (r *rig) output(name string) OutputStatus {
	r.t.Helper()
	all := r.e.status().Outputs
	i := slices.IndexFunc(all, func(o OutputStatus) bool { return o.Name == name })
	if i < 0 {
		r.t.Fatalf("no output %s in the status", name)
	}
	return all[i]
}

// tap is an input whose records a test makes.
type tap struct {
	env  input.Env
	emit input.Emit
	up   chan struct{}
}

func newTap() *tap { return &tap{up: make(chan struct{})} }

func (i *tap) build(env input.Env) (input.Input, error) { i.env = env; return i, nil }

func (i *tap) Run(ctx context.Context, emit input.Emit) error {
	i.emit = emit
	i.env.Ready("tap")
	close(i.up)
	<-ctx.Done()
	return nil
}

// send emits one pack of lines and waits until it is durable.
func (i *tap) send(t *testing.T, records ...string) {
	t.Helper()
	if err := i.trySend(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

// flood sends that many records of 10 KB that do not compress, 20 a second, numbered.
func (i *tap) flood(t *testing.T, records int) {
	t.Helper()
	noise := make([]byte, 5000)
	for n := range records {
		rand.Read(noise)
		i.send(t, fmt.Sprintf("%06d %s", n, hex.EncodeToString(noise)))
		time.Sleep(50 * time.Millisecond)
	}
}

func (i *tap) trySend(ctx context.Context, records ...string) error {
	<-i.up
	p := linesPack(strings.Join(records, "\n") + "\n")
	receipt, err := i.emit(ctx, p)
	if err != nil {
		return err
	}
	return receipt.Wait(ctx)
}

// sink is an output that keeps what it is given. send, where set, decides instead.
type sink struct {
	send func(ctx context.Context, b *output.Batch) error

	mu      sync.Mutex
	got     []string
	ids     []string
	batches int
	closed  int
}

func (o *sink) build(output.Env) (output.Output, error) { return o, nil }

func (o *sink) Send(ctx context.Context, b *output.Batch) error {
	o.mu.Lock()
	o.batches++
	o.ids = append(o.ids, b.ID)
	o.mu.Unlock()
	if o.send != nil {
		return o.send(ctx, b)
	}
	o.take(b, 0, b.Len())
	return nil
}

func (o *sink) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed++
	return nil
}

// take keeps the pending records [from, to) of b.
func (o *sink) take(b *output.Batch, from, to int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var lines net.Buffers
	for _, part := range b.AppendLines(lines, from, to) {
		for line := range strings.Lines(string(part)) {
			o.got = append(o.got, strings.TrimSuffix(line, "\n"))
		}
	}
}

func (o *sink) records() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

func (o *sink) sends() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.batches
}

// numbered makes n records from a first number on.
func numbered(first, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("record %06d", first+i)
	}
	return all
}

// expect compares records, in order.
func expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	t.Errorf("%s: %d records, want %d; they differ from number %d on: got %.5q, want %.5q", what, len(got), len(want), i, got[i:], want[i:])
}

var errRefused = errors.New("connection refused")

// eventually waits, in bubble time, until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 10000 {
		synctest.Wait()
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 100 s: %s", what)
}

// recordOf decodes record i of a batch.
func recordOf(t *testing.T, b *output.Batch, i int) pack.Record {
	t.Helper()
	var r pack.Record
	if err := b.Record(i, &r); err != nil {
		t.Error(err)
	}
	return r
}
