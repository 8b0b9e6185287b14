package forward

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"logmule/checkpoint"
	"logmule/forward/config"
	"logmule/forward/output"
	"logmule/forward/pack"
	"logmule/queue"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// morgue is two queues on a disk in memory: dead letters of the outputs api and web, and the data directory that they
// came from.
type morgue struct {
	t      *testing.T
	fs     *faultfs.FS
	stores map[string]*checkpoint.Memory
	cfg    *config.Config
}

func newMorgue(t *testing.T) *morgue {
	cfg := config.QuickStart("/data")
	cfg.Queue.SegmentSize, cfg.Queue.MaxSize, cfg.Queue.KeepFor = 64<<10, 64<<20, 0
	return &morgue{t: t, fs: faultfs.New(), stores: map[string]*checkpoint.Memory{}, cfg: cfg}
}

func (m *morgue) open(opt queue.Options) (*queue.Queue, error) {
	r := rig{fs: m.fs, stores: m.stores}
	opt.FS, opt.OpenStore = m.fs, r.offline(opt.Dir).OpenStore
	memory := opt.OpenStore
	opt.OpenStore = func(path string) (checkpoint.Store, []checkpoint.Problem, error) {
		store, problems, err := memory(path)
		return mortal{store, m.fs}, problems, err
	}
	return queue.Open(opt)
}

// mortal is a store that goes down with its disk.
type mortal struct {
	checkpoint.Store
	fs *faultfs.FS
}

func (s mortal) Save(positions map[string]checkpoint.Position, forget ...string) error {
	if _, err := s.fs.Stat("/"); err != nil {
		return err
	}
	return s.Store.Save(positions, forget...)
}

func (m *morgue) options() ReplayOptions {
	return ReplayOptions{From: "/data/deadletter", Into: "/data", Config: m.cfg, fsys: m.fs, open: m.open}
}

// with opens a queue for a moment.
func (m *morgue) with(dir string, do func(*queue.Queue)) {
	m.t.Helper()
	q, err := m.open(queueOptions(m.cfg, dir, nil))
	if err != nil {
		m.t.Fatal(err)
	}
	do(q)
	if err := q.Close(); err != nil {
		m.t.Fatal(err)
	}
}

// deliverTo lets outputs read all of the main queue, so that it knows them.
func (m *morgue) deliverTo(names ...string) {
	m.t.Helper()
	m.with("/data", func(q *queue.Queue) {
		for _, name := range names {
			r := q.Reader(name, queue.Oldest)
			r.Done(nil, checkpoint.Range{First: 1, Last: q.Status().Mark})
			if err := r.Checkpoint(m.t.Context()); err != nil {
				m.t.Fatal(err)
			}
			r.Close()
		}
	})
}

// bury makes n dead letters, of api and web in turn, numbered from first on, in both forms.
func (m *morgue) bury(first, n int) {
	m.t.Helper()
	d := &deadLetters{open: func() (*queue.Queue, error) { return m.open(queueOptions(m.cfg, "/data/deadletter", nil)) }}
	shared := (&pack.Attributes{Timestamp: 9, Type: "app", Severity: 3, Fields: []pack.Field{{Name: "own", Value: "x"}}}).Append(nil)
	for i := first; i < first+n; i++ {
		run := output.Run{Form: pack.Lines, Count: 1, Attributes: shared, Body: fmt.Appendf(nil, "letter %d %s\n", i, strings.Repeat("x", i%7*500))}
		if i%3 == 0 {
			own := (&pack.Record{Attributes: pack.Attributes{Severity: 1}, Payload: run.Body}).Append(nil)
			run = output.Run{Form: pack.Records, Count: 1, Attributes: shared, Body: pack.AppendOwn(nil, own)}
		}
		name := []string{"api", "web"}[i%2]
		_, last, err := d.add(m.t.Context(), lettersOf(name, time.Now(), []part{{first: uint64(100 + i), run: run}}, []output.Rejection{{Reason: "no"}}))
		if err == nil {
			err = d.wait(m.t.Context(), last)
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if err := d.close(); err != nil {
		m.t.Fatal(err)
	}
}

// each calls take with every record of the main queue, as it is in its run.
func (m *morgue) each(take func(run segment.Run, own []byte) error) {
	m.t.Helper()
	err := recovery.Walk(m.t.Context(), m.fs, "/data", recovery.WalkOptions{}, func(f *segment.Frame) error {
		for _, run := range f.Runs {
			if err := pack.Each(pack.Form(run.Form), run.Body, func(own []byte) error { return take(run, own) }); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// back lists what was put back: "output: first words of the payload".
func (m *morgue) back() (all []string) {
	m.t.Helper()
	m.each(func(run segment.Run, own []byte) error {
		var r pack.Record
		if err := r.Decode(run.Attributes, own, pack.Form(run.Form)); err != nil {
			return err
		}
		if len(r.Fields) != 1 || field(r, "own") != "x" || r.Timestamp != 9 || r.Type != "app" || r.Severity != map[segment.Form]int32{segment.Lines: 3, segment.Records: 1}[run.Form] {
			m.t.Errorf("put back: %+v", r)
		}
		words := strings.Fields(string(r.Payload))
		all = append(all, path.Dir(string(run.Key))+": "+words[0]+" "+words[1])
		return nil
	})
	return all
}

func letters(first, n int) (all []string) {
	for i := first; i < first+n; i++ {
		all = append(all, fmt.Sprintf("to/%s: letter %d", []string{"api", "web"}[i%2], i))
	}
	return all
}

func (m *morgue) replay(change func(*ReplayOptions)) Replayed {
	m.t.Helper()
	opt := m.options()
	if change != nil {
		change(&opt)
	}
	done, err := Replay(m.t.Context(), opt)
	if err != nil {
		m.t.Fatal(err)
	}
	return done
}

func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.deliverTo("api", "web")
		m.bury(0, 30)
		done := m.replay(nil)
		if done.Records != 30 || done.Outputs["api"] != 15 || done.Outputs["web"] != 15 || done.First != 1 || done.Last != 30 || done.Before != 0 || done.Lost != 0 || done.All != 30 {
			t.Errorf("%+v", done)
		}
		expect(t, "put back", m.back(), letters(0, 30))
		if again := m.replay(nil); again.Records != 0 || again.Before != 0 || again.All != 30 {
			t.Errorf("a second time: %+v", again)
		}
		m.bury(30, 5)
		if more := m.replay(nil); more.Records != 5 || more.First != 31 || more.Last != 35 || more.All != 35 {
			t.Errorf("the next ones: %+v", more)
		}
		expect(t, "put back", m.back(), letters(0, 35))
		s, err := recovery.TakeSurvey(m.fs, "/data/deadletter")
		if err != nil || s.Records != 0 || len(s.Segments) > 1 {
			t.Errorf("what is put back is not deleted: %+v, %v", s, err)
		}
	})
}

func TestReplayOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.deliverTo("api", "web", "other")
		m.bury(0, 9)
		m.cfg.Queue.KeepFor = config.Duration(time.Hour)
		m.replay(func(o *ReplayOptions) {
			o.open = func(opt queue.Options) (*queue.Queue, error) { opt.KeepFor = time.Hour; return m.open(opt) }
		})
		r := rig{fs: m.fs, stores: m.stores}
		if done, err := queue.Rewind(r.offline("/data/deadletter"), ReplayName, queue.Target{Sequence: 5}); err != nil || done.Again != 5 {
			t.Fatalf("%+v, %v", done, err)
		}
		done := m.replay(func(o *ReplayOptions) { o.Output = "other" })
		if done.Records != 5 || done.Outputs["other"] != 5 {
			t.Errorf("%+v", done)
		}
		expect(t, "put back", m.back(), append(letters(0, 9), "to/other: letter 4", "to/other: letter 5", "to/other: letter 6", "to/other: letter 7", "to/other: letter 8"))
	})
}

func TestReplayRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.with("/data", func(*queue.Queue) {})
		if _, err := Replay(t.Context(), m.options()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without dead letters: %v", err)
		}
		m.bury(0, 4)
		refuse := func(want string, change func(*ReplayOptions)) {
			t.Helper()
			opt := m.options()
			change(&opt)
			if done, err := Replay(t.Context(), opt); err == nil || !strings.Contains(err.Error(), want) || done.Records != 0 {
				t.Errorf("%v (%+v), want %q", err, done, want)
			}
			if n := len(m.back()); n != 0 {
				t.Errorf("%q: %d put back", want, n)
			}
		}
		refuse("no output has read", func(*ReplayOptions) {})
		m.deliverTo("api", "hq")
		refuse("does not know web; name one that it knows with --output: api, hq", func(*ReplayOptions) {})
		refuse("does not know nobody", func(o *ReplayOptions) { o.Output = "nobody" })
		m.with("/data", func(*queue.Queue) {
			opt := m.options()
			var locked *vfs.LockedError
			if _, err := Replay(t.Context(), opt); !errors.As(err, &locked) {
				t.Errorf("with a daemon: %v", err)
			}
		})
		m.with("/plain", func(q *queue.Queue) {
			last, err := q.Append(t.Context(), []segment.Run{{Form: segment.Lines, Count: 1, Raw: 2, Body: []byte("x\n")}})
			if err = errors.Join(err, q.WaitDurable(t.Context(), last)); err != nil {
				t.Fatal(err)
			}
		})
		refuse("record 1 of /plain is no dead letter", func(o *ReplayOptions) { o.From = "/plain" })
		done := m.replay(func(o *ReplayOptions) { o.Output = "hq" })
		if done.Records != 4 || done.Outputs["hq"] != 4 {
			t.Errorf("to another output: %+v", done)
		}
	})
}

// TestReplayPowerLoss loses power at every operation of a replay. The next one goes on where it was: every dead letter
// is put back once, in order.
func TestReplayPowerLoss(t *testing.T) {
	for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop, faultfs.Reorder} {
		before := 0
		for n, more := 1, true; more; n++ {
			synctest.Test(t, func(t *testing.T) {
				m := newMorgue(t)
				m.deliverTo("api", "web")
				m.bury(0, 10)
				start := m.fs.Ops()
				m.fs.CrashAt(start + n)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				first, err := Replay(ctx, m.options())
				cancel()
				more = m.fs.Ops() >= start+n
				m.fs = m.fs.Crash(mode, uint64(n))
				second := m.replay(nil)
				before += int(second.Before)
				expect(t, fmt.Sprintf("%v, operation %d, %v, %+v, %+v", mode, n, err, first, second), m.back(), letters(0, 10))
				if third := m.replay(nil); third.Records != 0 {
					t.Errorf("%v, operation %d: %+v a third time", mode, n, third)
				}
			})
		}
		if before == 0 {
			t.Errorf("%v: no replay was interrupted between the two queues", mode)
		}
	}
}

// TestReplayIntoFullQueue says so, and keeps what it has done.
func TestReplayIntoFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMorgue(t)
		m.deliverTo("api", "web")
		m.with("/data", func(q *queue.Queue) { q.Reader("api", queue.Oldest).Close() })
		m.bury(0, 10)
		for i := range 30 {
			m.bury(10+30*i, 30)
		}
		size := m.cfg.Queue.MaxSize
		m.cfg.Queue.MaxSize, m.cfg.Queue.Compression = 320<<10, "none"
		done, err := Replay(t.Context(), m.options())
		if err == nil || !strings.Contains(err.Error(), "max_size") || done.Records == 0 || done.Records >= 910 {
			t.Fatalf("%+v, %v", done, err)
		}
		m.cfg.Queue.MaxSize = size
		rest := m.replay(nil)
		if done.Records+rest.Before+rest.Records != 910 {
			t.Errorf("%+v, then %+v", done, rest)
		}
		expect(t, "put back", m.back(), letters(0, 910))
	})
}

func TestReplayMark(t *testing.T) {
	epoch := segment.Epoch{Starts: 3, Random: 0xab}
	reached := replayMark{queue: "q", stream: 1, epoch: epoch, sequence: 10}
	for _, c := range []struct {
		mark replayMark
		want bool
	}{
		{reached, true},
		{replayMark{"q", 1, epoch, 9}, true},
		{replayMark{"q", 1, epoch, 11}, false},
		{replayMark{"q", 0, epoch, 10}, true},
		{replayMark{"q", 2, epoch, 10}, false},
		{replayMark{"p", 1, epoch, 10}, false},
		{replayMark{"q", 1, segment.Epoch{Starts: 2, Random: 1}, 10}, true},
		{replayMark{"q", 1, segment.Epoch{Starts: 4, Random: 1}, 10}, false},
		{replayMark{"q", 1, segment.Epoch{Starts: 3, Random: 1}, 10}, false},
	} {
		if got := c.mark.isUpTo(reached); got != c.want {
			t.Errorf("%v, reached %v: %t", c.mark, reached, got)
		}
	}
	if back, err := parseReplayMark(reached.String()); err != nil || back != reached {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "q/1/3.ab/10", "q/1/3.00000000000000ab", "q/-1/3.00000000000000ab/10", "q/4294967296/3.00000000000000ab/10", "q/1/3/10", "q/1/3.00000000000000ab/10/1"} {
		if m, err := parseReplayMark(bad); err == nil {
			t.Errorf("%q is %v", bad, m)
		}
	}
}

func FuzzReplayMark(f *testing.F) {
	f.Add("q/1/3.00000000000000ab/10")
	f.Fuzz(func(t *testing.T, text string) {
		if m, err := parseReplayMark(text); err == nil && m.String() != text {
			t.Errorf("%q became %q", text, m)
		}
	})
}

func TestCutLetter(t *testing.T) {
	own := (&pack.Attributes{Severity: 3, Type: "app"}).Append(nil)
	l := Letter{Output: "api", Reason: "no", Time: time.Unix(5, 0).UTC(), Sequence: 7}
	twice := l.before(l.before(own))
	for _, want := range [][]byte{l.before(own), own} {
		got, rest, ok := cutLetter(twice)
		if !ok || got != l || !slices.Equal(rest, want) {
			t.Errorf("%+v, %q, %t", got, rest, ok)
		}
		twice = rest
	}
	if _, rest, ok := cutLetter(own); ok || !slices.Equal(rest, own) {
		t.Errorf("attributes of no dead letter: %q, %t", rest, ok)
	}
}
