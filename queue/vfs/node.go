package vfs

import (
	"io/fs"
	"time"
)

// Node is what Stat and ReadDir know of a file beyond its name, size and kind.
type Node struct {
	ID      any       // two names of one file have the same; it can be compared
	Room    int64     // bytes of the file system that it takes
	Changed time.Time // when it was last written to, or got or lost a name
}

// NodeOf describes the file that one of this package's file systems has described with info.
func NodeOf(info fs.FileInfo) Node {
	if n, ok := info.Sys().(Node); ok {
		return n
	}
	return nodeOf(info)
}
