package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestTornAtEveryByte cuts the last frame, or clears it from there on, at every byte: below the mark that is a loss of
// just its records, beyond it nothing at all.
func TestTornAtEveryByte(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(3)
	b.records(4)
	b.close()
	last := b.of(4)
	for _, acknowledged := range []bool{false, true} {
		var floors map[string]uint64
		if acknowledged {
			floors = map[string]uint64{"a": 8}
		}
		for _, cut := range []bool{true, false} {
			for at := last.offset; at < last.offset+last.size; at++ {
				fsys := b.fs.Crash(faultfs.Keep, 0)
				edit(t, fsys, b.path(0), func(data []byte) []byte {
					if cut {
						return data[:at]
					}
					clear(data[at:])
					return data
				})
				if data, err := vfs.ReadFile(b.fs, b.path(0), 1<<20); err != nil {
					t.Fatal(err)
				} else if !cut && len(strings.TrimRight(string(data[at:]), "\x00")) == 0 {
					continue // only padding was cleared
				}
				state := mustStart(t, fsys, floors)
				yes, no := ledgered(t, fsys)
				where := fmt.Sprintf("acknowledged %t, cut %t at %d", acknowledged, cut, at-last.offset)
				if got := surviving(t, fsys).String(); got != "1-3" {
					t.Fatalf("%s: records %s survive", where, got)
				}
				if len(no) > 0 || (acknowledged && yes.String() != "4-7") || (!acknowledged && (len(yes) > 0 || !state.Report.Clean)) {
					t.Fatalf("%s: lost %v and %v, report %+v", where, yes, no, state.Report)
				}
				if want := map[bool]uint64{true: 8, false: 4}[acknowledged]; state.Next != want {
					t.Fatalf("%s: next is %d", where, state.Next)
				}
			}
		}
	}
}

// TestStrangers is what a start leaves alone, and a segment of another queue, which it moves out of the way.
func TestStrangers(t *testing.T) {
	b := newBuilder(t)
	b.killed(5)
	dir := testDir + "/" + SegmentDir + "/"
	b.must(vfs.WriteFile(b.fs, dir+"notes.txt", []byte("mine")))
	b.must(vfs.WriteFile(b.fs, dir+"99999999999999999999-0000000000000001.seg", []byte("too large a number")))
	b.must(b.fs.MkdirAll(dir + "00000000000000000900-0000000000000001.seg"))
	foreign := segment.Header{Queue: segment.ID{9}, Epoch: segment.Epoch{Starts: 900}, Salt: 5, First: 1000, Size: 1 << 16}
	w, err := segment.Create(b.fs, dir, foreign)
	b.must(err)
	b.must(w.Close())
	before := b.fs.Crash(faultfs.Keep, 0)
	state := mustStart(t, b.fs, nil)
	if state.Next != 6 || len(state.Segments) != 1 || len(state.Empty) != 0 || state.Epoch.Starts != 2 {
		t.Errorf("state %+v", state)
	}
	if len(state.Report.Notes) != 4 || state.Report.LostRecords > 0 {
		t.Errorf("notes %q", state.Report.Notes)
	}
	for name, now := range map[string]string{
		"notes.txt": dir + "notes.txt", "99999999999999999999-0000000000000001.seg": dir + "99999999999999999999-0000000000000001.seg",
		foreign.Name().String(): testDir + "/quarantine/" + foreign.Name().String() + ".stray",
	} {
		was, err := vfs.ReadFile(before, dir+name, 1<<20)
		b.must(err)
		if is, err := vfs.ReadFile(b.fs, now, 1<<20); err != nil || string(is) != string(was) {
			t.Errorf("%s was changed (%v)", name, err)
		}
	}
}

// TestNewerFormat leaves a segment of a newer logmule alone, and gives none of the sequences that it may hold.
func TestNewerFormat(t *testing.T) {
	b := newBuilder(t)
	b.killed(5)
	h := segment.Header{Incompat: 1 << 40, Queue: b.queue, Salt: 7, First: 6, Size: 1 << 16}
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, h.Name()), h.Encode()))
	state := mustStart(t, b.fs, nil)
	if len(state.Segments) != 1 || len(state.Empty) != 0 || state.Next < 4096 || !state.Report.Clean {
		t.Errorf("state %+v", state)
	}
	if yes, no := ledgered(t, b.fs); len(yes)+len(no) > 0 {
		t.Errorf("the ledger has %v and %v", yes, no)
	}
	if !slices.ContainsFunc(state.Report.Notes, func(n string) bool { return strings.Contains(n, "newer logmule") }) {
		t.Errorf("notes %q", state.Report.Notes)
	}
}

// TestMisnamed: the header says which segment it is. Each gets its own name back, and none is lost.
func TestMisnamed(t *testing.T) {
	b := newBuilder(t)
	for range 5 {
		b.sealed(5)
	}
	first, last := b.path(0), b.path(4)
	b.must(b.fs.Rename(first, "/data/x"))
	b.must(b.fs.Rename(last, first))
	b.must(b.fs.Rename("/data/x", last))
	if got := surviving(t, b.fs).String(); got != "1-25" {
		t.Errorf("with wrong names %s can be read", got)
	}
	if r := check(t, b.fs); r.Clean || len(r.Damage) != 2 || r.LostRecords > 0 || r.Records != 25 || r.Damage[0].Cause != causeName {
		t.Errorf("fsck: %d records, %+v", r.Records, r.Damage)
	}
	if got := len(survey(t, b.fs).Segments); got != 5 {
		t.Errorf("stat shows %d segments", got)
	}
	state := mustStart(t, b.fs, nil)
	if state.Next != 26 {
		t.Errorf("next is %d, and 25 was given", state.Next)
	}
	if len(state.Segments) != 5 || state.Report.LostRecords > 0 {
		t.Errorf("segments %+v, %+v", state.Segments, state.Report)
	}
	for i, name := range b.made {
		if p, _, err := openPart(b.fs, listed{name: name, path: b.path(i), size: b.sizeOf(i)}); err != nil || p.misnamed || p.header.Name() != name {
			t.Errorf("%s is %s (%v)", name, p.header.Name(), err)
		}
	}
	if r := check(t, b.fs); !r.Clean {
		t.Errorf("fsck after the start: %+v", r.Damage)
	}
}

func survey(t testing.TB, fsys vfs.FS) Survey {
	t.Helper()
	s, err := TakeSurvey(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestIdentity is how the identity survives, or comes back.
func TestIdentity(t *testing.T) {
	tests := map[string]struct {
		change func([]byte) []byte
		same   bool
	}{
		"as it was": {func(b []byte) []byte { return b }, true},
		"flipped":   {func(b []byte) []byte { b[10] ^= 1; return b }, true},
		"cut":       {func(b []byte) []byte { return b[:20] }, true},
		"empty":     {func([]byte) []byte { return nil }, true},
		"restored":  {func(b []byte) []byte { return b }, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			b.start()
			b.start()
			b.killed(5)
			if name == "restored" {
				b.must(writeIdentity(b.fs, testDir, b.queue, 1))
			}
			edit(t, b.fs, "/data/identity", test.change)
			state := mustStart(t, b.fs, nil)
			if state.Queue != b.queue || state.Epoch.Starts != 4 {
				t.Errorf("queue %v, start %d; want %v, 4", state.Queue, state.Epoch.Starts, b.queue)
			}
			id, starts, lost, err := readIdentity(b.fs, testDir)
			if id != b.queue || starts != 4 || lost != nil || err != nil {
				t.Errorf("the file has %v, %d, %v, %v", id, starts, lost, err)
			}
		})
	}
	t.Run("newer", func(t *testing.T) {
		b := newBuilder(t)
		line, err := sealLine(identity{ID: b.queue.String(), Starts: 3, Format: 2})
		b.must(err)
		b.must(vfs.WriteFile(b.fs, "/data/identity", line))
		_, err = startOn(t, b.fs, nil)
		var unknown *UnknownFormatError
		if !errors.As(err, &unknown) {
			t.Errorf("start on an identity of a newer format: %v", err)
		}
	})
}

// TestOnlyTheNewest fails every read of a segment that a start has no business with.
func TestOnlyTheNewest(t *testing.T) {
	b := newBuilder(t)
	for range 6 {
		b.open()
		b.full(b.at("a", 1))
		b.durable(5)
		b.seal()
	}
	b.start()
	b.killed()
	touched := make(map[string]bool)
	b.fs.FailReads(func(name string, offset int64, size int) error {
		if strings.HasSuffix(name, ".seg") {
			touched[name] = true
		}
		return nil
	})
	state := mustStart(t, b.fs, nil)
	if len(touched) != 3 || !touched[b.path(4)] || !touched[b.path(5)] || !touched[b.path(6)] {
		t.Errorf("read %v", touched)
	}
	if len(state.Segments) != 6 || state.Segments[0].Last != 5 || state.Segments[5].Last != 30 || state.Next != 31 {
		t.Errorf("state %+v", state)
	}
}

// TestUnreadable is a disk that gives errors for single blocks.
func TestUnreadable(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.durable(5)
	for b.w.End() < 20000 {
		b.durable(200)
	}
	b.close()
	bad := b.of(6).offset
	b.fs.FailReads(func(name string, offset int64, size int) error {
		if strings.HasSuffix(name, ".seg") && offset < bad+8 && bad < offset+int64(size) {
			return syscall.EIO
		}
		return nil
	})
	state := mustStart(t, b.fs, nil)
	if len(state.Report.Damage) != 1 || state.Report.Damage[0].Cause != causeUnreadable {
		t.Errorf("damage %+v", state.Report.Damage)
	}
	yes, no := ledgered(t, b.fs)
	seen := surviving(t, b.fs)
	if len(no) > 0 || len(yes) != 1 || len(seen.Without(yes[0].First, yes[0].Last)) != 1 || seen.Last() != b.next-1 {
		t.Errorf("lost %v and %v, survived %v", yes, no, seen)
	}
}

// TestOperational is what a start returns as an error: what only the operator can settle, with the name of the file.
func TestOperational(t *testing.T) {
	b := newBuilder(t)
	b.killed(5)
	b.append(0, "torn")
	calm := b.fs.Crash(faultfs.Keep, 0)
	mustStart(t, calm, nil)
	for n := 1; n <= calm.Ops(); n++ {
		for _, reason := range []error{fs.ErrPermission, syscall.EROFS} {
			fsys := b.fs.Crash(faultfs.Keep, 0)
			fsys.FailFrom(n, reason)
			_, err := startOn(t, fsys, nil)
			if err != nil && (!errors.Is(err, reason) || !strings.Contains(err.Error(), testDir)) {
				t.Errorf("%v at %v: %v", reason, calm.Trace()[n-1], err)
			}
			if err == nil && calm.Trace()[n-1].Kind != faultfs.SyncDir && n < calm.Ops() {
				t.Errorf("%v at %v: no error", reason, calm.Trace()[n-1])
			}
		}
	}
}

// brokenStore is a checkpoint store that cannot be read.
type brokenStore struct{ checkpoint.Store }

func (brokenStore) Load() (map[string]checkpoint.Position, error) { return nil, syscall.EIO }

func TestStoreUnreadable(t *testing.T) {
	b := newBuilder(t)
	b.open()
	b.full(b.at("a", 3))
	b.durable(5)
	b.close()
	state, err := Start(b.fs, testDir, brokenStore{}, Options{})
	if err != nil || floorsOf(state.Outputs) != "a=3" || len(state.Report.Notes) == 0 {
		t.Errorf("%v, outputs %v, notes %q", err, state.Outputs, state.Report.Notes)
	}
}

// shutFS cannot open one file.
type shutFS struct {
	vfs.FS
	name string
	err  error
}

func (s shutFS) Open(name string) (vfs.File, error) {
	if name == s.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: s.err}
	}
	return s.FS.Open(name)
}

// TestShut is a segment that the file system does not give out: it may hold anything, so nothing of it is given up and
// none of its sequences is used again.
func TestShut(t *testing.T) {
	for shut := range 2 {
		b := newBuilder(t)
		b.sealed(5)
		b.sealed(5)
		b.killed(5)
		shut++ // a start does not look at the first one
		broken := shutFS{b.fs, b.path(shut), syscall.EIO}
		state := mustStart(t, broken, nil)
		if state.Next < 16 || (shut == 2) != (state.Next > 16) || len(state.Segments) != 2 || len(state.Empty) > 0 {
			t.Errorf("segment %d: %+v", shut, state)
		}
		if yes, no := ledgered(t, b.fs); len(yes)+len(no) > 0 {
			t.Errorf("segment %d: the ledger has %v and %v", shut, yes, no)
		}
		r := check(t, broken)
		if r.Clean || len(r.Damage) != 1 || r.Damage[0].Segment != b.made[shut].String() || r.Damage[0].Cause != causeUnreadable || r.LostRecords > 0 {
			t.Errorf("segment %d: %+v", shut, r)
		}
		broken.err = fs.ErrPermission
		if _, err := startOn(t, broken, nil); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), b.path(shut)) {
			t.Errorf("segment %d, without permission: %v", shut, err)
		}
		broken.err = fs.ErrNotExist // deleted since it was listed
		if r := check(t, broken); !r.Clean || r.Segments != 2 {
			t.Errorf("segment %d, deleted: %+v", shut, r)
		}
	}
}

// TestNothingButOldHeaders takes the identity from where it is left.
func TestNothingButOldHeaders(t *testing.T) {
	b := newBuilder(t)
	b.start()
	for range 4 {
		b.open()
		b.full(b.at("a", 1))
		b.durable(5)
		b.close()
	}
	b.zero(2, 0, 4096)
	b.zero(3, 0, 4096)
	b.remove("/data/identity")
	state := mustStart(t, b.fs, nil)
	if state.Queue != b.queue || state.Epoch.Starts != 3 {
		t.Errorf("queue %v, start %d", state.Queue, state.Epoch.Starts)
	}
}

// TestLostEndOfSealedSegment: bad frames at the end of a sealed segment that a start reads are left to the readers, who know of
// them by the trailer. So the segment ends where its trailer says, not behind the last good frame.
func TestLostEndOfSealedSegment(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	b.sealed(10, 400, 400)
	b.killed(5)
	trailer := trailerOf(t, b, 0)
	from := b.of(411).offset
	b.zero(0, from, trailer.DataEnd-from) // more than the parity gives back
	state := mustStart(t, b.fs, nil)
	if s := state.Segments[0]; s.Last != 810 || s.DataEnd != trailer.DataEnd || !s.Sealed {
		t.Errorf("the segment is taken to end with record %d at %d, want 810 at %d", s.Last, s.DataEnd, trailer.DataEnd)
	}
}
