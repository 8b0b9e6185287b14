package rig

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountTmpfs mounts a tmpfs of that many bytes at dir; the function it gives unmounts it. It needs root.
func MountTmpfs(dir string, size int64) (unmount func(), err error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		return nil, fmt.Errorf("mount tmpfs at %s: %w", dir, err)
	}
	return func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }, nil
}

// RemountReadOnly makes a tmpfs read-only.
func RemountReadOnly(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("remount %s read-only: %w", dir, err)
	}
	return nil
}

// Fill writes a file into dir until only leave bytes are free; the function it gives removes that file.
func Fill(dir string, leave int64) (empty func(), err error) {
	file, err := os.CreateTemp(dir, "filler-*")
	if err != nil {
		return nil, fmt.Errorf("fill %s: %w", dir, err)
	}
	name := file.Name()
	defer func() { _ = file.Close() }()
	block := make([]byte, 64<<10)
	for {
		free, err := Free(dir)
		if err != nil {
			return nil, err
		}
		if free <= leave {
			break
		}
		if _, err := file.Write(block[:min(int64(len(block)), free-leave)]); err != nil {
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			return nil, fmt.Errorf("fill %s: %w", dir, err)
		}
	}
	return func() { _ = os.Remove(name) }, nil
}

// Free is the room left on the file system of dir, in bytes.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("stat file system of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
