package recovery

import (
	"math"
	"slices"
	"strings"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// lying are files that have the name of a segment and are none of this queue, whatever sequence the name gives.
var lying = map[string]func(b *builder, name segment.Name) []byte{
	"empty": func(*builder, segment.Name) []byte { return nil },
	"noise": func(*builder, segment.Name) []byte { return []byte(strings.Repeat("noise ", 3000)) },
	"zeros": func(*builder, segment.Name) []byte { return make([]byte, 20000) },
	"a copy": func(b *builder, _ segment.Name) []byte {
		data, err := vfs.ReadFile(b.fs, b.path(0), 1<<20)
		b.must(err)
		return data
	},
	"another queue's": func(b *builder, name segment.Name) []byte {
		return append(segment.Header{Queue: segment.ID{9}, Epoch: segment.Epoch{Starts: 900, Random: 1}, Salt: name.Salt, First: name.First, Size: 1 << 16}.Encode(),
			strings.Repeat("x", 9000)...)
	},
}

// TestNameProvesNothing: a file that is no segment of the queue says nothing about others, wherever its name puts it.
func TestNameProvesNothing(t *testing.T) {
	for what, content := range lying {
		for where, first := range map[string]uint64{
			"in the oldest": 5, "before all": 1, "where one begins": 21, "in the middle one": 30, "in the newest": 55, "next": 61, "beyond": 1000, "far": 1 << 62,
		} {
			t.Run(what+", "+where, func(t *testing.T) {
				b := newBuilder(t)
				b.sealed(10, 10)
				b.sealed(10, 10)
				b.killed(10, 10)
				name := segment.Name{First: first, Salt: 7}
				data := content(b, name)
				b.must(vfs.WriteFile(b.fs, segmentPath(testDir, name), data))
				harmless := what == "empty" || what == "zeros" // what a power loss leaves of a segment that was begun
				if r := check(t, b.fs); r.LostRecords > 0 || r.Records != 60 || r.Segments != 3 || r.Clean != harmless {
					t.Errorf("fsck: clean %t, %d records, %+v", r.Clean, r.Records, r.Damage)
				}
				if got := surviving(t, b.fs).String(); got != "1-60" {
					t.Errorf("cat: %s", got)
				}
				if s := survey(t, b.fs); s.Records != 60 || len(s.Gaps) > 0 {
					t.Errorf("stat: %+v", s)
				}
				state := mustStart(t, b.fs, map[string]uint64{"a": 1})
				if state.Next != 61 || state.Report.LostRecords > 0 {
					t.Errorf("the start: next %d, %+v", state.Next, state.Report)
				}
				if yes, no := ledgered(t, b.fs); len(yes)+len(no) > 0 {
					t.Errorf("the ledger has %v and %v", yes, no)
				}
				for _, s := range state.Segments[1:] {
					if first > 40 && s.Last != s.Name.First+19 { // else it is among the old ones, which the queue looks at when it needs them
						t.Errorf("segment %s ends at %d", s.Name, s.Last)
					}
				}
				if got := surviving(t, b.fs).String(); got != "1-60" {
					t.Errorf("cat after the start: %s", got)
				}
				if kept := slices.Contains(quarantined(t, b.fs), name.String()+straySuffix); first != 21 && kept != (!harmless && first > 21) {
					t.Errorf("in quarantine: %v", quarantined(t, b.fs))
				}
			})
		}
	}
}

// TestFarJump: the highest name there can be moves no sequence.
func TestFarJump(t *testing.T) {
	b := newBuilder(t)
	b.killed(5)
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, segment.Name{First: math.MaxInt64, Salt: 1}), []byte("noise")))
	if state := mustStart(t, b.fs, nil); state.Next != 6 {
		t.Errorf("next is %d", state.Next)
	}
}
