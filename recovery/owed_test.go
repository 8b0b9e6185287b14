package recovery

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"logmule/checkpoint"
)

// recent notes the position of an output beside the log.
func (b *builder) recent(output string, floor uint64) {
	b.t.Helper()
	r, err := checkpoint.WithRecent(checkpoint.NewMemory(), b.fs, filepath.Join(testDir, RecentFile))
	b.must(err)
	b.must(r.Note(checkpoint.Key(output), checkpoint.Position{Floor: floor}))
	b.must(r.Close())
}

// TestOwedBeforeTheOldest: what is missing before the oldest segment is lost where an output has not done it, by the newest position
// there is of it, whether there is a checkpoint database or not. fsck says what the repair does.
func TestOwedBeforeTheOldest(t *testing.T) {
	database := filepath.Join(testDir, CheckpointFile)
	stored := func(b *builder, floor uint64) {
		b.must(putFile(b.fs, database, boltBytes(b.t, map[string]checkpoint.Position{checkpoint.Key("slow"): {Floor: floor}})))
	}
	for name, test := range map[string]struct {
		hurt func(b *builder)
		lost string
	}{
		"nothing but the log":              {func(*builder) {}, ""},
		"the database, and nothing gone":   {func(b *builder) { stored(b, 12) }, ""},
		"the log, and the oldest gone":     {func(b *builder) { b.remove(b.path(0)) }, "12-20"},
		"the database, and the same":       {func(b *builder) { stored(b, 15); b.remove(b.path(0)) }, "15-20"},
		"delivered, as the database knows": {func(b *builder) { stored(b, 21); b.remove(b.path(0)) }, ""},
		"delivered, as was noted":          {func(b *builder) { b.recent("slow", 30); b.remove(b.path(0)) }, ""},
		"the two oldest gone":              {func(b *builder) { b.remove(b.path(0)); b.remove(b.path(1)) }, "12-40"},
		"partly delivered, as was noted": {func(b *builder) {
			b.recent("slow", 30)
			b.remove(b.path(0))
			b.remove(b.path(1))
		}, "30-40"},
		"everything gone": {func(b *builder) {
			for i := range b.made {
				b.remove(b.path(i))
			}
			b.recent("slow", 30)
			b.recent("fast", 81)
		}, "30-80"},
		"everything gone but one that was just begun": {func(b *builder) {
			b.open()
			for i := range len(b.made) - 1 {
				b.remove(b.path(i))
			}
			b.recent("slow", 30)
			b.recent("fast", 81)
		}, "30-80"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			for range 4 {
				b.open()
				b.full(b.at("slow", min(b.next, 12)), b.at("fast", b.next))
				b.durable(10, 10)
				b.seal()
			}
			test.hurt(b)
			r := check(t, b.fs)
			var said checkpoint.Ranges
			for _, d := range r.Damage {
				said = said.Add(d.FirstLost, d.LastLost)
			}
			if got := said.String(); got != test.lost || r.LostRecords != said.Count() || r.Clean != (test.lost == "") {
				t.Errorf("fsck says that %q are lost, want %q: %+v", got, test.lost, r)
			}
			_, err := b.fs.Stat(database)
			if doubts := strings.Contains(strings.Join(r.Notes, "\n"), "those of that second may have been delivered"); doubts != (err != nil && test.lost != "") {
				t.Errorf("the notes are %q", r.Notes)
			}
			if r := mustRepair(t, b.fs); r.LostRecords != said.Count() || !r.Clean {
				t.Errorf("the repair: %+v", r)
			}
			if yes, _ := ledgered(t, b.fs); yes.String() != test.lost {
				t.Errorf("the ledger has %q, want %q", yes, test.lost)
			}
			if r := check(t, b.fs); !r.Clean || r.LostRecords > 0 {
				t.Errorf("fsck after it: %+v", r)
			}
		})
	}
}

// TestOwedByAStore: the positions of a store that is no database in the directory count where it is handed over.
func TestOwedByAStore(t *testing.T) {
	b := newBuilder(t)
	for range 2 {
		b.open()
		b.full(b.at("out", 1))
		b.durable(10, 10)
		b.seal()
	}
	b.remove(b.path(0))
	store := checkpoint.NewMemory()
	b.must(store.Save(map[string]checkpoint.Position{checkpoint.Key("out"): {Floor: 21, Step: 1}}))
	if r := check(t, b.fs); r.LostRecords != 20 {
		t.Errorf("by the log alone: %+v", r)
	}
	r, err := Check(context.Background(), b.fs, testDir, CheckOptions{Store: store})
	if err != nil || !r.Clean || len(r.Notes) > 0 {
		t.Errorf("with the store: %v, %+v", err, r)
	}
}

// TestPositionsTooOld: positions that a start does not read, since only older segments have them, accuse nobody of a loss.
func TestPositionsTooOld(t *testing.T) {
	b := newBuilder(t)
	for i := range 4 {
		b.open()
		if i < 2 {
			b.full(b.at("out", 1))
		}
		b.durable(10, 10)
		b.seal()
	}
	b.remove(b.path(0))
	if r := check(t, b.fs); !r.Clean || len(r.Outputs) > 0 {
		t.Errorf("fsck: %+v", r)
	}
	if state := mustStart(t, b.fs, nil); len(state.Outputs) > 0 {
		t.Errorf("the start knows %+v", state.Outputs)
	}
}

// TestStartOwesWhatNobodyReads: where no segment with records is left, no reader finds out what is missing, so the start writes it down.
func TestStartOwesWhatNobodyReads(t *testing.T) {
	for _, begun := range []bool{false, true} {
		b := newBuilder(t)
		b.open()
		b.full(b.at("out", 1))
		b.durable(10, 10)
		b.seal()
		if begun {
			b.open()
		}
		b.remove(b.path(0))
		positions := map[string]uint64{"slow": 7, "fast": 21}
		for want := uint64(14); ; want = 0 { // once
			if state := mustStart(t, b.fs, positions); state.Report.LostRecords != want {
				t.Errorf("begun %v: %d records lost, want %d", begun, state.Report.LostRecords, want)
			}
			if yes, _ := ledgered(t, b.fs); yes.String() != "7-20" {
				t.Errorf("begun %v: the ledger has %q", begun, yes)
			}
			if want == 0 {
				break
			}
		}
	}
}
