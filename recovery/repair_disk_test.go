package recovery

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs"
	"logmule/queue/vfs/faultfs"
)

// TestRepairUnreadable: what the disk does not give, and no parity either, is given up; what it gives is kept. The old file stays,
// for the case that the disk gives more of it later.
func TestRepairUnreadable(t *testing.T) {
	b := newBuilder(t)
	b.codec = segment.None
	var many []int
	for range 60 {
		many = append(many, 12)
	}
	b.sealed(many...)
	b.killed(many...)
	was := tree(t, b.fs)
	bad := []span{{b.of(300).offset, 5000}, {b.of(1000).offset, 100}} // in the sealed one more than parity gives back
	renamed := map[string]bool{}
	b.fs.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Rename {
			renamed[op.To] = true
		}
		return nil
	})
	b.fs.FailReads(func(name string, offset int64, size int) error {
		for i, s := range bad {
			if name == b.path(i) && !renamed[name] && offset < s.offset+s.length && offset+int64(size) > s.offset {
				return syscall.EIO
			}
		}
		return nil
	})
	survive := surviving(t, b.fs).String()
	r := mustRepair(t, b.fs)
	if !r.Clean || len(r.Damage) != 2 || r.Damage[0].Action != didQuarantine || r.Damage[0].Cause != causeUnreadable {
		t.Errorf("%+v", r)
	}
	if got := surviving(t, b.fs).String(); got != survive {
		t.Errorf("%s survive, want %s", got, survive)
	}
	kept(t, was, tree(t, b.fs), "at the end")
	if r := mustRepair(t, b.fs); r.Repaired || !r.Clean {
		t.Errorf("the second repair: %+v", r)
	}
}

// TestRepairOfADeadDisk: nothing can be read any more, nor written. Nothing is given up.
func TestRepairOfADeadDisk(t *testing.T) {
	b := brokenQueue(t)
	was := tree(t, b.fs)
	b.fs.FailReads(func(name string, _ int64, _ int) error {
		if strings.Contains(name, SegmentDir) {
			return syscall.EIO
		}
		return nil
	})
	b.fs.FailFrom(1, syscall.EIO)
	r, err := repairOn(t, b.fs)
	b.fs.FailReads(nil)
	b.fs.FailFrom(1, nil)
	if err == nil && r.Clean {
		t.Errorf("%+v", r)
	}
	if d := differ(was, tree(t, b.fs)); len(d) > 0 {
		t.Errorf("it has changed %v", d)
	}
}

// TestRepairLocked: the lock is somebody's, and nothing is touched.
func TestRepairLocked(t *testing.T) {
	b := brokenQueue(t)
	lock, err := b.fs.Lock(filepath.Join(testDir, LockFile), "the daemon")
	b.must(err)
	was := tree(t, b.fs)
	_, err = repairOn(t, b.fs)
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.Holder != "the daemon" {
		t.Errorf("it says %v", err)
	}
	if d := differ(was, tree(t, b.fs)); len(d) > 0 {
		t.Errorf("it has changed %v", d)
	}
	b.must(lock.Close())
	if r := mustRepair(t, b.fs); !r.Clean {
		t.Errorf("%+v", r)
	}
	if got := string(contentOf(t, b.fs, filepath.Join(testDir, LockFile))); got != "the daemon\n" {
		t.Errorf("the lock file says %q", got)
	}
}

// TestRepairWithoutLinks: where a file can have no second name its bytes are copied.
func TestRepairWithoutLinks(t *testing.T) {
	b := brokenQueue(t)
	was := tree(t, b.fs)
	b.fs.FailMatching(func(op faultfs.Op) error {
		if op.Kind == faultfs.Link {
			return syscall.EPERM
		}
		return nil
	})
	if r := mustRepair(t, b.fs); !r.Clean {
		t.Fatalf("%+v", r)
	}
	kept(t, was, tree(t, b.fs), "at the end")
}

// TestRepairOfNothing: a directory that is none, and one in which there is nothing yet.
func TestRepairOfNothing(t *testing.T) {
	b := newBuilder(t)
	if r := mustRepair(t, b.fs); !r.Clean || r.Repaired {
		t.Errorf("%+v", r)
	}
	if _, err := Repair(context.Background(), b.fs, "/", RepairOptions{}); err == nil || !strings.Contains(err.Error(), "no data directory") {
		t.Errorf("it says %v", err)
	}
}

// TestRepairDeep: a frame that cannot be decoded under a checksum that holds is found with Deep, and lost once. A repair that does not
// decode leaves it to the readers.
func TestRepairDeep(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		b := newBuilder(t)
		b.open()
		b.durable(5)
		raw := []byte("no lines, and not as many bytes as the runs say")
		b.frame(segment.FrameHeader{Type: segment.Data, First: b.next}, []segment.Run{{Form: segment.Lines, Count: 3, Raw: uint32(len(raw)) + 1}}, raw)
		b.next += 3
		b.sync()
		b.durable(4)
		if sealed {
			b.seal()
		} else {
			b.close()
		}
		if r := mustRepair(t, b.fs); !r.Clean || r.LostRecords > 0 {
			t.Errorf("not deep: %+v", r)
		}
		deep := func() Report {
			r, err := Repair(context.Background(), b.fs, testDir, RepairOptions{CheckOptions: CheckOptions{Deep: true}, MakeStore: storeMaker(t, b.fs)})
			b.must(err)
			return r
		}
		if r := deep(); !r.Clean || r.LostRecords != 3 || len(r.Damage) != 1 || r.Damage[0].Action != didQuarantine {
			t.Errorf("sealed %v: %+v", sealed, r)
		}
		was := tree(t, b.fs)
		if r := deep(); !r.Clean || r.Repaired || len(differ(was, tree(t, b.fs))) > 0 {
			t.Errorf("sealed %v, again: %+v", sealed, r)
		}
		if got := toldIn(t, b.fs); !strings.HasPrefix(got, "6-8 3 unreadable yes") {
			t.Errorf("sealed %v: the ledger has %s", sealed, got)
		}
	}
}
