package vfs

import "io"

// NextData is the first offset from this one on that is not in a hole of the file, its size where only a hole follows. In a hole
// there are zeros, which need not be read. Where that cannot be known it is offset itself.
func NextData(f io.ReaderAt, offset int64) int64 {
	if f, ok := f.(interface {
		nextData(offset int64) (int64, error)
	}); ok {
		if at, err := f.nextData(offset); err == nil {
			return max(at, offset)
		}
	}
	return offset
}
