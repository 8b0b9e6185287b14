package recovery

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logmule/checkpoint"
	"logmule/queue/segment"
	"logmule/queue/vfs"
)

// export writes a test directory to the disk.
func export(t *testing.T, b *builder) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"", SegmentDir} {
		b.must(os.MkdirAll(filepath.Join(dir, sub), 0o700))
		infos, err := b.fs.ReadDir(filepath.Join(testDir, sub))
		b.must(err)
		for _, info := range infos {
			if info.IsDir() {
				continue
			}
			data, err := vfs.ReadFile(b.fs, filepath.Join(testDir, sub, info.Name()), 1<<30)
			b.must(err)
			b.must(os.WriteFile(filepath.Join(dir, sub, info.Name()), data, 0o600))
		}
	}
	return dir
}

// TestOnDisk runs everything once on the real file system, beside files that are no files.
func TestOnDisk(t *testing.T) {
	b := checked(t)
	b.append(3, "torn")
	dir := export(t, b)
	outside := filepath.Join(t.TempDir(), "outside")
	b.must(os.WriteFile(outside, []byte("not to be touched"), 0o600))
	link := segment.Name{First: 500, Salt: 1}.String()
	b.must(os.Symlink(outside, filepath.Join(dir, SegmentDir, link)))
	b.must(os.WriteFile(filepath.Join(dir, LockFile), []byte("pid 1\n"), 0o600))
	disk, ctx := vfs.OS(), context.Background()

	r, err := Check(ctx, disk, dir, CheckOptions{Deep: true})
	if err != nil || !r.Clean || r.TornTailBytes != 8192+4 || r.Records != 190 {
		t.Errorf("check: %v, %+v", err, r)
	}
	if s, err := TakeSurvey(disk, dir); err != nil || s.Running || s.Records != 190 {
		t.Errorf("survey: %v, %+v", err, s)
	}
	lock, err := disk.Lock(filepath.Join(dir, LockFile), "test")
	b.must(err)
	r, err = Check(ctx, disk, dir, CheckOptions{})
	if err != nil || !r.Clean || r.TornTailBytes != 0 {
		t.Errorf("check beside a daemon: %v, %+v", err, r)
	}
	state, err := Start(disk, dir, checkpoint.NewMemory(), Options{})
	if err != nil || state.Next != 191 || len(state.Segments) != 4 {
		t.Fatalf("start: %v, %+v", err, state)
	}
	if !slices.ContainsFunc(state.Report.Notes, func(n string) bool { return strings.Contains(n, link) }) {
		t.Errorf("notes %q", state.Report.Notes)
	}
	b.must(lock.Close())
	if r, err = Check(ctx, disk, dir, CheckOptions{}); err != nil || !r.Clean || r.TornTailBytes != 0 {
		t.Errorf("check after the start: %v, %+v", err, r)
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "not to be touched" {
		t.Errorf("the link was followed: %q, %v", data, err)
	}
}
