package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// TestBolt keeps a database, which it reads through a map of memory, over power losses.
func TestBolt(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "db", "")
	put := func(n int) {
		db, err := bolt.Open(d.in("db"), 0o600, nil)
		must(t, err)
		must(t, db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("bucket"))
			if err != nil {
				return err
			}
			return b.Put([]byte{byte(n)}, bytes.Repeat([]byte{byte(n)}, 3000))
		}))
		must(t, db.Close())
	}
	for n := range 20 {
		put(n)
		must(t, d.Crash(Mix, uint64(n)))
	}
	db, err := bolt.Open(d.in("db"), 0o600, nil)
	must(t, err)
	must(t, db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		for n := range 20 {
			if got := tx.Bucket([]byte("bucket")).Get([]byte{byte(n)}); len(got) != 3000 || got[0] != byte(n) {
				return fmt.Errorf("value %d has %d bytes", n, len(got))
			}
		}
		return nil
	}))
	must(t, db.Close())
}

// TestLock: a lock excludes another descriptor, and ends with it.
func TestLock(t *testing.T) {
	d := start(t, Options{})
	write(t, d, "LOCK", "")
	open := func() *os.File {
		file, err := os.OpenFile(d.in("LOCK"), os.O_RDWR, 0)
		must(t, err)
		return file
	}
	one, two := open(), open()
	must(t, syscall.Flock(int(one.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	if err := syscall.Flock(int(two.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("a second lock gives %v", err)
	}
	must(t, one.Close())
	must(t, syscall.Flock(int(two.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	must(t, two.Close())
}

// TestMap: a map sees what is written, what is written into it is durable after msync, and a failed read of it is SIGBUS for
// others to see.
func TestMap(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "a", strings.Repeat("a", 8192))
	file, err := os.OpenFile(d.in("a"), os.O_RDWR, 0)
	must(t, err)
	mapped, err := unix.Mmap(int(file.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	_, err = file.WriteAt([]byte("written"), 4096)
	must(t, err)
	if !bytes.HasPrefix(mapped[4096:], []byte("writtena")) {
		t.Errorf("the map shows %q", mapped[4096:4110])
	}
	copy(mapped[100:], "mapped")
	must(t, unix.Msync(mapped, unix.MS_SYNC))
	must(t, unix.Munmap(mapped))
	must(t, file.Close())
	must(t, d.Crash(Drop, 0))
	want := []byte(strings.Repeat("a", 8192))
	copy(want[100:], "mapped")
	copy(want[4096:], "written")
	wants(t, d, map[string]string{"a": string(want)})
}

// TestDirect writes and reads past the kernel's cache.
func TestDirect(t *testing.T) {
	d := start(t, Options{})
	file, err := os.OpenFile(d.in("a"), os.O_RDWR|os.O_CREATE|unix.O_DIRECT, 0o600)
	must(t, err)
	b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	must(t, err)
	copy(b, "text")
	_, err = file.WriteAt(b, 4096)
	must(t, err)
	clear(b)
	_, err = file.ReadAt(b, 4096)
	must(t, err)
	if !bytes.HasPrefix(b, []byte("text\x00")) {
		t.Errorf("read %q", b[:8])
	}
	must(t, unix.Munmap(b))
	must(t, file.Close())
}

// TestNames: what the flags of open and rename promise.
func TestNames(t *testing.T) {
	d := start(t, Options{})
	write(t, d, "a", "a")
	write(t, d, "b", "b")
	if _, err := os.OpenFile(d.in("a"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("O_EXCL gives %v", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, d.in("a"), unix.AT_FDCWD, d.in("b"), unix.RENAME_NOREPLACE); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("RENAME_NOREPLACE gives %v", err)
	}
	must(t, unix.Renameat2(unix.AT_FDCWD, d.in("a"), unix.AT_FDCWD, d.in("c"), unix.RENAME_NOREPLACE))
	must(t, os.Mkdir(d.in("dir"), 0o700))
	write(t, d, "dir/a", "")
	if err := os.Remove(d.in("dir")); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("the removal of a full directory gives %v", err)
	}
	if _, err := unix.Getxattr(d.in("b"), "user.x", nil); !errors.Is(err, unix.ENOTSUP) {
		t.Errorf("extended attributes give %v", err)
	}
	for i := range 3000 { // more than one answer holds
		write(t, d, fmt.Sprintf("dir/%0100d", i), "")
	}
	if list, err := os.ReadDir(d.in("dir")); err != nil || len(list) != 3001 {
		t.Errorf("%d names, %v", len(list), err)
	}
}

// TestHoles: what is punched, zeroed and allocated reads as zeros, also after a crash.
func TestHoles(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "a", strings.Repeat("a", 5*4096))
	file, err := os.OpenFile(d.in("a"), os.O_RDWR, 0)
	must(t, err)
	must(t, unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1000, 2*4096))
	must(t, unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_ZERO_RANGE, 4*4096, 3*4096))
	must(t, file.Sync())
	must(t, file.Close())
	must(t, d.Crash(Drop, 0))
	want := []byte(strings.Repeat("a", 4*4096) + strings.Repeat("\x00", 3*4096))
	clear(want[1000 : 1000+2*4096])
	wants(t, d, map[string]string{"a": string(want)})
}
