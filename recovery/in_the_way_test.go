package recovery

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// renamedOne is a queue whose second segment has another one's name.
func renamedOne(t *testing.T) *builder {
	b := newBuilder(t)
	b.sealed(10, 10)
	b.sealed(10, 10)
	b.sealed(10, 10)
	b.killed(5, 5)
	b.must(b.fs.Rename(b.path(1), segmentPath(testDir, segment.Name{First: 15, Salt: b.made[1].Salt})))
	return b
}

// TestInTheWay: what stands under the name that a segment gets back, and is no file, goes to quarantine unopened, whoever renames.
func TestInTheWay(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("not to be touched"), 0o600); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]func(path string) error{
		"directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
		"link":      func(path string) error { return os.Symlink(outside, path) },
		"dangling":  func(path string) error { return os.Symlink("nowhere", path) },
		"fifo":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	}
	disk, ctx := vfs.OS(), context.Background()
	menders := map[string]func(b *builder, dir string){
		"repair": func(b *builder, dir string) {
			r, err := Repair(ctx, disk, dir, RepairOptions{})
			if err != nil || !r.Clean || !r.Repaired || len(r.Damage) != 1 || r.Damage[0].Action != didRename || !slices.ContainsFunc(r.Notes, func(n string) bool {
				return strings.Contains(n, straySuffix)
			}) {
				t.Errorf("repair: %v, %+v", err, r)
			}
		},
		"daemon": func(b *builder, dir string) {
			ledger, err := OpenLedger(disk, dir)
			b.must(err)
			found, _, err := list(disk, dir)
			b.must(err)
			var names []segment.Name
			for _, l := range found {
				names = append(names, l.name)
			}
			_, _, err = SortOut(disk, dir, b.queue, ledger, names)
			b.must(err)
			b.must(ledger.Close())
			_, err = Start(disk, dir, checkpoint.NewMemory(), Options{})
			b.must(err)
		},
	}
	for kind, put := range kinds {
		for who, mend := range menders {
			for _, suffix := range []string{"", namedSuffix} {
				t.Run(kind+suffix+", "+who, func(t *testing.T) {
					b := renamedOne(t)
					dir := export(t, b)
					at := segmentPath(dir, b.made[1]) + suffix
					b.must(put(at))
					was, err := os.Lstat(at)
					b.must(err)
					mend(b, dir)
					if r, err := Check(ctx, disk, dir, CheckOptions{}); err != nil || !r.Clean || r.Records != 70 || len(r.Ledger) > 0 {
						t.Errorf("fsck: %v, %+v", err, r)
					}
					now, err := os.Lstat(filepath.Join(dir, quarantineDir, b.made[1].String()+straySuffix))
					if err != nil || now.Mode() != was.Mode() {
						t.Errorf("in quarantine: %v, %v", now, err)
					}
					if data, err := os.ReadFile(outside); string(data) != "not to be touched" {
						t.Errorf("the link was followed: %q, %v", data, err)
					}
				})
			}
		}
	}
}

// TestInTheWayCut ends such a repair at every operation, and has every operation fail.
func TestInTheWayCut(t *testing.T) {
	b := renamedOne(t)
	b.must(b.fs.MkdirAll(b.path(1)))
	for _, fails := range []error{nil, syscall.EIO, syscall.EPERM} {
		for n := 1; ; n++ {
			disk := b.fs.Crash(faultfs.Keep, 0)
			if fails == nil {
				disk.CrashAt(n)
			} else {
				disk.FailAt(n, fails)
			}
			_, _ = repairOn(t, disk)
			if disk.Ops() < n {
				break
			}
			for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop} {
				left := disk.Crash(mode, 0)
				if got := surviving(t, left).String(); got != "1-70" {
					t.Fatalf("operation %d, %v: %s can be read", n, fails, got)
				}
				if r, err := repairOn(t, left); err != nil || !r.Clean {
					t.Fatalf("operation %d, %v: the second run: %+v, %v", n, fails, r, err)
				}
				if info, err := left.Stat(b.path(1)); err != nil || !info.Mode().IsRegular() || toldIn(t, left) != "" {
					t.Fatalf("operation %d, %v: %v, %v, the ledger has %s", n, fails, info, err, toldIn(t, left))
				}
			}
		}
	}
}

// TestOneStays: a file that cannot be replaced keeps the repair from none of the others, and the report says what was done and lost.
func TestOneStays(t *testing.T) {
	b := brokenQueue(t)
	calm := b.fs.Crash(faultfs.Keep, 0)
	want, told := mustRepair(t, calm), ""
	told = toldIn(t, calm)
	for name, shut := range map[string]func(op faultfs.Op) bool{
		"one":           func(op faultfs.Op) bool { return op.Kind == faultfs.Rename && strings.HasPrefix(op.Name, b.path(1)) },
		"all":           func(op faultfs.Op) bool { return filepath.Dir(op.Name) == filepath.Join(testDir, SegmentDir) },
		"the store":     func(op faultfs.Op) bool { return strings.HasPrefix(filepath.Base(op.Name), CheckpointFile) },
		"no quarantine": func(op faultfs.Op) bool { return strings.Contains(op.Name, quarantineDir) },
	} {
		t.Run(name, func(t *testing.T) {
			disk := b.fs.Crash(faultfs.Keep, 0)
			disk.FailMatching(func(op faultfs.Op) error {
				if shut(op) {
					return &fs.PathError{Op: "open", Path: op.Name, Err: syscall.EPERM}
				}
				return nil
			})
			r, err := repairOn(t, disk)
			if err != nil || r.Clean || len(r.Notes) == 0 {
				t.Fatalf("%v, %+v", err, r)
			}
			if r.LostRecords != want.LostRecords {
				t.Errorf("it tells of %d lost records, want %d", r.LostRecords, want.LostRecords)
			}
			if got := toldIn(t, disk); name != "no quarantine" && got != told {
				t.Errorf("the ledger has\n%s\nwant\n%s", got, told)
			}
			if name == "one" {
				for i, made := range b.made {
					left := slices.ContainsFunc(r.Damage, func(d Damage) bool { return d.Segment == made.String() && d.Left() })
					if left && i != 1 {
						t.Errorf("segment %d is left: %+v", i, r.Damage)
					}
				}
			}
			disk.FailMatching(nil)
			if r, err := repairOn(t, disk); err != nil || !r.Clean || r.LostRecords > 0 && name != "no quarantine" {
				t.Errorf("the second run: %v, %+v", err, r)
			}
			if got := toldIn(t, disk); got != told {
				t.Errorf("in the end the ledger has\n%s\nwant\n%s", got, told)
			}
			if got := fmt.Sprint(surviving(t, disk)); got != fmt.Sprint(surviving(t, calm)) {
				t.Errorf("%s can be read", got)
			}
		})
	}
}

// TestNoWay: a segment whose name stays taken stays under the one that it has, where its readers find it.
func TestNoWay(t *testing.T) {
	b := renamedOne(t)
	b.must(b.fs.MkdirAll(b.path(1)))
	ledger, err := OpenLedger(b.fs, testDir)
	b.must(err)
	b.fs.FailMatching(func(op faultfs.Op) error {
		if strings.Contains(op.Name+op.To, quarantineDir) {
			return syscall.EXDEV
		}
		return nil
	})
	is := segment.Name{First: 15, Salt: b.made[1].Salt}
	if _, _, err := SortOut(b.fs, testDir, b.queue, ledger, []segment.Name{b.made[0], is, b.made[2], b.made[3]}); err == nil {
		t.Error("it says nothing")
	}
	b.must(ledger.Close())
	if info, err := b.fs.Stat(segmentPath(testDir, is)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if r, err := repairOn(t, b.fs); err != nil || r.Clean || r.LostRecords > 0 || surviving(t, b.fs).String() != "1-70" {
		t.Errorf("%v, %+v", err, r)
	}
	b.fs.FailMatching(nil)
	if r := mustRepair(t, b.fs); !r.Clean || surviving(t, b.fs).String() != "1-70" || toldIn(t, b.fs) != "" {
		t.Errorf("%+v", r)
	}
}
