//go:build !linux

package torture

import "errors"

// limitDescriptors lowers how many files a process may have open.
func limitDescriptors(int, uint64) error {
	return errors.New("only Linux does this to another process")
}
