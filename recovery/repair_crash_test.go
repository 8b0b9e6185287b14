package recovery

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// brokenOnes are data directories for a repair to be cut short in.
var brokenOnes = map[string]func(t testing.TB) *builder{
	"one of each": brokenQueue,
	"a torn tail": func(t testing.TB) *builder {
		b := newBuilder(t)
		b.sealed(3, 4)
		b.open()
		b.durable(5, 6)
		end := b.w.End()
		b.records(4)
		b.close()
		b.must(syncFile(b.fs, b.path(1)))
		b.flip(1, end+60)
		return b
	},
	"cut in the padding of frames": func(t testing.TB) *builder {
		b := newBuilder(t)
		for i := range 3 {
			b.open()
			b.full()
			end := b.padded(4)
			b.sync()
			if i > 0 {
				end = b.padded(3)
				b.sync()
			} else {
				b.records(2)
			}
			b.seal()
			b.truncate(i, end+int64(i))
		}
		return b
	},
	"two names swapped": func(t testing.TB) *builder {
		b := newBuilder(t)
		b.sealed(3, 4)
		b.sealed(5, 6)
		b.sealed(2, 2)
		swapNames(b, 0, 1)
		return b
	},
	"no identity, and a header": func(t testing.TB) *builder {
		b := newBuilder(t)
		b.sealed(3, 4)
		b.killed(5, 6)
		b.zero(1, 0, 4096)
		b.remove(filepath.Join(testDir, identityFile))
		return b
	},
}

// swapNames gives the files of two segments each other's name.
func swapNames(b *builder, i, k int) {
	b.t.Helper()
	b.must(b.fs.Rename(b.path(i), "/swap"))
	b.must(b.fs.Rename(b.path(k), b.path(i)))
	b.must(b.fs.Rename("/swap", b.path(k)))
	b.must(b.fs.SyncDir(filepath.Join(testDir, SegmentDir)))
	b.must(b.fs.SyncDir("/"))
}

// TestRepairCrash cuts a repair short at every operation, in many of the ways in which a power loss can leave the disk, and
// runs it again: in between no byte is gone that is not kept, and the end is that of a run which nothing disturbed.
func TestRepairCrash(t *testing.T) {
	for name, broken := range brokenOnes {
		t.Run(name, func(t *testing.T) {
			repairCrashes(t, broken(t), 10, func(f *faultfs.FS) vfs.FS { return f })
		})
	}
}

// TestRepairCrashTwins plants bugs, and the crash test has to find each.
func TestRepairCrashTwins(t *testing.T) {
	twins := map[string]func(f *faultfs.FS) vfs.FS{
		"new segment not synced": func(f *faultfs.FS) vfs.FS {
			return lyingFS{f, func(name string) bool { return strings.HasSuffix(name, healingSuffix) }}
		},
		"quarantine not synced": func(f *faultfs.FS) vfs.FS { return lazyFS{f} },
		"ledger not synced": func(f *faultfs.FS) vfs.FS {
			return lyingFS{f, func(name string) bool { return strings.HasPrefix(filepath.Base(name), ledgerFile) }}
		},
	}
	for name, wrap := range twins {
		t.Run(name, func(t *testing.T) {
			b := brokenQueue(t)
			p := &probe{TB: t}
			var run sync.WaitGroup
			run.Go(func() { repairCrashes(p, b, 10, wrap) })
			run.Wait()
			if !p.failed {
				t.Error("the crash test has not noticed")
			}
		})
	}
}

// toldIn is the ledger without its times and files.
func toldIn(t testing.TB, fsys vfs.FS) string {
	t.Helper()
	ledgered(t, fsys)
	losses, err := ReadLedger(fsys, testDir)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range losses {
		lines = append(lines, fmt.Sprintf("%d-%d %d %s %s %s+%d", l.First, l.Last, l.Count, l.Cause, l.Acknowledged, l.Segment, l.Offset))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func repairCrashes(t testing.TB, b *builder, states int, wrap func(*faultfs.FS) vfs.FS) {
	t.Helper()
	was := tree(t, b.fs)
	calm := b.fs.Crash(faultfs.Keep, 0)
	record := calm.Record()
	if r, err := repairOn(t, wrap(calm)); err != nil || !r.Clean {
		t.Fatalf("%+v, %v", r, err)
	}
	survive, told := surviving(t, calm).String(), toldIn(t, calm)
	end := tree(t, calm)
	seen := map[uint64]bool{}
	for n := 0; n <= len(record.Ops()); n++ {
		for state := range record.States(n, states, 1) {
			if seen[state.Sum] && n < len(record.Ops()) {
				continue
			}
			seen[state.Sum] = true
			where := fmt.Sprintf("after %d operations, state %d", n, state.Number)
			if n > 0 {
				where += fmt.Sprintf(", the last one %s", record.Ops()[n-1])
			}
			kept(t, was, tree(t, state.Disk), where)
			lost := slices.DeleteFunc(differ(end, tree(t, state.Disk)), func(name string) bool { return filepath.Base(name) == LockFile })
			if n == len(record.Ops()) && len(lost) > 0 {
				t.Fatalf("%s: the repair was over, and is not durable: %v", where, lost)
			}
			r, err := repairOn(t, wrap(state.Disk))
			if err != nil || !r.Clean {
				t.Fatalf("%s: the second run: %+v, %v", where, r, err)
			}
			if got := surviving(t, state.Disk).String(); got != survive {
				t.Fatalf("%s: the second run leaves %s, want %s", where, got, survive)
			}
			if got := toldIn(t, state.Disk); got != told {
				t.Fatalf("%s: the ledger has\n%s\nwant\n%s", where, got, told)
			}
			now := tree(t, state.Disk)
			kept(t, was, now, where)
			if d := differ(segmentsOf(end), segmentsOf(now)); len(d) > 0 {
				t.Fatalf("%s: the second run ends elsewhere: %v", where, d)
			}
			if len(seen)%8 == 0 {
				r = mustRepair(t, state.Disk)
				if d := differ(now, tree(t, state.Disk)); len(d) > 0 || r.Repaired || !r.Clean {
					t.Fatalf("%s: the third run changes %v: %+v", where, d, r)
				}
			}
		}
	}
	t.Logf("%d operations, %d different states", len(record.Ops()), len(seen))
}

func segmentsOf(all map[string]string) map[string]string {
	segments := map[string]string{}
	for name, data := range all {
		if strings.Contains(name, SegmentDir) {
			segments[name] = data
		}
	}
	return segments
}

// kept fails where bytes of a file are neither where they were nor in quarantine: the whole file there, or what was cut off.
func kept(t testing.TB, was, now map[string]string, where string) {
	t.Helper()
	for name, data := range was {
		base := filepath.Base(name)
		if now[name] == data || base == LockFile || base == identityFile && data == "" {
			continue
		}
		found := false
		for other, same := range now {
			found = found || same == data && (strings.Contains(other, quarantineDir) || strings.Contains(other, SegmentDir))
		}
		if !found && !cutOff(name, data, now) {
			t.Fatalf("%s: the bytes of %s are gone", where, name)
		}
	}
}

// cutOff tells whether a file is as it was when the copies of its bytes in quarantine are put back. Of zeros there is nothing to keep.
func cutOff(name, data string, now map[string]string) bool {
	is := make([]byte, len(data))
	copy(is, now[name])
	for other, part := range now {
		var offset, length int
		rest, ok := strings.CutPrefix(filepath.Base(other), filepath.Base(name))
		if n, err := fmt.Sscanf(rest, "-%d-%d.bin", &offset, &length); ok && n == 2 && err == nil && offset+length <= len(is) {
			copy(is[offset:], part)
		}
	}
	for i := range is {
		if is[i] != data[i] && data[i] != 0 {
			return false
		}
	}
	return true
}
