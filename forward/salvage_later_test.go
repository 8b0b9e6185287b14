package forward

import (
	"path"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	"logmule/queue/vfs"
)

// wornDisk does not give one block of a file, or will not open it where the block is 0.
type wornDisk struct {
	hekaDisk
	name  string
	block int64
}

type wornFile struct {
	vfs.File
	from, to int64
}

func (d wornDisk) Open(name string) (vfs.File, error) {
	f, err := d.hekaDisk.Open(name)
	switch {
	case err != nil || path.Base(name) != d.name:
		return f, err
	case d.block == 0:
		return nil, syscall.EIO
	}
	return wornFile{f, d.block, d.block + 4096}, nil
}

func (f wornFile) ReadAt(b []byte, offset int64) (int, error) {
	if offset < f.to && f.from < offset+int64(len(b)) {
		n, _ := f.File.ReadAt(b[:max(f.from-offset, 0)], offset)
		return n, syscall.EIO
	}
	return f.File.ReadAt(b, offset)
}

// TestSalvageOfWhatComesLater: what could not be read, or was not there, between records that were salvaged is put by the
// next salvage that finds it, and the others are not put again.
func TestSalvageOfWhatComesLater(t *testing.T) {
	whole := hekaQueue(0, 40) // 7.log to 10.log
	without := hekaQueue(0, 40)
	delete(without.files, "8.log")
	for name, first := range map[string]vfs.FS{
		"a file that was missing":       without,
		"a file that would not open":    wornDisk{whole, "8.log", 0},
		"a block that was not given":    wornDisk{whole, "8.log", 4096},
		"the first block was not given": wornDisk{whole, "9.log", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMorgue(t)
				before := m.mustSalvage(first, nil).Records
				if before == 0 || before >= 40 {
					t.Fatalf("%d records at first", before)
				}
				if done := m.mustSalvage(whole, nil); done.Records != 40-before || done.Before != before {
					t.Errorf("then %+v, want the other %d", done, 40-before)
				}
				if done := m.mustSalvage(whole, nil); done != (Salvaged{Before: 40}) {
					t.Errorf("at last %+v", done)
				}
				all := m.owns()
				slices.Sort(all)
				want := messages(0, 40)
				slices.Sort(want)
				expect(t, "put", all, want)
			})
		})
	}
}
