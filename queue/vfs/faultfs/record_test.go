package faultfs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"logmule/queue/vfs"
)

// work does random things to a few files, some of which fail, and calls after when the operations up to n are done.
func work(t *testing.T, fsys *FS, seed uint64, after func()) {
	rng := rand.New(rand.NewPCG(seed, 7))
	name := func() string { return []string{"a", "b", "d/a", "d/b", "d/c"}[rng.IntN(5)] }
	fsys.FailMatching(func(op Op) error {
		if op.Kind == Sync && op.N%4 == 0 {
			return fmt.Errorf("planted")
		}
		return nil
	})
	open := map[string]vfs.File{}
	for range 60 {
		at := name()
		f := open[at]
		switch rng.IntN(9) {
		case 0:
			_ = fsys.Rename(at, name())
		case 1:
			_ = fsys.Link(at, name())
		case 2:
			_ = fsys.Remove(at)
		case 3:
			_ = fsys.SyncDir([]string{"/", "d"}[rng.IntN(2)])
		default:
			if f == nil {
				if f, _ = fsys.OpenWrite(at); f == nil {
					f, _ = fsys.Create(at)
				}
				open[at] = f
			}
			switch rng.IntN(5) {
			case 0:
				_ = f.Sync()
			case 1:
				_ = f.Truncate(rng.Int64N(2000))
			case 2:
				_ = f.Allocate(0, rng.Int64N(4000))
			default:
				_, _ = f.WriteAt([]byte(strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(1500))), rng.Int64N(2000))
			}
		}
		if rng.IntN(9) == 0 {
			fsys.SetFree(rng.Int64N(6000))
		}
		after()
	}
}

// crashes are what some crashes at this moment leave.
func crashes(fsys *FS) (sums []uint64) {
	for seed, mode := range []Mode{Keep, Drop, Reorder, Reorder, Reorder} {
		sums = append(sums, fsys.Crash(mode, uint64(seed)).sum())
	}
	return sums
}

// TestRecordingIsTheRun: at each operation a recording knows what the file system was, whatever was recorded before.
func TestRecordingIsTheRun(t *testing.T) {
	for seed := range uint64(20) {
		fsys := synced(t, "a="+strings.Repeat("A", 1000), "d/b=B")
		f := create(t, fsys, "d/c", "not durable yet")
		write(t, f, "more", 700)
		r := fsys.Record()
		want := map[int][]uint64{0: crashes(fsys)}
		work(t, fsys, seed, func() { want[len(r.Ops())] = crashes(fsys) })
		order := rand.New(rand.NewPCG(seed, 1)).Perm(len(r.Ops()) + 1)
		for _, n := range append(order, 0, len(r.Ops())) {
			if sums, known := want[n]; known && !slices.Equal(crashes(r.after(n)), sums) {
				t.Fatalf("seed %d: the state after operation %d of %d is another one", seed, n, len(r.Ops()))
			}
		}
	}
}

// TestAllStates: where little is pending every combination is among the states, each as often as it should be.
func TestAllStates(t *testing.T) {
	fsys := synced(t, "a="+strings.Repeat("A", 1024), "b=B")
	r := fsys.Record()
	f, err := fsys.OpenWrite("a")
	must(t, err)
	write(t, f, strings.Repeat("x", 1024), 0)
	must(t, fsys.Remove("b"))
	var got []string
	for s := range r.States(len(r.Ops()), 8, 1) {
		got = append(got, strings.Join(tree(t, s.Disk), " "))
	}
	var want []string
	for _, b := range []string{" b=B", ""} {
		for _, second := range "Ax" {
			for _, first := range "Ax" {
				want = append(want, "a="+strings.Repeat(string(first), 512)+strings.Repeat(string(second), 512)+b)
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d states %.99q, want %d", len(got), got, len(want))
	}
}

// TestManyStates: where much is pending the extremes are among the states, they are different, and always the same ones.
func TestManyStates(t *testing.T) {
	fsys := synced(t, "a=")
	r := fsys.Record()
	f, err := fsys.OpenWrite("a")
	must(t, err)
	write(t, f, strings.Repeat("x", 40*512), 0)
	take := func() (all []State, sums map[uint64]bool) {
		sums = map[uint64]bool{}
		for s := range r.States(1, 60, 3) {
			all, sums[s.Sum] = append(all, s), true
		}
		return all, sums
	}
	all, sums := take()
	if len(all) != 60 || len(sums) < 30 || !sums[fsys.Crash(Keep, 0).sum()] || !sums[fsys.Crash(Drop, 0).sum()] {
		t.Errorf("%d states, %d different", len(all), len(sums))
	}
	again, _ := take()
	if !slices.EqualFunc(all, again, func(a, b State) bool { return a.Sum == b.Sum }) {
		t.Error("the second time they are others")
	}
}

// TestStatesStandAlone: what is done on one state is not seen on another, nor in the recording.
func TestStatesStandAlone(t *testing.T) {
	fsys := synced(t, "a=A", "b=B")
	r := fsys.Record()
	must(t, fsys.Remove("b"))
	for range 2 {
		for s := range r.States(1, 8, 1) {
			f, err := s.Disk.OpenWrite("a")
			must(t, err)
			write(t, f, "X", 0)
			must(t, f.Sync())
			wantTree(t, s.Disk.Crash(Drop, 0), append([]string{"a=X"}, tree(t, s.Disk)[1:]...)...)
		}
		wantTree(t, r.after(1), "a=A")
		wantTree(t, fsys, "a=A")
	}
}

// TestWrittenTwice: a sector that was written more than once before its sync may be on the disk as it was each time.
func TestWrittenTwice(t *testing.T) {
	fsys := synced(t, "a=old")
	f, err := fsys.OpenWrite("a")
	must(t, err)
	write(t, f, "one", 0)
	write(t, f, "two", 0)
	wantOutcomes(t, fsys, "a=old", "a=one", "a=two")
	must(t, f.Sync())
	write(t, f, "new", 0)
	wantOutcomes(t, fsys, "a=two", "a=new")
}
