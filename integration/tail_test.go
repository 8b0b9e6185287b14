package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logmule/integration/rig"
)

// corpus is the logs to write, by name: those that LOGMULE_LOGS names, else made up ones.
func corpus(t *testing.T, r *rand.Rand) map[string][][]byte {
	t.Helper()
	logs := map[string][][]byte{}
	dir := os.Getenv("LOGMULE_LOGS")
	if dir == "" {
		for n := range 8 {
			var lines [][]byte
			for i := range 2000 {
				lines = append(lines, fmt.Appendf(nil, "Jun %2d %02d:%02d:%02d host app-%d[%d]: request %d took %d ms %s\n",
					1+i/1000, i/60%24, i%60, i%60, n, 100+r.IntN(3), i, r.IntN(1000), strings.Repeat("-", r.IntN(200))))
			}
			logs[fmt.Sprintf("app%d.log", n)] = lines
		}
		return logs
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		if !bytes.HasSuffix(text, []byte{'\n'}) {
			text = append(text, '\n')
		}
		lines := bytes.SplitAfter(text, []byte{'\n'})
		logs[filepath.Base(file)] = lines[:len(lines)-1]
	}
	return logs
}

// busyLog is one log that is being written, and all that was to be written to it.
type busyLog struct {
	rig.LogWriter
	source  [][]byte
	at      int
	text    []byte
	written int // bytes of text that are in the log
}

// step writes a few lines, ends at times in the middle of one, and rotates at times.
func (b *busyLog) step(r *rand.Rand) error {
	b.more(r)
	end := len(b.text)
	if r.IntN(4) == 0 {
		end = b.written + r.IntN(end-b.written)
	}
	if err := b.writeTo(end); err != nil || end < len(b.text) || r.IntN(60) > 0 {
		return err
	}
	return b.Rotate()
}

// more adds a few lines to what is to be written.
func (b *busyLog) more(r *rand.Rand) {
	for range 1 + r.IntN(8) {
		b.text = append(b.text, b.source[b.at%len(b.source)]...)
		b.at++
	}
}

func (b *busyLog) writeTo(end int) error {
	from := b.written
	b.written = end
	_, err := b.Write(b.text[from:end])
	return err
}

// finish completes the last line.
func (b *busyLog) finish() error {
	if err := b.writeTo(len(b.text)); err != nil {
		return err
	}
	return b.Close()
}

func (b *busyLog) lines() []string {
	return strings.Split(strings.TrimSuffix(string(b.text), "\n"), "\n")
}

// Programs write logs and rotate them in every style while logmule is killed over and over: each line is in the queue
// once, in the order of its file.
func TestTailSurvivesKillsAndRotations(t *testing.T) {
	kills := 12
	if full {
		kills = 200
	}
	logs := t.TempDir()
	l := newLab(t, fmt.Sprintf(`
[queue]
sync = "always"
[input.logs]
type = "file"
paths = ["%[1]s/rename/*.log", "%[1]s/copytruncate/*.log", "%[1]s/new name/*.log-*", "%[1]s/compress/*.log"]
start_at = "beginning"
partial_after = "1h"
`, logs))
	r := l.judge.Rand("rotations")
	var all []*busyLog
	for style := rig.Rename; style <= rig.Compress; style++ {
		must(t, os.Mkdir(filepath.Join(logs, style.String()), 0o700))
		for name, lines := range corpus(t, r) {
			all = append(all, &busyLog{LogWriter: rig.LogWriter{Name: filepath.Join(logs, style.String(), name), Style: style}, source: lines, at: r.IntN(len(lines))})
		}
	}
	// What was rotated before the first start is history, which paths do not name here; so every log is seen once first.
	seen := 0
	for _, b := range all {
		b.more(r)
		must(t, b.writeTo(len(b.text)))
		seen += len(b.lines())
	}
	l.start()
	l.waitStored(seen)
	l.Proc.Kill()
	stop := background(t, func(ctx context.Context) error {
		r := l.judge.Rand("programs")
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			if err := all[r.IntN(len(all))].step(r); err != nil {
				return err
			}
		}
		return nil
	})
	for range kills {
		l.launch()
		if r.IntN(3) == 0 {
			_, err := l.Proc.Ready(patience)
			must(t, err)
		}
		select {
		case <-time.After(time.Duration(r.IntN(250)) * time.Millisecond): // the moment of a kill is what is random here
		case <-l.Proc.Done():
			t.Fatal("the daemon has ended by itself")
		}
		l.Proc.Kill()
	}
	must(t, stop())
	total := 0
	for _, b := range all {
		must(t, b.finish())
		total += len(b.lines())
	}
	l.start()
	l.waitStored(total)
	l.stop()
	compareLogs(t, l, all, logs)
	t.Logf("%d lines in %d logs, %d kills", total, len(all), kills)
}

// A first start that is killed as soon as it is ready has decided where the files begin that were there: what is written
// next is read by the second one.
func TestTailRemembersItsFirstStart(t *testing.T) {
	for range 2 {
		logs := t.TempDir()
		file := filepath.Join(logs, "a.log")
		must(t, os.WriteFile(file, []byte("old\n"), 0o600))
		l := newLab(t, fmt.Sprintf("[input.logs]\ntype = \"file\"\npaths = [\"%s/*.log\"]\nstart_at = \"end\"\n", logs))
		l.start()
		l.Proc.Kill()
		must(t, os.WriteFile(file, []byte("old\nnew\n"), 0o600))
		must(t, os.WriteFile(filepath.Join(logs, "b.log"), []byte("appeared\n"), 0o600))
		l.start()
		l.waitStored(2)
		l.stop()
		compareLogs(t, l, []*busyLog{
			{LogWriter: rig.LogWriter{Name: file}, text: []byte("new\n")},
			{LogWriter: rig.LogWriter{Name: filepath.Join(logs, "b.log")}, text: []byte("appeared\n")},
		}, logs)
	}
}

// waitStored waits until so many records are in the queue, and a moment more for those that should not be there.
func (l *lab) waitStored(total int) {
	l.t.Helper()
	stored := func() int {
		var s struct {
			Queue struct {
				Mark uint64 `json:"mark"`
			} `json:"queue"`
		}
		_, body, err := l.Proc.Get("/status")
		must(l.t, err)
		must(l.t, json.Unmarshal(body, &s))
		return int(s.Queue.Mark)
	}
	// Sequences may have been left out by starts, so what the queue holds is compared afterwards; here it is enough that
	// it has come to rest at or above the number.
	last, since := 0, time.Now()
	l.wait(fmt.Sprintf("%d records are stored", total), func() bool {
		if now := stored(); now != last {
			last, since = now, time.Now()
		}
		return last >= total && time.Since(since) > 2*time.Second
	})
}

// compareLogs compares the queue, log by log, with what was written.
func compareLogs(t *testing.T, l *lab, all []*busyLog, dir string) {
	t.Helper()
	cat := exec.Command(binary(t), "cat", l.data, "--format", "json")
	cat.Stderr = os.Stderr
	out, err := cat.Output()
	must(t, err)
	got := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		var r struct{ Logger, Payload string }
		must(t, json.Unmarshal([]byte(line), &r))
		name, err := filepath.Rel(dir, r.Logger)
		must(t, err)
		stem, _, _ := strings.Cut(name, ".log")
		got[stem] = append(got[stem], r.Payload)
	}
	for _, b := range all {
		name, err := filepath.Rel(dir, b.Name)
		must(t, err)
		stem, _, _ := strings.Cut(name, ".log")
		have, want := got[stem], b.lines()
		if i := firstUnlike(have, want); i >= 0 {
			t.Errorf("%s: %d lines written, %d stored; they differ from line %d:\n%s", name, len(want), len(have), i, around(have, want, i))
		}
	}
}

// firstUnlike is the index of the first line that differs, -1 where none does.
func firstUnlike(a, b []string) int {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}

func around(have, want []string, at int) string {
	var text strings.Builder
	for i := max(0, at-1); i < at+4; i++ {
		line := func(all []string) string {
			if i < len(all) {
				return all[i]
			}
			return "(none)"
		}
		fmt.Fprintf(&text, "%d stored  %.120s\n%d written %.120s\n", i, line(have), i, line(want))
	}
	return text.String()
}

// Thousands of files, most of them quiet: the daemon stays small, and costs nothing while nobody writes.
func TestTailThousandsOfFiles(t *testing.T) {
	const files, busy, rounds = 5000, 50, 40
	logs := t.TempDir()
	l := newLab(t, fmt.Sprintf("[input.logs]\ntype = \"file\"\npaths = [\"%s/*/*.log\"]\nstart_at = \"beginning\"\n", logs))
	path := func(n int) string { return filepath.Join(logs, fmt.Sprint(n%20), fmt.Sprintf("%d.log", n)) }
	for n := range files {
		must(t, os.MkdirAll(filepath.Dir(path(n)), 0o700))
		must(t, os.WriteFile(path(n), fmt.Appendf(nil, "first line of %d\n", n), 0o600))
	}
	l.start()
	l.waitStored(files)
	written := files
	for round := range rounds {
		for n := range busy {
			f, err := os.OpenFile(path(n*97%files), os.O_APPEND|os.O_WRONLY, 0o600)
			must(t, err)
			for i := range 100 {
				_, err = fmt.Fprintf(f, "round %d line %d of a busy file %s\n", round, i, strings.Repeat("x", 150))
				must(t, err)
				written++
			}
			must(t, f.Close())
		}
	}
	l.waitStored(written)
	_, peak, err := rig.Memory(l.Proc.PID())
	must(t, err)
	descriptors, err := rig.Descriptors(l.Proc.PID())
	must(t, err)
	t.Logf("%d files, %d lines: peak memory %d MiB, %d descriptors", files, written, peak>>20, len(descriptors))
	if limit := int64(128 << 20); peak > limit && !raceEnabled {
		t.Errorf("peak memory of %d MiB, want at most %d", peak>>20, limit>>20)
	}
	if !full {
		return
	}
	const quiet = 20 * time.Second
	before, err := rig.CPU(l.Proc.PID())
	must(t, err)
	time.Sleep(quiet) // what is measured is what it costs when nothing happens
	after, err := rig.CPU(l.Proc.PID())
	must(t, err)
	t.Logf("idle: %v of processor time in %v", after-before, quiet)
	if after-before > quiet/20 && !raceEnabled { // it is about a hundredth; a noisy machine counts more
		t.Errorf("an idle daemon took %v of processor time in %v, want at most 5 %%", after-before, quiet)
	}
}
