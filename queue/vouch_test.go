package queue

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// old are the names of the segments of a stopped queue, oldest first.
func (b *bench) old() []segment.Name {
	b.Helper()
	infos, err := b.fsys.ReadDir("/data/segments")
	if err != nil {
		b.Fatal(err)
	}
	var names []segment.Name
	for _, info := range infos {
		if name, ok := segment.ParseName(info.Name()); ok {
			names = append(names, name)
		}
	}
	return names
}

func segPath(name segment.Name) string { return filepath.Join("/data/segments", name.String()) }

func (b *bench) content(name segment.Name) []byte {
	b.Helper()
	data, err := vfs.ReadFile(b.fsys, segPath(name), 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// got is take for a reader that may meet losses.
func (b *bench) got(r *Reader, n int) []string {
	b.Helper()
	payloads, _ := b.take(r, n)
	return payloads
}

func (b *bench) put(name segment.Name, data []byte) {
	b.Helper()
	if err := vfs.WriteFile(b.fsys, segPath(name), data); err != nil {
		b.Fatal(err)
	}
}

// TestOldNames: the names of segments that a start does not read prove nothing either. Whatever stands among them, every record comes
// once and in order, none is deleted unread, and the ledger tells of nothing.
func TestOldNames(t *testing.T) {
	hurts := map[string]func(b *bench, names []segment.Name){
		"noise in a segment": func(b *bench, names []segment.Name) {
			b.put(segment.Name{First: names[1].First + 3, Salt: 7}, []byte(strings.Repeat("noise", 4000)))
		},
		"nothing in a segment": func(b *bench, names []segment.Name) { b.put(segment.Name{First: names[1].First + 3, Salt: 7}, nil) },
		"noise before all": func(b *bench, _ []segment.Name) {
			b.put(segment.Name{First: 1, Salt: 7}, []byte(strings.Repeat("noise", 4000)))
		},
		"a copy in a segment": func(b *bench, names []segment.Name) {
			b.put(segment.Name{First: names[2].First + 3, Salt: 7}, b.content(names[0]))
		},
		"a copy at the end of a segment": func(b *bench, names []segment.Name) {
			b.put(segment.Name{First: names[3].First - 1, Salt: 7}, b.content(names[3]))
		},
		"another queue's": func(b *bench, names []segment.Name) {
			h := segment.Header{Queue: segment.ID{9}, Epoch: segment.Epoch{Starts: 9, Random: 1}, Salt: 7, First: names[1].First + 2, Size: 1 << 16}
			b.put(h.Name(), h.Encode())
		},
		"two names swapped": func(b *bench, names []segment.Name) {
			x, y := b.content(names[1]), b.content(names[3])
			b.put(names[1], y)
			b.put(names[3], x)
		},
		"three names in a ring": func(b *bench, names []segment.Name) {
			x, y, z := b.content(names[0]), b.content(names[1]), b.content(names[2])
			b.put(names[0], y)
			b.put(names[1], z)
			b.put(names[2], x)
		},
		"a segment under a higher name": func(b *bench, names []segment.Name) {
			if err := b.fsys.Rename(segPath(names[1]), segPath(segment.Name{First: names[3].First + 1, Salt: 7})); err != nil {
				b.Fatal(err)
			}
		},
	}
	for what, hurt := range hurts {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, nil)
			b.q.Reader("out", Oldest).Close() // holds them all
			want := b.fill(60, 5000)
			b.close()
			names := b.old()
			if len(names) < 7 {
				t.Fatalf("%d segments are too few", len(names))
			}
			hurt(b, names)
			b.open()
			r := b.q.Reader("out", Oldest)
			defer r.Close()
			equal(t, "after "+what, b.got(r, len(want)), want)
			b.checkpoint(r)
			waitFor(t, "delivered segments are deleted", func() bool { b.q.keep.poke(); return b.segments() <= 2 })
			for _, l := range b.ledger() {
				if l.First > 0 || l.Count > 0 {
					t.Errorf("the ledger has %+v", l)
				}
			}
			report, err := b.fsckOf(b.fsys)
			if err != nil || !report.Clean {
				t.Errorf("fsck: %v, %+v", err, report.Damage)
			}
		})
	}
}

// TestLyingNameDeletesNothing: what one output has done of a segment may be told by a name that lies; the others get all of it.
func TestLyingNameDeletesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.q.Reader("out", Oldest).Close()
	want := b.fill(60, 5000)
	b.close()
	names := b.old()
	b.put(segment.Name{First: names[0].First + 2, Salt: 7}, []byte("noise"))
	b.open()
	r := b.q.Reader("out", Oldest)
	defer r.Close()
	got := b.got(r, 4) // the lying name says that this is more than the first segment has
	b.checkpoint(r)
	b.q.trim(0)
	equal(t, "what is left", append(got, b.got(r, len(want)-4)...), want)
}

// TestOldSegmentEmptied: a segment of which nothing is left is lost, and only that; its name says which it was.
func TestOldSegmentEmptied(t *testing.T) {
	for _, left := range []string{"", strings.Repeat("noise", 4000), strings.Repeat("\x00", 20000)} {
		t.Run(fmt.Sprint(len(left)), func(t *testing.T) {
			b := newBench(t, nil)
			b.q.Reader("out", Oldest).Close()
			want := b.fill(60, 5000)
			b.close()
			names := b.old()
			b.put(names[1], []byte(left))
			first, last := names[1].First, names[2].First-1
			b.open()
			r := b.q.Reader("out", Oldest)
			defer r.Close()
			rest := append(append([]string(nil), want[:first-1]...), want[last:]...)
			equal(t, "what is left", b.got(r, len(rest)), rest)
			if n := b.inLedger(""); n != last-first+1 {
				t.Errorf("the ledger has %d records: %+v", n, b.ledger())
			}
			if l := b.ledger()[0]; l.First != first || l.Last != last || l.Segment != names[1].String() {
				t.Errorf("the ledger has %+v", l)
			}
		})
	}
}
