package queue

import (
	"errors"
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
	b.fsys.FailReads(func(string, int64, int) error { return syscall.EIO })
	if err := b.q.noteRest(f, h, handle); !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
	if all := b.ledger(); len(all) > 0 {
		t.Errorf("the ledger has %+v", all)
	}
	b.fsys.FailReads(nil)
	if err := b.q.noteRest(f, h, handle); err != nil || b.inLedger("") == 0 {
		t.Errorf("%v, the ledger has %+v", err, b.ledger())
	}
}
