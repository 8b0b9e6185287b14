package recovery

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/vfs/faultfs"
)

// TestRepairFull repairs with ever more room: whatever there is no room for is left as it was, and said to be; and when there
// is room the next run ends where one does that had it from the beginning.
func TestRepairFull(t *testing.T) {
	for name, broken := range brokenOnes {
		t.Run(name, func(t *testing.T) {
			b := broken(t)
			was := tree(t, b.fs)
			calm := b.fs.Crash(faultfs.Keep, 0)
			lost := check(t, calm).LostRecords
			mustRepair(t, calm)
			survive, told := surviving(t, calm).String(), toldIn(t, calm)
			refused := 0
			for free := int64(0); ; free += 12 << 10 {
				disk := b.fs.Crash(faultfs.Keep, 0)
				disk.SetFree(free)
				r, err := repairOn(t, disk)
				where := fmt.Sprintf("%d bytes free", free)
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				kept(t, was, tree(t, disk), where)
				if r.Clean {
					break
				}
				refused++
				if !strings.Contains(strings.Join(r.Notes, " "), "free at least ") {
					t.Fatalf("%s: it does not say how much room it wants: %v", where, r.Notes)
				}
				if r.LostRecords != lost || r.Wants <= 0 {
					t.Fatalf("%s: fsck said that %d records are lost, the repair %d; it wants %d bytes", where, lost, r.LostRecords, r.Wants)
				}
				reported := booked(r)
				if yes, _ := ledgered(t, disk); yes.Count() != reported {
					t.Fatalf("%s: it reports %d lost records, and writes down %s", where, reported, yes)
				}
				disk.SetFree(1 << 30)
				r = mustRepair(t, disk)
				reported += booked(r)
				if yes, _ := ledgered(t, disk); yes.Count() != reported {
					t.Fatalf("%s: both runs report %d lost records, and write down %s", where, reported, yes)
				}
				if !r.Clean || surviving(t, disk).String() != survive || toldIn(t, disk) != told {
					t.Fatalf("%s, and then enough: %+v\n%s", where, r, toldIn(t, disk))
				}
				kept(t, was, tree(t, disk), where)
			}
			t.Logf("%d times there was too little room", refused)
		})
	}
}

// booked are the lost records of which a repair says that they are written down.
func booked(r Report) (n uint64) {
	for _, d := range r.Damage {
		if d.FirstLost > 0 && !d.Left() {
			n += d.LastLost - d.FirstLost + 1
		}
	}
	return n
}

// TestRepairFails has one operation after the other fail.
func TestRepairFails(t *testing.T) {
	for name, broken := range brokenOnes {
		for step, why := range []error{syscall.EIO, syscall.ENOSPC, syscall.EPERM} {
			t.Run(fmt.Sprintf("%s, %v", name, why), func(t *testing.T) {
				b := broken(t)
				was := tree(t, b.fs)
				calm := b.fs.Crash(faultfs.Keep, 0)
				mustRepair(t, calm)
				survive, told := surviving(t, calm).String(), toldIn(t, calm)
				for n := 1 + step; ; n += 1 + 2*step {
					disk := b.fs.Crash(faultfs.Keep, 0)
					disk.FailAt(n, why)
					r, err := repairOn(t, disk)
					if disk.Ops() < n {
						break
					}
					where := fmt.Sprintf("operation %d fails: %s: %v, %v", n, disk.Trace()[n-1], r.Clean, err)
					kept(t, was, tree(t, disk), where)
					for _, mode := range []faultfs.Mode{faultfs.Keep, faultfs.Drop} {
						left := disk.Crash(mode, 0)
						kept(t, was, tree(t, left), where)
						if r, err := repairOn(t, left); err != nil || !r.Clean {
							t.Fatalf("%s: the second run: %+v, %v", where, r, err)
						}
						if got := surviving(t, left).String(); got != survive {
							t.Fatalf("%s: the second run leaves %s, want %s", where, got, survive)
						}
						if got := toldIn(t, left); got != told {
							t.Fatalf("%s: the ledger has\n%s\nwant\n%s", where, got, told)
						}
					}
				}
			})
		}
	}
}

// TestRepairInterrupted ends a repair at every point where it looks whether it should.
func TestRepairInterrupted(t *testing.T) {
	b := brokenQueue(t)
	was := tree(t, b.fs)
	calm := b.fs.Crash(faultfs.Keep, 0)
	mustRepair(t, calm)
	survive, told := surviving(t, calm).String(), toldIn(t, calm)
	begun, copied := 0, 0
	for n := 1; ; n++ {
		disk := b.fs.Crash(faultfs.Keep, 0)
		ctx, cancel := context.WithCancel(context.Background())
		ops := 0
		disk.PauseBefore(func() {
			if ops++; ops == n {
				cancel()
			}
		})
		r, err := Repair(ctx, disk, testDir, RepairOptions{CheckOptions: CheckOptions{Workers: 1}, MakeStore: storeMaker(t, disk)})
		cancel()
		disk.PauseBefore(nil)
		if ops < n {
			break
		}
		if err != nil && (!errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "run it again")) {
			t.Fatalf("at operation %d: %v", n, err)
		}
		if err == nil && !r.Clean {
			t.Fatalf("at operation %d: %+v", n, r)
		}
		if err != nil && strings.Contains(err.Error(), "what has been done is whole") {
			begun++
		} else if err != nil {
			says := strings.Contains(err.Error(), "copies of bad bytes in quarantine/")
			for _, name := range differ(was, tree(t, disk)) {
				copy := strings.HasPrefix(name, filepath.Join(testDir, quarantineDir)) && strings.HasSuffix(name, ".bin")
				if name != filepath.Join(testDir, LockFile) && !(says && copy) {
					t.Fatalf("at operation %d: %v; and %s is another one", n, err, name)
				}
			}
			if says {
				copied++
			}
		}
		kept(t, was, tree(t, disk), fmt.Sprint(n))
		if r := mustRepair(t, disk); !r.Clean || surviving(t, disk).String() != survive || toldIn(t, disk) != told {
			t.Fatalf("at operation %d, and again: %+v", n, r)
		}
	}
	if begun == 0 || copied == 0 {
		t.Error("it was never interrupted in the middle")
	}
}
