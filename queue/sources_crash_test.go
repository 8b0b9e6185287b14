package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
)

// step is one change of a source's position: with records, or without.
type step struct {
	value   string // empty: removed
	last    uint64 // sequence of the last record that came with it; 0: none came
	durable bool   // it was told, or can be seen, to be durable
}

// history is all that was done to the sources, by key, in order.
type history struct {
	steps  map[string][]step
	record map[uint64]string // by sequence
}

// life makes n random changes of a few sources, in segments that roll, until the file system has crashed.
func (h *history) life(t verdict, opt Options, seed uint64, n int, crashed func() bool) {
	t.Helper()
	q, err := Open(opt)
	if err != nil {
		if !crashed() {
			t.Fatalf("open: %v", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range n {
		if crashed() {
			break
		}
		key, value := fmt.Sprintf("in/%d", random.IntN(3)), fmt.Sprintf("%d-%d", seed, i)
		switch random.IntN(6) {
		case 0:
			q.SetSource(key, []byte(value))
			h.steps[key] = append(h.steps[key], step{value: value})
		case 1:
			q.ForgetSource(key)
			h.steps[key] = append(h.steps[key], step{})
		case 2:
			q.positionsDue.Store(true)
			q.work.poke()
		default:
			run := sourced(key, value, value+" "+noise(uint64(i), random.IntN(4)*5000))
			last, err := q.Append(ctx, []segment.Run{run})
			if err != nil {
				t.Fatalf("append: %v", err)
			}
			h.steps[key] = append(h.steps[key], step{value: value, last: last})
			h.record[last] = value
		}
		if random.IntN(4) == 0 {
			h.wait(ctx, q, crashed)
		}
	}
	clean := !crashed()
	err = q.Close()
	if clean && !crashed() {
		if err != nil {
			t.Errorf("close: %v", err)
		}
		h.mark(func(step) bool { return true })
	}
}

// wait waits for what was done so far, and notes what is durable.
func (h *history) wait(ctx context.Context, q *Queue, crashed func() bool) {
	for q.mark.Load() < q.lastAppended() && !crashed() {
		time.Sleep(50 * time.Microsecond)
	}
	mark := q.mark.Load()
	h.mark(func(s step) bool { return s.last > 0 && s.last <= mark })
	q.positionsDue.Store(true)
	q.work.poke()
	for q.sources.changed() && !crashed() {
		time.Sleep(50 * time.Microsecond)
	}
	if mark == q.lastAppended() && !q.sources.changed() { // else moves may be overtaken by records that are not durable
		h.mark(func(step) bool { return true })
	}
}

func (h *history) mark(durable func(step) bool) {
	for _, steps := range h.steps {
		for i := range steps {
			steps[i].durable = steps[i].durable || durable(steps[i])
		}
	}
}

// judge opens what a crash has left: each position is one that was set, not older than what was durable, and all records
// up to it are there.
func (h *history) judge(t verdict, opt Options) {
	t.Helper()
	q, err := Open(opt)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	there := h.readable(t, q)
	found := q.Sources("")
	for key, steps := range h.steps {
		at := -1
		for i, s := range steps {
			if s.durable {
				at = i
			}
		}
		oldest := at
		for i := len(steps) - 1; i > oldest; i-- {
			if steps[i].value == string(found[key]) {
				at = i
			}
		}
		got := string(found[key])
		if oldest < 0 && got == "" {
			continue // as if nothing had been
		}
		if oldest >= 0 && got == steps[oldest].value {
			at = oldest // not to be told from a later removal
		}
		if at == oldest && (at < 0 && got != "" || at >= 0 && steps[at].value != got) {
			t.Errorf("%s stands at %q, durable was step %d of %+v", key, got, oldest, steps)
			continue
		}
		for _, s := range steps[:at+1] {
			if s.last > 0 && there[s.last] != s.value {
				t.Errorf("%s stands at %q, and record %d (%s) that came before is not there", key, got, s.last, s.value)
			}
		}
	}
	for key := range found {
		if _, known := h.steps[key]; !known {
			t.Errorf("%s was never set", key)
		}
	}
}

// readable are the records that are left, by sequence, each up to its first space.
func (h *history) readable(t verdict, q *Queue) map[uint64]string {
	t.Helper()
	r := q.Reader("out", Oldest)
	defer r.Close()
	there := map[uint64]string{}
	var f segment.Frame
	for {
		ok, _, err := r.TryNext(&f)
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		if !ok {
			return there
		}
		s := f.First
		for _, run := range f.Runs {
			for line := range strings.Lines(string(run.Body)) {
				there[s], _, _ = strings.Cut(line, " ")
				s++
			}
		}
	}
}

func newHistory() *history {
	return &history{steps: map[string][]step{}, record: map[uint64]string{}}
}

// tornSources crashes at operation n of a life, judges, lives on with what was left, and judges that again.
func tornSources(t verdict, n int, mode faultfs.Mode, policy SyncPolicy) (ops int) {
	t.Helper()
	fsys, store, h := faultfs.New(), checkpoint.NewMemory(), newHistory()
	opt := options(fsys, store)
	opt.Sync = policy
	fsys.CrashAt(n)
	h.life(t, opt, uint64(n), 25, func() bool { return fsys.Ops() >= n })
	opt.FS = fsys.Crash(mode, uint64(n))
	h.judge(t, opt)
	return fsys.Ops()
}

// TestSourcesAfterPowerLoss loses power at each operation while sources move with and without records.
func TestSourcesAfterPowerLoss(t *testing.T) {
	for _, policy := range []SyncPolicy{{}, {Mode: SyncInterval, Every: time.Millisecond}} {
		for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
			t.Run(fmt.Sprint(policy.Mode, "/", mode), func(t *testing.T) {
				for n := 8; n < 160 && !t.Failed(); n++ {
					if tornSources(t, n, mode, policy); t.Failed() {
						t.Logf("crash at operation %d", n)
					}
				}
			})
		}
	}
}

// TestPlantedMoveBeforeRecords is the twin: a position that goes into the log before the records it stands for must be
// caught.
func TestPlantedMoveBeforeRecords(t *testing.T) {
	planted(t, 8, 400, func(p *probe, n int) { tornSources(p, n, faultfs.Drop, SyncPolicy{Mode: SyncNever}) },
		"positions that run ahead are not seen in this test: it proves nothing")
}
