package queue

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// hurt is a queue whose first segment is damaged within the reach of its parity; all are the payloads, was is the segment.
func hurt(t *testing.T, change func(*Options)) (b *bench, all []string, was []byte) {
	t.Helper()
	b = newBench(t, change)
	all = b.fill(30, 5000)
	b.close()
	was = b.first()
	b.overwrite([]byte("damage"), 20000)
	return b, all, was
}

// first is the content of the first segment.
func (b *bench) first() []byte {
	b.Helper()
	data, err := vfs.ReadFile(b.fsys, b.firstPath(), 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func (b *bench) firstPath() string {
	b.Helper()
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		b.Fatal(err)
	}
	return filepath.Join("/data/segments", list[0].Name())
}

// fsck checks beside the open queue.
func (b *bench) fsck() recovery.Report {
	b.Helper()
	r, err := b.fsckOf(b.fsys)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// TestReaderHeals: a reader that meets damage has it healed on the disk and goes on without a loss; the damaged file is in
// quarantine, and whoever reads next finds nothing.
func TestReaderHeals(t *testing.T) {
	b, all, was := hurt(t, nil)
	b.open()
	b.q.Reader("holds", Oldest)
	for _, name := range []string{"one", "two"} {
		got, lost := b.take(b.q.Reader(name, Oldest), len(all))
		equal(t, name, got, all)
		if lost != 0 {
			t.Errorf("%s lost %d records", name, lost)
		}
	}
	if !bytes.Equal(b.first(), was) {
		t.Error("the segment is not what it was")
	}
	if r := b.fsck(); !r.Clean || len(b.ledger()) > 0 {
		t.Errorf("fsck %+v, ledger %+v", r.Damage, b.ledger())
	}
	if _, err := b.fsys.Stat(filepath.Join("/data/quarantine", filepath.Base(b.firstPath())+".damaged")); err != nil {
		t.Errorf("quarantine: %v", err)
	}
	if s := b.q.Status(); s.Healed != 1 || s.HealedBytes == 0 || s.HealErrors != 0 || s.Damaged != 0 {
		t.Errorf("status %+v", s)
	}
}

// TestReaderHealsWithoutTrailer: a segment that has lost its trailer is known by its index, healed, and what it was.
func TestReaderHealsWithoutTrailer(t *testing.T) {
	b, all, was := hurt(t, nil)
	b.overwrite(make([]byte, segment.TrailerSize), int64(len(was)-segment.TrailerSize))
	if r := b.fsck(); r.LostRecords > 0 || r.HealedBytes == 0 {
		t.Errorf("fsck before: %+v", r)
	}
	b.open()
	b.q.Reader("holds", Oldest)
	got, lost := b.take(b.q.Reader("one", Oldest), len(all))
	equal(t, "without a trailer", got, all)
	if lost != 0 || !bytes.Equal(b.first(), was) {
		t.Errorf("lost %d, status %+v", lost, b.q.Status())
	}
	if r := b.fsck(); !r.Clean {
		t.Errorf("fsck after: %+v", r.Damage)
	}
}

// TestReaderHealsInMemory: a disk without room costs no record that parity can give; with room it is healed.
func TestReaderHealsInMemory(t *testing.T) {
	full := &tight{}
	b, all, was := hurt(t, nil)
	bad := b.first()
	full.FS = b.fsys
	b.opt.FS = full
	b.opt.MinFree = 1
	b.open()
	full.on.Store(true)
	two := b.q.Reader("two", Oldest)
	got, lost := b.take(b.q.Reader("one", Oldest), len(all))
	equal(t, "without room", got, all)
	if s := b.q.Status(); lost != 0 || s.Healed != 0 || s.HealErrors == 0 || !bytes.Equal(b.first(), bad) {
		t.Errorf("lost %d, status %+v", lost, s)
	}
	full.on.Store(false)
	path := b.firstPath()
	var f segment.Frame
	for n := 0; n < len(all); n += int(f.Count) { // nothing is done yet: the segment stays
		if lost, err := two.Next(b.ctx, &f); err != nil || lost.Last > 0 {
			t.Fatalf("with room: lost %+v, %v", lost, err)
		}
	}
	if !bytes.Equal(b.first(), was) || b.firstPath() != path {
		t.Errorf("the segment is not what it was: %+v", b.q.Status())
	}
}

// TestReaderHealsUnreadable: sectors that the disk does not give are healed like others, without a wait.
func TestReaderHealsUnreadable(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SegmentSize, o.MaxSize = 4<<20, 64<<20 })
	all := b.fill(30, 5000)
	b.close()
	path := b.firstPath()
	var gone atomic.Bool
	b.fsys.FailReads(func(name string, offset int64, size int) error {
		if name == path && !gone.Load() && offset < 24<<10 && 16<<10 < offset+int64(size) {
			return syscall.EIO
		}
		return nil
	})
	b.fsys.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Rename && op.To == path {
			gone.Store(true) // another file has the name from here on
		}
		return nil
	})
	b.open()
	got, lost := b.take(b.q.Reader("one", Oldest), len(all))
	equal(t, "unreadable", got, all)
	if s := b.q.Status(); lost != 0 || s.Healed+uint64(b.q.Recovered().HealedBytes) == 0 {
		t.Errorf("lost %d, status %+v", lost, s)
	}
}

// TestHealTogether: readers, the scrubber and fsck on the same damaged segment at once.
func TestHealTogether(t *testing.T) {
	b, all, was := hurt(t, func(o *Options) { o.ScrubRate, o.scrubEvery = 1<<40, time.Millisecond })
	b.open()
	var work sync.WaitGroup
	for _, name := range []string{"a", "b", "c"} {
		r := b.q.Reader(name, Oldest)
		work.Go(func() {
			var f segment.Frame
			for n := 0; n < len(all); {
				lost, err := r.Next(b.ctx, &f)
				if err != nil || lost.Last > 0 {
					t.Errorf("%s: lost %+v, error %v", name, lost, err)
					return
				}
				n += int(f.Count)
			}
		})
	}
	work.Go(func() {
		for range 20 {
			if r := b.fsck(); r.LostRecords > 0 {
				t.Errorf("fsck: %+v", r.Damage)
			}
		}
	})
	work.Wait()
	waitFor(t, "a full pass", func() bool { return !b.q.Status().Scrubbed.IsZero() })
	if s := b.q.Status(); s.Healed != 1 || !bytes.Equal(b.first(), was) || len(b.ledger()) > 0 {
		t.Errorf("status %+v", s)
	}
}

// TestScrub: damage that nobody reads is healed; what parity does not have is written down once, with a copy, as a reader
// would find it; and an idle queue is not written to by a scrub that finds nothing.
func TestScrub(t *testing.T) {
	scrubbing := func(o *Options) { o.ScrubRate, o.scrubEvery, o.Codec = 1<<40, time.Millisecond, segment.None }
	b, all, was := hurt(t, scrubbing)
	b.open()
	b.q.Reader("one", Oldest)
	waitFor(t, "a healed segment", func() bool { return b.q.Status().Healed == 1 })
	if !bytes.Equal(b.first(), was) {
		t.Error("the segment is not what it was")
	}
	b.close()
	b.overwrite(make([]byte, 4000), 20000) // more than parity has, in one body
	b.open()
	waitFor(t, "a loss", func() bool { return len(b.ledger()) > 0 })
	scrubbed := func() {
		at := b.q.Status().Scrubbed
		waitFor(t, "two passes", func() bool { return b.q.Status().Scrubbed.After(at) })
		at = b.q.Status().Scrubbed
		waitFor(t, "two passes", func() bool { return b.q.Status().Scrubbed.After(at) })
	}
	scrubbed()
	ledger := b.ledger()
	if len(ledger) != 1 || ledger[0].Quarantine == "" || ledger[0].Acknowledged != "yes" || fmt.Sprint(ledger[0].Sources) != "[in/test]" {
		t.Fatalf("ledger %+v", ledger)
	}
	got, lost := b.take(b.q.Reader("one", Oldest), len(all)-int(ledger[0].Count))
	if lost != ledger[0].Count || len(got) != len(all)-int(lost) || len(b.ledger()) != 1 {
		t.Errorf("the reader lost %d, ledger %+v", lost, b.ledger())
	}
	if r := b.fsck(); r.LostRecords > 0 {
		t.Errorf("fsck %+v", r.Damage)
	}
	b.close()
	b.open()
	scrubbed()
	waitFor(t, "two passes that write nothing", func() bool { // the start may have something to write yet
		ops := b.fsys.Ops()
		scrubbed()
		return b.fsys.Ops() == ops
	})
}

// TestScrubRate: zero is off, and a new rate is in force at once, also in the middle of a slow pass.
func TestScrubRate(t *testing.T) {
	b, _, _ := hurt(t, func(o *Options) { o.scrubEvery = time.Millisecond })
	b.open()
	l := b.opt.limits()
	l.ScrubRate = 1 // one byte a second
	b.q.SetLimits(l)
	waitFor(t, "a read", func() bool { return b.q.Status().ScrubbedBytes > 0 })
	l.ScrubRate = 0
	b.q.SetLimits(l)
	l.ScrubRate = 1 << 40
	b.q.SetLimits(l)
	waitFor(t, "a healed segment", func() bool { return b.q.Status().Healed == 1 })
	l.ScrubRate = 1
	b.q.SetLimits(l)
	b.close() // does not wait for a pass
}

// TestHealOfADeletedSegment: what is deleted while it is healed does not come back, at whatever moment.
func TestHealOfADeletedSegment(t *testing.T) {
	for what, at := range map[string]func(h *hooked, do func()){
		"before it is copied":   func(h *hooked, do func()) { h.create = do },
		"before it is replaced": func(h *hooked, do func()) { h.rename = do },
	} {
		t.Run(what, func(t *testing.T) {
			b, _, _ := hurt(t, nil)
			var f *file
			removed := make(chan bool)
			h := &hooked{FS: b.fsys, create: func() {}, rename: func() {}}
			at(h, func() {
				b.q.goroutines.Go(func() {
					ok := b.q.removeFile(f)
					select {
					case removed <- ok:
					case <-b.ctx.Done():
					}
				})
				select { // it may have to wait for the healing
				case ok := <-removed:
					b.q.goroutines.Go(func() { removed <- ok })
				case <-time.After(100 * time.Millisecond):
				}
			})
			b.opt.FS = h
			b.open()
			f = b.q.files.snapshot()[0]
			if _, err := b.q.heal(b.ctx, f, segment.Part{Offset: 20000}); err != nil {
				t.Error(err)
			}
			if !<-removed {
				t.Error("not removed")
			}
			if _, err := b.fsys.Stat(f.path); err == nil {
				t.Error("the segment has come back")
			}
		})
	}
}

// hooked calls functions before it creates and renames what is healed.
type hooked struct {
	vfs.FS
	create, rename func()
}

func (h *hooked) Create(name string) (vfs.File, error) {
	if strings.HasSuffix(name, ".healing") {
		h.create()
	}
	return h.FS.Create(name)
}

func (h *hooked) Rename(from, to string) error {
	if strings.HasSuffix(from, ".healing") {
		h.rename()
	}
	return h.FS.Rename(from, to)
}

// TestHealsAgain: the same place may be damaged again, and is healed again, though somebody has just looked at it.
func TestHealsAgain(t *testing.T) {
	b, all, was := hurt(t, nil)
	b.open()
	b.q.Reader("holds", Oldest)
	for i := range uint64(3) {
		if i > 0 {
			b.overwrite([]byte("damage"), 20000)
		}
		got, lost := b.take(b.q.Reader(string(rune('a'+i)), Oldest), len(all))
		equal(t, "again", got, all)
		if lost != 0 || b.q.Status().Healed != i+1 || !bytes.Equal(b.first(), was) {
			t.Fatalf("round %d: lost %d, status %+v", i, lost, b.q.Status())
		}
	}
	infos, err := b.fsys.ReadDir("/data/quarantine")
	if err != nil || len(infos) != 1 {
		t.Errorf("the same damage is kept %d times, %v", len(infos), err)
	}
}

// TestReaderAwaitsDescriptors: a segment that cannot be opened to be healed is not given up.
func TestReaderAwaitsDescriptors(t *testing.T) {
	b, all, _ := hurt(t, nil)
	few := &few{FS: b.fsys, path: b.firstPath()}
	b.opt.FS = few
	b.open()
	r := b.q.Reader("one", Oldest)
	few.refuse.Store(2) // the second opening is that of the healing
	var f segment.Frame
	failed := 0
	for n := 0; n < len(all); {
		ok, lost, err := r.TryNext(b.ctx, &f)
		switch {
		case lost.Last > 0 || !ok && err == nil:
			t.Fatalf("lost %+v, %v", lost, err)
		case err != nil:
			failed++
		default:
			n += int(f.Count)
		}
	}
	if failed != 1 || b.q.Status().Healed != 1 {
		t.Errorf("%d failures, status %+v", failed, b.q.Status())
	}
}

// few refuses one of the openings of a file, the one that counts refuse down to zero.
type few struct {
	vfs.FS
	path   string
	refuse atomic.Int32
}

func (f *few) Open(name string) (vfs.File, error) {
	if name == f.path && f.refuse.Add(-1) == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	return f.FS.Open(name)
}

// TestNoHealAfterClose: a queue that has closed leaves its directory alone, and a reader that is late gives nothing up.
func TestNoHealAfterClose(t *testing.T) {
	b, _, _ := hurt(t, nil)
	b.open()
	f, q := b.q.files.snapshot()[0], b.q
	b.close()
	ops := b.fsys.Ops()
	if view, err := q.heal(b.ctx, f, segment.Part{Offset: 20000}); view != nil || !errors.Is(err, ErrClosed) || b.fsys.Ops() != ops {
		t.Errorf("%v, %v, %v", view, err, b.fsys.Trace()[ops:])
	}
	r := q.Preview("late")
	r.next = 1
	var frame segment.Frame
	for {
		ok, lost, err := r.TryNext(b.ctx, &frame)
		if lost.Last > 0 || !ok && err == nil {
			t.Fatalf("lost %+v, %v", lost, err)
		}
		if err != nil {
			break // it has come to what is damaged, and leaves it
		}
	}
	if len(b.ledger()) > 0 {
		t.Errorf("ledger %+v", b.ledger())
	}
}
