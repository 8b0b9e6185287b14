package recovery

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
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

// otherLife is a queue that was restored from a copy without its second segment, and that segment put back beside what has come since.
func otherLife(t *testing.T) (b *builder, back segment.Name) {
	b = newBuilder(t)
	b.sealed(10, 10)
	lost := *b
	lost.fs = b.fs.Crash(faultfs.Keep, 0)
	lost.made = append(slices.Clone(b.made), segment.Name{}, segment.Name{}) // for another salt
	lost.start()
	lost.sealed(10, 5)
	b.start()
	b.epoch.Random = 77
	b.sealed(8)
	b.sealed(12)
	b.start()
	b.killed(5)
	back = lost.made[3]
	data, err := vfs.ReadFile(lost.fs, lost.path(3), 1<<20)
	b.must(err)
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, back), data))
	return b, back
}

// TestOtherLife: where two lives of a queue have given the same sequences, the records of the one that went on are read. Those of the
// other one are kept, and it is said which they are.
func TestOtherLife(t *testing.T) {
	b, back := otherLife(t)
	r := check(t, b.fs)
	if r.Clean || len(r.Damage) != 1 || r.Damage[0].Cause != CauseEpoch || r.Damage[0].Segment != back.String() || r.LostRecords > 0 || r.Records != 45 {
		t.Errorf("fsck: %d records, %+v", r.Records, r.Damage)
	}
	if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "records 21 to 35 (15 in all)") }) {
		t.Errorf("notes %q", r.Notes)
	}
	if got := surviving(t, b.fs).String(); got != "1-45" {
		t.Errorf("cat: %s", got)
	}
	rep, err := repairOn(t, b.fs.Crash(faultfs.Keep, 0))
	if err != nil || !rep.Clean {
		t.Errorf("repair: %v, %+v", err, rep)
	}
	queue, err := OpenLedger(b.fs, testDir)
	b.must(err)
	segments, said, err := SortOut(b.fs, testDir, b.queue, queue, append(slices.Clone(b.made[:3]), back))
	b.must(err)
	b.must(queue.Close())
	if len(segments) != 3 || len(said.Damage) != 1 || said.Damage[0].Action != didQuarantine {
		t.Errorf("sorted out: %+v, %+v", segments, said.Damage)
	}
	if sound, err := Vouch(b.fs, testDir, b.queue, b.made[0], b.made[1]); !sound || err != nil {
		t.Errorf("after that the oldest is not vouched for: %v", err)
	}
	losses, err := ReadLedger(b.fs, testDir)
	if err != nil || len(losses) != 1 || losses[0].First != 21 || losses[0].Last != 35 || losses[0].Count != 15 || losses[0].Cause != CauseEpoch {
		t.Errorf("the ledger has %+v (%v)", losses, err)
	}
	kept, err := vfs.ReadFile(b.fs, testDir+"/"+losses[0].Quarantine, 1<<20)
	if err != nil || !strings.HasSuffix(losses[0].Quarantine, straySuffix) || len(kept) == 0 {
		t.Errorf("not kept: %v", err)
	}
	if r := check(t, b.fs); !r.Clean && r.LostRecords > 0 {
		t.Errorf("fsck after that: %+v", r.Damage)
	}
}

// TestOtherLifeAtTheEnd: a start settles it among the newest segments, and the later epoch wins whichever file is older.
func TestOtherLifeAtTheEnd(t *testing.T) {
	b := newBuilder(t)
	b.sealed(10, 10)
	before := *b
	before.fs = b.fs.Crash(faultfs.Keep, 0)
	before.made = append(slices.Clone(b.made), segment.Name{}, segment.Name{})
	before.start()
	before.open()
	before.full()
	before.durable(10, 5)
	before.seal()
	b.start()
	b.start()
	b.sealed(8)
	data, err := vfs.ReadFile(before.fs, before.path(3), 1<<20)
	b.must(err)
	b.must(vfs.WriteFile(b.fs, segmentPath(testDir, before.made[3]), data))
	state := mustStart(t, b.fs, nil)
	if state.Next != 29 || len(state.Segments) != 2 || state.Segments[1].Name != b.made[1] {
		t.Errorf("next %d, %+v", state.Next, state.Segments)
	}
	if got := quarantined(t, b.fs); !slices.Equal(got, []string{before.made[3].String() + straySuffix}) {
		t.Errorf("in quarantine: %v", got)
	}
	if r := check(t, b.fs); !r.Clean || r.Records != 28 {
		t.Errorf("fsck: %d records, %+v", r.Records, r.Damage)
	}
	losses, err := ReadLedger(b.fs, testDir)
	if err != nil || len(losses) != 1 || losses[0].Count != 15 {
		t.Errorf("the ledger has %+v (%v)", losses, err)
	}
}

// TestOtherLifeOfTheSameStart: of two copies of a directory that have gone on each for itself, the records of the one that this is stay.
func TestOtherLifeOfTheSameStart(t *testing.T) {
	for _, ours := range []uint64{1, 2} {
		b := newBuilder(t)
		b.sealed(10, 10)
		for random := range uint64(3) {
			if random == 0 {
				continue
			}
			life := *b
			life.made, life.epoch = append(slices.Clone(b.made), make([]segment.Name, random)...), segment.Epoch{Starts: 2, Random: random}
			life.open()
			life.full()
			life.durable(5, int(random))
			life.seal()
			if random != ours {
				continue
			}
			r, err := checkpoint.WithRecent(checkpoint.NewMemory(), b.fs, filepath.Join(testDir, RecentFile))
			b.must(err)
			b.must(r.Note(checkpoint.EndKey, checkpoint.Position{Floor: 26 + random, Epoch: life.epoch}))
			b.must(r.Close())
		}
		if r := check(t, b.fs); len(r.Damage) != 1 || r.Damage[0].Cause != CauseEpoch || r.LastSequence != 25+ours {
			t.Errorf("life %d: fsck goes to %d, %+v", ours, r.LastSequence, r.Damage)
		}
		if state := mustStart(t, b.fs, nil); state.Next != 26+ours {
			t.Errorf("life %d: the next is %d", ours, state.Next)
		}
	}
}

// TestOtherIdentity: an identity that no segment has is the one that is wrong, row 45 of the table of damage.
func TestOtherIdentity(t *testing.T) {
	b := newBuilder(t)
	b.sealed(10)
	b.killed(5)
	b.must(writeIdentity(b.fs, testDir, segment.ID{9}, 4))
	if r := check(t, b.fs); r.LostRecords > 0 || r.Records != 15 || !r.Clean {
		t.Errorf("fsck: %d records, %+v", r.Records, r.Damage)
	}
	state := mustStart(t, b.fs, nil)
	if state.Queue != b.queue || state.Next != 16 || len(state.Segments) != 2 || len(quarantined(t, b.fs)) > 0 {
		t.Errorf("queue %v, next %d, segments %+v, quarantine %v", state.Queue, state.Next, state.Segments, quarantined(t, b.fs))
	}
	if id, _, lost, err := readIdentity(b.fs, testDir); id != b.queue || lost != nil || err != nil {
		t.Errorf("the file says %v, %v, %v", id, lost, err)
	}
}
