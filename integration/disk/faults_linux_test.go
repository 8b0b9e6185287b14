package disk

import (
	"bytes"
	"errors"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRules fails every kind of operation once: the one that the rule names, with the error that it names, and no other.
func TestRules(t *testing.T) {
	for _, row := range []struct {
		op Op
		do func(d *Disk) error
	}{
		{Write, func(d *Disk) error { return os.WriteFile(d.in("file"), []byte("text"), 0o600) }},
		{Sync, func(d *Disk) error { return trySync(d, "file") }},
		{SyncDir, func(d *Disk) error { return trySync(d, "dir") }},
		{Read, func(d *Disk) error { _, err := os.ReadFile(d.in("file")); return err }},
		{Create, func(d *Disk) error { return os.WriteFile(d.in("created"), nil, 0o600) }},
		{Rename, func(d *Disk) error { return os.Rename(d.in("other"), d.in("renamed")) }},
		{Link, func(d *Disk) error { return os.Link(d.in("file"), d.in("linked")) }},
		{Unlink, func(d *Disk) error { return os.Remove(d.in("removed")) }},
		{Mkdir, func(d *Disk) error { return os.Mkdir(d.in("made"), 0o700) }},
		{Truncate, func(d *Disk) error { return os.Truncate(d.in("file"), 2) }},
		{Allocate, func(d *Disk) error { return allocate(d, "file", 0, 8192) }},
		{Open, func(d *Disk) error { return trySync(d, "file") }},
		{Lookup, func(d *Disk) error { _, err := os.Stat(d.in("file")); return err }},
		{Statfs, func(d *Disk) error { return unix.Statfs(d.Path(), new(unix.Statfs_t)) }},
	} {
		t.Run(string(row.op), func(t *testing.T) {
			d := start(t, Options{})
			for _, name := range []string{"file", "other", "removed"} {
				write(t, d, name, "text")
			}
			must(t, os.Mkdir(d.in("dir"), 0o700))
			elsewhere, err := d.Fail(Rule{Match: Match{Op: row.op, Name: "elsewhere/*"}, Err: syscall.EIO})
			must(t, err)
			once := 1
			if row.op == Read || row.op == Lookup { // the kernel asks again
				once = 2
			}
			id, err := d.Fail(Rule{Match: Match{Op: row.op}, Err: syscall.EDQUOT, Count: once})
			must(t, err)
			if err := row.do(d); !errors.Is(err, syscall.EDQUOT) {
				t.Errorf("the error is %v", err)
			}
			must(t, row.do(d))
			for id, want := range map[int]int{elsewhere: 0, id: once} {
				hits, err := d.Hits(id)
				must(t, err)
				if hits != want {
					t.Errorf("rule %d hit %d times, wanted %d", id, hits, want)
				}
			}
		})
	}
}

func allocate(d *Disk, name string, mode uint32, size int64) error {
	file, err := os.OpenFile(d.in(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return unix.Fallocate(int(file.Fd()), mode, 0, size)
}

// TestNth fails the third and the fourth write to a file of one name, and what was cleared fails nothing.
func TestNth(t *testing.T) {
	d := start(t, Options{})
	_, err := d.Fail(Rule{Match: Match{Op: Write, Name: "dir/*.seg", Nth: 3}, Err: syscall.EIO, Count: 2})
	must(t, err)
	all, err := d.Fail(Rule{Match: Match{Op: Write, Name: "other"}, Err: syscall.EIO})
	must(t, err)
	must(t, os.Mkdir(d.in("dir"), 0o700))
	var failed []int
	for n := 1; n <= 6; n++ {
		if os.WriteFile(d.in("dir/a.seg"), []byte("text"), 0o600) != nil {
			failed = append(failed, n)
		}
		must(t, os.WriteFile(d.in("dir/a"), []byte("text"), 0o600))
	}
	if len(failed) != 2 || failed[0] != 3 || failed[1] != 4 {
		t.Errorf("writes %v failed", failed)
	}
	if os.WriteFile(d.in("other"), []byte("text"), 0o600) == nil {
		t.Error("a rule without end ended")
	}
	must(t, d.Clear(all))
	must(t, os.WriteFile(d.in("other"), []byte("text"), 0o600))
}

// TestFailedSync: the bytes are readable and clean, so that the next sync is well and writes nothing.
func TestFailedSync(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "a", strings.Repeat("a", 512))
	_, err := d.Fail(Rule{Match: Match{Op: Sync}, Err: syscall.EIO, Count: 1})
	must(t, err)
	write(t, d, "a", strings.Repeat("b", 512))
	if err := trySync(d, "a"); !errors.Is(err, syscall.EIO) {
		t.Errorf("the error is %v", err)
	}
	wants(t, d, map[string]string{"a": strings.Repeat("b", 512)})
	fsync(t, d, "a")
	must(t, d.Crash(Drop, 0))
	wants(t, d, map[string]string{"a": strings.Repeat("a", 512)})
}

// TestLie: a sync that does nothing, until one does.
func TestLie(t *testing.T) {
	d := start(t, Options{})
	lie, err := d.Fail(Rule{Match: Match{}, Lie: true})
	must(t, err)
	durable(t, d, "a", "text")
	must(t, d.Crash(Drop, 0))
	wants(t, d, map[string]string{})
	if _, err := d.Hits(lie); err == nil {
		t.Error("a rule outlived the crash")
	}
	_, err = d.Fail(Rule{Match: Match{Op: Sync}, Lie: true, Count: 2})
	must(t, err)
	durable(t, d, "a", "text")
	durable(t, d, "b", "text")
	fsync(t, d, "a") // what a lie left undone the next sync does
	must(t, d.Crash(Drop, 0))
	wants(t, d, map[string]string{"a": "text", "b": ""})
}

// TestShort: a write that ends early says so; with an error too it has torn the file.
func TestShort(t *testing.T) {
	d := start(t, Options{})
	_, err := d.Fail(Rule{Match: Match{Op: Write, Name: "short"}, Short: 3, Count: 1})
	must(t, err)
	_, err = d.Fail(Rule{Match: Match{Op: Write, Name: "torn"}, Short: 3, Err: syscall.EIO, Count: 1})
	must(t, err)
	file, err := os.Create(d.in("short"))
	must(t, err)
	n, err := syscall.Write(int(file.Fd()), []byte("text"))
	if n != 3 || err != nil {
		t.Errorf("a short write gives %d, %v", n, err)
	}
	must(t, file.Close())
	if err := os.WriteFile(d.in("torn"), []byte("text"), 0o600); !errors.Is(err, syscall.EIO) {
		t.Errorf("a torn write gives %v", err)
	}
	must(t, d.Crash(Keep, 0))
	wants(t, d, map[string]string{"short": "tex", "torn": "tex"})
}

// TestFlip: one bit of a read is wrong, once, even where the kernel had the bytes.
func TestFlip(t *testing.T) {
	d := start(t, Options{})
	text := strings.Repeat("a", 10000)
	write(t, d, "a", text)
	file, err := os.Open(d.in("a"))
	must(t, err)
	wrong := func() (n int) { // bits
		b := make([]byte, len(text))
		_, err := file.ReadAt(b, 0)
		must(t, err)
		for i := range b {
			n += bits.OnesCount8(b[i] ^ text[i])
		}
		return n
	}
	if n := wrong(); n != 0 {
		t.Errorf("%d bits are wrong without a rule", n)
	}
	flip, err := d.Fail(Rule{Match: Match{Op: Read, Name: "a"}, Flip: true, Count: 1})
	must(t, err)
	if n := wrong(); n != 1 {
		t.Errorf("%d bits are wrong", n)
	}
	must(t, d.Clear(flip))
	if n := wrong(); n != 0 {
		t.Errorf("%d bits are wrong after the rule", n)
	}
	must(t, file.Close())
}

// TestDelay: a stalled operation goes on when the rule goes, and a process that waits for it can be killed.
func TestDelay(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "log", "")
	c := startCounter(t, d.in("log"))
	stall, err := d.Fail(Rule{Match: Match{Op: Sync}, Delay: time.Hour})
	must(t, err)
	waitFor(t, "a sync stalls", func() bool {
		hits, err := d.Hits(stall)
		return err == nil && hits == 1
	})
	must(t, d.Clear())
	fsync(t, d, "log")
	stall, err = d.Fail(Rule{Match: Match{Op: Sync}, Delay: time.Hour})
	must(t, err)
	waitFor(t, "another sync stalls", func() bool {
		hits, err := d.Hits(stall)
		return err == nil && hits == 1
	})
	said := c.kill(t)
	must(t, d.Crash(Keep, 0))
	wants(t, d, map[string]string{"log": counted(said + 1)})
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// TestSpace fills the disk with writes and with reservations; what is removed makes room, and a crash keeps the limit.
func TestSpace(t *testing.T) {
	d := start(t, Options{Free: 40 << 10})
	err := os.WriteFile(d.in("a"), bytes.Repeat([]byte("a"), 50000), 0o600)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
	if info, err := os.Stat(d.in("a")); err != nil || info.Size() != 40<<10 {
		t.Errorf("%d bytes were written, %v", info.Size(), err)
	}
	free := func() uint64 {
		var st unix.Statfs_t
		must(t, unix.Statfs(d.Path(), &st))
		return st.Bavail * uint64(st.Bsize)
	}
	if n := free(); n != 0 {
		t.Errorf("%d bytes are free", n)
	}
	must(t, os.WriteFile(d.in("a"), []byte("text"), 0o600))
	if n := free(); n != 36<<10 {
		t.Errorf("%d bytes are free", n)
	}
	must(t, allocate(d, "b", unix.FALLOC_FL_KEEP_SIZE, 20<<10))
	if err := allocate(d, "c", 0, 20<<10); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
	must(t, d.SetFree(0))
	must(t, os.WriteFile(d.in("a"), nil, 0o600)) // gives its block back
	write(t, d, "b", strings.Repeat("b", 20<<10))
	must(t, d.Crash(Keep, 0))
	if n := free(); n != 4<<10 {
		t.Errorf("%d bytes are free", n)
	}
	must(t, os.Remove(d.in("b")))
	if n := free(); n != 24<<10 {
		t.Errorf("%d bytes are free", n)
	}
	must(t, d.SetFree(-1))
	must(t, allocate(d, "d", 0, 1<<30))
}

// TestInodes makes files until there are no more.
func TestInodes(t *testing.T) {
	d := start(t, Options{})
	write(t, d, "a", "")
	must(t, d.SetInodes(1))
	must(t, os.Mkdir(d.in("dir"), 0o700))
	if err := os.WriteFile(d.in("b"), nil, 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the error is %v", err)
	}
	must(t, os.Remove(d.in("a")))
	// The kernel tells of a closed file when it finds the time, and until then its inode is taken.
	waitFor(t, "the inode is free", func() bool { return os.WriteFile(d.in("b"), nil, 0o600) == nil })
	must(t, os.Link(d.in("b"), d.in("c"))) // takes none
}

// TestReadOnly: what changes fails, what reads does not; what was not synced before cannot be synced now.
func TestReadOnly(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "a", "text")
	file, err := os.OpenFile(d.in("a"), os.O_RDWR, 0)
	must(t, err)
	_, err = file.WriteString("TEXT")
	must(t, err)
	must(t, d.ReadOnly(true))
	_, err = file.WriteString("TEXT")
	for what, err := range map[string]error{
		"write": err, "sync": file.Sync(), "truncate": file.Truncate(0), "close": nil,
		"create": os.WriteFile(d.in("b"), nil, 0o600), "open": os.WriteFile(d.in("a"), nil, 0o600),
		"rename": os.Rename(d.in("a"), d.in("b")), "remove": os.Remove(d.in("a")), "mkdir": os.Mkdir(d.in("dir"), 0o700),
		"link": os.Link(d.in("a"), d.in("b")), "allocate": unix.Fallocate(int(file.Fd()), 0, 0, 8192),
		"chmod": os.Chmod(d.in("a"), 0o644), "directory": trySync(d, ""),
	} {
		if allowed := what == "close" || what == "directory"; allowed != (err == nil) || !allowed && !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s gives %v", what, err)
		}
	}
	must(t, file.Close())
	wants(t, d, map[string]string{"a": "TEXT"})
	must(t, d.ReadOnly(false))
	must(t, os.Remove(d.in("a")))
}

// TestSnapshot copies a file while a process appends to it without pause: all that was synced before is in it.
func TestSnapshot(t *testing.T) {
	d := start(t, Options{})
	must(t, os.Mkdir(d.in("dir"), 0o700))
	c := startCounter(t, d.in("dir/log"))
	for i, mode := range []Mode{Drop, Keep, Mix, Drop} {
		ops, err := d.Ops()
		must(t, err)
		waitFor(t, "more was synced", func() bool { now, err := d.Ops(); return err == nil && now > ops+10 })
		to := filepath.Join(t.TempDir(), "copy")
		before, err := d.Ops()
		must(t, err)
		must(t, d.Snapshot("dir/log", to, mode, uint64(i)))
		b, err := os.ReadFile(to)
		must(t, err)
		synced := int(before-2) / 2 // after the creation of directory and file each number is a write and a sync
		want := counted(synced)
		if !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: of %d bytes that were synced %d are there, or others", mode, len(want), len(b))
		}
	}
	c.kill(t)
	durable(t, d, "one", "old")
	write(t, d, "one", "new")
	for mode, want := range map[Mode]string{Drop: "old", Keep: "new"} {
		to := filepath.Join(t.TempDir(), "copy")
		must(t, d.Snapshot("one", to, mode, 0))
		if b, err := os.ReadFile(to); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", mode, b, err)
		}
	}
	if err := d.Snapshot("nothing", filepath.Join(t.TempDir(), "copy"), Drop, 0); err == nil {
		t.Error("a file that is not there was copied")
	}
}
