//go:build !linux

package disk

// Kinds are the file systems that an image can have.
var Kinds = []string{"ext4", "xfs"}

// ImageAvailable says why there can be no image here.
func ImageAvailable(string) error { return errLinux }

// Image is a file with a real file system in it, mounted through a loop device.
type Image struct{}

// MakeImage makes an image on a fault disk and mounts it.
func MakeImage(*Disk, string, string, string) (*Image, error) { return nil, errLinux }

// MountImage mounts the file system in a file.
func MountImage(string, string, string) (*Image, error) { return nil, errLinux }

// Path is where it is mounted.
func (i *Image) Path() string { return "" }

// Snapshot copies the image as a power loss now would leave it.
func (i *Image) Snapshot(string, Mode, uint64) error { return errLinux }

// Close unmounts it.
func (i *Image) Close() error { return errLinux }
