package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// scenarios are directories on which a start has much to do.
var scenarios = map[string]struct {
	floors map[string]uint64
	build  func(b *builder)
}{
	"two to seal, holes on both sides of the mark": {map[string]uint64{"a": 4}, func(b *builder) {
		b.open()
		b.full(b.at("a", 2))
		b.durable(5, 5, 5)
		b.close()
		b.open()
		b.full(b.at("a", 3))
		b.durable(5, 5)
		b.records(5)
		b.records(2)
		b.close()
		b.flip(0, b.of(7).offset+70)
		b.flip(1, b.of(17).offset+70)
		b.flip(1, b.of(27).offset+70)
		b.append(1, "and a torn tail")
	}},
	"newest lost, older torn": {map[string]uint64{"a": 30}, func(b *builder) {
		b.killed(5, 5)
		b.append(0, "torn")
		b.open()
		b.durable(5)
		b.close()
		b.remove(b.path(1))
	}},
	"superseded, empty and anything": {nil, func(b *builder) {
		b.killed(5)
		b.open()
		b.records(5)
		b.close()
		b.next = 6
		b.start()
		b.killed(3)
		b.start()
		b.killed()
		b.killed()
		edit(b.t, b.fs, b.path(4), func([]byte) []byte { return []byte("no segment") })
	}},
	"frames of a source behind a hole": {nil, func(b *builder) {
		b.open()
		b.durable(5)
		b.sourced(5, "file", "10")
		b.sourced(5, "file", "15")
		b.close()
		b.flip(0, b.of(7).offset+70)
	}},
	"a sealed one that heals": {map[string]uint64{"a": 4}, func(b *builder) {
		b.codec = segment.None
		b.sealed(5)
		b.open()
		b.full(b.at("a", 2))
		b.durable(5, 20, 5)
		b.seal()
		b.killed(5)
		b.append(2, "and a torn tail")
		b.zero(1, b.of(17).offset+70, 200)
		b.zero(1, 0, 4096)
		b.flip(1, b.sizeOf(1)-5000)
	}},
	"frames of a source behind a hole, and nothing before it": {nil, func(b *builder) {
		b.sealed(5)
		b.open()
		b.full(segment.Pair{Key: "file", Value: []byte("5")})
		b.sync()
		b.sourced(5, "file", "10")
		b.sourced(5, "file", "15")
		b.close()
		b.flip(1, b.of(7).offset+70)
	}},
	"identity lost, header bad": {nil, func(b *builder) {
		b.sealed(5)
		b.killed(5, 5)
		b.zero(1, 0, 4096)
		b.append(0, "behind the trailer")
		b.remove("/data/identity")
	}},
	"names in a ring, and one of an emptied file": {map[string]uint64{"a": 21}, func(b *builder) {
		b.sealed(5)
		b.sealed(5)
		b.killed(5)
		b.start()
		b.killed(5)
		x, y, z := b.content(0), b.content(2), b.content(3)
		b.put(b.made[0], y)
		b.put(b.made[2], nil)
		b.put(b.made[3], x)
		b.put(segment.Name{First: 3, Salt: 7}, z)
	}},
	"strangers among the newest": {map[string]uint64{"a": 4}, func(b *builder) {
		b.sealed(5)
		b.killed(5, 5)
		b.put(segment.Name{First: 8, Salt: 7}, []byte(strings.Repeat("noise", 4000)))
		b.put(segment.Name{First: 900, Salt: 7}, b.content(0))
		h := segment.Header{Queue: segment.ID{9}, Epoch: segment.Epoch{Starts: 900}, Salt: 5, First: 12, Size: 1 << 16}
		b.put(h.Name(), h.Encode())
	}},
	"cut in the padding of their last frames": {map[string]uint64{"a": 4}, func(b *builder) {
		for i := range 2 {
			b.open()
			b.full(b.at("a", 2))
			b.records(3)
			end := b.padded(4)
			b.sync()
			b.close()
			b.truncate(i, end+int64(i))
		}
	}},
	"two lives of a queue": {nil, func(b *builder) {
		b.sealed(10)
		other := *b
		other.fs, other.made = b.fs.Crash(faultfs.Keep, 0), append(slices.Clone(b.made), segment.Name{})
		other.start()
		other.killed(5, 3)
		b.start()
		b.start()
		b.killed(6)
		b.put(other.made[2], other.content(2))
	}},
}

// content is what segment i holds.
func (b *builder) content(i int) []byte {
	b.t.Helper()
	data, err := vfs.ReadFile(b.fs, b.path(i), 1<<20)
	b.must(err)
	return data
}

// put makes a file with the name of a segment, durable.
func (b *builder) put(name segment.Name, data []byte) {
	b.t.Helper()
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, name), data))
}

// outcome is what has to be the same however often a start was cut short.
type outcome struct{ survive, yes, no, outputs, positions string }

func outcomeOf(t testing.TB, fsys *faultfs.FS, state State) outcome {
	t.Helper()
	yes, no := ledgered(t, fsys)
	return outcome{
		survive: surviving(t, fsys).String(), yes: yes.String(), no: no.String(),
		outputs: floorsOf(state.Outputs), positions: fmt.Sprint(state.Positions),
	}
}

// TestStartCrash cuts a start short at every operation, leaves what a power loss would, and starts again.
func TestStartCrash(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			scenario.build(b)
			crashLoop(t, b.fs, scenario.floors, func(f *faultfs.FS) vfs.FS { return f })
		})
	}
}

// TestStartCrashTwins plants bugs, and the crash test has to find each.
func TestStartCrashTwins(t *testing.T) {
	twins := map[string]func(name string) bool{
		"ledger not synced":     func(name string) bool { return strings.Contains(name, ledgerFile) },
		"quarantine not synced": func(name string) bool { return strings.Contains(name, quarantineDir) },
		"identity not synced":   func(name string) bool { return strings.Contains(name, identityFile) },
	}
	for name, lie := range twins {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			scenarios["two to seal, holes on both sides of the mark"].build(b)
			p := &probe{TB: t}
			var run sync.WaitGroup
			run.Go(func() {
				crashLoop(p, b.fs, nil, func(f *faultfs.FS) vfs.FS { return lyingFS{f, lie} })
			})
			run.Wait()
			if !p.failed {
				t.Error("the crash test has not noticed")
			}
		})
	}
}

// probe is a test that only remembers that it failed.
type probe struct {
	testing.TB
	failed bool
}

func (p *probe) Helper()               {}
func (p *probe) Errorf(string, ...any) { p.failed = true }
func (p *probe) Fatal(...any)          { p.failed = true; runtime.Goexit() }
func (p *probe) Fatalf(string, ...any) { p.failed = true; runtime.Goexit() }

// lyingFS does not sync the files that lie names.
type lyingFS struct {
	*faultfs.FS
	lie func(name string) bool
}

type lyingFile struct{ vfs.File }

func (lyingFile) Sync() error { return nil }

func (l lyingFS) Create(name string) (vfs.File, error) {
	f, err := l.FS.Create(name)
	return l.wrap(name, f), err
}

func (l lyingFS) OpenWrite(name string) (vfs.File, error) {
	f, err := l.FS.OpenWrite(name)
	return l.wrap(name, f), err
}

func (l lyingFS) wrap(name string, f vfs.File) vfs.File {
	if f != nil && l.lie(name) {
		return lyingFile{f}
	}
	return f
}

func crashLoop(t testing.TB, base *faultfs.FS, floors map[string]uint64, wrap func(*faultfs.FS) vfs.FS) {
	calm := base.Crash(faultfs.Keep, 0)
	state := mustStart(t, wrap(calm), floors)
	want := outcomeOf(t, calm, state)
	saved(t, base, calm)
	for n := 1; n <= calm.Ops()+1; n++ {
		for seed := range uint64(5) {
			mode := faultfs.Reorder
			if seed < 2 {
				mode = []faultfs.Mode{faultfs.Keep, faultfs.Drop}[seed]
			}
			fsys := base.Crash(faultfs.Keep, 0)
			fsys.CrashAt(n)
			first, err := startOn(t, wrap(fsys), floors)
			after := fsys.Crash(mode, seed)
			saved(t, base, after)
			again := mustStart(t, wrap(after), floors)
			where := fmt.Sprintf("crash at operation %d, %v %d", n, mode, seed)
			if got := outcomeOf(t, after, again); got != want {
				t.Fatalf("%s:\ngot  %+v\nwant %+v", where, got, want)
			}
			if err == nil && again.Epoch.Starts <= first.Epoch.Starts {
				t.Fatalf("%s: start %d follows start %d", where, again.Epoch.Starts, first.Epoch.Starts)
			}
			if again.Next < state.Next || again.Queue != state.Queue {
				t.Fatalf("%s: next is %d of %v, was %d of %v", where, again.Next, again.Queue, state.Next, state.Queue)
			}
			third := mustStart(t, wrap(after), floors)
			if got := outcomeOf(t, after, third); got != want || !third.Report.Clean || third.Next != again.Next {
				t.Fatalf("%s, third start:\ngot  %+v\nwant %+v\nreport %+v", where, got, want, third.Report)
			}
			if third.Epoch.Starts <= again.Epoch.Starts {
				t.Fatalf("%s: start %d follows start %d", where, third.Epoch.Starts, again.Epoch.Starts)
			}
			saved(t, base, after)
		}
	}
}

// saved fails where a byte of a segment is gone or changed of which quarantine has no copy. Zeros need none.
func saved(t testing.TB, before, after *faultfs.FS) {
	t.Helper()
	copies := make(map[string][][]byte) // by segment; each as long as it reaches, padded to its offset
	for _, name := range quarantined(t, after) {
		if base, whole := strings.CutSuffix(name, damagedSuffix); whole {
			copies[base] = append(copies[base], contentOf(t, after, filepath.Join(testDir, quarantineDir, name)))
			continue
		}
		base, rest, _ := strings.Cut(name, ".seg-")
		var offset, length int64
		if n, _ := fmt.Sscanf(rest, "%d-%d.bin", &offset, &length); n != 2 || strings.HasSuffix(name, ".tmp") {
			continue
		}
		data, err := vfs.ReadFile(after, filepath.Join(testDir, quarantineDir, name), 1<<30)
		if err != nil || int64(len(data)) != length {
			t.Fatalf("quarantine/%s: %d bytes, %v", name, len(data), err)
		}
		copies[base+".seg"] = append(copies[base+".seg"], append(make([]byte, offset), data...))
	}
	dir := filepath.Join(testDir, SegmentDir)
	infos, err := before.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		path := filepath.Join(dir, info.Name())
		was, err := vfs.ReadFile(before, path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if movedTo(after, was) {
			continue
		}
		is, err := vfs.ReadFile(after, path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range was {
			if c == 0 || i < len(is) && is[i] == c {
				continue
			}
			if !slices.ContainsFunc(copies[info.Name()], func(b []byte) bool { return i < len(b) && b[i] == c }) {
				t.Fatalf("%s: byte %d was changed and is not in quarantine %v", path, i, quarantined(t, after))
			}
		}
	}
}

// movedTo tells whether some file begins with all of this, under whatever name.
func movedTo(fsys *faultfs.FS, data []byte) bool {
	for _, dir := range []string{SegmentDir, quarantineDir} {
		infos, _ := fsys.ReadDir(filepath.Join(testDir, dir)) // there may be no quarantine
		for _, info := range infos {
			if is, err := vfs.ReadFile(fsys, filepath.Join(testDir, dir, info.Name()), 1<<30); err == nil && bytes.HasPrefix(is, data) {
				return true
			}
		}
	}
	return false
}

// TestStartErrors makes every single operation of a start fail once. It may then fail as a whole, but not lose a record,
// and the start after it has the same outcome as ever.
func TestStartErrors(t *testing.T) {
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			scenario.build(b)
			calm := b.fs.Crash(faultfs.Keep, 0)
			state := mustStart(t, calm, scenario.floors)
			want := outcomeOf(t, calm, state)
			for n := 1; n <= calm.Ops(); n++ {
				for _, reason := range []error{syscall.EIO, syscall.ENOSPC} {
					fsys := b.fs.Crash(faultfs.Keep, 0)
					fsys.FailAt(n, reason)
					first, err := startOn(t, fsys, scenario.floors)
					where := fmt.Sprintf("%v at %v", reason, calm.Trace()[n-1])
					if err != nil && !errors.Is(err, reason) {
						t.Fatalf("%s: %v", where, err)
					}
					if err == nil {
						// A segment that had to be left as it is ends where the next one will say.
						left := surviving(t, fsys)
						left = slices.DeleteFunc(left, func(r checkpoint.Range) bool { return r.First > first.Previous.Last })
						if left.String() != want.survive {
							t.Fatalf("%s: got %v, want %v\n%+v", where, left, want.survive, first)
						}
					}
					again := mustStart(t, fsys, scenario.floors)
					if got := outcomeOf(t, fsys, again); got != want {
						t.Fatalf("%s:\ngot  %+v\nwant %+v", where, got, want)
					}
				}
			}
		})
	}
}
