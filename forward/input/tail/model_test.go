package tail

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// world is a directory in which a program logs and something rotates. It knows every line that was written.
type world struct {
	t       testing.TB
	dir     string
	rnd     *rand.Rand
	style   string
	n       int // lines written so far
	day     int
	half    string // a line that is begun in the live file
	keep    int
	copying []byte       // what app.log.1 is to hold before the live file is cut; nil: no rotation by copy is under way
	risky   map[int]bool // lines that were written between a copy and the cut: no reader can be sure to see them
	cycle   []string     // the lines, over and over; nil: each has its number
	lines   []string     // all that were written, where they repeat
	packing int          // steps of a rotation that compresses at once
	keeps   bool         // a copy gets the time of its original
}

func (w *world) live() string {
	if w.style == "dated" {
		return filepath.Join(w.dir, fmt.Sprintf("app-2026-11-%02d.log", w.day))
	}
	return filepath.Join(w.dir, "app.log")
}

func (w *world) line() string {
	w.n++
	if w.cycle != nil {
		s := w.cycle[w.n%len(w.cycle)]
		w.lines = append(w.lines, s)
		return s + "\n"
	}
	s := fmt.Sprintf("line %06d", w.n)
	if w.rnd.IntN(4) == 0 {
		s += strings.Repeat(" filler", w.rnd.IntN(60))
	}
	return s + "\n"
}

func (w *world) append(text string) {
	name := w.live()
	if w.packing == 1 {
		name += ".1" // the program has not opened its new file yet
	}
	if w.cycle != nil && strings.HasPrefix(w.style, "copy") && !exists(name) {
		must(w.t, os.WriteFile(name, nil, 0o644))
		time.Sleep(10 * time.Millisecond) // what is written in the tick in which a file was created may have been renamed, not copied
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	must(w.t, err)
	_, err = io.WriteString(f, text)
	must(w.t, err)
	must(w.t, f.Close())
}

// write writes a few lines, perhaps beginning or finishing half a one.
func (w *world) write() {
	if w.copying != nil {
		if w.cycle != nil {
			return
		}
		if len(w.copying) < headSize {
			return // a copy of fewer bytes than are hashed is not known again where more were read
		}
		for range w.rnd.IntN(3) {
			w.risky[w.n+1] = true
			w.append(w.line())
		}
		return
	}
	var b strings.Builder
	b.WriteString(w.half)
	w.half = ""
	for range w.rnd.IntN(6) {
		b.WriteString(w.line())
	}
	if w.rnd.IntN(3) == 0 {
		line := w.line()
		cut := 1 + w.rnd.IntN(len(line)-1)
		b.WriteString(line[:cut])
		w.half = line[cut:]
	}
	w.append(b.String())
}

// rotate does what the style does at a rotation. The line that is begun is finished before, since what becomes of it
// else depends on time.
func (w *world) rotate() {
	if w.half != "" {
		w.append(w.half)
		w.half = ""
	}
	if w.packing > 0 {
		for range 1 + w.rnd.IntN(5) {
			if w.packing > 0 {
				w.packStep()
			}
		}
		return
	}
	if _, err := os.Stat(w.live()); err != nil {
		return
	}
	if w.cycle != nil {
		defer time.Sleep(10 * time.Millisecond) // the clock of the file system has ticks
	}
	switch w.style {
	case "compress":
		w.packStep()
	case "rename":
		w.shift(false)
		must(w.t, os.Rename(w.live(), w.live()+".1"))
	case "copytruncate", "copygzip":
		w.copyStep()
	case "gzip":
		w.shift(true)
		must(w.t, os.Rename(w.live(), w.live()+".1"))
	case "dateext":
		w.day++
		must(w.t, os.Rename(w.live(), fmt.Sprintf("%s-202611%02d", w.live(), w.day)))
	case "dated":
		w.day++
	}
}

// shift makes room for app.log.1, and compresses what was there where gz says so.
func (w *world) shift(gz bool) {
	for i := w.keep; i >= 1; i-- {
		for _, ext := range []string{"", ".gz"} {
			from := fmt.Sprintf("%s.%d%s", w.live(), i, ext)
			if _, err := os.Stat(from); err != nil {
				continue
			}
			to := fmt.Sprintf("%s.%d%s", w.live(), i+1, ext)
			if gz && ext == "" {
				w.gzip(from, to+".gz")
				must(w.t, os.Remove(from))
			} else {
				must(w.t, os.Rename(from, to))
			}
		}
	}
}

// copyStep goes on with a rotation by copy, which other things may come between: first a part of the copy or all of it,
// then the rest, then the cut. Who copies may also be killed between, and begin anew at the next rotation.
func (w *world) copyStep() {
	done, _ := os.ReadFile(w.live() + ".1")
	switch {
	case w.copying == nil || w.again() && w.rnd.IntN(5) == 0:
		w.shift(w.style == "copygzip")
		b, err := os.ReadFile(w.live())
		must(w.t, err)
		w.copying, w.risky = b, maps.Clone(w.risky)
		for n := range w.risky { // those before were copied now, or cut before
			if bytes.Contains(b, fmt.Appendf(nil, "line %06d", n)) {
				delete(w.risky, n)
			}
		}
		if part := w.rnd.IntN(3); part == 0 {
			b = b[:w.rnd.IntN(len(b)+1)]
		}
		w.copyOut(b)
		if w.rnd.IntN(2) == 0 {
			w.cut()
		}
	case len(done) < len(w.copying):
		w.copyOut(w.copying)
	default:
		w.cut()
	}
}

// cut ends a rotation by copy.
func (w *world) cut() {
	if w.copying == nil {
		return
	}
	w.copyOut(w.copying)
	must(w.t, os.Truncate(w.live(), 0))
	w.copying = nil
}

// copyOut writes the copy, as far as it goes.
func (w *world) copyOut(b []byte) {
	info, err := os.Stat(w.live())
	must(w.t, err)
	one := w.live() + ".1"
	must(w.t, os.WriteFile(one, b, 0o644))
	if w.keeps && len(b) == len(w.copying) {
		must(w.t, os.Chtimes(one, info.ModTime(), info.ModTime()))
	}
}

// again says whether a rotation that broke off may be begun anew: not where nobody could tell the two copies of one content
// from copies of two.
func (w *world) again() bool {
	return w.keeps || w.cycle == nil && len(w.copying) >= headSize
}

func (w *world) gzip(from, to string) {
	b, err := os.ReadFile(from)
	must(w.t, err)
	f, err := os.Create(to)
	must(w.t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(b)
	must(w.t, err)
	must(w.t, z.Close())
	must(w.t, f.Close())
	info, err := os.Stat(from)
	must(w.t, err)
	must(w.t, os.Chtimes(to, info.ModTime(), info.ModTime())) // as gzip does
}

var styles = []string{"rename", "copytruncate", "gzip", "copygzip", "compress", "dateext", "dated"}

// TestNothingIsLostOrDoubled is the proof of the input's promise: whatever is done to the files, and whenever the process
// is killed, what is durable and what comes after the next start are together every line once and in order.
func TestNothingIsLostOrDoubled(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 6
	}
	if n, err := strconv.Atoi(os.Getenv("TAIL_SEEDS")); err == nil {
		seeds = n
	}
	for _, style := range styles {
		for _, globs := range []string{"live", "all"} {
			t.Run(style+" "+globs, func(t *testing.T) {
				t.Parallel()
				for seed := range seeds {
					if only := os.Getenv("TAIL_SEED"); only != "" && only != fmt.Sprint(seed) {
						continue
					}
					modelRun(t, style, globs, uint64(seed))
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

// modelRun does random things, and kills and restarts at every point that is left behind at the end.
func modelRun(t *testing.T, style, globs string, seed uint64, cycle ...string) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, dir: t.TempDir(), rnd: rnd, style: style, day: 1, keep: 20, risky: map[int]bool{}, cycle: cycle, keeps: rnd.IntN(2) == 0}
	g := newRig(t, w.dir, func(o *Options) {
		if globs == "all" {
			o.Paths = []string{filepath.Join(w.dir, "app*log*")}
		} else {
			o.Paths = []string{filepath.Join(w.dir, "app*.log")}
		}
		o.PartialAfter = 24 * time.Hour
	})
	small := rnd.IntN(2) == 0
	narrow := func() {
		if small {
			g.r.block, g.r.most = make([]byte, tailSize+50+rnd.IntN(500)), 1+rnd.IntN(400)
		}
	}
	narrow()
	g.look()
	var durable []string
	for range 12 + rnd.IntN(12) {
		if cycle != nil {
			g.now = time.Now() // it sleeps
		}
		switch rnd.IntN(8) {
		case 0, 1, 2:
			w.write()
		case 3:
			w.rotate()
			if rnd.IntN(3) > 0 {
				w.write()
			}
		case 4:
			g.look()
		case 5:
			g.look()
			g.turns(1 + rnd.IntN(3))
		case 6:
			g.settle()
		case 7: // down for a while
			n := g.log.known + rnd.IntN(len(g.log.steps)+1-g.log.known)
			if len(g.log.after(n)) == 0 {
				continue // that it ever ran is not known: another story
			}
			durable = append(durable, g.log.lines(n)...)
			g.restart(n)
			narrow()
		}
	}
	if w.half != "" {
		w.append(w.half)
	}
	if rnd.IntN(3) > 0 {
		w.cut()
	}
	if cycle != nil {
		g.now = time.Now()
	}
	// The files are now as they are; every point of the last run is a place to be killed at.
	g.settle()
	if os.Getenv("TAIL_TRACE") != "" {
		for i, s := range g.log.steps {
			p, _ := decodePosition(s.value)
			t.Logf("step %d %s %+v %q", i, s.key, p, s.lines)
		}
	}
	base, steps, all := durable, g.log.steps, g.log
	for n := all.known; n <= len(steps); n++ {
		known := all.after(n)
		if len(known) == 0 {
			continue
		}
		before := append(slices.Clone(base), all.lines(n)...)
		g.kill()
		g.out.Reset()
		g.start(known)
		narrow()
		g.settle()
		g.now = g.now.Add(time.Hour)
		g.settle()
		got := append(before, g.log.lines(len(g.log.steps))...)
		if why := w.wrong(got); why != "" {
			t.Errorf("%s %s seed %d: killed when %d of %d were durable: %s\n%s\n%s", style, globs, seed, n, len(steps), why, listDir(w.dir), g.out.String())
			return
		}
		if g.count.LostBytes.Load() > 0 && len(w.risky) == 0 {
			t.Errorf("%s seed %d: bytes count as lost", style, seed)
		}
	}
}

// missing says what is wrong with lines that should be 1 to n, each once and in order; those that are risky may be missing.
func missing(got []string, n int, risky map[int]bool) string {
	var numbers []int
	for _, l := range append(slices.Clone(got), fmt.Sprintf("line %06d", n+1)) {
		var k int
		if _, err := fmt.Sscanf(l, "line %d", &k); err != nil {
			return fmt.Sprintf("a record is %q", l)
		}
		numbers = append(numbers, k)
	}
	next := 1
	for i, k := range numbers {
		for next < k && risky[next] {
			next++
		}
		if k != next {
			return fmt.Sprintf("record %d is line %d, not %d: %v", i+1, k, next, numbers[max(0, i-5):min(len(numbers), i+6)])
		}
		next++
	}
	return ""
}

func listDir(dir string) string {
	var b strings.Builder
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		made := time.Unix(0, born(filepath.Join(dir, e.Name())))
		fmt.Fprintf(&b, "%s %d bytes, inode %d, created %s, written %s\n", e.Name(), info.Size(), idOf(info).ino,
			made.Format("05.000000"), info.ModTime().Format("05.000000"))
	}
	return b.String()
}
