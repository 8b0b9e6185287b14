package vfs

// Forget drops what the system keeps in memory of [offset, offset+size) of a file that is durable, so that the next read
// comes from the disk, or the last one leaves the memory to others. It is a hint: where a file system cannot, reading goes
// on as ever.
func Forget(f File, offset, size int64) {
	if f, ok := f.(interface {
		forget(offset, size int64) error
	}); ok {
		_ = f.forget(offset, size) // a hint
	}
}
