package disk

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImage: what is fsynced on a real file system on the fault disk is in every snapshot, each of which that file system
// recovers from.
func TestImage(t *testing.T) {
	for _, kind := range Kinds {
		t.Run(kind, func(t *testing.T) {
			need(t, ImageAvailable(kind))
			d := start(t, Options{})
			dir := t.TempDir()
			i, err := MakeImage(d, "image", kind, filepath.Join(dir, "mount"))
			must(t, err)
			t.Cleanup(func() { must(t, i.Close()) })
			for round, mode := range []Mode{Drop, Keep, Mix} {
				name := fmt.Sprintf("file%d", round)
				file, err := os.Create(filepath.Join(i.Path(), name))
				must(t, err)
				_, err = file.WriteString(strings.Repeat(name, 10000))
				must(t, err)
				must(t, file.Sync())
				_, err = file.WriteString("and what was not synced")
				must(t, err)
				must(t, file.Close())
				snapshot := filepath.Join(dir, "snapshot"+name)
				must(t, i.Snapshot(snapshot, mode, uint64(round)))
				c, err := MountImage(snapshot, kind, filepath.Join(dir, "copy"+name))
				must(t, err)
				b, err := os.ReadFile(filepath.Join(c.Path(), name))
				if err != nil || !strings.HasPrefix(string(b), strings.Repeat(name, 10000)) {
					t.Errorf("%s: %d bytes, %v", mode, len(b), err)
				}
				must(t, c.Close())
			}
		})
	}
}

// TestImageNoDisk: an image on a disk that was taken away gives errors and can be closed.
func TestImageNoDisk(t *testing.T) {
	need(t, ImageAvailable("ext4"))
	d := start(t, Options{})
	i, err := MakeImage(d, "image", "ext4", filepath.Join(t.TempDir(), "mount"))
	must(t, err)
	t.Cleanup(func() { must(t, i.Close()) })
	must(t, d.Freeze())
	must(t, d.Close())
	if err := os.WriteFile(filepath.Join(i.Path(), "file"), []byte("text"), 0o600); err == nil {
		if err := exec.Command("sync", filepath.Join(i.Path(), "file")).Run(); err == nil {
			t.Error("a file was synced to a disk that is gone")
		}
	}
}
