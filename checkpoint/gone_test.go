package checkpoint

import (
	"slices"
	"testing"

	"logmule/queue/vfs/faultfs"
)

// TestStoreForgets: what is gone stays gone over a restart, and begins anew, also further back than it was.
func TestStoreForgets(t *testing.T) {
	stores(t, func(t *testing.T, s Store, reopen func(Store) Store) {
		must(t, s.Save(map[string]Position{Key("a"): full(), Key("b"): {Floor: 9}}))
		must(t, s.Save(map[string]Position{Key("b"): {Floor: 10}}, Key("a"), Key("unknown")))
		want := map[string]Position{Key("b"): {Floor: 10}}
		wantValues(t, s, want)
		s = reopen(s)
		wantValues(t, s, want)
		must(t, s.Save(nil, Key("b")))
		must(t, s.Save(map[string]Position{Key("b"): {Floor: 1}}))
		wantValues(t, reopen(s), map[string]Position{Key("b"): {Floor: 1}})
	})
}

// TestRecentForgets: neither the store nor the file has it any more, and its slot is free.
func TestRecentForgets(t *testing.T) {
	fsys, store := faultfs.New(), NewMemory()
	r := openRecent(t, fsys, store)
	must(t, r.Save(map[string]Position{"out/a": {Floor: 10}, "out/b": {Floor: 50}}))
	must(t, r.Note("out/a", Position{Floor: 12}))
	must(t, r.Note("out/b", Position{Floor: 52}))
	must(t, r.Save(nil, "out/a"))
	must(t, r.Note("out/c", Position{Floor: 5}))
	if !slices.Contains(r.spare, 0) {
		t.Errorf("spare slots %v, want that of a to be used again", r.spare)
	}
	again, err := openRecent(t, fsys, store).Load()
	must(t, err)
	if _, there := again["out/a"]; there || again["out/b"].Floor != 52 || again["out/c"].Floor != 5 {
		t.Errorf("after a restart %+v", again)
	}
}

// TestRecentForgetsDurably: a power loss does not bring back what is gone, since the store has nothing newer then.
func TestRecentForgetsDurably(t *testing.T) {
	fsys, store := faultfs.New(), NewMemory()
	r := openRecent(t, fsys, store)
	must(t, r.Note("out/a", Position{Floor: 12}))
	must(t, r.Note("out/b", Position{Floor: 52}))
	must(t, r.file.Sync()) // as the kernel does at some time
	must(t, fsys.SyncDir("/"))
	must(t, r.Save(nil, "out/a"))
	again, err := openRecent(t, fsys.Crash(faultfs.Drop, 1), store).Load()
	must(t, err)
	if _, there := again["out/a"]; there || again["out/b"].Floor != 52 {
		t.Errorf("after a power loss %+v", again)
	}
}
