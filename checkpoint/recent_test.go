package checkpoint

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

func openRecent(t *testing.T, fsys vfs.FS, store Store) *Recent {
	t.Helper()
	r, err := WithRecent(store, fsys, "/recent")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func floors(t *testing.T, s Store) string {
	t.Helper()
	all, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(all["out/a"].Floor, all["out/b"].Floor)
}

func TestRecent(t *testing.T) {
	fsys, store := faultfs.New(), NewMemory()
	r := openRecent(t, fsys, store)
	note := func(key string, p Position) {
		t.Helper()
		if err := r.Note(key, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Save(map[string]Position{"out/a": {Floor: 10}, "out/b": {Floor: 50}}); err != nil {
		t.Fatal(err)
	}
	note("out/a", Position{Floor: 12, State: bytes.Repeat([]byte{1}, MaxState)})
	note("out/b", Position{Floor: 40})
	note("out/a", Position{Floor: 13})
	many := Position{Stream: 1, Floor: 20}
	for i := range uint64(MaxDone) {
		many.Done = append(many.Done, Range{First: 100 + 3*i, Last: 101 + 3*i})
	}
	note("out/a", many)

	if got := floors(t, openRecent(t, fsys, store.Reopen())); got != "20 50" {
		t.Errorf("after a kill: %s, want 20 50", got)
	}
	lost := fsys.Crash(faultfs.Drop, 1)
	if got := floors(t, openRecent(t, lost, store.Reopen())); got != "10 50" {
		t.Errorf("after a power loss: %s, want 10 50", got)
	}
	for i := range 2 * slotSize {
		damaged := fsys.Crash(faultfs.Keep, 1)
		f, err := damaged.OpenWrite("/recent")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{0xa5}, int64(i)); err != nil {
			t.Fatal(err)
		}
		if got := floors(t, openRecent(t, damaged, store.Reopen())); got != "10 50" && got != "20 50" {
			t.Fatalf("byte %d damaged: %s", i, got)
		}
	}
}

// TestRecentRanges: a slot has no room for many done ranges, but what the store has of them counts on, or a kill would
// repeat what several requests at once have delivered beyond one that hangs.
func TestRecentRanges(t *testing.T) {
	fsys, store := faultfs.New(), NewMemory()
	r := openRecent(t, fsys, store)
	stuck := Position{Floor: 20, Step: 1}
	for i := range uint64(200) {
		stuck.Done = append(stuck.Done, Range{First: 1000 + 3000*i, Last: 2000 + 3000*i})
	}
	if err := r.Save(map[string]Position{"out/a": stuck}); err != nil {
		t.Fatal(err)
	}
	stuck.Step, stuck.State = 2, bytes.Repeat([]byte{1}, MaxState)
	stuck.Done[0].First = 900
	stuck.Done = append(stuck.Done, Range{First: 900000, Last: 900001}) // which alone may come again
	if err := r.Note("out/a", stuck); err != nil {
		t.Fatal(err)
	}
	all, err := openRecent(t, fsys, store.Reopen()).Load()
	if err != nil {
		t.Fatal(err)
	}
	got := all["out/a"]
	if want := stuck.Done[:200]; got.Step != 2 || fmt.Sprint(got.Done) != fmt.Sprint(want) {
		t.Errorf("step %d, %d ranges from %v, want %d from %v", got.Step, len(got.Done), got.Done[:min(1, len(got.Done))], len(want), want[0])
	}
	if err := got.validate(); err != nil {
		t.Error(err)
	}
}

// TestRecentUnreadable: a sector that the disk does not give costs the position in it, and no other; when it comes back the newest
// position counts, and what is removed is removed from both.
func TestRecentUnreadable(t *testing.T) {
	const outputs = 12 // more than there are slots at first
	fsys, store := faultfs.New(), NewMemory()
	r := openRecent(t, fsys, store)
	all := func(from *Recent) (found map[string]Position) {
		t.Helper()
		found, err := from.Load()
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	key := func(i int) string { return fmt.Sprintf("out/%d", i) }
	for i := range outputs {
		if err := r.Note(key(i), Position{Floor: 100, Step: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for bad := range outputs {
		disk := fsys.Crash(faultfs.Keep, 0)
		at := r.slots[key(bad)][0]
		disk.FailReads(func(_ string, offset int64, size int) error {
			if offset <= at && at < offset+int64(size) {
				return syscall.EIO
			}
			return nil
		})
		again := openRecent(t, disk, store.Reopen())
		found, read := all(again), ReadRecent(disk, "/recent")
		for i := range outputs {
			if _, known := found[key(i)]; known != (i != bad) {
				t.Fatalf("slot %d cannot be read: output %d is known: %v", bad, i, known)
			}
		}
		if len(read) != len(found) {
			t.Fatalf("slot %d cannot be read: %d positions are found without opening it, %d with", bad, len(read), len(found))
		}
		if err := again.Note(key(bad), Position{Floor: 200, Step: 2}); err != nil {
			t.Fatal(err)
		}
		if err := again.Note("out/new", Position{Floor: 300, Step: 1}); err != nil {
			t.Fatal(err)
		}
		disk.FailReads(nil)
		back := openRecent(t, disk, store.Reopen())
		if found := all(back); len(found) != outputs+1 || found[key(bad)].Floor != 200 || found["out/new"].Floor != 300 {
			t.Fatalf("slot %d can be read again: %v", bad, found)
		}
		if err := back.Save(nil, key(bad)); err != nil {
			t.Fatal(err)
		}
		if _, known := all(openRecent(t, disk, store.Reopen()))[key(bad)]; known {
			t.Fatalf("slot %d: the output is known after it was removed", bad)
		}
	}
	fsys.FailReads(func(string, int64, int) error { return syscall.EIO })
	if dead := openRecent(t, fsys, store.Reopen()); len(all(dead)) != 0 || dead.Note("out/1", Position{Floor: 1}) != nil {
		t.Error("a file of which nothing can be read gives positions, or takes none")
	}
}
