package torture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"logmule/integration/disk"
	"logmule/integration/reliability"
)

// Names of what the daemon keeps in its data directory.
const (
	segments  = "*.seg"
	positions = "checkpoints.db"
)

// on is a rule for one kind of operation.
func on(op disk.Op, name string, r disk.Rule) disk.Rule {
	r.Op, r.Name = op, name
	return r
}

func fails(err syscall.Errno) disk.Rule     { return disk.Rule{Err: err} }
func failsOnce(err syscall.Errno) disk.Rule { return disk.Rule{Err: err, Count: 1} }
func one(op disk.Op, name string) []disk.Rule {
	return []disk.Rule{on(op, name, failsOnce(syscall.EIO))}
}
func ever(op disk.Op, name string) []disk.Rule { return []disk.Rule{on(op, name, fails(syscall.EIO))} }

var (
	everybody = []string{"all"}
)

// queueErrors are what a disk that fails does to data_dir.
func queueErrors() []fault {
	const refuses = "disk refuses data"
	return []fault{
		{name: "data_dir: EIO from a read of a segment, once", rules: one(disk.Read, segments), once: true, reads: true},
		{name: "data_dir: EIO from every read of a segment", rules: ever(disk.Read, segments), reads: true, may: true},
		{name: "data_dir: EIO from the opening of a segment, once", rules: one(disk.Open, segments), once: true, reads: true},
		{name: "data_dir: EIO from every opening of a segment", rules: ever(disk.Open, segments), reads: true, may: true},
		{name: "data_dir: EIO from unlink, once", rules: one(disk.Unlink, segments), once: true, reads: true},
		{name: "data_dir: EIO from every unlink", rules: ever(disk.Unlink, segments), reads: true, says: "segment cannot be deleted"},
		{name: "data_dir: EIO from a write, once", rules: one(disk.Write, segments), once: true, quick: true},
		{name: "data_dir: EIO from every write", rules: ever(disk.Write, segments), holds: everybody, says: refuses},
		{name: "data_dir: EIO from fdatasync, once", rules: one(disk.Sync, segments), once: true, quick: true, says: refuses},
		{name: "data_dir: EIO from every fdatasync", rules: ever(disk.Sync, segments), holds: everybody, says: refuses},
		{name: "data_dir: EIO from the sync of the directory, once", rules: one(disk.SyncDir, "segments"), once: true},
		{name: "data_dir: EIO from every sync of the directory", rules: ever(disk.SyncDir, "segments"), holds: everybody, says: refuses},
		{name: "data_dir: EIO from the making of a segment, once", rules: one(disk.Create, segments), once: true},
		{name: "data_dir: EIO from every making of a segment", rules: ever(disk.Create, segments), holds: everybody, says: refuses},
		{name: "data_dir: EIO from fallocate, once", rules: one(disk.Allocate, segments), once: true},
		{name: "data_dir: EIO from every fallocate", rules: ever(disk.Allocate, segments), holds: everybody, says: refuses},
		{name: "checkpoints.db: EIO from a write, once", rules: one(disk.Write, positions), once: true, says: "checkpoints not saved"},
		{name: "checkpoints.db: EIO from every write", rules: ever(disk.Write, positions), says: "checkpoints not saved"},
		{name: "checkpoints.db: EIO from fdatasync, once", rules: one(disk.Sync, positions), once: true, says: "checkpoints not saved"},
		{name: "checkpoints.db: EIO from every fdatasync", rules: ever(disk.Sync, positions), says: "checkpoints not saved"},
		{name: "checkpoints.db: EIO from fdatasync, then from every rename", says: "checkpoints not saved",
			rules: append(one(disk.Sync, positions), on(disk.Rename, "", fails(syscall.EIO)))},
		{name: "checkpoints.db: EIO from fdatasync, then from rename, once", once: true, says: "checkpoints not saved",
			rules: append(one(disk.Sync, positions), on(disk.Rename, "", failsOnce(syscall.EIO)))},
		{name: "checkpoints.recent: EIO from every write", rules: ever(disk.Write, "checkpoints.recent"), says: "recent position not noted"},
		{name: "data_dir: a write takes 100 bytes and says so, 20 times", once: true,
			rules: []disk.Rule{on(disk.Write, segments, disk.Rule{Short: 100, Count: 20})}},
	}
}

// queueDamage is what a disk does to the bytes of segments. Each loss is written down, as soon as the ledger can be.
func queueDamage() []fault {
	flips := func(count int) []disk.Rule {
		return []disk.Rule{on(disk.Read, segments, disk.Rule{Flip: true, Count: count})}
	}
	rotten := func(name string, op disk.Op, r disk.Rule) fault {
		return fault{name: name, rules: []disk.Rule{on(op, "losses.jsonl*", r)}, begin: (&wound{where: inBody}).inflict, reads: true, may: true, lossy: true, says: unwritten}
	}
	all := []fault{
		{name: "data_dir: a bit is wrong in a read of a segment, once", rules: flips(1), once: true, reads: true},
		{name: "data_dir: another bit is wrong in every read of a segment", rules: flips(0), reads: true, may: true, lossy: true},
		healing("data_dir: a bit of a segment is wrong for ever"),
		wounded("data_dir: a bit of a segment is wrong for ever, and one of its parity", inBody),
		wounded("data_dir: the length in the header of a frame is wrong for ever, and a bit of its parity", inLength),
		rotten("losses.jsonl: EIO from every write, when a bit of a segment is wrong", disk.Write, fails(syscall.EIO)),
		rotten("losses.jsonl: EIO from every fsync, when a bit of a segment is wrong", disk.Sync, fails(syscall.EIO)),
	}
	for name, e := range full {
		all = append(all, rotten("losses.jsonl: "+name+" from every write, when a bit of a segment is wrong", disk.Write, fails(e)))
	}
	return all
}

// putAside gives the file of the file output another name, as a rotation does.
func putAside(d *disk.Disk) error {
	name := filepath.Join(d.Path(), "out", "archive.log")
	return os.Rename(name, fmt.Sprintf("%s.%d", name, time.Now().UnixNano()))
}

const (
	damage    = "records lost to damage"
	unwritten = "loss ledger not written"
)

// full are the two ways of a file system to say that there is no room.
var full = map[string]syscall.Errno{"ENOSPC": syscall.ENOSPC, "EDQUOT": syscall.EDQUOT}

// queueRoom are the ways in which there is no room in data_dir.
func queueRoom() []fault {
	all := []fault{
		{name: "data_dir: not a byte is free", begin: room(0), end: room(-1), holds: everybody, says: "queue is full"},
		{name: "data_dir: no file can be made", begin: inodes(0), end: inodes(-1), holds: everybody, says: "queue is full"},
		{name: "data_dir: EROFS from all that changes", begin: readOnly(true), end: readOnly(false), holds: everybody, says: "disk refuses data"},
	}
	for name, e := range full {
		every := func(op disk.Op, file string) []disk.Rule { return []disk.Rule{on(op, file, fails(e))} }
		all = append(all,
			fault{name: "data_dir: " + name + " from every write", rules: every(disk.Write, segments), holds: everybody, says: "queue is full"},
			fault{name: "data_dir: " + name + " from every making of a segment", rules: every(disk.Create, segments), holds: everybody, says: "queue is full"},
			fault{name: "data_dir: " + name + " from every fallocate", rules: every(disk.Allocate, segments), holds: everybody, says: "queue is full"},
			fault{name: "data_dir: " + name + " from every fdatasync", rules: every(disk.Sync, segments), holds: everybody},
			fault{name: "data_dir: " + name + " from every sync of the directory", rules: every(disk.SyncDir, "segments"), holds: everybody, says: "queue is full"},
			fault{name: "checkpoints.db: " + name + " from every write", rules: every(disk.Write, positions), says: "checkpoints not saved"},
			fault{name: "checkpoints.db: EIO from fdatasync, then " + name + " from every rename", says: "checkpoints not saved",
				rules: append(one(disk.Sync, positions), on(disk.Rename, "", fails(e)))},
		)
	}
	return all
}

// logErrors are what a disk does to the log that a file input reads.
func logErrors() []fault {
	file := []string{"input file"}
	return []fault{
		{name: "log: EIO from a read, once", rules: one(disk.Read, "app.log"), once: true},
		{name: "log: EIO from every read", rules: ever(disk.Read, "app.log"), holds: file},
		{name: "log: EIO from every lookup of its name", rules: ever(disk.Lookup, "app.log"), holds: file},
		{name: "log: not a byte is free, and its program tries again", begin: room(0), end: room(-1), holds: file},
		{name: "log: EROFS, and its program tries again", begin: readOnly(true), end: readOnly(false), holds: file},
	}
}

// archiveErrors are what a disk does to the file that a file output writes.
func archiveErrors() []fault {
	file := []string{"output file"}
	const archive = "archive.log"
	all := []fault{
		{name: "archive: EIO from a write, once", rules: one(disk.Write, archive), once: true},
		{name: "archive: EIO from every write", rules: ever(disk.Write, archive), holds: file},
		{name: "archive: EIO from fsync, once", rules: one(disk.Sync, archive), once: true},
		{name: "archive: EIO from every fsync", rules: ever(disk.Sync, archive), holds: file},
		{name: "archive: EIO within a write, then from every truncate", holds: file, rules: []disk.Rule{
			on(disk.Truncate, archive, fails(syscall.EIO)), on(disk.Write, archive, disk.Rule{Short: 10, Err: syscall.EIO, Count: 1})}},
		{name: "archive: EIO from a write, then from every opening", holds: file,
			rules: append([]disk.Rule{on(disk.Open, archive, fails(syscall.EIO))}, one(disk.Write, archive)...)},
		{name: "archive: EIO from a write, then from every sync of the directory", holds: file,
			rules: append([]disk.Rule{on(disk.SyncDir, "", fails(syscall.EIO))}, one(disk.Write, archive)...)},
		{name: "archive: EIO from a write, then from every read", holds: file,
			rules: append([]disk.Rule{on(disk.Read, archive, fails(syscall.EIO))}, one(disk.Write, archive)...)},
		{name: "archive: put aside, then EIO from every making of it", begin: putAside, rules: ever(disk.Create, archive), holds: file},
		{name: "archive: put aside, then EIO from the sync of the directory, once", begin: putAside, rules: one(disk.SyncDir, ""), once: true},
		{name: "archive: put aside, then no file can be made", begin: func(d *disk.Disk) error { return errors.Join(d.SetInodes(0), putAside(d)) }, end: inodes(-1), holds: file},
		{name: "archive: ENOSPC from every write", rules: []disk.Rule{on(disk.Write, archive, fails(syscall.ENOSPC))}, holds: file},
		{name: "archive: EDQUOT from every write", rules: []disk.Rule{on(disk.Write, archive, fails(syscall.EDQUOT))}, holds: file},
		{name: "archive: not a byte is free", begin: room(0), end: room(-1), holds: file},
		{name: "archive: EROFS", begin: readOnly(true), end: readOnly(false), holds: file},
		{name: "archive: a write takes 10 bytes and says so, 20 times", once: true,
			rules: []disk.Rule{on(disk.Write, archive, disk.Rule{Short: 10, Count: 20})}},
	}
	return all
}

func room(bytes int64) func(*disk.Disk) error {
	return func(d *disk.Disk) error { return d.SetFree(bytes) }
}
func inodes(n int64) func(*disk.Disk) error {
	return func(d *disk.Disk) error { return d.SetInodes(n) }
}
func readOnly(on bool) func(*disk.Disk) error {
	return func(d *disk.Disk) error { return d.ReadOnly(on) }
}

// faultDisk is a fault disk for this test.
func faultDisk(t *testing.T) *disk.Disk {
	t.Helper()
	need(t, disk.Available())
	dir := t.TempDir()
	d, err := disk.Start(disk.Options{Mount: filepath.Join(dir, "mount"), Backing: filepath.Join(dir, "backing"), Output: filepath.Join(dir, "output")})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// TestBadDisks does every fault that a disk has to a daemon with every kind of input and output, and then takes the power
// away: nothing that was acknowledged may have relied on what had failed.
func TestBadDisks(t *testing.T) {
	need(t, disk.Available())
	t.Parallel() // most of it is waiting
	for name, p := range map[string]struct {
		faults []fault
		on     string
	}{
		"errors":  {queueErrors(), "data"},
		"room":    {queueRoom(), "data"},
		"damage":  {queueDamage(), "data"},
		"log":     {logErrors(), "logs"},
		"archive": {archiveErrors(), "out"},
	} {
		faults := slices.DeleteFunc(p.faults, func(f fault) bool { return level == smoke && !f.quick })
		if len(faults) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, disks := newDiskWorld(t, p.on)
			for range by(1, 1, 10) {
				for _, f := range faults {
					w.strike(disks[p.on], f)
				}
			}
			w.finish(disks[p.on], name != "log" && name != "archive")
		})
	}
}

// newDiskWorld is a world with data_dir, the log, or the file of the file output, on a fault disk. It is fed, and late waits.
func newDiskWorld(t *testing.T, places ...string) (*world, map[string]*disk.Disk) {
	t.Helper()
	dirs, disks := map[string]string{}, map[string]*disk.Disk{}
	for _, name := range []string{"data", "logs", "out"} {
		dirs[name] = filepath.Join(t.TempDir(), name)
	}
	for _, name := range places {
		disks[name] = faultDisk(t)
		dirs[name] = filepath.Join(disks[name].Path(), name)
	}
	w := newWorld(t, where(dirs))
	w.start()
	w.late.Close()
	w.feed("a")
	return w, disks
}

// finish lets everything arrive, takes the power of data_dir away where that is wanted, and judges.
func (w *world) finish(d *disk.Disk, power bool) {
	w.t.Helper()
	w.settle()
	w.spoken()
	stored := uint64(w.counters()["next/"]) - 1
	w.t.Logf("%d records stored, losses: %+v", stored, w.ledger())
	lost := map[string]uint64{}
	if power {
		w.drained("late")
		for name := range w.ends {
			lost[name] = uint64(w.counters()["lost/"+name])
		}
		must(w.t, d.Freeze())
		w.Proc.Kill()
		must(w.t, d.Crash(disk.Drop, 0))
		took := w.start()
		w.t.Logf("started %v after the power loss", took)
	}
	w.late.Open()
	w.drained("")
	now := w.counters()
	for name := range w.ends {
		lost[name] += uint64(now["lost/"+name])
	}
	w.Stop()
	w.readArchive()
	w.fsck()
	doubled := uint64(0)
	if power {
		doubled = 5000 // positions of the last moment, in which late may have got all that waited
	}
	w.account(stored, lost, doubled)
	w.declared(lost)
	if all := w.ledger(); !w.lossy && len(all) > 0 {
		w.t.Errorf("nothing was destroyed, and the loss ledger has %+v", all)
	}
	if !w.t.Failed() {
		w.publish()
	}
}

func where(dirs map[string]string) places {
	return places{data: dirs["data"], logs: dirs["logs"], out: dirs["out"]}
}

// TestStall lets disks stall for half a minute: with the queue's disk everything waits, with another only who uses it.
func TestStall(t *testing.T) {
	need(t, disk.Available())
	t.Parallel()
	if level == smoke {
		t.Skip("it takes half a minute; set LOGMULE_TORTURE=short")
	}
	const while = 30 * time.Second
	stall := func(op disk.Op, name string) []disk.Rule {
		return []disk.Rule{on(op, name, disk.Rule{Delay: while, Count: 1})}
	}
	for name, f := range map[string]fault{
		"data": {name: "data_dir: fdatasync takes 30 s, once", rules: stall(disk.Sync, segments), holds: everybody, lasts: while, says: "disk does not answer"},
		"logs": {name: "log: a read takes 30 s, once", rules: stall(disk.Read, "app.log"), holds: []string{"input file"}, lasts: while},
		"out":  {name: "archive: fsync takes 30 s, once", rules: stall(disk.Sync, "archive.log"), holds: []string{"output file"}, lasts: while},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, disks := newDiskWorld(t, name)
			w.strike(disks[name], f)
			w.finish(disks[name], false)
		})
	}
}

// TestLyingDisk measures what a disk costs that says of every sync that all is well and does nothing. No promise holds against
// that; but the daemon has to start, and nothing may be altered.
func TestLyingDisk(t *testing.T) {
	need(t, disk.Available())
	if level == smoke {
		t.Skip("it measures; set LOGMULE_TORTURE=short")
	}
	w, disks := newDiskWorld(t, "data")
	d := disks["data"]
	w.moves(nil, "before")
	for _, op := range []disk.Op{disk.Sync, disk.SyncDir} {
		_, err := d.Fail(on(op, "", disk.Rule{Lie: true}))
		must(t, err)
	}
	for range 3 {
		w.moves(nil, "on a disk that lies")
	}
	must(t, d.Freeze())
	w.Proc.Kill()
	w.abandon()
	must(t, d.Crash(disk.Drop, 0))
	took := w.start()
	w.late.Open()
	w.drained("")
	w.Stop()
	w.readArchive()
	w.fsck()
	row := reliability.Row{Part: reliability.Disks, Fault: "data_dir: every fsync says that it is done and does nothing, then the power goes", Tried: 1, Back: took}
	for _, f := range w.Judge.Verdict().Findings {
		if f.Altered.Count+f.Invented.Count > 0 {
			t.Errorf("output %s: altered or invented\n%s", f.Destination, w.Judge.Verdict())
		}
		row.Declared = max(row.Declared, f.Lost.Count)
		row.Altered, row.Invented = row.Altered+f.Altered.Count, row.Invented+f.Invented.Count
	}
	row.Outcome = "started by itself; what was acknowledged while the disk lied is gone, as nobody can help"
	if row.Declared == 0 {
		t.Error("nothing is lost, so the disk has not lied")
	}
	reliability.Add(t, row)
}
