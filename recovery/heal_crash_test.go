package recovery

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestHealCrash cuts a healing short at every operation, in every way in which a power loss can leave the disk, and heals
// again: in between no byte that was good, or could be made so, is gone, and the end is always the same.
func TestHealCrash(t *testing.T) {
	for name, test := range damagedOnes {
		t.Run(name, func(t *testing.T) {
			b, _ := hurtQueue(t, test.hurt)
			healCrashes(t, b, func(f *faultfs.FS) vfs.FS { return f })
		})
	}
}

// TestHealCrashTwins plants bugs, and the crash test has to find each.
func TestHealCrashTwins(t *testing.T) {
	for name, lie := range map[string]func(string) bool{
		"copy not synced": func(name string) bool { return strings.HasSuffix(name, healingSuffix) },
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := hurtQueue(t, damagedOnes["a burst"].hurt)
			p := &probe{TB: t}
			var run sync.WaitGroup
			run.Go(func() { healCrashes(p, b, func(f *faultfs.FS) vfs.FS { return lyingFS{f, lie} }) })
			run.Wait()
			if !p.failed {
				t.Error("the crash test has not noticed")
			}
		})
	}
	t.Run("quarantine not synced", func(t *testing.T) {
		b, _ := hurtQueue(t, damagedOnes["a burst"].hurt)
		p := &probe{TB: t}
		var run sync.WaitGroup
		run.Go(func() { healCrashes(p, b, func(f *faultfs.FS) vfs.FS { return lazyFS{f} }) })
		run.Wait()
		if !p.failed {
			t.Error("the crash test has not noticed")
		}
	})
}

// lazyFS does not sync the quarantine directory.
type lazyFS struct{ *faultfs.FS }

func (l lazyFS) SyncDir(name string) error {
	if filepath.Base(name) == quarantineDir {
		return nil
	}
	return l.FS.SyncDir(name)
}

func healCrashes(t testing.TB, b *builder, wrap func(*faultfs.FS) vfs.FS) {
	t.Helper()
	bad := contentOf(t, b.fs, b.path(0))
	calm := b.fs.Crash(faultfs.Keep, 0)
	record := calm.Record()
	if h, err := Heal(wrap(calm), testDir, b.made[0], HealOptions{}); err != nil || !h.Replaced {
		t.Fatalf("%+v, %v", h, err)
	}
	good := contentOf(t, calm, b.path(0))
	survive := surviving(t, calm).String()
	for n := 0; n <= len(record.Ops()); n++ {
		for state := range record.States(n, 24, 1) {
			where := fmt.Sprintf("after %d operations, state %d", n, state.Number)
			if n == len(record.Ops()) && !bytes.Equal(contentOf(t, state.Disk, b.path(0)), good) {
				t.Fatalf("%s: the healing was over, and is not durable", where)
			}
			intact(t, state.Disk, b.path(0), good, bad, where)
			removeHealing(state.Disk, testDir)
			if _, err := Heal(wrap(state.Disk), testDir, b.made[0], HealOptions{}); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			if !bytes.Equal(contentOf(t, state.Disk, b.path(0)), good) || surviving(t, state.Disk).String() != survive {
				t.Fatalf("%s: the second healing ends elsewhere", where)
			}
			intact(t, state.Disk, b.path(0), good, bad, where)
			if got := quarantined(t, state.Disk); len(got) != 1 {
				t.Fatalf("%s: quarantine has %v", where, got)
			}
		}
	}
}

// intact fails where the segment is neither the damaged file nor the healed one with the damaged one in quarantine.
func intact(t testing.TB, fsys *faultfs.FS, path string, good, bad []byte, where string) {
	t.Helper()
	switch now := contentOf(t, fsys, path); {
	case bytes.Equal(now, bad):
		return
	case !bytes.Equal(now, good):
		t.Fatalf("%s: the segment is neither damaged nor healed", where)
	}
	for _, name := range quarantined(t, fsys) {
		if bytes.Equal(contentOf(t, fsys, filepath.Join(testDir, quarantineDir, name)), bad) {
			return
		}
	}
	t.Fatalf("%s: the damaged file is gone", where)
}

// TestHealOfAFlakyDisk: a disk that gives another byte, without an error, from some read on. Whenever that begins, the
// segment is as it was or as it should be.
func TestHealOfAFlakyDisk(t *testing.T) {
	b, was := hurtQueue(t, damagedOnes["a bit"].hurt)
	bad := contentOf(t, b.fs, b.path(0))
	refused := 0
	for from := 1; ; from++ {
		disk := &flaky{FS: b.fs.Crash(faultfs.Keep, 0), name: b.path(0), at: b.of(45).offset + 60, from: from}
		h, err := Heal(disk, testDir, b.made[0], HealOptions{})
		if err != nil {
			t.Fatal(err)
		}
		now := contentOf(t, disk.FS, b.path(0))
		if h.Replaced && !bytes.Equal(now, was) || !h.Replaced && !bytes.Equal(now, bad) || h.Replaced == (h.Waits != nil) {
			t.Fatalf("from read %d on: %+v", from, h)
		}
		if !h.Replaced {
			refused++
		}
		if disk.reads < from {
			break
		}
	}
	if refused == 0 {
		t.Error("it never showed")
	}
}

// flaky gives a byte of one file inverted from some read on.
type flaky struct {
	*faultfs.FS
	name        string
	at          int64
	reads, from int
}

func (f *flaky) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	if err == nil && name == f.name {
		file = flakyFile{file, f}
	}
	return file, err
}

type flakyFile struct {
	vfs.File
	f *flaky
}

func (f flakyFile) ReadAt(b []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(b, offset)
	f.f.reads++
	if at := f.f.at - offset; f.f.reads >= f.f.from && at >= 0 && at < int64(n) {
		b[at] ^= 0xff
	}
	return n, err
}
