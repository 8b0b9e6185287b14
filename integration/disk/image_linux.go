package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds are the file systems that an image can have.
var Kinds = []string{"ext4", "xfs"}

// makers are how each is made, without discarding what is a hole anyway.
var makers = map[string][]string{
	"ext4": {"mkfs.ext4", "-q", "-F", "-E", "nodiscard"},
	"xfs":  {"mkfs.xfs", "-q", "-f", "-K"},
}

// mountOptions are what each needs to be mounted beside its copy.
var mountOptions = map[string]string{"xfs": "nouuid"}

// ImageAvailable says why there can be no image of that kind here.
func ImageAvailable(kind string) error {
	if err := Available(); err != nil {
		return err
	}
	maker := makers[kind]
	if maker == nil {
		return fmt.Errorf("no kind of image is %q", kind)
	}
	if _, err := exec.LookPath(maker[0]); err != nil {
		return fmt.Errorf("an image of %s needs %s: %w; install e2fsprogs and xfsprogs", kind, maker[0], err)
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("an image needs loop devices: %w; load the kernel's module loop", err)
	}
	return nil
}

// ImageSize is what every kind can be made with, in bytes. Little of it is ever written.
const ImageSize = 320 << 20

// Image is a file with a real file system in it, mounted through a loop device. Where the file is on a fault disk, what that
// file system believes to be durable is so because the loop driver turns its flushes into fsync, and a Snapshot of the file
// is what a power loss leaves it to recover from.
type Image struct {
	disk *Disk // nil: the file is elsewhere
	name string
	at   string
}

// MakeImage makes the file name, a path below the mount of d, with an empty file system of that kind, and mounts it at a
// directory, which is made if needed. The image has to be closed before the disk.
func MakeImage(d *Disk, name, kind, at string) (*Image, error) {
	if err := ImageAvailable(kind); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	maker := makers[kind]
	path := filepath.Join(d.Path(), name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(ImageSize); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	if out, err := exec.Command(maker[0], append(maker[1:], path)...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make image: %s: %w\n%s", maker[0], err, out)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	defer func() { _ = dir.Close() }()
	if err := errors.Join(file.Sync(), dir.Sync()); err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	i, err := MountImage(path, kind, at)
	if err != nil {
		return nil, err
	}
	i.disk, i.name = d, name
	return i, nil
}

// MountImage mounts the file system in a file: a snapshot for example, whose journal it replays then.
func MountImage(path, kind, at string) (*Image, error) {
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, fmt.Errorf("mount image: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("mount image: %w", err)
	}
	defer func() { _ = file.Close() }()
	device, err := attach(file)
	if err != nil {
		return nil, fmt.Errorf("mount image %s: %w", path, err)
	}
	defer func() { _ = device.Close() }() // from here on the mount keeps it attached
	if err := unix.Mount(device.Name(), at, kind, 0, mountOptions[kind]); err != nil {
		return nil, fmt.Errorf("mount image %s at %s: %w; the kernel's log says why", path, at, err)
	}
	return &Image{at: at}, nil
}

// Path is where it is mounted.
func (i *Image) Path() string { return i.at }

// Snapshot copies the image as a power loss now would leave it, to the new file to. Whoever uses it goes on.
func (i *Image) Snapshot(to string, mode Mode, seed uint64) error {
	if i.disk == nil {
		return errors.New("snapshot of an image: it is not on a fault disk")
	}
	return i.disk.Snapshot(i.name, to, mode, seed)
}

// Close unmounts it and detaches the loop device. Whoever still uses it keeps both until the end. It waits for what is
// being written: on a frozen disk for ever, so close that first.
func (i *Image) Close() error {
	done := make(chan error, 1)
	go func() { done <- unix.Unmount(i.at, unix.MNT_DETACH) }() // it cannot be interrupted
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, unix.EINVAL) { // not mounted: closed before
			return fmt.Errorf("unmount image at %s: %w", i.at, err)
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("unmount image at %s: not done within %v; close its fault disk first", i.at, patience)
	}
}

// imageName, and the number of the process that attached it, is what a loop device of an image is called.
const imageName = "logmule-image-"

// attach finds a free loop device and puts it over a file. It is detached when nothing uses it any more.
func attach(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	config := unix.LoopConfig{Fd: uint32(file.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:], imageName+strconv.Itoa(os.Getpid()))
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return device, nil
		}
		_ = device.Close()
		if !errors.Is(err, unix.EBUSY) { // somebody else was faster
			return nil, fmt.Errorf("attach %s: %w", device.Name(), err)
		}
	}
}

// undoImage takes away the mount of an image whose process has ended.
func undoImage(m mounted) error {
	if !strings.HasPrefix(m.source, "/dev/loop") {
		return nil
	}
	device, err := os.Open(m.source)
	if err != nil {
		return nil // it is gone meanwhile
	}
	defer func() { _ = device.Close() }()
	status, err := unix.IoctlLoopGetStatus64(int(device.Fd()))
	if err != nil {
		return nil // it is detached meanwhile
	}
	name, _, _ := bytes.Cut(status.File_name[:], []byte{0})
	text, ours := strings.CutPrefix(string(name), imageName)
	pid, err := strconv.Atoi(text)
	if !ours || err != nil || unix.Kill(pid, 0) == nil {
		return nil
	}
	return (&Image{at: m.point}).Close()
}
