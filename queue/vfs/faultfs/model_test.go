package faultfs

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"logmule/queue/vfs"
)

// model is a file as a list of what each byte may be after a crash; slow and simple.
type model struct {
	seen, disk []byte
	sizes      map[int]bool          // sizes since the last sync
	old        map[int]map[byte]bool // by offset: values since the last sync
	since      [][]byte              // all that was seen since then
}

func (m *model) note() {
	m.since = append(m.since, bytes.Clone(m.seen))
	m.sizes[len(m.seen)] = true
	for i := range max(len(m.seen), len(m.disk)) {
		if m.old[i] == nil {
			m.old[i] = map[byte]bool{0: i >= len(m.disk)}
		}
		if i < len(m.seen) {
			m.old[i][m.seen[i]] = true
		} else {
			m.old[i][0] = true
		}
	}
}

func (m *model) sync() {
	m.disk = bytes.Clone(m.seen)
	m.sizes, m.old, m.since = map[int]bool{}, map[int]map[byte]bool{}, nil
	for i, b := range m.disk {
		m.old[i] = map[byte]bool{b: true}
	}
	m.note()
}

func (m *model) write(b []byte, offset int) {
	if missing := offset + len(b) - len(m.seen); missing > 0 {
		m.seen = append(m.seen, make([]byte, missing)...)
	}
	copy(m.seen[offset:], b)
	m.note()
}

func (m *model) truncate(size int) {
	if size <= len(m.seen) {
		m.seen = bytes.Clone(m.seen[:size])
	} else {
		m.seen = append(m.seen, make([]byte, size-len(m.seen))...)
	}
	m.note()
}

// TestBytesAgainstModel: Keep is what was seen, Drop is what was synced, and every sector that Reorder leaves is one of
// these two, one that was seen in between, or zero where the file grew or was cut.
func TestBytesAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := New()
		f, err := fsys.Create("a")
		if err == nil {
			err = fsys.SyncDir("/")
		}
		if err != nil {
			t.Fatal(err)
		}
		m := &model{}
		m.sync()
		for range rapid.IntRange(1, 12).Draw(t, "operations") {
			size := rapid.IntRange(0, 3000).Draw(t, "size")
			switch rapid.IntRange(0, 4).Draw(t, "operation") {
			case 0, 1:
				b := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, size)
				offset := rapid.IntRange(0, 3000).Draw(t, "offset")
				if size > 0 {
					m.write(b, offset)
				}
				_, err = f.WriteVec([][]byte{b[:size/2], b[size/2:]}, int64(offset))
			case 2:
				m.truncate(size)
				err = f.Truncate(int64(size))
			case 3:
				m.truncate(max(size, len(m.seen)))
				err = f.Allocate(0, int64(size))
			case 4:
				m.sync()
				err = f.Sync()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		m.check(t, fsys, rapid.Uint64().Draw(t, "seed"))
	})
}

func (m *model) check(t *rapid.T, fsys *FS, seed uint64) {
	read := func(mode Mode) []byte {
		got, err := vfs.ReadFile(fsys.Crash(mode, seed), "a", 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if !bytes.Equal(read(Keep), m.seen) {
		t.Fatal("Keep does not leave what was seen")
	}
	if !bytes.Equal(read(Drop), m.disk) {
		t.Fatal("Drop does not leave what was synced")
	}
	got := read(Reorder)
	if !m.sizes[len(got)] && (len(got)%sectorSize != 0 || len(got) > len(m.seen)) {
		t.Fatalf("a size of %d is left, of %v", len(got), m.sizes)
	}
	at := func(b []byte, i int) byte {
		if i < len(b) {
			return b[i]
		}
		return 0
	}
	for s := 0; s < len(got); s += sectorSize {
		allSeen, allDisk, allOld := true, true, true
		for i := s; i < min(s+sectorSize, len(got)); i++ {
			allSeen = allSeen && got[i] == at(m.seen, i)
			allDisk = allDisk && got[i] == at(m.disk, i)
			allOld = allOld && (got[i] == at(m.disk, i) || got[i] == 0) && m.old[i][got[i]]
		}
		was := slices.ContainsFunc(m.since, func(seen []byte) bool {
			for i := s; i < min(s+sectorSize, len(got)); i++ {
				if got[i] != at(seen, i) {
					return false
				}
			}
			return true
		})
		if !allSeen && !allDisk && !allOld && !was {
			t.Fatalf("the sector at %d is none that there was", s)
		}
	}
}
