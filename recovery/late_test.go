package recovery

import (
	"context"
	"syscall"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestRepairHealsNoMoreThanItHasRead: what the disk no longer gives when the segment is healed had been good when it was read.
// Nobody has written down its loss, so it does not become zeros.
func TestRepairHealsNoMoreThanItHasRead(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	b.sealed(10, 10, 10, 10, 10, 10)
	b.killed(5)
	survive := surviving(t, b.fs).String()
	at := b.of(15).offset / 64 * 64
	b.zero(0, at, 64)
	late := false
	b.fs.FailReads(func(name string, offset int64, size int) error {
		if late && name == b.path(0) && offset < 8192 && 4096 < offset+int64(size) { // a block of the disk
			return syscall.EIO
		}
		return nil
	})
	r, err := Repair(context.Background(), b.fs, testDir, RepairOptions{
		CheckOptions: CheckOptions{Workers: 1}, Holder: "test", MakeStore: storeMaker(t, b.fs), Changing: func(int, int) { late = true },
	})
	if err != nil || r.Clean {
		t.Errorf("%+v, %v", r, err)
	}
	b.fs.FailReads(nil)
	if r := mustRepair(t, b.fs); !r.Clean || r.LostRecords > 0 {
		t.Errorf("the second repair: %+v", r)
	}
	if got := surviving(t, b.fs).String(); got != survive {
		t.Errorf("%s survive, want %s", got, survive)
	}
}

// TestKeptAfterItsReplacement: an original loses nothing only as long as everything of it stands elsewhere.
func TestKeptAfterItsReplacement(t *testing.T) {
	for name, test := range map[string]struct {
		later func(b *builder)
		safe  bool
	}{
		"whole":            {func(*builder) {}, true},
		"damaged a little": {func(b *builder) { b.flip(1, b.of(75).offset+70) }, true},
		"beyond its parity": {func(b *builder) {
			at := b.of(75).offset / 64 * 64
			b.zero(1, at, 64)
			b.zero(1, at+32*64, 64)
		}, false},
		"another file":         {func(b *builder) { b.must(vfs.WriteFile(b.fs, b.path(1), []byte("x"))) }, false},
		"gone before its time": {func(b *builder) { b.remove(b.path(1)) }, false},
		"deleted in its turn":  {func(b *builder) { b.remove(b.path(0)); b.remove(b.path(1)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBuilder(t)
			b.codec = segment.None
			b.sealed(10, 10, 10, 10, 10, 10)
			b.sealed(10, 10, 10, 10, 10, 10)
			b.killed(5)
			b.flip(1, b.of(105).offset+70)
			if h, err := Heal(b.fs, testDir, b.made[1], HealOptions{}); err != nil || !h.Replaced {
				t.Fatalf("%+v, %v", h, err)
			}
			test.later(b)
			if k := listKept(t, b.fs)[b.made[1].String()+damagedSuffix]; k.LosesNothing != test.safe {
				t.Errorf("loses nothing: %v (%s)", k.LosesNothing, k.Why)
			}
			o := Originals{FS: b.fs, Dir: testDir}
			dropped, err := o.Trim(0, func() bool { return false })
			if err != nil || (len(dropped) == 1) != test.safe {
				t.Errorf("dropped %v, %v", dropped, err)
			}
		})
	}
}

// TestDropWhatWasShown: a file that took the name of another one meanwhile is not the one that somebody has agreed to lose.
func TestDropWhatWasShown(t *testing.T) {
	b, _ := hurtQueue(t, damagedOnes["a bit"].hurt)
	name := b.made[0].String() + damagedSuffix
	b.must(b.fs.MkdirAll(inQuarantine("")))
	b.must(vfs.WriteFile(b.fs, inQuarantine(name), []byte("x")))
	shown := listKept(t, b.fs)[name]
	b.must(vfs.WriteFile(b.fs, inQuarantine(name), []byte("another one")))
	if dropped, err := DropQuarantined(b.fs, testDir, []Kept{shown}); err == nil || len(dropped) > 0 || len(quarantined(t, b.fs)) != 1 {
		t.Errorf("%v, %v", dropped, err)
	}
}

// TestKeepsOnce: a healing that is cut short again and again gives the damaged file one second name, also where some of it cannot
// be read.
func TestKeepsOnce(t *testing.T) {
	b, _ := hurtQueue(t, func(*builder) {})
	end := b.sizeOf(0)
	b.fs.FailReads(func(name string, offset int64, size int) error {
		if name != b.path(0)+healingSuffix && size > 0 && offset+int64(size) > end-100 {
			return syscall.EIO
		}
		return nil
	})
	b.fs.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Rename {
			return syscall.EIO
		}
		return nil
	})
	for range 3 {
		if h, err := Heal(b.fs, testDir, b.made[0], HealOptions{}); err != nil || h.Replaced || !h.Won() || h.Waits == nil {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	if got := quarantined(t, b.fs); len(got) != 1 {
		t.Error(got)
	}
}
