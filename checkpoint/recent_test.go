package checkpoint

import (
	"bytes"
	"fmt"
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
