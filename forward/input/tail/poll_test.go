package tail

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func everywhere(string) bool { return true }

// TestRunPolls writes and rotates where nobody tells of anything, as on network file systems.
func TestRunPolls(t *testing.T) {
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			dir, l := t.TempDir(), &ledger{}
			opt := testOptions(dir)
			opt.silent, opt.Poll = everywhere, 5*time.Millisecond
			if style == "dateext" || style == "copytruncate" {
				opt.Paths = []string{dir + "/app*log*"}
			}
			w := &world{t: t, dir: dir, rnd: rand.New(rand.NewPCG(5, 5)), style: style, day: 1, keep: 60, risky: map[int]bool{}}
			last := func() bool { // or it was cut before it was copied
				text := fmt.Sprintf("line %06d", w.n)
				return w.risky[w.n] || slices.ContainsFunc(l.all(), func(s string) bool { return strings.HasPrefix(s, text) })
			}
			r := run(t, opt, l, nil)
			for i := range 150 {
				w.write()
				switch {
				case i%15 == 14 && i%2 == 0 && !strings.HasPrefix(style, "copy"): // while it is behind
					w.rotate()
				case i%15 == 14:
					if w.half != "" {
						w.append(w.half)
						w.half = ""
					}
					await(t, "the last line before a rotation", last)
					w.rotate()
				}
			}
			w.append(w.half)
			await(t, "the last line", last)
			r.stop(t)
			if why := missing(l.all(), w.n, w.risky); why != "" {
				t.Errorf("%s\n%s%s", why, listDir(dir), &r.out)
			}
		})
	}
}

// Where nobody tells, the next look comes after poll, and no watch is used up.
func TestPollIsWhenToLook(t *testing.T) {
	for _, silent := range []bool{false, true} {
		g := newRig(t, t.TempDir(), nil)
		must(t, os.Mkdir(filepath.Join(g.dir, "below"), 0o755))
		p := &planner{t: g.tailer, watch: newWatch(slog.New(slog.DiscardHandler))}
		p.watch.silent = func(string) bool { return silent }
		g.onDir = p.watch.add
		p.look()
		if polls := time.Until(p.safety) < safetyPoll/2; polls != silent || silent != (len(p.watch.dirs) == 0) {
			t.Errorf("nothing is told %v: next look in %v, %d watches", silent, time.Until(p.safety), len(p.watch.dirs))
		}
		p.watch.close()
	}
}

// What is open in a directory that was renamed is read within moments, and all of it is read when it is back, with
// notifications and without. The directory is where a link points to, so that nothing that is watched changes.
func TestRunWhileDirectoryIsAway(t *testing.T) {
	for _, silent := range []func(string) bool{nil, everywhere} {
		top, l := t.TempDir(), &ledger{}
		for _, dir := range []string{"disk/real/logs", "etc"} {
			must(t, os.MkdirAll(filepath.Join(top, dir), 0o755))
		}
		must(t, os.Symlink(filepath.Join(top, "disk/real"), filepath.Join(top, "etc/link")))
		opt := testOptions(top)
		opt.Paths, opt.silent = []string{filepath.Join(top, "etc/link/logs/*.log")}, silent
		r := run(t, opt, l, nil)
		f, err := os.Create(filepath.Join(top, "disk/real/logs/a.log"))
		must(t, err)
		print := func(n int) {
			_, err := f.WriteString("line\n")
			must(t, err)
			await(t, "a line", func() bool { return len(l.all()) == n })
		}
		print(1)
		must(t, os.Rename(filepath.Join(top, "disk/real"), filepath.Join(top, "disk/away")))
		await(t, "that it is away is counted", func() bool { return r.count.ReadErrors.Load() == 1 })
		print(2)
		print(3)
		must(t, os.Rename(filepath.Join(top, "disk/away"), filepath.Join(top, "disk/real")))
		print(4)
		must(t, f.Close())
		r.stop(t)
		if n := len(l.all()); n != 4 {
			t.Errorf("%d lines, want 4", n)
		}
	}
}
