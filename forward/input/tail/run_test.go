package tail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"logmule/forward/pack"
	"logmule/integration/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const patience = time.Minute

// running is a Run under way.
type running struct {
	out    bytes.Buffer
	count  Counters
	cancel context.CancelFunc
	done   chan error
	ready  chan struct{}
}

func run(t *testing.T, opt Options, l *ledger, emit func(context.Context, *pack.Pack) (bool, error)) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{cancel: cancel, done: make(chan error, 1), ready: make(chan struct{})}
	if emit == nil {
		emit = l.emit
	}
	env := Env{
		Name: "x", Source: "in/x/", Log: slog.New(slog.NewTextHandler(&r.out, &slog.HandlerOptions{Level: slog.LevelDebug})), Counters: &r.count, Truncated: new(atomic.Uint64),
		Positions: l, Memory: freeMemory{}, Emit: emit, Ready: func() { close(r.ready) },
	}
	go func() { r.done <- Run(ctx, opt, env) }()
	select {
	case <-r.ready:
	case err := <-r.done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(patience):
		t.Fatal("it is not ready")
	}
	return r
}

// lostKeeper is a ledger that panics when it is told that a file is begun.
type lostKeeper struct{ *ledger }

func (lostKeeper) Set(string, []byte) { panic("nobody keeps it") }

// TestPanicLeavesNobodyBehind lets the planner panic: the engine builds the input anew then, and whoever still read for the
// old one would hand over what the new one reads too.
func TestPanicLeavesNobodyBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	path := filepath.Join(t.TempDir(), "a.log")
	if err := os.WriteFile(path, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := new(ledger)
	env := Env{
		Name: "x", Source: "in/x/", Log: slog.New(slog.DiscardHandler), Counters: new(Counters), Truncated: new(atomic.Uint64),
		Positions: lostKeeper{log}, Memory: freeMemory{}, Emit: log.emit,
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_ = Run(t.Context(), Options{Paths: []string{path}, MaxRecord: 100, Encoding: UTF8, Poll: time.Second, MaxOpen: 8}, env)
	}()
	leaks.None(t, before)
	if n := env.Counters.Open.Load(); n != 0 {
		t.Errorf("%d files are left open", n)
	}
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not stop")
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func (l *ledger) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines(len(l.steps))
}

func testOptions(dir string) Options {
	return Options{
		Paths: []string{dir + "/**/*.log"}, PartialAfter: time.Hour, MaxRecord: 1 << 20, Encoding: UTF8, Poll: 50 * time.Millisecond, MaxOpen: 64,
	}
}

func TestRunFindsWhatHappens(t *testing.T) {
	dir, l := t.TempDir(), &ledger{}
	r := run(t, testOptions(dir), l, nil)
	defer r.stop(t)
	w := &world{t: t, dir: filepath.Join(dir, "new/deep"), rnd: rand.New(rand.NewPCG(1, 1))}
	must(t, os.MkdirAll(w.dir, 0o755))
	for i := range 5 {
		w.append(fmt.Sprintf("line %d\n", i))
		await(t, "a line that was written", func() bool { return len(l.all()) == i+1 })
	}
	must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "newer")))
	w.dir = filepath.Join(dir, "newer/deep")
	w.append("line 5\n")
	await(t, "a line in a directory that was renamed", func() bool { return len(l.all()) == 6 })
}

// A queue that is full holds the readers; a stop does not wait for it, and nothing is lost.
func TestRunStopsWhileTheQueueIsFull(t *testing.T) {
	dir, l := t.TempDir(), &ledger{}
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", i)), []byte("one\n"), 0o644))
	}
	var waits atomic.Int64
	r := run(t, testOptions(dir), l, func(ctx context.Context, p *pack.Pack) (bool, error) {
		waits.Add(1)
		<-ctx.Done()
		return false, ctx.Err()
	})
	await(t, "a pack that waits", func() bool { return waits.Load() > 0 })
	r.stop(t)
	r = run(t, testOptions(dir), l, nil)
	await(t, "all lines", func() bool { return len(l.all()) == 20 })
	r.stop(t)
}

func TestRunEndsWhenTheQueueFails(t *testing.T) {
	dir, l := t.TempDir(), &ledger{fail: errors.New("broken queue")}
	must(t, os.WriteFile(filepath.Join(dir, "a.log"), []byte("one\n"), 0o644))
	r := run(t, testOptions(dir), l, nil)
	defer r.cancel()
	if err := <-r.done; !errors.Is(err, l.fail) {
		t.Errorf("it ended with %v", err)
	}
}

// A panic in a reader ends the run with an error, so that the input is started again.
func TestRunEndsAfterAPanic(t *testing.T) {
	dir, l := t.TempDir(), &ledger{}
	must(t, os.WriteFile(filepath.Join(dir, "a.log"), []byte("one\n"), 0o644))
	r := run(t, testOptions(dir), l, func(context.Context, *pack.Pack) (bool, error) { panic("planted") })
	defer r.cancel()
	if err := <-r.done; err == nil {
		t.Error("it ended without an error")
	}
}

// What is dropped is not read again.
func TestRunGoesOnAfterADrop(t *testing.T) {
	dir, l := t.TempDir(), &ledger{}
	must(t, os.WriteFile(filepath.Join(dir, "a.log"), []byte("dropped\n"), 0o644))
	var drops atomic.Int64
	r := run(t, testOptions(dir), l, func(ctx context.Context, p *pack.Pack) (bool, error) {
		if drops.Add(1) == 1 {
			return false, nil
		}
		return l.emit(ctx, p)
	})
	await(t, "a drop", func() bool { return drops.Load() == 1 })
	r.stop(t)
	w := &world{t: t, dir: dir}
	must(t, os.Rename(filepath.Join(dir, "a.log"), filepath.Join(dir, "app.log")))
	w.append("kept\n")
	r = run(t, testOptions(dir), l, nil)
	await(t, "the other line", func() bool { return len(l.all()) > 0 })
	r.stop(t)
	if got := l.all(); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("records %q", got)
	}
}

// TestRunUnderLoad writes and rotates while runs begin and end.
func TestRunUnderLoad(t *testing.T) {
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			dir, l := t.TempDir(), &ledger{}
			opt := testOptions(dir)
			if style == "dateext" || style == "copytruncate" {
				opt.Paths = []string{dir + "/app*log*"}
			}
			w := &world{t: t, dir: dir, rnd: rand.New(rand.NewPCG(7, 7)), style: style, day: 1, keep: 60, risky: map[int]bool{}}
			var out bytes.Buffer
			r := run(t, opt, l, nil)
			written := make(chan struct{})
			go func() {
				defer close(written)
				for i := range 400 {
					w.write()
					time.Sleep(time.Duration(w.rnd.IntN(2000)) * time.Microsecond)
					if i%20 == 19 && w.day < 25 {
						w.rotate()
					}
				}
				w.append(w.half)
			}()
			rnd := rand.New(rand.NewPCG(3, 3))
			for going := true; going; {
				select {
				case <-written:
					going = false
				case <-time.After(time.Duration(rnd.IntN(100)) * time.Millisecond):
				}
				r.stop(t)
				out.Write(r.out.Bytes())
				fmt.Fprintln(&out, "restart", len(l.all()))
				r = run(t, opt, l, nil)
			}
			last := fmt.Sprintf("line %06d", w.n)
			for end := time.Now().Add(patience); !slices.ContainsFunc(l.all(), func(s string) bool { return strings.HasPrefix(s, last) }) && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			r.stop(t)
			out.Write(r.out.Bytes())
			if why := missing(l.all(), w.n, w.risky); why != "" {
				t.Errorf("%s\n%s%s", why, listDir(dir), out.String())
			}
		})
	}
}
