package disk

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDrop has a row for each rule of what is durable.
func TestDrop(t *testing.T) {
	long := strings.Repeat("a", 3000)
	for _, row := range []struct {
		name string
		do   func(t *testing.T, d *Disk)
		want map[string]string
	}{
		{"nothing was synced", func(t *testing.T, d *Disk) {
			write(t, d, "a", "text")
			must(t, os.Mkdir(d.in("dir"), 0o700))
		}, map[string]string{}},
		{"a file does not bring its name", func(t *testing.T, d *Disk) {
			write(t, d, "a", "text")
			fsync(t, d, "a")
		}, map[string]string{}},
		{"a name does not bring its file", func(t *testing.T, d *Disk) {
			write(t, d, "a", "text")
			fsync(t, d, "")
		}, map[string]string{"a": ""}},
		{"both", func(t *testing.T, d *Disk) {
			write(t, d, "a", long)
			fsync(t, d, "a")
			fsync(t, d, "")
			write(t, d, "a", "later")
		}, map[string]string{"a": long}},
		{"a directory does not bring the one above it", func(t *testing.T, d *Disk) {
			must(t, os.MkdirAll(d.in("one/two"), 0o700))
			write(t, d, "one/two/a", "text")
			fsync(t, d, "one/two/a")
			fsync(t, d, "one/two")
			fsync(t, d, "")
		}, map[string]string{"one": "/"}},
		{"a size", func(t *testing.T, d *Disk) {
			write(t, d, "a", long)
			fsync(t, d, "a")
			fsync(t, d, "")
			must(t, os.Truncate(d.in("a"), 10))
			must(t, os.Truncate(d.in("a"), 5000))
		}, map[string]string{"a": long}},
		{"a size that was synced", func(t *testing.T, d *Disk) {
			write(t, d, "a", long)
			fsync(t, d, "a")
			fsync(t, d, "")
			must(t, os.Truncate(d.in("a"), 10))
			must(t, os.Truncate(d.in("a"), 5000))
			fsync(t, d, "a")
		}, map[string]string{"a": "aaaaaaaaaa" + strings.Repeat("\x00", 4990)}},
		{"a rename that was not synced", func(t *testing.T, d *Disk) {
			durable(t, d, "a", "text")
			must(t, os.Rename(d.in("a"), d.in("b")))
		}, map[string]string{"a": "text"}},
		{"a rename over another file is one step", func(t *testing.T, d *Disk) {
			durable(t, d, "a", "old")
			durable(t, d, "b", "new")
			must(t, os.Rename(d.in("b"), d.in("a")))
			fsync(t, d, "")
		}, map[string]string{"a": "new"}},
		{"a rename across directories: the new one", func(t *testing.T, d *Disk) {
			across(t, d)
			fsync(t, d, "two")
		}, map[string]string{"one": "/", "two": "/", "one/a": "text", "two/b": "text"}},
		{"a rename across directories: the old one", func(t *testing.T, d *Disk) {
			across(t, d)
			fsync(t, d, "one")
		}, map[string]string{"one": "/", "two": "/", "two/b": "text"}},
		{"a rename across directories over a file that was not synced", func(t *testing.T, d *Disk) {
			must(t, os.Mkdir(d.in("one"), 0o700))
			must(t, os.Mkdir(d.in("two"), 0o700))
			write(t, d, "two/b", "old")
			write(t, d, "one/a", "new")
			must(t, os.Rename(d.in("one/a"), d.in("two/b")))
			for _, name := range []string{"two/b", "one", "two", ""} {
				fsync(t, d, name)
			}
		}, map[string]string{"one": "/", "two": "/", "two/b": "new"}},
		{"a removal that was not synced", func(t *testing.T, d *Disk) {
			durable(t, d, "a", "text")
			must(t, os.Remove(d.in("a")))
		}, map[string]string{"a": "text"}},
		{"a removal", func(t *testing.T, d *Disk) {
			durable(t, d, "a", "text")
			must(t, os.Remove(d.in("a")))
			fsync(t, d, "")
		}, map[string]string{}},
		{"two names", func(t *testing.T, d *Disk) {
			durable(t, d, "a", "text")
			must(t, os.Link(d.in("a"), d.in("b")))
			fsync(t, d, "")
			write(t, d, "b", "TEXT")
			fsync(t, d, "a")
		}, map[string]string{"a": "TEXT", "b": "TEXT"}},
		{"a file that nobody can reach", func(t *testing.T, d *Disk) {
			file, err := os.Create(d.in("a"))
			must(t, err)
			must(t, os.Remove(d.in("a")))
			_, err = file.WriteString("text")
			must(t, err)
			must(t, file.Sync())
			must(t, file.Close())
			durable(t, d, "b", "")
		}, map[string]string{"b": ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := start(t, Options{})
			row.do(t, d)
			must(t, d.Crash(Drop, 0))
			wants(t, d, row.want)
			must(t, d.Crash(Keep, 0)) // what a new mount finds is durable, and all there is
			wants(t, d, row.want)
		})
	}
}

// durable makes a file and its name durable.
func durable(t *testing.T, d *Disk, name, text string) {
	t.Helper()
	write(t, d, name, text)
	fsync(t, d, name)
	fsync(t, d, "")
}

// across renames one/a to two/b.
func across(t *testing.T, d *Disk) {
	t.Helper()
	must(t, os.Mkdir(d.in("one"), 0o700))
	must(t, os.Mkdir(d.in("two"), 0o700))
	durable(t, d, "one/a", "text")
	fsync(t, d, "one")
	must(t, os.Rename(d.in("one/a"), d.in("two/b")))
}

// TestKeep is what the end of all processes leaves.
func TestKeep(t *testing.T) {
	d := start(t, Options{})
	must(t, os.Mkdir(d.in("dir"), 0o700))
	write(t, d, "dir/a", "text")
	write(t, d, "b", strings.Repeat("b", 10000))
	must(t, os.Truncate(d.in("b"), 7000))
	must(t, os.Rename(d.in("b"), d.in("dir/c")))
	must(t, os.Symlink("dir/a", d.in("link")))
	must(t, os.Chmod(d.in("dir/a"), 0o640))
	want := tree(t, d)
	must(t, d.Crash(Keep, 0))
	wants(t, d, want)
	to, err := os.Readlink(d.in("link"))
	if err != nil || to != "dir/a" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	info, err := os.Stat(d.in("dir/a"))
	must(t, err)
	if info.Mode() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
}

// TestAttributes: the mode and the time of writing are durable after a sync of the file.
func TestAttributes(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "a", "text")
	then := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	must(t, os.Chmod(d.in("a"), 0o640))
	must(t, os.Chtimes(d.in("a"), then, then))
	fsync(t, d, "a")
	must(t, d.Crash(Drop, 0))
	info, err := os.Stat(d.in("a"))
	must(t, err)
	if info.Mode() != 0o640 || !info.ModTime().Equal(then) {
		t.Errorf("mode %v, written %v", info.Mode(), info.ModTime())
	}
}

// TestMix looks for both fates of each sector, of a size and of each name, and for the same outcome of the same seed.
func TestMix(t *testing.T) {
	outcome := func(seed uint64) map[string]string {
		d := start(t, Options{})
		durable(t, d, "file", strings.Repeat("a", 4*512))
		write(t, d, "file", strings.Repeat("b", 6*512))
		write(t, d, "one", "")
		write(t, d, "two", "")
		must(t, d.Crash(Mix, seed))
		return tree(t, d)
	}
	seen := make(map[string]int)
	const seeds = 12
	for seed := range uint64(seeds) {
		got := outcome(seed)
		file, names := got["file"], len(got)
		if len(file) < 4*512 || len(file)%512 != 0 {
			t.Errorf("seed %d: %d bytes", seed, len(file))
		}
		for s := 0; s+512 <= len(file); s += 512 {
			sector := file[s : s+512]
			old := "a"
			if s >= 4*512 {
				old = "\x00"
			}
			if sector != strings.Repeat("b", 512) && sector != strings.Repeat(old, 512) {
				t.Errorf("seed %d: sector %d is %q", seed, s/512, sector)
			}
			seen[fmt.Sprint("sector ", s/512, " new: ", sector[0] == 'b')]++
		}
		seen[fmt.Sprint("size ", len(file)/512)]++
		seen[fmt.Sprint("names ", names)]++
		if seed == 0 && !maps.Equal(got, outcome(seed)) {
			t.Error("the same seed gives another outcome")
		}
	}
	for _, one := range []string{"sector 0 new: true", "sector 0 new: false", "sector 5 new: true", "size 4", "size 6", "names 2", "names 3"} {
		if seen[one] == 0 {
			t.Errorf("%q was not among the outcomes of %d seeds: %v", one, seeds, seen)
		}
	}
}

// TestFreeze takes the power away at a moment, at an operation and before a certain one, from a process that syncs without
// pause.
func TestFreeze(t *testing.T) {
	for _, row := range []struct {
		name   string
		freeze func(d *Disk) error
	}{
		{"now", (*Disk).Freeze},
		{"at a write", func(d *Disk) error { return d.FreezeAt(101) }},
		{"at a sync", func(d *Disk) error { return d.FreezeAt(102) }},
		{"on", func(d *Disk) error { return d.FreezeOn(Match{Op: Sync, Name: "lo?", Nth: 50}) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := start(t, Options{})
			durable(t, d, "log", "")
			c := startCounter(t, d.in("log"))
			must(t, row.freeze(d))
			select {
			case <-d.Frozen():
			case <-time.After(patience):
				t.Fatal("the disk does not freeze")
			}
			said := c.kill(t) // it ends although its request is not answered
			must(t, d.Crash(Drop, 0))
			if tree(t, d)["log"] == counted(said+1) && row.name == "now" {
				said++ // the power went between the end of a sync and the word of it
			}
			wants(t, d, map[string]string{"log": counted(said)})
			startCounter(t, d.in("log")).kill(t) // and it goes on
		})
	}
}

func counted(n int) string {
	var b bytes.Buffer
	for i := range n {
		_, _ = fmt.Fprintf(&b, "%511d\n", i)
	}
	return b.String()
}

// TestFreezeAt counts operations: the n-th from now is the first that does not happen.
func TestFreezeAt(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "log", "")
	before, err := d.Ops()
	must(t, err)
	if before != 3 { // create, sync, syncdir: an empty write is none
		t.Errorf("%d operations", before)
	}
	must(t, d.FreezeAt(7)) // three times write and sync, then a write
	c := startCounter(t, d.in("log"))
	<-d.Frozen()
	after, err := d.Ops()
	must(t, err)
	if after != before+6 {
		t.Errorf("%d operations, wanted %d", after, before+6)
	}
	if said := c.kill(t); said != 3 {
		t.Errorf("%d syncs were answered", said)
	}
	must(t, d.Crash(Drop, 0))
	wants(t, d, map[string]string{"log": counted(3)})
}

// TestServerKilled is a power loss too.
func TestServerKilled(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "log", "")
	c := startCounter(t, d.in("log"))
	must(t, syscall.Kill(d.Server(), syscall.SIGKILL))
	said := <-c.said
	_ = c.cmd.Wait() // it got an error
	if err := d.Freeze(); err == nil {
		t.Error("a killed server obeys")
	}
	must(t, d.Crash(Drop, 0))
	got := tree(t, d)["log"]
	if want := counted(said); !strings.HasPrefix(got, want) || len(got) > len(want)+512 {
		t.Errorf("%d numbers were synced, %d bytes are there", said, len(got))
	}
}

// TestClose ends a disk that somebody uses and that answers nothing.
func TestClose(t *testing.T) {
	d := start(t, Options{})
	durable(t, d, "log", "")
	c := startCounter(t, d.in("log"))
	must(t, d.Freeze())
	must(t, d.Close())
	<-c.said // it gets an error, and ends
	_ = c.cmd.Wait()
	must(t, d.Close()) // once more does no harm
}

// TestUndo finds what a killed test has left: here its disk's server is killed too, so that nobody unmounts.
func TestUndo(t *testing.T) {
	need(t, ImageAvailable("ext4"))
	dir := t.TempDir()
	owner := startChild(t, ownerVariable, dir)
	left := func() (list []mounted) {
		all, err := mounts()
		must(t, err)
		for _, m := range all {
			if strings.HasPrefix(m.point, dir) {
				list = append(list, m)
			}
		}
		return list
	}
	before := left()
	if len(before) != 2 {
		t.Fatalf("mounted are %v", before)
	}
	var server int
	_, err := fmt.Sscanf(before[0].source, serverName+"-%d", &server)
	must(t, err)
	must(t, Undo())
	if len(left()) != 2 {
		t.Error("what is in use was undone")
	}
	must(t, syscall.Kill(server, syscall.SIGKILL))
	owner.kill(t)
	waitFor(t, "the server has ended", func() bool { return !serves(fmt.Sprint(server)) })
	must(t, Undo())
	if after := left(); len(after) > 0 {
		t.Errorf("mounted are %v", after)
	}
}

// TestOwnerKilled kills the process that started a disk: the server unmounts and ends.
func TestOwnerKilled(t *testing.T) {
	d := start(t, Options{})
	server := d.server
	must(t, server.in.Close()) // what the kernel does then
	select {
	case <-server.ended:
	case <-time.After(patience):
		t.Fatal("the server goes on")
	}
	if out, err := exec.Command("mountpoint", d.Path()).CombinedOutput(); err == nil {
		t.Errorf("%s", out)
	}
}

// TestStuckOwnerKilled kills one that waits for its own disk, and so can close nothing.
func TestStuckOwnerKilled(t *testing.T) {
	need(t, Available())
	dir := t.TempDir()
	owner := startChild(t, stuckVariable, dir)
	must(t, owner.cmd.Process.Kill())
	waitFor(t, "the disk is unmounted", func() bool {
		list, err := mounts()
		must(t, err)
		return !slices.ContainsFunc(list, func(m mounted) bool { return strings.HasPrefix(m.point, dir) })
	})
	owner.kill(t)
}
