package recovery_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/vfs"
	"logmule/recovery"
)

// TestLinkThatLeadsNowhere: a disk with the segments that is not mounted is not one whose records are lost.
func TestLinkThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	if _, err := recovery.Start(vfs.OS(), dir, checkpoint.NewMemory(), recovery.Options{}); err != nil {
		t.Fatal(err)
	}
	segments := filepath.Join(dir, recovery.SegmentDir)
	if err := os.Remove(segments); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), segments); err != nil {
		t.Fatal(err)
	}
	store := checkpoint.NewMemory()
	if err := store.Save(map[string]checkpoint.Position{checkpoint.Key("out"): {Floor: 5, Done: []checkpoint.Range{{First: 7, Last: 90}}}}); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		_, err := recovery.Check(t.Context(), vfs.OS(), dir, recovery.CheckOptions{Store: store})
		return err
	}
	start := func() error {
		_, err := recovery.Start(vfs.OS(), dir, store, recovery.Options{})
		return err
	}
	for what, try := range map[string]func() error{"fsck": check, "a start": start} {
		if err := try(); err == nil || !strings.Contains(err.Error(), "mount or make what it leads to") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if losses, err := recovery.ReadLedger(vfs.OS(), dir); err != nil || len(losses) > 0 {
		t.Errorf("the ledger has %+v, %v", losses, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "elsewhere"), 0o700); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{"fsck": check, "a start": start} {
		if err := try(); err != nil {
			t.Errorf("%s, when it is mounted: %v", what, err)
		}
	}
}
