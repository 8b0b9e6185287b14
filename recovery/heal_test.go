package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// damagedOnes are directories of which the first segment is damaged, and what of it stays lost.
var damagedOnes = map[string]struct {
	hurt func(b *builder)
	lost string
}{
	"a bit":   {func(b *builder) { b.flip(0, b.of(12).offset+70) }, ""},
	"a burst": {func(b *builder) { b.zero(0, b.of(12).offset+3, 31*64) }, ""},
	"header":  {func(b *builder) { b.zero(0, 0, 4096) }, ""},
	"everything but the frames": {func(b *builder) {
		t := trailerOf(b.t, b, 0)
		b.flip(0, 77)
		b.flip(0, t.IndexA+7)
		b.flip(0, t.Parity+7)
	}, ""},
	"frames and trailer": {func(b *builder) {
		b.zero(0, b.of(12).offset+3, 500)
		b.zero(0, b.sizeOf(0)-4096, 4096)
	}, ""},
	"last frames, cut behind the parity": {func(b *builder) {
		t := trailerOf(b.t, b, 0)
		b.zero(0, t.DataEnd-600, 600)
		b.truncate(0, t.IndexB+5)
	}, ""},
	"twice in a group, and once": {func(b *builder) {
		b.zero(0, b.of(2).offset+60, 20)
		at := b.of(12).offset / 64 * 64
		b.zero(0, at, 64)
		b.zero(0, at+32*64, 64)
	}, "11-20 51-60"},
}

// hurtQueue is a directory with a sealed segment of records 1 to 60 that is damaged, and two more; it returns the segment
// as it was, too.
func hurtQueue(t testing.TB, hurt func(b *builder)) (b *builder, was []byte) {
	t.Helper()
	b = newBuilder(t)
	b.codec = segment.None
	b.open()
	b.full(b.at("a", 1))
	b.durable(10, 10, 10, 10, 10, 10)
	b.seal()
	b.open()
	b.full(b.at("a", 1))
	b.durable(10)
	b.seal()
	b.killed(5)
	was = contentOf(t, b.fs, b.path(0))
	hurt(b)
	return b, was
}

func contentOf(t testing.TB, fsys vfs.FS, path string) []byte {
	t.Helper()
	data, err := vfs.ReadFile(fsys, path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestHeal: what can be healed is, the file that was damaged is in quarantine, fsck said before what would be done, and
// finds nothing else afterwards. A second healing has nothing to do.
func TestHeal(t *testing.T) {
	for name, test := range damagedOnes {
		t.Run(name, func(t *testing.T) {
			b, was := hurtQueue(t, test.hurt)
			bad := contentOf(t, b.fs, b.path(0))
			before := check(t, b.fs)
			h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
			if err != nil || h.Waits != nil || !h.Replaced || h.Quarantine != quarantineDir+"/"+b.made[0].String()+".damaged" {
				t.Fatalf("%+v, %v", h, err)
			}
			if got := contentOf(t, b.fs, filepath.Join(testDir, h.Quarantine)); !bytes.Equal(got, bad) {
				t.Error("quarantine has another file than the damaged one")
			}
			if test.lost == "" && !bytes.Equal(contentOf(t, b.fs, b.path(0)), was) {
				t.Error("the healed file is not the one that was sealed")
			}
			after := check(t, b.fs)
			promised := slices.DeleteFunc(slices.Clone(before.Damage), func(d Damage) bool { return d.Action != wouldHeal && d.Action != wouldRebuild })
			left := slices.DeleteFunc(slices.Clone(before.Damage), func(d Damage) bool { return d.Action == wouldHeal || d.Action == wouldRebuild })
			if len(promised) != len(h.Gains) || fmt.Sprint(left) != fmt.Sprint(after.Damage) || after.HealedBytes > 0 {
				t.Errorf("fsck said %+v, healing did %+v, fsck finds %+v", before.Damage, h.Gains, after.Damage)
			}
			for i, g := range h.Gains {
				if p := promised[i]; p.Offset != g.Offset || p.Length != g.Size || p.Cause != g.Cause || (p.Action == wouldHeal) != g.Data {
					t.Errorf("fsck said %+v, healing did %+v", p, g)
				}
			}
			if before.Records != after.Records || before.LostRecords != after.LostRecords {
				t.Errorf("fsck counted %d records, %d lost; now %d, %d", before.Records, before.LostRecords, after.Records, after.LostRecords)
			}
			missing := surviving(t, b.fs).Without(1, 75)
			if got := strings.Trim(fmt.Sprint(missing), "[]"); (got == "") != (test.lost == "") {
				t.Errorf("missing %v, want %q", missing, test.lost)
			}
			ops := b.fs.Ops()
			if again, err := Heal(b.fs, testDir, b.made[0], HealOptions{}); err != nil || again.Replaced || again.Won() || b.fs.Ops() != ops {
				t.Errorf("second healing: %+v, %v, %v", again, err, b.fs.Trace()[ops:])
			}
		})
	}
}

// TestHealDoesWhatFsckSays: whatever is damaged, what fsck promises to heal is what is healed, to the byte, what it says is lost
// is what is lost afterwards, and every record that it counts can be read.
func TestHealDoesWhatFsckSays(t *testing.T) {
	b, was := hurtQueue(t, func(*builder) {})
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fsys, done := b.fs.Crash(faultfs.Keep, 0), ""
		edit(t, fsys, b.path(0), func(data []byte) []byte {
			for range 1 + rng.IntN(5) {
				at, n := rng.IntN(len(data)), []int{1, 1, 60, 300, 1500, 4096}[rng.IntN(6)]
				done += fmt.Sprintf(" %d at %d", n, at)
				for i := at; i < min(at+n, len(data)); i++ {
					data[i] = byte(rng.IntN(3) * 119)
				}
			}
			if rng.IntN(8) == 0 {
				data = data[:len(data)-rng.IntN(3000)]
			}
			return data
		})
		before := check(t, fsys)
		h, err := Heal(fsys, testDir, b.made[0], HealOptions{})
		if err == nil && h.Waits != nil {
			t.Fatalf("seed %d:%s: %v", seed, done, h.Waits)
		}
		after := check(t, fsys)
		var promised, healed []string
		for _, d := range before.Damage {
			if d.Action == wouldHeal {
				promised = append(promised, fmt.Sprint(d.Offset, d.Length, d.Cause))
			}
		}
		for _, g := range h.Gains {
			if g.Data {
				healed = append(healed, fmt.Sprint(g.Offset, g.Size, g.Cause))
			}
		}
		if !slices.Equal(promised, healed) || before.LostRecords != after.LostRecords || before.Records != after.Records || after.HealedBytes > 0 {
			t.Fatalf("seed %d:%s (%v)\nfsck said %+v\nhealed %v\nfsck says %+v", seed, done, err, before, healed, after)
		}
		var records uint64
		for _, r := range surviving(t, fsys) {
			records += r.Last - r.First + 1
		}
		if records != after.Records || records+after.LostRecords != 75 {
			t.Fatalf("seed %d:%s: %d records, fsck says %+v", seed, done, records, after)
		}
		if len(h.Gains) > 0 && h.Whole() && !h.Seal && !bytes.Equal(contentOf(t, fsys, b.path(0)), was) {
			t.Fatalf("seed %d:%s: wholly healed, and another file", seed, done)
		}
	}
}

// TestHealErrors makes every single operation fail once: the segment is as it was or healed, the error says that it waits,
// and the next attempt heals.
func TestHealErrors(t *testing.T) {
	b, was := hurtQueue(t, damagedOnes["a burst"].hurt)
	bad := contentOf(t, b.fs, b.path(0))
	calm := b.fs.Crash(faultfs.Keep, 0)
	if _, err := Heal(calm, testDir, b.made[0], HealOptions{}); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= calm.Ops(); n++ {
		for _, reason := range []error{syscall.EIO, syscall.ENOSPC} {
			fsys := b.fs.Crash(faultfs.Keep, 0)
			fsys.FailAt(n, reason)
			where := fmt.Sprintf("%v at %v", reason, calm.Trace()[n-1])
			h, err := Heal(fsys, testDir, b.made[0], HealOptions{})
			if err != nil || h.Waits == nil && !h.Replaced {
				t.Fatalf("%s: %+v, %v", where, h, err)
			}
			now := contentOf(t, fsys, b.path(0))
			if h.Replaced != bytes.Equal(now, was) || !h.Replaced && !bytes.Equal(now, bad) {
				t.Fatalf("%s: replaced %t, and the file is something else", where, h.Replaced)
			}
			image := make([]byte, h.Size)
			if _, err := h.Over(bytes.NewReader(bad)).ReadAt(image, 0); err != nil || !bytes.Equal(image, was) {
				t.Fatalf("%s: in memory it is not healed: %v", where, err)
			}
			if h, err = Heal(fsys, testDir, b.made[0], HealOptions{}); err != nil || h.Waits != nil || !bytes.Equal(contentOf(t, fsys, b.path(0)), was) {
				t.Fatalf("%s: second healing: %+v, %v", where, h, err)
			}
		}
	}
}

// TestHealOnAFullDisk: nothing is changed, and nothing left behind.
func TestHealOnAFullDisk(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a burst"].hurt)
	bad := contentOf(t, b.fs, b.path(0))
	b.fs.SetFree(5000)
	h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
	if err != nil || h.Replaced || !isFull(h.Waits) || !bytes.Equal(contentOf(t, b.fs, b.path(0)), bad) {
		t.Fatalf("%+v, %v", h, err)
	}
	infos, err := b.fs.ReadDir(filepath.Join(testDir, SegmentDir))
	if err != nil || len(infos) != 3 || len(quarantined(t, b.fs)) > 0 {
		t.Errorf("%d files, quarantine %v", len(infos), quarantined(t, b.fs))
	}
	room := fmt.Errorf("no room for tests: %w", syscall.EDQUOT)
	b.fs.SetFree(1 << 30)
	h, _ = Heal(b.fs, testDir, b.made[0], HealOptions{Room: func(int64) error { return room }})
	if h.Replaced || !isFull(h.Waits) {
		t.Errorf("%+v", h)
	}
}

// TestStartHealsWithRoomOnly: a start that finds little room leaves the segment to its readers, and takes it as healed.
func TestStartHealsWithRoomOnly(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	b.open()
	b.full(b.at("a", 1), b.at("b", 3))
	b.durable(5, 20)
	b.seal()
	b.killed(5)
	b.flip(0, b.placed[0].offset+70) // the positions
	bad := contentOf(t, b.fs, b.path(0))
	b.fs.SetFree(28_000)
	state := mustStart(t, b.fs, nil)
	if len(state.Outputs) != 2 || len(state.Report.Damage) > 0 || !bytes.Equal(contentOf(t, b.fs, b.path(0)), bad) {
		t.Errorf("%+v", state)
	}
	b.fs.SetFree(1 << 20)
	if state = mustStart(t, b.fs, nil); len(state.Outputs) != 2 || state.Report.HealedBytes == 0 || len(state.Report.Damage) != 1 || state.Report.Damage[0].Action != didHeal {
		t.Errorf("%+v", state)
	}
}

func BenchmarkHeal(b *testing.B) {
	build := newBuilder(b)
	build.size, build.codec = 64<<20, segment.None
	build.open()
	for build.w.End() < 60<<20 {
		build.records(7000)
	}
	build.seal()
	data := contentOf(b, build.fs, build.path(0))
	dir := b.TempDir()
	path := segmentPath(dir, build.made[0])
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	for i := range 1 << 20 {
		data[20<<20+i] ^= 0xff
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		b.StopTimer()
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, quarantineDir)), os.WriteFile(path, data, 0o600)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if h, err := Heal(vfs.OS(), dir, build.made[0], HealOptions{}); err != nil || !h.Replaced {
			b.Fatal(h, err)
		}
	}
}

// TestHealUnreadable: sectors that cannot be read are healed like others. Where parity has not all of them, the disk may
// still give them, so the file stays until a repair gives them up.
func TestHealUnreadable(t *testing.T) {
	b, was := hurtQueue(t, func(b *builder) { b.flip(0, b.of(52).offset+70) })
	b.fs.FailReads(func(name string, offset int64, size int) error { // a bad block of 4096 bytes
		if name == b.path(0) && offset < 8192 && 4096 < offset+int64(size) {
			return syscall.EIO
		}
		return nil
	})
	h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
	if err != nil || h.Replaced || h.Waits == nil || !h.Unread {
		t.Fatalf("%+v, %v", h, err)
	}
	_, err = repairOn(t, b.fs)
	b.fs.FailReads(nil)
	if err != nil {
		t.Fatal(err)
	}
	if kept := contentOf(t, b.fs, inQuarantine(b.made[0].String()+damagedSuffix)); !bytes.Equal(kept[4096:5000], was[4096:5000]) {
		t.Error("what could not be read is not in quarantine")
	}
}

// TestHealNotWanted: a segment that is deleted meanwhile does not come back.
func TestHealNotWanted(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a burst"].hurt)
	h, err := Heal(b.fs, testDir, b.made[0], HealOptions{Hold: func() (func(), bool) {
		b.remove(b.path(0))
		return func() {}, false
	}})
	if err != nil || h.Replaced || h.Waits == nil {
		t.Fatalf("%+v, %v", h, err)
	}
	infos, err := b.fs.ReadDir(filepath.Join(testDir, SegmentDir))
	if err != nil || len(infos) != 2 || len(quarantined(t, b.fs)) > 0 {
		t.Errorf("%d files, quarantine %v", len(infos), quarantined(t, b.fs))
	}
}

// TestHealWithoutLinks copies the bytes that it replaces.
func TestHealWithoutLinks(t *testing.T) {
	b, was := hurtQueue(t, damagedOnes["a burst"].hurt)
	before := b.fs.Crash(faultfs.Keep, 0)
	b.fs.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Link {
			return syscall.EPERM
		}
		return nil
	})
	h, err := Heal(b.fs, testDir, b.made[0], HealOptions{})
	if err != nil || !h.Replaced || h.Quarantine != "" || !bytes.Equal(contentOf(t, b.fs, b.path(0)), was) {
		t.Fatalf("%+v, %v", h, err)
	}
	saved(t, before, b.fs)
}

// TestHealLeftovers: a start removes what a healing that was cut short has left, and nothing that only looks like it.
func TestHealLeftovers(t *testing.T) {
	b, _ := hurtQueue(t, func(*builder) {})
	stays := filepath.Join(testDir, SegmentDir, "x"+healingSuffix)
	for _, name := range []string{b.path(0) + healingSuffix, b.path(1) + healingSuffix, stays} {
		b.must(vfs.WriteFile(b.fs, name, []byte("half")))
	}
	if r := check(t, b.fs); !r.Clean || len(r.Damage) > 0 {
		t.Errorf("%+v", r)
	}
	mustStart(t, b.fs, nil)
	infos, err := b.fs.ReadDir(filepath.Join(testDir, SegmentDir))
	if err != nil || len(infos) != 4 || infos[3].Name() != filepath.Base(stays) {
		t.Errorf("%v, %v", infos, err)
	}
}
