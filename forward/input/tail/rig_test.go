package tail

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"logmule/forward/pack"
)

// step is one thing that the queue was given: a pack with its position, or a position alone.
type step struct {
	key    string
	value  []byte // nil: forgotten
	lines  []string
	logger string
	fields int
}

// ledger is the queue's twin: what it was given, in order. Any beginning of it is what a kill may leave behind.
type ledger struct {
	mu    sync.Mutex
	steps []step
	known int   // of the steps are what an earlier run left behind
	fail  error // of each Emit
}

func (l *ledger) add(s step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, s)
}

func (l *ledger) Load() map[string][]byte { return l.after(len(l.steps)) }

// after is what is known when n steps are durable.
func (l *ledger) after(n int) map[string][]byte {
	at := map[string][]byte{}
	for _, s := range l.steps[:n] {
		if s.value == nil {
			delete(at, s.key)
		} else {
			at[s.key] = s.value
		}
	}
	return at
}

func (l *ledger) Set(key string, value []byte) { l.add(step{key: key, value: bytes.Clone(value)}) }

func (l *ledger) Forget(keys ...string) {
	for _, k := range keys {
		l.add(step{key: k})
	}
}

func (l *ledger) emit(_ context.Context, p *pack.Pack) (bool, error) {
	if l.fail != nil {
		return false, l.fail
	}
	s := step{key: strings.TrimPrefix(p.Source, "in/x/"), value: bytes.Clone(p.Position), logger: p.Shared.Logger, fields: len(p.Shared.Fields)}
	shared := p.Shared.Append(nil)
	err := pack.Each(p.Form, p.Body, func(own []byte) error {
		var r pack.Record
		if err := r.Decode(shared, own, p.Form); err != nil {
			return err
		}
		s.lines = append(s.lines, string(r.Payload))
		return nil
	})
	if err != nil {
		return false, err
	}
	if len(s.lines) != p.Count || !p.Kept || len(p.Position) == 0 || len(p.Position) >= 1<<10 {
		return false, fmt.Errorf("a pack of %d records says %d, kept %v, position of %d bytes", len(s.lines), p.Count, p.Kept, len(p.Position))
	}
	l.add(s)
	return true, nil
}

// lines are the records of the first n steps.
func (l *ledger) lines(n int) []string {
	var all []string
	for _, s := range l.steps[:n] {
		all = append(all, s.lines...)
	}
	return all
}

// rig drives a tailer without goroutines.
type rig struct {
	t     testing.TB
	dir   string
	opt   Options
	log   *ledger
	now   time.Time
	out   bytes.Buffer
	count *Counters
	*tailer
	r *reader
}

type freeMemory struct{}

func (freeMemory) Acquire(context.Context, int64) error { return nil }
func (freeMemory) Release(int64)                        {}

func newRig(t testing.TB, dir string, change func(*Options)) *rig {
	g := &rig{t: t, dir: dir, log: &ledger{}, now: time.Now()}
	g.opt = Options{
		Paths: []string{filepath.Join(dir, "*.log")}, PartialAfter: 5 * time.Second, MaxRecord: 1 << 20, Encoding: UTF8,
		GroupAfter: 5 * time.Second, Poll: time.Second, MaxOpen: 16,
	}
	if change != nil {
		change(&g.opt)
	}
	g.start(nil)
	t.Cleanup(g.kill)
	return g
}

// start begins with the positions that known has.
func (g *rig) start(known map[string][]byte) {
	g.count = new(Counters)
	if known != nil {
		g.log = &ledger{steps: []step{}}
		for _, k := range slices.Sorted(maps.Keys(known)) {
			g.log.steps = append(g.log.steps, step{key: k, value: known[k]})
		}
		g.log.known = len(known)
	}
	g.tailer = newTailer(g.opt, Env{
		Name: "x", Source: "in/x/", Log: slog.New(slog.NewTextHandler(&g.out, &slog.HandlerOptions{Level: slog.LevelDebug})), Counters: g.count, Truncated: new(atomic.Uint64),
		Positions: g.log, Memory: freeMemory{}, Emit: g.log.emit, Now: func() time.Time { return g.now },
	})
	g.r = g.newReader()
}

// kill gives up without a word.
func (g *rig) kill() {
	for tr := range g.tailer.open {
		g.tailer.close(tr)
	}
}

// restart is a kill after which n steps are durable.
func (g *rig) restart(n int) {
	g.kill()
	g.start(g.log.after(n))
}

// turns gives every file that waits for one at most n turns, and says whether there were any.
func (g *rig) turns(n int) bool {
	any := false
	for ; n > 0; n-- {
		g.tick(g.now)
		g.mu.Lock()
		if len(g.ready) == 0 {
			g.mu.Unlock()
			break
		}
		tr := g.takeLocked()
		g.mu.Unlock()
		if tr == nil {
			continue
		}
		any = true
		if err := g.r.turn(context.Background(), tr); err != nil {
			g.t.Fatalf("turn: %v", err)
		}
		g.finish(tr)
	}
	return any
}

// settle looks and reads until nothing is left to do.
func (g *rig) settle() {
	for range 100 {
		g.look()
		if !g.turns(1000) && !g.wantsLook() {
			if !g.recheck {
				return
			}
			g.now = g.now.Add(recheckPause)
		}
	}
	g.t.Fatal("it does not come to rest")
}

// wait lets so much time pass, and settles.
func (g *rig) wait(d time.Duration) {
	g.now = g.now.Add(d)
	g.settle()
}

func (g *rig) path(name string) string { return filepath.Join(g.dir, name) }

func (g *rig) write(name, text string) {
	f, err := os.OpenFile(g.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err == nil {
		_, err = io.WriteString(f, text)
		f.Close()
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *rig) want(lines ...string) {
	g.t.Helper()
	if got := g.log.lines(len(g.log.steps)); !slices.Equal(got, lines) {
		g.t.Errorf("records %q, want %q\n%s", got, lines, &g.out)
	}
}

// wantAny is want in any order, for lines of several files.
func (g *rig) wantAny(lines ...string) {
	g.t.Helper()
	got := g.log.lines(len(g.log.steps))
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) {
		g.t.Errorf("records %q, want %q\n%s", got, lines, &g.out)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
