package integration

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logmule/integration/rig"
)

const checkpointConfiguration = "[input.in]\ntype = \"http\"\nlisten = %q\n[output.out]\ntype = \"http\"\nurl = %q\n"

// TestCheckpointDatabaseDamaged: whatever happens to checkpoints.db, the daemon starts and loses nothing, and what the
// log remembers by then, which is all but the last second, is not repeated.
func TestCheckpointDatabaseDamaged(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	sink := httpSink(t, "127.0.0.1:0", d.Arrived)
	l.configure(fmt.Sprintf(checkpointConfiguration, in, sink.URL))
	name := filepath.Join(l.data, "checkpoints.db")
	r := l.judge.Rand("noise")
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Batch: 10}
	round := func(what string, damage func() error) {
		source.Limit += 100
		if answers := source.Run(t.Context()); len(answers) != 1 || answers[200] == 0 {
			t.Fatalf("%s: answers %v", what, answers)
		}
		l.drained(d)
		l.wait("the log remembers what was delivered", func() bool { return l.backlogBySurvey() == 0 })
		l.Proc.Kill()
		if err := damage(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		l.start()
		if f := l.judge.Verdict().Findings[0]; f.Doubled.Count > 0 {
			t.Fatalf("%s: %s", what, l.judge.Verdict())
		}
	}
	l.start()
	for what, damage := range map[string]func() error{
		"removed":         func() error { return os.Remove(name) },
		"emptied":         func() error { return os.Truncate(name, 0) },
		"cut to a page":   func() error { return os.Truncate(name, 4096) },
		"cut in a page":   func() error { return os.Truncate(name, 10_000) },
		"cut by a byte":   func() error { return cutByOne(name) },
		"all noise":       func() error { return overwrite(name, r, 0, 1<<20) },
		"a longer file":   func() error { return overwrite(name, r, 1<<20, 1<<20) },
		"a directory":     func() error { return becomes(name, func() error { return os.Mkdir(name, 0o700) }) },
		"a broken link":   func() error { return becomes(name, func() error { return os.Symlink("nowhere", name) }) },
		"as it is":        func() error { return nil },
		"quarantine, too": func() error { return os.RemoveAll(filepath.Join(l.data, "quarantine")) },
	} {
		round(what, damage)
	}
	for page := range pages(t, name) {
		round(fmt.Sprintf("noise in page %d", page), func() error { return overwrite(name, r, int64(page)*4096, 4096) })
	}
	source.Limit += 100
	source.Run(t.Context())
	l.drained(d)
	l.verdict(0)
}

// TestCheckpointDatabaseLostUnderLoad: with records under way all the time, losing checkpoints.db costs repeats of about a second.
func TestCheckpointDatabaseLostUnderLoad(t *testing.T) {
	const about = 2 * time.Second
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	sink := httpSink(t, "127.0.0.1:0", d.Arrived)
	l.configure(fmt.Sprintf(checkpointConfiguration, in, sink.URL))
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Every: 2 * time.Millisecond}
	stop := background(t, source.Run)
	l.start()
	begin := time.Now()
	l.wait("it has run for a while", func() bool { return time.Since(begin) > 2*about && l.judge.Owed() > 2000 })
	since := time.Now().Add(-about)
	l.Proc.Kill()
	repeatable := sink.Stored(since)
	must(t, os.Remove(filepath.Join(l.data, "checkpoints.db")))
	l.start()
	owed := l.judge.Owed()
	l.wait("ingest goes on", func() bool { return l.judge.Owed() > owed+1000 })
	stop()
	l.drained(d)
	l.verdict(repeatable)
}

// pages are those to damage: all of them with time, otherwise the first ones, which hold something.
func pages(t *testing.T, name string) int {
	info, err := os.Stat(name)
	must(t, err)
	n := int(info.Size() / 4096)
	if !full {
		n = min(n, 12)
	}
	return n
}

func cutByOne(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, info.Size()-1)
}

func overwrite(name string, r *rand.Rand, at, size int64) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	noise := make([]byte, size)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	_, err = file.WriteAt(noise, at)
	return err
}

func becomes(name string, what func() error) error {
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return err
	}
	return what()
}

// TestIdleDaemonWritesNothing: with nothing to do, no file of data_dir changes.
func TestIdleDaemonWritesNothing(t *testing.T) {
	in := freeAddress(t)
	l := newLab(t, "")
	d := l.judge.Destination("out")
	l.configure(fmt.Sprintf(checkpointConfiguration, in, httpSink(t, "127.0.0.1:0", d.Arrived).URL))
	l.start()
	source := &rig.HTTPSource{URL: "http://" + in + "/", Source: l.judge.Source("client"), Limit: 1000}
	source.Run(t.Context())
	l.drained(d)
	const quiet = 3 * time.Second
	before, since := l.files(), time.Now()
	l.wait("no file changes for a while", func() bool {
		if now := l.files(); now != before {
			before, since = now, time.Now()
		}
		return time.Since(since) > quiet
	})
	l.verdict(0)
}

// files lists the data directory with sizes and times of change.
func (l *lab) files() (list string) {
	l.t.Helper()
	must(l.t, filepath.WalkDir(l.data, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			list += fmt.Sprintf("%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	}))
	return list
}
