package output

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// fault is what goes wrong at one operation on a file.
type fault struct {
	name  string
	crash bool // the process ends there; else the operation fails, and as many after it
	after int
	// done says how much of a write, in eighths, happens before it fails, and lost how much of what is not synced is gone
	// after the crash.
	done, lost int
	twice      bool // the next life ends after as many operations, too
	forgetful  bool // planted bug: the state is not restored
}

// world is what outlives a crash: the files, and the engine's last durable checkpoint.
type world struct {
	t    *testing.T
	dir  string
	runs []Run

	done  []bool // of every record, durable
	state []byte

	fault  fault
	failAt int
	ops    int
	dead   bool
	synced map[string]int64 // durable size of every file
}

// records of five sources in three hours, some of them coming late.
func newWorld(t *testing.T, f fault, failAt int) *world {
	w := &world{t: t, dir: t.TempDir(), fault: f, failAt: failAt, synced: make(map[string]int64)}
	n := 0
	for i, hour := range []int{6, 6, 7, 6, 7, 7, 8, 8, 6, 8} {
		var texts []string
		for range i%3 + 1 {
			texts = append(texts, "record "+strconv.Itoa(n)+strings.Repeat("x", n%5*20))
			n++
		}
		if i%4 == 3 {
			w.runs = append(w.runs, at(hour, recordsRun(texts...)))
		} else {
			w.runs = append(w.runs, at(hour, linesRun(texts...)))
		}
	}
	w.done = make([]bool, n)
	return w
}

// step counts an operation and tells whether it fails.
func (w *world) step() bool {
	if w.dead {
		return true
	}
	w.ops++
	if w.ops >= w.failAt && w.ops <= w.failAt+w.fault.after {
		w.dead = w.fault.crash
		return true
	}
	return false
}

func (w *world) operations() fileOps {
	return fileOps{
		write: func(f *os.File, p []byte) (int, error) {
			if !w.dead && w.step() {
				n, err := f.Write(p[:len(p)*w.fault.done/8])
				return n, errors.Join(errInjected, err)
			}
			if w.dead {
				return 0, errInjected
			}
			return f.Write(p)
		},
		sync: func(f *os.File) error {
			if w.step() {
				return errInjected
			}
			info, err := f.Stat()
			if err == nil {
				w.synced[f.Name()] = info.Size()
			}
			return err
		},
		truncate: func(f *os.File, size int64) error {
			if w.step() {
				return errInjected
			}
			return f.Truncate(size)
		},
	}
}

// live runs one life of a process, false when it crashed.
func (w *world) live() bool {
	w.dead = false
	o, _ := newTestFile(w.t, filepath.Join(w.dir, "%H.log"))
	o.ops = w.operations()
	defer o.Close()
	if w.state != nil && !w.fault.forgetful {
		must(w.t, o.Restore(w.state))
	}
	done := slices.Clone(w.done)
	save := func(state []byte) { copy(w.done, done); w.state = state }
	first := 0
	for i := 0; i < len(w.runs); i += 4 {
		var b Batch
		for _, r := range w.runs[i:min(i+4, len(w.runs))] {
			b.Add(r)
		}
		for j := range b.Len() {
			if done[first+j] {
				b.Accept(j)
			}
		}
		if !w.deliver(o, &b, done[first:], save) {
			return false
		}
		if i%8 == 0 {
			save(o.State()) // from time to time the engine writes its checkpoints
		}
		first += b.Len()
	}
	return true
}

// deliver is the engine's loop over one batch.
func (w *world) deliver(o *file, b *Batch, done []bool, save func([]byte)) bool {
	for b.Pending() > 0 {
		state, err := o.Prepare(b)
		if w.dead {
			return false
		}
		if err != nil {
			continue
		}
		if state != nil {
			save(state)
		}
		err = o.Send(context.Background(), b)
		if w.dead {
			return false
		}
		for i := range b.Len() {
			done[i] = done[i] || err == nil || !b.IsPending(i)
		}
		if err == nil {
			return true
		}
	}
	return true
}

// powerOff takes away a part of what was not synced.
func (w *world) powerOff() {
	names, err := filepath.Glob(filepath.Join(w.dir, "*"))
	must(w.t, err)
	for _, name := range names {
		info, err := os.Stat(name)
		must(w.t, err)
		if extra := info.Size() - w.synced[name]; extra > 0 {
			must(w.t, os.Truncate(name, info.Size()-extra*int64(w.fault.lost)/8))
		}
	}
}

// wrong compares the files with what has to be in them, and returns the first difference.
func (w *world) wrong() string {
	want := map[string]string{"06.log": "", "07.log": "", "08.log": ""}
	hours := []string{"06.log", "06.log", "07.log", "06.log", "07.log", "07.log", "08.log", "08.log", "06.log", "08.log"}
	for i, r := range w.runs {
		want[hours[i]] += joined(batchOf("", r).AppendLines(nil, 0, r.Count))
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil || string(got) != text {
			return name + " holds " + strconv.Quote(string(got)) + " instead of " + strconv.Quote(text)
		}
	}
	return ""
}

// run plays lives until one comes to its end, and returns what is wrong then, and whether the fault happened.
func (w *world) run() (wrong string, happened bool) {
	for !w.live() {
		w.powerOff()
		if w.fault.twice {
			w.fault.twice, w.failAt = false, w.ops+w.failAt%7+1
		}
	}
	return w.wrong(), w.ops >= w.failAt
}

// TestFileFaults lets every operation fail in turn, or the process end there.
func TestFileFaults(t *testing.T) {
	for _, f := range []fault{
		{name: "failure"},
		{name: "half a write", done: 4},
		{name: "half a write, and it cannot be cut", done: 4, after: 1},
		{name: "half a write, and a while nothing works", done: 4, after: 5},
		{name: "a write that is whole and fails", done: 8},
		{name: "crash", crash: true, done: 4},
		{name: "crash, nothing written", crash: true},
		{name: "crash, all written", crash: true, done: 8},
		{name: "power loss", crash: true, done: 8, lost: 8},
		{name: "power loss, half", crash: true, done: 8, lost: 4},
		{name: "two crashes", crash: true, done: 6, twice: true},
		{name: "two power losses", crash: true, done: 7, lost: 3, twice: true},
	} {
		t.Run(f.name, func(t *testing.T) {
			for n := 1; ; n++ {
				wrong, happened := newWorld(t, f, n).run()
				if wrong != "" {
					t.Errorf("at operation %d: %s", n, wrong)
				}
				if !happened {
					break
				}
			}
		})
	}
}

// TestFileFaultsTwin forgets to restore the state: the test above has to notice.
func TestFileFaultsTwin(t *testing.T) {
	for n := 1; ; n++ {
		wrong, happened := newWorld(t, fault{crash: true, done: 4, forgetful: true}, n).run()
		if wrong != "" {
			return
		}
		if !happened {
			t.Fatal("nothing was wrong")
		}
	}
}
