package queue

import (
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"logmule/queue/segment"
	"logmule/queue/vfs/faultfs"
	"logmule/recovery"
)

// TestLostEndIsTold: what the newest file loses at its end is told, exactly, although nothing in any segment says that it was there; after
// a kill, and after a clean stop.
func TestLostEndIsTold(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, whole := range []bool{true, false} {
			b := newBench(t, nil)
			b.fill(10, 10)
			b.reopen()
			b.fill(30, 10)
			left := b.fsys.Crash(faultfs.Keep, 1)
			b.close()
			if clean {
				left = b.fsys
			}
			b.onDisk(left)
			lost := recovery.Loss{First: b.cutBefore(31, whole), Last: 40}
			report := b.fsck()
			if want := lost.Last - lost.First + 1; report.Clean || report.LostRecords != want {
				t.Errorf("clean stop %v, all of it %v: fsck finds %d lost records, want %d: %+v", clean, whole, report.LostRecords, want, report.Damage)
			}
			b.open()
			ledger := b.ledger()
			if len(ledger) != 1 || ledger[0].First != lost.First || ledger[0].Last != lost.Last || ledger[0].Acknowledged != recovery.Acknowledged {
				t.Errorf("clean stop %v, all of it %v: the ledger has %+v", clean, whole, ledger)
			}
			if next := b.append("more"); next != 41 {
				t.Errorf("the next record has sequence %d", next)
			}
			b.close()
		}
	}
}

// TestUnnotedEndIsTold: once, while it cannot be noted; nothing else depends on it.
func TestUnnotedEndIsTold(t *testing.T) {
	var log strings.Builder
	b := newBench(t, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	refuse := b.refuseIf(syscall.EIO, func(op faultfs.Op) bool {
		return op.Kind == faultfs.Write && strings.Contains(op.Name, "checkpoints.recent")
	})
	refuse.Store(true)
	b.fill(40, 10)
	b.close()
	if n := strings.Count(log.String(), "end of the log not noted"); n != 1 {
		t.Errorf("the log says %d times that the end is not noted, want once", n)
	}
}

// onDisk lets the bench go on with what is left on a file system.
func (b *bench) onDisk(left *faultfs.FS) {
	b.fsys = left
	b.opt.FS, b.opt.OpenStore = left, options(left, b.store).OpenStore
}

// cutBefore cuts the newest segment within the frame with this sequence, and gives the first one that is lost; whole: it deletes the file.
func (b *bench) cutBefore(sequence uint64, whole bool) uint64 {
	b.Helper()
	names := b.names()
	name := names[len(names)-1]
	path := "/data/segments/" + name.String()
	if whole {
		if err := errors.Join(b.fsys.Remove(path), b.fsys.SyncDir("/data/segments")); err != nil {
			b.Fatal(err)
		}
		return name.First
	}
	f, err := b.fsys.OpenWrite(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		b.Fatal(err)
	}
	for scan := segment.NewScanner(f, name.Salt, segment.HeaderSize, size); ; {
		part, err := scan.Next()
		if err != nil {
			b.Fatalf("no frame with record %d: %v", sequence, err)
		}
		if !part.Bad && part.Header.Type == segment.Data && part.Header.First <= sequence && sequence <= part.Header.Last() {
			if err := f.Truncate(part.Offset + 20); err != nil {
				b.Fatal(err)
			}
			return part.Header.First
		}
	}
}
