package queue

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// TestScrubOfFilesUnderOtherNames: a pass that finds files to be others than their names say looks at all that there is then, and
// counts as a full one only after that.
func TestScrubOfFilesUnderOtherNames(t *testing.T) {
	b, _, _ := hurt(t, func(o *Options) { o.ScrubRate, o.scrubEvery, o.Codec = 1<<40, time.Hour, segment.None })
	list, err := b.fsys.ReadDir("/data/segments")
	if err != nil || len(list) < 4 {
		t.Fatal(len(list), err)
	}
	path := func(base string) string { return filepath.Join("/data/segments", base) }
	second, _ := segment.ParseName(list[1].Name())
	data, err := vfs.ReadFile(b.fsys, path(list[2].Name()), 1<<30)
	if err == nil {
		err = vfs.WriteFile(b.fsys, path(segment.Name{First: second.First + 1, Salt: 77}.String()), data)
	}
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.fsys.OpenWrite(path(list[1].Name()))
	if err == nil {
		_, err = f.WriteAt([]byte("damage"), 20000)
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	b.open()
	waitFor(t, "a full pass", func() bool { return !b.q.Status().Scrubbed.IsZero() })
	if n := b.q.Status().Healed; n != 2 {
		t.Errorf("%d segments are healed, want 2", n)
	}
}

// TestScrubLeavesUnread: bytes that the disk does not give while the scrubber writes down what is lost of a segment are no loss: the
// readers ask for them again before they give them up.
func TestScrubLeavesUnread(t *testing.T) {
	b, _, _ := hurt(t, nil)
	b.overwrite(make([]byte, 30<<10), segment.HeaderSize+200) // more than parity has
	b.open()
	f := b.q.files.snapshot()[0]
	handle, err := b.fsys.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	size, err := handle.Size()
	if err != nil {
		t.Fatal(err)
	}
	h, err := segment.Diagnose(handle, size, f.name)
	if err != nil || len(h.Bad) == 0 || h.Unread {
		t.Fatalf("%+v, %v", h, err)
	}
	rest := func() error {
		image := h.Over(handle)
		_, err := b.q.noteRest(f, image, segment.NewScanner(image, f.name.Salt, segment.HeaderSize, h.Trailer.DataEnd))
		return err
	}
	b.fsys.FailReads(func(string, int64, int) error { return syscall.EIO })
	if err := rest(); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	if all := b.ledger(); len(all) > 0 {
		t.Errorf("the ledger has %+v", all)
	}
	b.fsys.FailReads(nil)
	if err := rest(); err != nil || b.inLedger("") == 0 {
		t.Errorf("%v, the ledger has %+v", err, b.ledger())
	}
}

// TestScrubSeesCutEnd: a sealed segment that was cut is seen by the scrubber, however much of it is gone: it is healed, or what is lost
// is written down once, as fsck tells of it and as a reader finds it.
func TestScrubSeesCutEnd(t *testing.T) {
	for name, cut := range map[string]func(size, end, frame int64) int64{
		"the trailer":             func(size, _, _ int64) int64 { return size - 100 },
		"the end behind the data": func(_, end, _ int64) int64 { return end + 8 },
		"the end":                 func(_, end, _ int64) int64 { return end },
		"in a frame":              func(_, end, _ int64) int64 { return end / 2 },
		"between two frames":      func(_, _, frame int64) int64 { return frame },
		"all but the header":      func(int64, int64, int64) int64 { return segment.HeaderSize },
	} {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, open %t", name, open), func(t *testing.T) {
				b := newBench(t, func(o *Options) { o.ScrubRate, o.scrubEvery, o.Codec = 1<<40, time.Millisecond, segment.None })
				r := b.q.Reader("one", Oldest)
				b.checkpoint(r)
				b.fill(60, 5000)
				if !open {
					b.close()
				}
				path := b.firstPath()
				f, err := b.fsys.OpenWrite(path)
				if err != nil {
					t.Fatal(err)
				}
				size, err := f.Size()
				trailer, terr := segment.ReadTrailer(f, size)
				if err != nil || terr != nil {
					t.Fatal(err, terr)
				}
				var frames []segment.Part
				var half int64
				for scan := segment.NewScanner(f, trailer.Header.Salt, segment.HeaderSize, trailer.DataEnd); ; {
					part, err := scan.Next()
					if err != nil {
						break
					}
					frames = append(frames, part)
					half = frames[len(frames)/2].Offset
				}
				to := cut(size, trailer.DataEnd, half)
				lost := trailer.Last - trailer.Header.First + 1
				for _, part := range frames {
					if part.Header.Type == segment.Data && part.Offset+part.Size <= to {
						lost -= uint64(part.Header.Count)
					}
				}
				if err := f.Truncate(to); err != nil || f.Close() != nil {
					t.Fatal(err)
				}
				if !open {
					r, err := b.fsckOf(b.fsys)
					if err != nil || r.LostRecords != lost {
						t.Errorf("fsck: %v, %d are lost, want %d", err, r.LostRecords, lost)
					}
					b.open()
				}
				passes := func(n int) {
					for range n {
						was := time.Now()
						waitFor(t, "a full pass", func() bool { return b.q.Status().Scrubbed.After(was) })
					}
				}
				passes(3)
				if got := b.inLedger(""); got != lost {
					t.Errorf("the ledger has %d, want %d: %+v", got, lost, b.ledger())
				}
				if name == "the trailer" && b.q.Status().Healed != 1 {
					t.Errorf("not healed: %+v", b.q.Status())
				}
				came, gone := b.drain(b.q.Reader("one", Oldest))
				if came+gone != 60 || gone != lost || b.inLedger("") != lost {
					t.Errorf("%d came, %d are lost, the ledger has %+v", came, gone, b.ledger())
				}
			})
		}
	}
}
