package vfs

// Unlinked tells whether an open file has lost its last name: what is written to it is gone when it is closed. Where a file system
// cannot tell, it says no.
func Unlinked(f File) bool {
	u, ok := f.(interface{ Unlinked() bool })
	return ok && u.Unlinked()
}
