package checkpoint

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system with little room.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// fillUp takes all the room that is left, and returns the file that took it.
func fillUp(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	_, err = io.Copy(f, rand.NewChaCha8([32]byte{}))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk ends with %v", err)
	}
	return name
}

func TestSavesOnAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path, b, want := newBolt(t, dir)
	fillUp(t, dir)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range uint64(500) {
		p := randomPosition(rng)
		p.Stream = 10
		p.Floor, p.Done = i, nil
		for r := range i % 1000 {
			p.Done = append(p.Done, Range{i + 10*r, i + 10*r})
		}
		want["a"], want["b"], want["c"] = p, p, p
		must(t, b.Save(want))
	}
	must(t, b.Close())
	b = mustOpen(t, path) // a start on a full disk
	wantValues(t, b, want)
	want["a"] = Position{Stream: 11}
	must(t, b.Save(want))
	must(t, b.Close())
	wantValues(t, mustOpen(t, path), want)
}

// TestTooLargeForAFullDisk: a save that does not fit is an error, and harmless; the next one that fits is none.
func TestTooLargeForAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path, b, want := newBolt(t, dir)
	ballast := fillUp(t, dir)
	large := make(map[string]Position)
	for i := range 100 {
		p := Position{}
		for r := range uint64(MaxDone) {
			p.Done = append(p.Done, Range{r * 1000, r*1000 + 300})
		}
		large[Key(string(rune('A'+i)))] = p
	}
	for range 3 {
		if err := b.Save(large); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("the save gives %v", err)
		}
		want["b"] = Position{Floor: want["b"].Floor + 1}
		must(t, b.Save(want))
		wantValues(t, b, want)
	}
	must(t, os.Remove(ballast))
	for key, p := range large {
		if len(want) < 20 {
			want[key] = p
		}
	}
	must(t, b.Save(want))
	must(t, b.Close())
	wantValues(t, mustOpen(t, path), want)
}

// TestDamageOnAFullDisk: there is no room for a new file, so the positions stay in memory until there is.
func TestDamageOnAFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path, b, want := newBolt(t, dir)
	must(t, b.Close())
	file, err := os.ReadFile(path)
	must(t, err)
	clear(page(file, newest(file).freelist))
	must(t, os.WriteFile(path, file, 0o600))
	ballast := fillUp(t, dir)

	b, problems, err := Open(path)
	must(t, err)
	if len(problems) != 2 || !strings.Contains(problems[1].What, "no space") {
		t.Errorf("problems: %q", problems)
	}
	wantValues(t, b, want)
	want["b"] = Position{Floor: 9}
	if err := b.Save(want); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the save gives %v", err)
	}
	must(t, os.Remove(ballast))
	must(t, b.Save(want))
	must(t, b.Close())
	wantValues(t, mustOpen(t, path), want)
}
