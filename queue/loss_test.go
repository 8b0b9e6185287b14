package queue

import (
	"path/filepath"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestSkippedNumbersAreNotLost: the sequences that a start leaves out, to be sure of none being given twice, are written down as lost.
func TestSkippedNumbersAreNotLost(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(12, 5000)
	r.Close()
	b.close()
	list, _ := b.fsys.ReadDir("/data/segments")
	name := list[len(list)-1].Name()
	f, err := b.fsys.OpenWrite(filepath.Join("/data/segments", name))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, segment.HeaderSize)
	f.ReadAt(block, 0)
	h, err := segment.DecodeHeader(block)
	if err != nil {
		t.Fatal(err)
	}
	h.Incompat = 1
	f.WriteAt(h.Encode(), 0)
	f.Close()
	b.open()
	r = b.q.Reader("out", Oldest)
	b.append("more")
	var fr segment.Frame
	for {
		ok, lost, err := r.TryNext(b.ctx, &fr)
		if err != nil {
			t.Fatal(err)
		}
		if lost.Last > 0 {
			t.Logf("reader: %v", lost)
		}
		if !ok {
			break
		}
	}
	for _, l := range b.ledger() {
		t.Errorf("ledger: %d..%d %d %s", l.First, l.Last, l.Count, l.Cause)
	}
}

// cutting is a daemon that deletes a segment as soon as somebody has opened it.
type cutting struct {
	*faultfs.FS
	cut func(name string)
}

func (c *cutting) Open(name string) (vfs.File, error) {
	f, err := c.FS.Open(name)
	if err == nil && c.cut != nil {
		c.cut(name)
	}
	return f, err
}

// TestFsckBesideDelete: a segment that is deleted, and cut, while fsck reads it is no finding.
func TestFsckBesideDelete(t *testing.T) {
	b := newBench(t, nil)
	r := b.q.Reader("out", Oldest)
	b.fill(40, 5000)
	_ = r
	list, _ := b.fsys.ReadDir("/data/segments")
	target := filepath.Join("/data/segments", list[1].Name())
	opens := 0
	fsys := &cutting{FS: b.fsys}
	fsys.cut = func(name string) {
		if name == target {
			if opens++; opens == 1 {
				for _, f := range b.q.files.snapshot() {
					if f.path == target {
						b.q.removeFile(f)
					}
				}
			}
		}
	}
	rep, err := b.fsckOf(fsys)
	t.Logf("%d opens; %v clean %v %+v", opens, err, rep.Clean, rep.Damage)
}
